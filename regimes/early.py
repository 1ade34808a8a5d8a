"""Early regimes: one short training, looked at as it goes; the mask is taken there, and training then begins anew.

The network is pruned as it trains, with no rewinding in between. At the end the kept weights go back to their initial
values: what the search hands over is a ticket like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scratchcard.pruning.schedules import MOST_ROUNDS
from scratchcard.regimes.course import Course
from scratchcard.regimes.cuts import Cuts, of_same_sign, on_the_way, to_step, way
from scratchcard.regimes.one_training import END, OneTraining
from scratchcard.regimes.regime import Found, Search
from scratchcard.regimes.upfront import by_schedule, in_rounds
from scratchcard.setting import setting
from scratchcard.settings import settings_of

if TYPE_CHECKING:
    from scratchcard.pruning.emergence import Settling
    from scratchcard.workloads.recipe import Recipe

_FIRST: tuple[str, dict[str, Any]] = (
    "Early",
    {
        "rounds": 1,
        "shots": 1,
        "schedule": "exponential",
        "scope": "global",
        "search_steps": 2000,
        "search_learning_rate": None,
        "pace": 1.0,
        "rewind_step": 0,
    },
)


@dataclass(frozen=True, kw_only=True)
class Early(OneTraining):
    """Train for some steps, looking at the weights and pruning as it goes; then back to the initial weights.

    Attributes:
        search_steps: training steps of the search; its last look is after them.
        rewind_step: the ticket starts from the weights after this many steps of the search, not from the initial ones
            (late rewinding: Frankle et al. 2020, arXiv 1912.05671). `search_steps` itself: it is not rewound, but
            starts from the weights that the search ends with, whatever look that is. By magnitude on a cubic schedule
            that is gradual pruning (Zhu & Gupta 2017, arXiv 1710.01878).

    Examples:
        >>> workload = sc.Workload("lenet_300_100", sc.load_task("digits"))
        >>> found = EMS(rounds=4, search_steps=40).find(workload, sc.make_scorer("magnitude"), density=0.0625, seed=0)
        >>> [(look["steps"], round(look["density"], 4)) for look in found.training]
        [(10, 0.5), (10, 0.25), (10, 0.125), (10, 0.0625)]
    """

    first = _FIRST

    rewind_step: int = to_step()
    same_sign: bool = of_same_sign()

    @property
    def rewinds(self) -> bool:
        """Whether the ticket goes back to earlier weights than the search's last."""
        return self.rewind_step != self.search_steps

    @property
    def label(self) -> str:
        """See `Regime.label`; a ticket that is not rewound is called so."""
        return super().label if self.rewinds else super().label.replace(f", rewind {self.rewind_step}", ", not rewound")

    @property
    def starts_from(self) -> str:
        """See `Regime.starts_from`."""
        return END if not self.rewinds else f"step {self.rewind_step} of the search" if self.rewind_step else ""

    def looks(self, density: float) -> tuple[tuple[int, float], ...]:
        """The steps after which it looks, and the density after each look."""
        return ((self.search_steps, density),)

    def check(self, recipe: Recipe, density: float) -> None:
        """See `Regime.check`; refuses a step to rewind to that the search does not reach, too."""
        super().check(recipe, density)
        last = self.looks(density)[-1][0]
        if self.rewinds and self.rewind_step >= last:
            raise ValueError(
                f"cannot rewind to step {self.rewind_step}: the search for density {density:g} has {last} steps; take "
                f"an earlier step or a longer search, or {self.search_steps} to start from the search's last weights"
            )

    def _search(self, asked: Search) -> Found:
        from scratchcard.pruning.state import copy_state

        network, progress, settling = asked.network, asked.session.progress, self.settling()
        course = Course(self, asked, onward=settling is not None)
        cuts, start, mask = Cuts(self, asked, self.scorings), copy_state(network), None
        training: list[dict[str, Any]] = []
        densities: list[float] = []
        for step, target in self.looks(asked.density):
            share = (course.step + step) / 2 / self.search_steps
            if self.rewinds and course.step < self.rewind_step <= step:
                course.advance(self.rewind_step, mask, share)
                start = copy_state(network)
            course.advance(step, mask, share)
            looked, told = cuts.look(target, step / self.search_steps), {}
            settled = settling is not None and settling.see(looked.mask)
            if settling is not None:
                told = {"step": step, "distance": settling.distance, "settled": settled}
            if settling is None or settled or step == self.search_steps:
                mask = cuts.keep(looked)
                densities.append(target)
            training.append(course.entry(1.0 if mask is None else mask.density) | told)
            if progress is not None:
                progress(step, self.search_steps)
            if settled:
                break
        if not self.rewinds and mask is not None:
            mask.apply_to(network)
            start = copy_state(network)
        return cuts.found(tuple(densities), start, training)

    def settling(self) -> Settling | None:
        """What ends a search before its last step; None: nothing does, and each look prunes."""
        return None

    @property
    def scorings(self) -> int:
        """Scoring and pruning steps at each look."""
        return 1


@dataclass(frozen=True, kw_only=True)
class ESS(Early):
    """Early single-shot: a single cut, at the end of the search.

    With the magnitude scorer the mask of a network that is drawn early in training (You et al. 2020, arXiv 1909.11957,
    for channels). With `settle` the search ends as theirs does, once the mask stands still, and `search_steps` is the
    most that it trains: every `look_every` steps the mask is taken that would be cut there, and nothing is cut; the
    search ends when that mask is nearer than `settle` to each of the five before it, by `mask_distance`. So it looks
    six times at least. What each look saw is in the training's record: its step, the largest of these distances, and
    whether it ended there. Deviation: their distance is the share of all channels, which says nothing of weights.

    Attributes:
        settle: the distance below which masks count as one; theirs is 0.1. None: it trains all `search_steps`.
        look_every: steps from one look to the next, for `settle` alone.

    Examples:
        >>> workload = sc.Workload("lenet_300_100", sc.load_task("digits"))
        >>> ESS(search_steps=40).find(workload, sc.make_scorer("snip"), density=0.1, seed=0).mask
        Mask(5,020 of 50,200 weights in 3 layers, density 0.1)
        >>> settled = ESS(settle=0.1, look_every=5).find(workload, sc.make_scorer("magnitude"), density=0.1, seed=0)
        >>> [look["step"] for look in settled.training], settled.training[-1]["settled"]
        ([5, 10, 15, 20, 25, 30], True)
    """

    settle: float | None = setting(
        None,
        help="End the search once the mask has settled: below this distance from the five looks before, 0 equal, 1 by "
        "chance",
        example=0.1,
        above=0,
        high=1,
        label=", until settled at {:g}",
    )
    look_every: int = setting(
        50, help="Steps from one look to the next, with settle", example=20, low=1, label=", looking every {} steps"
    )

    @property
    def rounds(self) -> int:
        """One."""
        return 1

    def settling(self) -> Settling | None:
        """See `Early.settling`."""
        from scratchcard.pruning.emergence import Settling

        return None if self.settle is None else Settling(self.settle)

    def looks(self, density: float) -> tuple[tuple[int, float], ...]:
        """See `Early.looks`; with `settle` it may end at any of them.

        >>> ESS(search_steps=120, settle=0.1).looks(0.2)
        ((50, 0.2), (100, 0.2), (120, 0.2))
        """
        if self.settle is None:
            return super().looks(density)
        steps = (*range(self.look_every, self.search_steps, self.look_every), self.search_steps)
        return tuple((step, density) for step in steps)

    def check(self, recipe: Recipe, density: float) -> None:
        """See `Early.check`; refuses looks for nothing, and a step to rewind to that the search may not reach, too."""
        super().check(recipe, density)
        if self.settle is None:
            if self.look_every != settings_of(ESS)["look_every"].default:
                raise ValueError(
                    f"look_every is {self.look_every}, but the search looks once, at its end; give settle, or leave "
                    "look_every out"
                )
            return
        from scratchcard.pruning.emergence import MASKS_BEFORE

        soonest = (MASKS_BEFORE + 1) * self.look_every
        if self.rewinds and self.rewind_step >= soonest:
            raise ValueError(
                f"cannot rewind to step {self.rewind_step}: the search may have settled after {soonest} steps; take an "
                f"earlier step, or {self.search_steps} to start from the search's last weights"
            )


@dataclass(frozen=True, kw_only=True)
class EMS(Early):
    """Early multi-shot: looks along the search, each of which prunes; pruned weights take no part from then on.

    With `rounds` looks k = 1 ... K over S steps, look k comes after `round(S (k / K)^pace)` steps.

    Attributes:
        rounds: number of looks.
        schedule: density after each look.
        pace: 1 looks at even distances; above 1 more often at first.
        shots: scoring and pruning steps at each look.
        towards: the density that the schedule leads to; a search for a higher density leaves that path where it would
            pass it, and prunes to its own density there. None: each density has a path of its own.

    Examples:
        >>> EMS(rounds=4, search_steps=800).looks(0.0625)
        ((200, 0.5), (400, 0.25), (600, 0.125), (800, 0.0625))
        >>> [step for step, _ in EMS(rounds=4, search_steps=800, pace=2).looks(0.0625)]
        [50, 200, 450, 800]
        >>> EMS(rounds=4, search_steps=800, towards=0.0625).looks(0.3)
        ((200, 0.5), (400, 0.3))
    """

    rounds: int = in_rounds(20)
    schedule: str = by_schedule()
    pace: float = setting(
        1.0,
        help="Looks come at even distances (1), or more often at first (above 1)",
        example=1.5,
        above=0,
        high=4,
        label=", pace {:g}",
    )
    shots: int = setting(
        1, help="Scoring and pruning steps at each look", example=5, low=1, high=MOST_ROUNDS, label=" x {}"
    )
    towards: float | None = on_the_way()

    @property
    def scorings(self) -> int:
        """See `shots`."""
        return self.shots

    def looks(self, density: float) -> tuple[tuple[int, float], ...]:
        """See `Early.looks`.

        Raises:
            ValueError: more looks than steps, or a density below the path's last.
        """
        steps = [round(self.search_steps * (look / self.rounds) ** self.pace) for look in range(1, self.rounds + 1)]
        if steps[0] < 1 or len(set(steps)) < len(steps):
            raise ValueError(
                f"{self.rounds} looks at a pace of {self.pace:g} do not fit into {self.search_steps} steps; take fewer "
                "rounds or more steps"
            )
        towards = density if self.towards is None else self.towards
        return tuple(zip(steps, way(self.schedule, self.rounds, density, towards), strict=False))
