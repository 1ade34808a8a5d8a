"""Mask criteria of Zhou et al. that are not scorers of their own elsewhere: sizes of initial and trained weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scratchcard.scorers.since_start import SinceStart


@dataclass(frozen=True)
class SmallFinal(SinceStart):
    """`s = -|w|`: the weights that are smallest after training; the control of magnitude.

    Zhou, Lan, Liu & Yosinski, "Deconstructing Lottery Tickets", 2019, arXiv 1905.01067, there "small final". Their
    "large final" is `magnitude` in a regime that trains.

    Examples:
        >>> network = nn.Linear(2, 1, bias=False)
        >>> network.weight.data = torch.tensor([[1.0, -2.0]])
        >>> scorer = SmallFinal().from_start(network, lambda: 1.0)
        >>> network.weight.data = torch.tensor([[1.5, -1.0]])
        >>> scorer(network, (torch.ones(1, 2), torch.ones(1, 1)), nn.functional.mse_loss).flat()
        tensor([-1.5000, -1.0000])
    """

    def score(self, weight: Tensor, start: Tensor) -> Tensor:
        """`-|w|`."""
        return -weight.abs()


@dataclass(frozen=True)
class LargeInit(SinceStart):
    """`s = |w0|`: the weights that were largest before training.

    Zhou et al. 2019, arXiv 1905.01067, there "large init". Before any training that is `magnitude`.

    Examples:
        >>> network = nn.Linear(2, 1, bias=False)
        >>> network.weight.data = torch.tensor([[1.0, -2.0]])
        >>> scorer = LargeInit().from_start(network, lambda: 1.0)
        >>> network.weight.data = torch.tensor([[1.5, -1.0]])
        >>> scorer(network, (torch.ones(1, 2), torch.ones(1, 1)), nn.functional.mse_loss).flat()
        tensor([1., 2.])
    """

    def score(self, weight: Tensor, start: Tensor) -> Tensor:
        """`|w0|`."""
        return start.abs()


@dataclass(frozen=True)
class SmallInit(SinceStart):
    """`s = -|w0|`: the weights that were smallest before training.

    Zhou et al. 2019, arXiv 1905.01067, there "small init".

    Examples:
        >>> network = nn.Linear(2, 1, bias=False)
        >>> network.weight.data = torch.tensor([[1.0, -2.0]])
        >>> scorer = SmallInit().from_start(network, lambda: 1.0)
        >>> network.weight.data = torch.tensor([[1.5, -1.0]])
        >>> scorer(network, (torch.ones(1, 2), torch.ones(1, 1)), nn.functional.mse_loss).flat()
        tensor([-1., -2.])
    """

    def score(self, weight: Tensor, start: Tensor) -> Tensor:
        """`-|w0|`."""
        return -start.abs()


@dataclass(frozen=True)
class LargeInitLargeFinal(SinceStart):
    """`s = min(F0(|w0|), F(|w|))`, with F and F0 the shares of the layer's kept weights that are not larger.

    Zhou et al. 2019, arXiv 1905.01067, have `min(|w0|, a |w|)`, with a such that both sizes are cut at the same
    percentile of the layer. Ranks say the same for every cut at once; so scores are in (0, 1], float64.

    Examples:
        >>> network = nn.Linear(2, 1, bias=False)
        >>> network.weight.data = torch.tensor([[1.0, -2.0]])
        >>> scorer = LargeInitLargeFinal().from_start(network, lambda: 1.0)
        >>> network.weight.data = torch.tensor([[0.5, -1.0]])
        >>> scorer(network, (torch.ones(1, 2), torch.ones(1, 1)), nn.functional.mse_loss).flat()
        tensor([0.5000, 1.0000], dtype=torch.float64)
    """

    def score(self, weight: Tensor, start: Tensor) -> Tensor:
        """`min(F0(|w0|), F(|w|))`."""
        return torch.minimum(_not_larger(start.abs()), _not_larger(weight.abs()))


@dataclass(frozen=True)
class SmallInitSmallFinal(SinceStart):
    """`s = min(G0(|w0|), G(|w|))`, with G and G0 the shares of the layer's kept weights that are not smaller.

    Zhou et al. 2019, arXiv 1905.01067, have `-max(|w0|, a |w|)`; see `LargeInitLargeFinal`.

    Examples:
        >>> network = nn.Linear(2, 1, bias=False)
        >>> network.weight.data = torch.tensor([[1.0, -2.0]])
        >>> scorer = SmallInitSmallFinal().from_start(network, lambda: 1.0)
        >>> network.weight.data = torch.tensor([[0.5, -1.0]])
        >>> scorer(network, (torch.ones(1, 2), torch.ones(1, 1)), nn.functional.mse_loss).flat()
        tensor([1.0000, 0.5000], dtype=torch.float64)
    """

    def score(self, weight: Tensor, start: Tensor) -> Tensor:
        """`min(G0(|w0|), G(|w|))`."""
        return torch.minimum(_not_larger(-start.abs()), _not_larger(-weight.abs()))


def _not_larger(sizes: Tensor) -> Tensor:
    """For each number of `(k,)` the share of all that are not larger."""
    ordered = sizes.sort().values
    return torch.searchsorted(ordered, sizes.contiguous(), right=True).double() / max(1, len(sizes))
