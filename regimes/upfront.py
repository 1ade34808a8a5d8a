"""Upfront regimes: scores at initialisation only. USS scores once, UMS every round on the masked network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from scratchcard.pruning.schedules import MOST_ROUNDS, SCHEDULES
from scratchcard.regimes.regime import Found, Regime, Search
from scratchcard.settings import setting

_FIRST = ("Upfront", {"rounds": 1, "schedule": "exponential", "scope": "global"})


def in_rounds(default: int) -> Any:
    """The setting of regimes that prune in several rounds.

    Examples:
        >>> in_rounds(100).default
        100
    """
    return setting(default, help="Pruning rounds", example=5, low=1, high=MOST_ROUNDS)


def by_schedule() -> Any:
    """The setting of the density after each round.

    Examples:
        >>> by_schedule().default
        'exponential'
    """
    return setting(
        "exponential",
        help="Density after each round: exponential, linear or cubic",
        example="cubic",
        choices=lambda: (SCHEDULES, "schedules"),
        label=", {}",
    )


@dataclass(frozen=True, kw_only=True)
class Upfront(Regime):
    """Score and prune at the initial weights; one scoring batch serves all rounds.

    Round t keeps the `round(d_t n)` highest scores of the network masked by round t - 1.

    Examples:
        >>> workload = sc.Workload("lenet_300_100", sc.load_task("digits"))
        >>> found = UMS(rounds=3).find(workload, sc.make_scorer("synflow"), density=0.125, seed=0)
        >>> [round(density, 3) for density in found.densities]
        [0.5, 0.25, 0.125]
    """

    first = _FIRST

    def _search(self, asked: Search) -> Found:
        from scratchcard.clock import spent
        from scratchcard.pruning.scores import Scores
        from scratchcard.pruning.ticket import copy_state
        from scratchcard.regimes.rounds import prune_upfront

        network, session = asked.network, asked.session
        begin = spent(session.device)
        mask, scores, survived, densities = prune_upfront(
            network,
            asked.batch,
            asked.workload.task.loss,
            asked.scorer,
            asked.density,
            rounds=self.rounds,
            schedule=getattr(self, "schedule", "exponential"),
            scope=self.scope,
            seed=asked.seed,
            progress=session.progress,
        )
        seconds = spent(session.device) - begin
        scores = Scores({name: tensor.cpu() for name, tensor in scores.tensors.items()}, scores.criterion)
        return Found(mask.to("cpu"), scores, survived, densities, copy_state(network), seconds)


@dataclass(frozen=True, kw_only=True)
class USS(Upfront):
    """Upfront single-shot: scores once, at initialisation.

    As SNIP (Lee et al. 2019, arXiv 1810.02340) and GraSP (Wang et al. 2020, arXiv 2002.07376) are published.

    Examples:
        >>> workload = sc.Workload("lenet_300_100", sc.load_task("digits"))
        >>> USS().find(workload, sc.make_scorer("snip"), density=0.1, seed=0).mask
        Mask(5,020 of 50,200 weights in 3 layers, density 0.1)
    """

    named: ClassVar[bool] = False

    @property
    def rounds(self) -> int:
        """One."""
        return 1


@dataclass(frozen=True, kw_only=True)
class UMS(Upfront):
    """Upfront multi-shot: scores in every round, at initialisation, the network that the last round left.

    As SynFlow (Tanaka et al. 2020, arXiv 2006.05467) is published, with 100 rounds.

    Examples:
        >>> workload = sc.Workload("lenet_300_100", sc.load_task("digits"))
        >>> UMS(rounds=10).find(workload, sc.make_scorer("synflow"), density=0.1, seed=0).mask
        Mask(5,020 of 50,200 weights in 3 layers, density 0.1)
    """

    rounds: int = in_rounds(100)
    schedule: str = by_schedule()
