"""Iterative regimes: train, score, prune, rewind, again. ISS with magnitude is IMP; IMS prunes in several shots."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from scratchcard.pruning.schedules import MOST_ROUNDS, SCHEDULES
from scratchcard.regimes.cuts import Cuts, of_same_sign, on_the_way, to_step, way
from scratchcard.regimes.regime import Found, Regime, Search
from scratchcard.regimes.upfront import by_schedule, in_rounds
from scratchcard.registry import lookup
from scratchcard.setting import setting

if TYPE_CHECKING:
    from scratchcard.workloads.recipe import Recipe

_FIRST = ("Iterative", {"rounds": 10, "shots": 1, "schedule": "exponential", "scope": "global", "rewind_step": 0})


@dataclass(frozen=True, kw_only=True)
class Iterative(Regime):
    """Train, score the trained network, prune, rewind; `rounds` times.

    Attributes:
        rounds: number of train-prune-rewind cycles.
        schedule: density after each round.
        rewind_step: rewind to the weights after this many training steps of the dense network (0 = initialisation;
            Frankle et al. 2020, arXiv 1912.05671).
        towards: the density that the schedule's rounds lead to; a search for a higher density leaves that path at
            the round that would pass it, and prunes to its own density there. So all densities of a path share its
            rounds, as where each round keeps the same share and every round's ticket is reported (Frankle & Carbin
            2019). None: each density has a path of its own, of `rounds` rounds.
        round_steps: training steps of each round, at most; None: the recipe's. The ticket is trained by the recipe.

    Examples:
        >>> [round(density, 3) for density in ISS(rounds=3).densities(0.125)]
        [0.5, 0.25, 0.125]
        >>> ISS(rounds=3, towards=0.125).densities(0.3)  # the path of 0.125, left where it passes 0.3
        (0.5, 0.3)
    """

    trains: ClassVar[bool] = True
    first = _FIRST

    rounds: int = in_rounds(10)
    schedule: str = by_schedule()
    rewind_step: int = to_step()
    towards: float | None = on_the_way()
    round_steps: int | None = setting(
        None,
        help="Training steps of each round, at most",
        example=859,
        low=1,
        unset="as many as at the end",
        label=", {} steps a round",
    )
    same_sign: bool = of_same_sign()

    @property
    def scorings(self) -> int:
        """Scoring and pruning steps after each training."""
        return 1

    @property
    def starts_from(self) -> str:
        """See `Regime.starts_from`."""
        return f"step {self.rewind_step} of the first training" if self.rewind_step else ""

    @property
    def begins_dense(self) -> bool:
        """Without a rewind step, at which the training would be kept, and without a shorter training."""
        return self.rewind_step == 0 and self.round_steps is None

    def densities(self, density: float) -> tuple[float, ...]:
        """The density after each round.

        Raises:
            ValueError: a density below the path's last.
        """
        if self.towards is None:
            return lookup(SCHEDULES, "schedules", self.schedule)(density, self.rounds)
        return way(self.schedule, self.rounds, density, self.towards)

    def check(self, recipe: Recipe, density: float) -> None:
        """See `Regime.check`; refuses a step to rewind to that the training does not reach, too."""
        super().check(recipe, density)
        steps = recipe.max_steps if self.round_steps is None else self.round_steps
        if self.rewind_step and self.rewind_step >= steps:
            raise ValueError(
                f"cannot rewind to step {self.rewind_step}: the training has {steps} steps; take an earlier step or a "
                "longer training"
            )
        replace(recipe, max_steps=steps)  # refuses a warm-up that is longer
        self.densities(density)

    def _search(self, asked: Search) -> Found:
        """With a store each finished training is kept, so that the next call goes on after it."""
        from scratchcard.clock import spent
        from scratchcard.pruning.state import copy_state, load_state
        from scratchcard.workloads.session import shifted
        from scratchcard.workloads.stored_training import train_once

        workload, network, session = asked.workload, asked.network, asked.session
        if self.round_steps is not None:
            workload = replace(workload, recipe=replace(workload.recipe, max_steps=self.round_steps))
        densities = self.densities(asked.density)
        rounds, steps = len(densities), workload.recipe.max_steps
        cuts, rewind, mask = Cuts(self, asked, self.scorings), copy_state(network), None
        training: list[dict[str, Any]] = []
        for number, target in enumerate(densities, start=1):
            load_state(network, rewind)
            snapshots = (self.rewind_step,) if number == 1 and self.rewind_step else ()
            done = shifted(session.progress, (number - 1) * steps, rounds * steps)
            record = train_once(
                network, workload, session, mask=mask, seed=asked.data_seed, snapshot_steps=snapshots, progress=done
            )
            if snapshots:
                if self.rewind_step not in record.snapshots:
                    raise ValueError(
                        f"cannot rewind to step {self.rewind_step}: training ended after {record.steps} steps"
                    )
                rewind = dict(record.snapshots[self.rewind_step])
            begin = spent(session.device)
            mask = cuts.cut(target, number / self.rounds)
            training.append(
                {
                    "density": mask.density,
                    "steps": record.steps,
                    "best_step": record.best_step,
                    "validation_loss": record.best_validation_loss,
                    "validation_accuracy": record.best_validation_metric,
                    "seconds": record.seconds + spent(session.device) - begin,
                }
            )
            if done is not None:
                done(steps, steps)
        return cuts.found(densities, rewind, training)


@dataclass(frozen=True, kw_only=True)
class ISS(Iterative):
    """Iterative single-shot: one scoring after each training.

    With the magnitude scorer that is iterative magnitude pruning (Frankle & Carbin 2019, arXiv 1803.03635).

    Examples:
        >>> workload = sc.Workload("lenet_300_100", sc.load_task("digits"), sc.Recipe(max_steps=20))
        >>> found = ISS(rounds=2).find(workload, sc.make_scorer("magnitude"), density=0.25, seed=0)
        >>> found.densities, [entry["steps"] for entry in found.training]
        ((0.5, 0.25), [20, 20])
    """


@dataclass(frozen=True, kw_only=True)
class IMS(Iterative):
    """Iterative multi-shot: a multi-shot sequence after each training.

    It goes on the exponential way from one round's density to the next, whatever the schedule of the rounds.

    Examples:
        >>> workload = sc.Workload("lenet_300_100", sc.load_task("digits"), sc.Recipe(max_steps=20))
        >>> regime = IMS(rounds=1, shots=3)
        >>> found = regime.find(workload, sc.make_scorer("synflow"), density=0.1, seed=0)
        >>> regime.label, found.mask.kept
        ('IMS 1 x 3', 5020)
    """

    shots: int = setting(
        10,
        help="Scoring and pruning steps after each training",
        example=5,
        low=1,
        high=MOST_ROUNDS,
        label=" x {}",
    )

    @property
    def scorings(self) -> int:
        """See `shots`."""
        return self.shots
