"""What depends on the inputs of a layer alone, so that it is the same in all rounds where they are the data's."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

_TINY = 1e-9
_MOST = 2**12
"""Inputs whose correlations are kept for the next round; those of more take too much memory."""


class LayerInputs:
    """What depends on the inputs of a layer alone, each number made when it is first asked for.

    Args:
        samples: `(g, P, S)`.

    Examples:
        >>> inputs = LayerInputs(torch.tensor([[[1.0, 3.0], [2.0, 0.0], [1.0, 1.0]]]))
        >>> inputs.spread.flatten()
        tensor([1., 1., 0.])
        >>> inputs.near(torch.tensor([0, 1]))
        tensor([[[ 0., -1.],
                 [-1.,  0.]]])
    """

    def __init__(self, samples: Tensor) -> None:
        self.samples = samples
        self.count = max(1, samples.shape[2])
        self._near: tuple[Tensor, Tensor] | None = None

    @cached_property
    def spread(self) -> Tensor:
        """Standard deviation of each, `(g, P, 1)`."""
        return self.samples.var(dim=2, correction=0, keepdim=True).sqrt()

    @cached_property
    def standard(self) -> Tensor:
        """The samples with mean 0 and standard deviation 1, or 0 where nothing varies."""
        return standardised(self.samples)

    def near(self, live: Tensor) -> Tensor:
        """Cubes of the correlations `(g, L, L)` between some inputs, 0 of each with itself.

        Those of inputs among the ones that were asked for last are not computed again.
        """
        if self._near is not None and bool(torch.isin(live, self._near[0]).all()):
            places = torch.searchsorted(self._near[0], live)
            found = self._near[1].index_select(1, places).index_select(2, places)
        else:
            standard = self.standard.index_select(1, live)
            found = torch.bmm(standard, standard.mT).div_(self.count).pow_(3)
            torch.diagonal(found, dim1=1, dim2=2).zero_()
        self._near = (live, found) if len(live) <= _MOST else None
        return found


def standardised(values: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1 over the last axis `(g, n, S)`; 0 where nothing varies.

    Examples:
        >>> standardised(torch.tensor([[[1.0, 3.0], [2.0, 2.0]]]))
        tensor([[[-1.,  1.],
                 [ 0.,  0.]]])
    """
    values = values - values.mean(dim=2, keepdim=True)
    return over(values, values.square().mean(dim=2, keepdim=True).sqrt())


def over(values: Tensor, scale: Tensor) -> Tensor:
    """Values divided by a scale that may be 0, and then 0.

    Examples:
        >>> over(torch.tensor([4.0, 4.0]), torch.tensor([2.0, 0.0]))
        tensor([2., 0.])
    """
    return torch.where(scale > _TINY, values / scale.clamp_min(_TINY), 0.0)
