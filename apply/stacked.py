"""StackedScorer: one scorer applied with another's scores standing in for the weights."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from pruning.mask import Mask
from pruning.parameters import prunable
from pruning.scores import Scores
from scorers.scorer import Batch, Loss, Scorer


@dataclass(frozen=True)
class StackedScorer:
    """`second` scores a copy of the network whose prunable weights are `first`'s scores.

    With `first` = a and `second` = magnitude the scores are |a|; with `second` = SynFlow they are a's share in all
    paths of a. Any pair is allowed, predicted scores on either side too. Source: Lutz & Manai 2022 (bachelor thesis,
    ZHAW), "stacked scoring".

    Attributes:
        first: whose scores stand in for the weights.
        second: who scores them.
        negatives: what a negative score becomes as a weight: `"keep"` leaves it (a scorer that squares or takes absolute
            values then counts the strongest votes for removal as large weights, as the source does), `"zero"` sets it
            to 0, the natural choice for predictions of a target that is never negative.
    """

    first: Scorer
    second: Scorer
    negatives: Literal["keep", "zero"] = "keep"

    def __post_init__(self) -> None:
        if self.negatives not in ("keep", "zero"):
            raise ValueError(f"negatives must be 'keep' or 'zero', got {self.negatives!r}")

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        """See `scorers.Scorer`."""
        scores = self.first(network, batch, loss, mask=mask)
        return score_stand_in(network, scores, self.second, batch, loss, mask=mask, negatives=self.negatives)


def score_stand_in(
    network: nn.Module,
    scores: Scores,
    scorer: Scorer,
    batch: Batch,
    loss: Loss,
    *,
    mask: Mask | None = None,
    negatives: Literal["keep", "zero"] = "keep",
) -> Scores:
    """`scorer` on a copy of `network` whose prunable weights are `scores`."""
    stand_in = copy.deepcopy(network)
    with torch.no_grad():
        for name, weight in prunable(stand_in).items():
            value = scores.tensors[name].to(weight.device, weight.dtype)
            weight.copy_(value.clamp_min(0) if negatives == "zero" else value)
    result = scorer(stand_in, batch, loss, mask=mask)
    return Scores(result.tensors, f"StackedScorer({scores.criterion} -> {result.criterion})")
