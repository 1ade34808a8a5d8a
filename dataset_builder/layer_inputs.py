"""What depends on the inputs of a layer alone, so that it is the same in all rounds where they are the data's."""

from __future__ import annotations

import math
from functools import cached_property

import torch
from torch import Tensor

_TINY = 1e-9
_MOST = 2**12
"""Inputs whose correlations are made at once, and kept for the next round; those of more take too much memory."""


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
            standard = self._standard_of(live)
            found = torch.bmm(standard, standard.mT).div_(self.count).pow_(3)
            torch.diagonal(found, dim1=1, dim2=2).zero_()
        self._near = (live, found)
        return found

    def company(self, signs: Tensor, live: Tensor) -> Tensor:
        """`signs @ near(live)`, `(g, O, L)`, which of many inputs is made without all of their correlations at once.

        Of S samples z, standardised, the cube of a correlation is itself a product, of `S (S + 1) (S + 2) / 6` numbers
        of either input: `(sum_s z_is z_js)^3` is the sum over `s <= t <= u` of `m z_is z_it z_iu * z_js z_jt z_ju`,
        where m counts the orders of (s, t, u): 6, 3 where two of them are one, 1 where all are.

        Args:
            signs: `(g, O, L)`.
            live: L of the inputs, in order.

        Examples:
            >>> inputs = LayerInputs(torch.tensor([[[1.0, 3.0], [2.0, 0.0], [1.0, 1.0]]]))
            >>> inputs.company(torch.tensor([[[1.0, 1.0]]]), torch.tensor([0, 1]))
            tensor([[[-1., -1.]]])
        """
        if len(live) <= _MOST:
            return torch.bmm(signs, self.near(live))
        if math.comb(self.count + 2, 3) < len(live) // 4:
            cubes = self._cubes(live)
            found = torch.bmm(torch.bmm(signs, cubes), cubes.mT)
        else:
            standard = self._standard_of(live)
            found = torch.empty_like(signs)
            for start in range(0, len(live), _MOST):
                part = slice(start, start + _MOST)
                found[:, :, part] = torch.bmm(signs, torch.bmm(standard, standard[:, part].mT).div_(self.count).pow_(3))
        itself = self._standard_of(live).square().mean(dim=2)[:, None] ** 3  # 1, or 0 where nothing varies
        return found.sub_(signs * itself)

    def _cubes(self, live: Tensor) -> Tensor:
        """The numbers of `company`, `(g, L, S (S + 1) (S + 2) / 6)`, the square root of m in each."""
        standard = self._standard_of(live) * self.count**-0.5
        triples = torch.combinations(torch.arange(self.count, device=live.device), 3, with_replacement=True)
        same = (triples[:, 1:] == triples[:, :-1]).sum(dim=1)  # neighbours, in order
        orders = torch.tensor([6.0, 3.0, 1.0], dtype=standard.dtype, device=live.device)[same].sqrt_()
        found = orders.expand(*standard.shape[:2], -1).clone()
        for k in range(3):
            found *= standard.index_select(2, triples[:, k])
        return found

    def _standard_of(self, live: Tensor) -> Tensor:
        return self.standard.index_select(1, live)


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
