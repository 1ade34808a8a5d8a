"""Upfront regimes: scores at initialisation only. USS scores once, UMS every round on the masked network.

`prune_upfront` is what every regime's rounds are made of.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from scratchcard.pruning.modes import Statistics, scored_by
from scratchcard.pruning.schedules import MOST_ROUNDS, SCHEDULES, check_count
from scratchcard.regimes.regime import Found, Regime, Search
from scratchcard.registry import lookup
from scratchcard.setting import setting

if TYPE_CHECKING:
    from torch import Tensor, nn

    from scratchcard.pruning.mask import Mask
    from scratchcard.pruning.scopes import Scope
    from scratchcard.pruning.scores import Scores
    from scratchcard.scorers.scorer import Batch, Loss, Scorer
    from scratchcard.workloads.session import Progress

_FIRST = ("Upfront", {"rounds": 1, "schedule": "exponential", "scope": "global"})


class Pruned(NamedTuple):
    """What rounds of scoring and pruning gave.

    Attributes:
        mask: the kept weights.
        scores: of the last round, taken before its cut; of a large network they lie in a file (`Shelf`).
        survived: for each weight the number of rounds that kept it, int32; likewise.
        densities: the density after each round.
        by_lot: how many weights the last cut kept by lot, among others of the same score.

    Examples:
        >>> network, batch, loss = nn.Linear(4, 2), (torch.ones(1, 4), torch.ones(1, 2)), nn.functional.mse_loss
        >>> network.weight.data = torch.tensor([[3.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
        >>> prune_upfront(network, batch, loss, sc.make_scorer("synflow"), 0.25).by_lot  # one of the three ones
        1
    """

    mask: Mask
    scores: Scores
    survived: dict[str, Tensor]
    densities: tuple[float, ...]
    by_lot: int


def prune_upfront(
    network: nn.Module,
    batch: Batch,
    loss: Loss,
    scorer: Scorer,
    density: float,
    *,
    rounds: int = 1,
    schedule: str = "exponential",
    scope: Scope = "global",
    within: Mask | None = None,
    exclude: Iterable[str] = (),
    floor: int = 0,
    seed: int = 0,
    statistics: Statistics = "batch",
    progress: Progress | None = None,
) -> Pruned:
    """Prune a network at the weights that it has, in `rounds` rounds.

    Args:
        network: any network; left as it came.
        batch: inputs and targets for the scorer.
        loss: mean loss over examples.
        scorer: the criterion.
        density: to reach, of all prunable weights.
        rounds: number of scoring and pruning steps.
        schedule: name of the schedule; it leads from the density of `within` (1 without) to `density`.
        scope: compare all weights with each other or each layer's among themselves.
        within: start from this mask.
        exclude: weights that stay whole and are not counted; see `matching`.
        floor: keep at least this many weights of each layer.
        seed: of the order of ties.
        statistics: what batch normalisation normalises by, whatever mode the network is in; see `scored_by`.
        progress: called after each round.

    Raises:
        ValueError: density outside (0, 1] or above that of `within`, no rounds, an unknown schedule, what is no scorer.

    Examples:
        >>> network, batch, loss = nn.Linear(4, 2), (torch.ones(1, 4), torch.ones(1, 2)), nn.functional.mse_loss
        >>> scorer = sc.make_scorer("magnitude")
        >>> found = prune_upfront(network, batch, loss, scorer, 0.25, rounds=2)
        >>> found.mask.kept, found.densities, int(found.survived["weight"].sum())  # 4 weights survive one round, 2 both
        (2, (0.5, 0.25), 6)
    """
    import torch

    from scratchcard.pruning.cut import by_lot, keep_top
    from scratchcard.pruning.parameters import count, matching, prunable
    from scratchcard.pruning.scores import Scores
    from scratchcard.scorers.scorer import check_scorer
    from scratchcard.scorers.shelf import Shelf

    check_scorer(scorer)
    weights = prunable(network)
    excluded = matching(weights, exclude) | (frozenset() if within is None else within.excluded)
    total = count({name: weight for name, weight in weights.items() if name not in excluded})
    check_count(density, total)
    start = 1.0 if within is None else within.density
    # Masks keep whole weights, so that densities are compared by their counts.
    if within is not None and round(density * total) > within.kept:
        raise ValueError(f"cannot prune to density {density}: the given mask already keeps only {start:.6g}")
    shares = lookup(SCHEDULES, "schedules", schedule)(min(1.0, density / start), rounds)
    densities = (*(start * share for share in shares[:-1]), density)
    mask, lots = within, 0
    with scored_by(network, statistics):
        scorer = scorer.prepare(network, batch, loss, mask=mask)
    small = torch.int8 if rounds < 2**7 else torch.int32  # a byte a weight while the scorer needs the memory
    shelf, survived = Shelf.of(weights), dict[str, "Tensor"]()
    for number, target in enumerate(densities, start=1):
        with scored_by(network, statistics):
            scores = scorer(network, batch, loss, mask=mask)
        shelf.tidy(heap=shelf.huge)
        before = mask
        mask = keep_top(scores, target, scope=scope, within=before, exclude=excluded, floor=floor, seed=seed)
        for name, tensor in mask.tensors.items():
            if name in survived:
                shelf.add(survived[name], tensor.cpu())
            else:
                survived[name] = shelf.kept(tensor.cpu().to(small))
        if number == len(densities):
            lots = by_lot(scores, mask, scope=scope, within=before)
        else:
            del scores, before  # the next round's need the memory
            shelf.tidy(heap=False)
        if progress is not None:
            progress(number, rounds)
    assert mask is not None  # noqa: S101  (a schedule has at least one round)
    if shelf.large:  # whoever takes them on reads them a part at a time, if at all
        known, criterion = dict(scores.tensors), scores.criterion
        del scores
        scores = Scores({name: shelf.kept(known.pop(name)) for name in weights}, criterion)
        shelf.tidy()
    counts = {name: shelf.kept(survived.pop(name).to(torch.int32)) for name in weights}
    shelf.tidy()
    return Pruned(mask, scores, counts, densities, lots)


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
        from scratchcard.pruning.state import given_up_state

        network, session = asked.network, asked.session
        begin = spent(session.device)
        pruned = prune_upfront(
            network,
            asked.batch,
            asked.workload.task.loss,
            asked.scorer,
            asked.density,
            rounds=self.rounds,
            schedule=getattr(self, "schedule", "exponential"),
            scope=self.scope,
            exclude=asked.excluded,
            floor=self.floor,
            seed=asked.seed,
            statistics=self.statistics,
            progress=session.progress,
        )
        seconds = spent(session.device) - begin
        mask, scores, survived, densities, lots = pruned
        scores = Scores({name: tensor.cpu() for name, tensor in scores.tensors.items()}, scores.criterion)
        return Found(mask.to("cpu"), scores, survived, densities, given_up_state(network), seconds, by_lot=lots)


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
