"""Cuts: what regimes do that train between their scorings, at each of their looks or rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scratchcard.pruning.schedules import SCHEDULES
from scratchcard.regimes.regime import Found, Regime, Search
from scratchcard.regimes.upfront import Pruned, prune_upfront
from scratchcard.registry import lookup
from scratchcard.setting import setting

if TYPE_CHECKING:
    from torch import Tensor

    from scratchcard.pruning.mask import Mask


class Cuts:
    """The cuts of a regime that trains in between: each at the weights that the network has, within the last one.

    It is made while the network has its initial weights, which the scorer is shown (`Scorer.from_start`).

    Examples:
        >>> from scratchcard.regimes import USS
        >>> task = sc.Task.of(torch.rand(40, 4), torch.arange(40) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task)
        >>> batch, scorer, session = workload.scoring_batch(0), sc.make_scorer("magnitude"), sc.Session()
        >>> cuts = Cuts(USS(), Search(workload, workload.build(0), batch, scorer, 0.25, 0, 0, session), scorings=1)
        >>> cuts.cut(0.5).kept, cuts.cut(0.25).kept
        (4, 2)
        >>> cuts.found((0.5, 0.25), {}, [{"seconds": 0.5}, {"seconds": 1.0}]).seconds
        1.5
    """

    def __init__(self, regime: Regime, asked: Search, scorings: int) -> None:
        from scratchcard.scorers.scorer import check_scorer

        self._regime, self._asked, self._scorings = regime, asked, scorings
        self._done = 0.0
        self._scorer = check_scorer(asked.scorer).from_start(asked.network, lambda: self._done)
        if getattr(regime, "same_sign", False):
            from scratchcard.scorers.same_sign import SameSign

            self._scorer = SameSign.of(self._scorer, asked.network)
        self._last: Pruned | None = None
        self._survived: dict[str, Tensor] = {}

    def cut(self, density: float, done: float = 1.0) -> Mask:
        """Score and prune to `density`, in so many scorings; the mask, on the CPU.

        Args:
            density: of all prunable weights.
            done: the share of the search's training that is done, in (0, 1]; see `Scorer.from_start`.
        """
        return self.keep(self.look(density, done))

    def look(self, density: float, done: float = 1.0) -> Pruned:
        """What `cut` would cut, with its mask on the CPU; nothing is cut yet."""
        regime, asked = self._regime, self._asked
        self._done = done
        pruned = prune_upfront(
            asked.network,
            asked.batch,
            asked.workload.task.loss,
            self._scorer,
            density,
            rounds=self._scorings,
            scope=regime.scope,
            within=None if self._last is None else self._last.mask,
            exclude=asked.excluded,
            floor=regime.floor,
            seed=asked.seed,
            statistics=regime.statistics,
        )
        return pruned._replace(mask=pruned.mask.to("cpu"))

    def keep(self, looked: Pruned) -> Mask:
        """Cut what a look has found."""
        self._last = looked
        for name, kept in looked.mask.tensors.items():
            self._survived[name] = self._survived.get(name, 0) + kept.int()
        return looked.mask

    def found(
        self, densities: tuple[float, ...], start: Mapping[str, Tensor], training: Sequence[Mapping[str, Any]]
    ) -> Found:
        """What the regime found: the last cut, and what was trained before each, with its seconds.

        Raises:
            ValueError: there was no cut.
        """
        from scratchcard.pruning.scores import Scores

        if self._last is None:
            raise ValueError("nothing was cut; a search has one round at least")
        tensors = {name: tensor.detach().cpu() for name, tensor in self._last.scores.tensors.items()}
        scores, seconds = Scores(tensors, repr(self._asked.scorer)), sum(float(each["seconds"]) for each in training)
        lots = self._last.by_lot
        return Found(self._last.mask, scores, self._survived, densities, start, seconds, tuple(training), lots)


def to_step() -> Any:
    """The setting of the step that kept weights are rewound to (late rewinding: Frankle et al. 2020, arXiv 1912.05671).

    Examples:
        >>> to_step().default
        0
    """
    return setting(
        0,
        help="Rewind to the weights after this many steps of the first training; in ESS and EMS as many as "
        "search_steps: do not rewind",
        example=100,
        low=0,
        label=", rewind {}",
    )


def of_same_sign(default: bool = False) -> Any:
    """The setting of whether weights that training has turned round are the first to go; see `scorers.same_sign`.

    Examples:
        >>> of_same_sign().default
        False
    """
    return setting(
        default,
        help="Weights whose sign is not that of their initial value go first",
        example=not default,
        label=", any sign" if default else ", same sign",
    )


def on_the_way() -> Any:
    """The setting of the density that a path leads to which searches for higher densities leave earlier.

    Examples:
        >>> on_the_way().default is None
        True
    """
    return setting(
        None,
        help="One path of rounds down to this density, which all densities leave at their place",
        example=0.005,
        above=0,
        high=1,
        label=" towards {:g}",
    )


def way(schedule: str, rounds: int, density: float, towards: float) -> tuple[float, ...]:
    """The density after each cut on a schedule's path towards one, left where it would pass `density`.

    Raises:
        ValueError: a density below the path's last, or an unknown schedule.

    Examples:
        >>> way("exponential", 3, density=0.3, towards=0.125)
        (0.5, 0.3)
    """
    if density < towards:
        raise ValueError(f"a path towards density {towards} never reaches {density}; take a lower `towards`")
    path = lookup(SCHEDULES, "schedules", schedule)(towards, rounds)
    return (*(share for share in path if share > density), density)
