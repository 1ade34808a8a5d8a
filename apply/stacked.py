"""StackedScorer: one scorer applied with another's scores standing in for the weights."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from pruning.mask import Mask
from pruning.parameters import check_same_layout, prunable
from pruning.scores import Scores
from scorers.scorer import Batch, Loss, Scorer

Negatives = Literal["keep", "zero"]


@dataclass(frozen=True)
class StackedScorer:
    """`second` scores a copy of the network whose prunable weights are `first`'s scores.

    With `first` = a and `second` = magnitude the scores are |a|; with `second` = SynFlow they are each a's share in all
    paths of a. Any pair is allowed, predicted scores on either side too. In a multi-shot sequence `first` scores once,
    at its start, and `second` in every round. Source: Lutz & Manai 2022 (bachelor thesis, ZHAW), "stacked scoring".

    Attributes:
        first: whose scores stand in for the weights.
        second: who scores them.
        negatives: what a negative score becomes as a weight: `"keep"` leaves it (a scorer that squares or takes
            absolute values then counts the strongest votes for removal as large weights, as the source does),
            `"zero"` sets it to 0, the natural choice for predictions of a target that is never negative.

    Raises:
        ValueError: another word for `negatives`.
    """

    first: Scorer
    second: Scorer
    negatives: Negatives = "keep"

    def __post_init__(self) -> None:
        if self.negatives not in ("keep", "zero"):
            raise ValueError(f"negatives must be 'keep' or 'zero', got {self.negatives!r}")

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        """See `scorers.Scorer`."""
        return self.prepare(network, batch, loss, mask=mask)(network, batch, loss, mask=mask)

    def prepare(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> StandInScorer:
        """The scorer of one multi-shot sequence: `first` has scored, `second` will in every round."""
        scores = self.first(network, batch, loss, mask=mask)
        if self.negatives == "zero":
            scores = Scores({n: t.clamp_min(0) for n, t in scores.tensors.items()}, scores.criterion)
        return StandInScorer(scores, self.second)


@dataclass(frozen=True, eq=False)
class StandInScorer:
    """A scorer applied to a copy of the network whose prunable weights are given scores."""

    scores: Scores
    scorer: Scorer

    def __repr__(self) -> str:
        return f"StackedScorer({self.scores.criterion} -> {self.scorer!r})"

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        """See `scorers.Scorer`.

        Raises:
            ValueError: the scores are of another network.
        """
        stand_in = copy.deepcopy(network)
        weights = prunable(stand_in)
        check_same_layout(weights, self.scores.tensors, "the scores that stand in for the weights")
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(self.scores.tensors[name])
        return Scores(self.scorer(stand_in, batch, loss, mask=mask).tensors, repr(self))
