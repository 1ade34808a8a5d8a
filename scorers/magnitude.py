"""Magnitude: large weights stay."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from scratchcard.pruning.mask import Mask
from scratchcard.pruning.scores import Scores
from scratchcard.scorers.scorer import Batch, Loss, Scorer, check_mask, hand_over, without_pruned
from scratchcard.settings import Settings


@dataclass(frozen=True)
class Magnitude(Settings, Scorer):
    """`s = |w|`; needs no data.

    With `scope="global"` the layers compete by their scale: under Kaiming initialisation narrow fan-in layers
    win. After training, with rewinding, this is iterative magnitude pruning (Frankle & Carbin, "The Lottery
    Ticket Hypothesis", 2018, arXiv 1803.03635).

    Examples:
        >>> network = nn.Linear(3, 2, bias=False)
        >>> network.weight.data = torch.tensor([[1.0, -2.0, 0.5], [0.1, 0.2, -3.0]])
        >>> batch = torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 0.5]]), torch.tensor([0, 1])
        >>> Magnitude()(network, batch, nn.functional.cross_entropy).tensors["weight"]
        tensor([[1.0000, 2.0000, 0.5000],
                [0.1000, 0.2000, 3.0000]])
    """

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        magnitudes = {name: weight.detach().abs() for name, weight in check_mask(network, mask).items()}
        return hand_over(without_pruned(magnitudes, mask), mask, self)
