"""SNIP: how much the loss would change if the weight were removed, to first order."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from scratchcard.pruning.mask import Mask
from scratchcard.pruning.scores import Scores
from scratchcard.scorers.gradients import loss_gradients
from scratchcard.scorers.scorer import Batch, Loss, Scorer, hand_over
from scratchcard.settings import Settings


@dataclass(frozen=True)
class SNIP(Settings, Scorer):
    """`s = |w * g|` with `g = dL/dw` of the batch's mean loss at `w * mask`.

    It is the absolute derivative of the loss with respect to a gate `c = 1` that multiplies the weight (Lee
    et al., "SNIP: Single-shot Network Pruning based on Connection Sensitivity", 2018, arXiv 1810.02340). The
    gradient is that of the *whole* batch, and the absolute value is taken afterwards; the mean of `|w * g|`
    over parts of the batch would be another criterion.

    Deviation: the paper divides by the sum of all scores; that changes no ranking and is left out.

    Examples:
        >>> network = nn.Linear(3, 2, bias=False)
        >>> network.weight.data = torch.tensor([[1.0, -2.0, 0.5], [0.1, 0.2, -3.0]])
        >>> batch = torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 0.5]]), torch.tensor([0, 1])
        >>> SNIP()(network, batch, nn.functional.cross_entropy).tensors["weight"]
        tensor([[0.4853, 1.5520, 0.0487],
                [0.0485, 0.1552, 0.2920]])
    """

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        weights, gradients = loss_gradients(network, batch, loss, mask)
        scores = {name: (weight.detach() * gradients[name]).abs_() for name, weight in weights.items()}
        return hand_over(scores, mask, self)
