"""StackedScorer: one scorer applied with another's scores standing in for the weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn

from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import check_same_layout, prunable
from scratchcard.pruning.scores import Scores
from scratchcard.scorers.scorer import Batch, Loss, NoEffectWarning, Scorer
from scratchcard.workloads.module_copy import module_copy

Negatives = Literal["keep", "zero"]

EXTENT = 1e36
"""As far as a product of one stand-in weight from each layer may reach, up or (inverted) down: float32's range."""


@dataclass(frozen=True)
class StackedScorer(Scorer):
    """`second` scores a copy of the network whose prunable weights are `first`'s scores.

    With `first` = a and `second` = magnitude the scores are |a|; with `second` = SynFlow they are each a's share in all
    paths of a. Any pair is allowed, predicted scores on either side too. In a multi-shot sequence `first` scores once,
    at its start, and `second` in every round; with `every_round` both score in every round. Source: Lutz & Manai 2022
    (bachelor thesis, ZHAW), "stacked scoring"; its figures are those of both scoring in every round (magnitude on
    SynFlow reaches 89.14 % at density 0.005, as SynFlow does; with SynFlow scoring once a layer collapses).

    Scores stand in as they are while a product of the largest absolute score, once for each layer, stays within
    float32's range. Beyond it (SynFlow reaches 1e60 on 40 layers) all scores of the network are divided by that largest
    one. One factor for the whole network changes no ranking by magnitude, SynFlow or its L2 form on a network without
    shortcuts; for scorers that look at the loss (SNIP, GraSP) it is another point of operation, but a finite one.

    Attributes:
        first: whose scores stand in for the weights.
        second: who scores them.
        negatives: what a negative score becomes as a weight: `"keep"` leaves it (a scorer that squares or takes
            absolute values then counts the strongest votes for removal as large weights, as the source does),
            `"zero"` sets it to 0, the natural choice for predictions of a target that is never negative.
        every_round: in a multi-shot sequence `first` scores the masked network anew in every round.

    Raises:
        ValueError: another word for `negatives`.

    Examples:
        >>> network = nn.Linear(3, 2, bias=False)
        >>> batch = torch.eye(3)[:2], torch.tensor([0, 1])
        >>> scorer = StackedScorer(sc.make_scorer("snip"), sc.make_scorer("magnitude"))
        >>> stacked = scorer(network, batch, nn.functional.cross_entropy)
        >>> alone = sc.make_scorer("snip")(network, batch, nn.functional.cross_entropy)
        >>> stacked.flat().equal(alone.flat())  # magnitude on SNIP is SNIP
        True
    """

    first: Scorer
    second: Scorer
    negatives: Negatives = "keep"
    every_round: bool = False

    def __post_init__(self) -> None:
        if self.negatives not in ("keep", "zero"):
            raise ValueError(f"negatives must be 'keep' or 'zero', got {self.negatives!r}")

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        """See `scorers.Scorer`."""
        return self._stand_in(network, batch, loss, mask)(network, batch, loss, mask=mask)

    def prepare(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scorer:
        """The scorer of one multi-shot sequence: `first` has scored, unless it does in every round; `second` will."""
        return self if self.every_round else self._stand_in(network, batch, loss, mask)

    def from_start(self, network: nn.Module, done: Callable[[], float]) -> Scorer:
        """With `first` as it is in this search; `second` sees scores in place of weights, which have no such start."""
        first = self.first.from_start(network, done)
        return self if first is self.first else replace(self, first=first)

    def _stand_in(self, network: nn.Module, batch: Batch, loss: Loss, mask: Mask | None) -> StandInScorer:
        scores = self.first(network, batch, loss, mask=mask)
        if self.negatives == "zero":
            scores = Scores({n: t.clamp_min(0) for n, t in scores.tensors.items()}, scores.criterion)
        return StandInScorer.of(network, batch, loss, scores, self.second, mask=mask)


@dataclass(frozen=True, eq=False)
class StandInScorer(Scorer):
    """A scorer applied to a copy of one network whose prunable weights are given scores.

    Attributes:
        network: that it was made for.
        stand_in: the copy with the scores as weights.
        scorer: who scores the copy.
        name: its `repr`, the provenance of the scores.

    Examples:
        >>> network, batch = nn.Linear(2, 1), (torch.ones(1, 2), torch.ones(1, 1))
        >>> scores = Scores({"weight": torch.tensor([[0.2, -0.1]])}, "by hand")
        >>> scorer = StandInScorer.of(network, batch, nn.functional.mse_loss, scores, sc.make_scorer("magnitude"))
        >>> scorer(network, batch, nn.functional.mse_loss).flat()
        tensor([0.2000, 0.1000])
    """

    network: nn.Module
    stand_in: nn.Module
    scorer: Scorer
    name: str

    @classmethod
    def of(
        cls, network: nn.Module, batch: Batch, loss: Loss, scores: Scores, scorer: Scorer, *, mask: Mask | None = None
    ) -> StandInScorer:
        """Put the scores in place of the weights, and let `scorer` prepare itself for the copy.

        Raises:
            ValueError: the scores are of another network.

        Warns:
            NoEffectWarning: all scores are zero.
        """
        check_same_layout(prunable(network), scores.tensors, "the scores that stand in for the weights")
        stand_in = module_copy(network)
        weights = prunable(stand_in)
        largest = max(float(tensor.abs().max()) for tensor in scores.tensors.values() if tensor.numel())
        if largest == 0.0:
            warnings.warn(
                f"all scores of {scores.criterion} are zero: as weights they leave {scorer} nothing to tell apart",
                NoEffectWarning,
                stacklevel=3,
            )
        limit = EXTENT ** (1 / len(weights))
        within = largest == 0.0 or 1 / limit <= largest <= limit
        with torch.no_grad():
            for name, weight in weights.items():
                # Divided in the scores' own precision: the network's may not hold them.
                weight.copy_(scores.tensors[name] if within else scores.tensors[name] / largest)
        name = f"StackedScorer({scores.criterion} -> {scorer!r})"
        return cls(network, stand_in, scorer.prepare(stand_in, batch, loss, mask=mask), name)

    def __repr__(self) -> str:
        return self.name

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        """See `scorers.Scorer`.

        Raises:
            ValueError: (also) another network than the one that it was made for.
        """
        if network is not self.network:
            raise ValueError(f"{self.name} was made for another network; stack the scorers anew for this one")
        return Scores(self.scorer(self.stand_in, batch, loss, mask=mask).tensors, self.name)
