"""Magnitude increase: weights that training has made larger stay."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from scratchcard.scorers.since_start import SinceStart


@dataclass(frozen=True)
class MagnitudeIncrease(SinceStart):
    """`s = |w| - |w0|`, from the weights before training to those now; negative where a weight has shrunk.

    Zhou, Lan, Liu & Yosinski, "Deconstructing Lottery Tickets", 2019, arXiv 1905.01067, there "magnitude increase".

    Examples:
        >>> network = nn.Linear(2, 1, bias=False)
        >>> network.weight.data = torch.tensor([[1.0, -2.0]])
        >>> scorer = MagnitudeIncrease().from_start(network, lambda: 1.0)
        >>> network.weight.data = torch.tensor([[1.5, -1.0]])
        >>> scorer(network, (torch.ones(1, 2), torch.ones(1, 1)), nn.functional.mse_loss).flat()
        tensor([ 0.5000, -1.0000])
    """

    def score(self, weight: Tensor, start: Tensor) -> Tensor:
        """`|w| - |w0|`."""
        return weight.abs() - start.abs()
