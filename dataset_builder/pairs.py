"""Numbers of a weight that need more than its own row and column: what it would grow to, what it goes together with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from scratchcard.dataset_builder.samples import Samples, by_pair, take_samples
from scratchcard.pruning.mask import Mask
from scratchcard.scorers.gauss_newton import gauss_newton_step, spread
from scratchcard.scorers.scorer import Batch, Loss

EXAMPLES = 256
"""Of the scoring batch, evenly spread: enough to tell units apart, and sixteen rounds take about a second."""

STEPS = 3
DAMPING = 1e-3
_TINY = 1e-9


@dataclass(frozen=True, eq=False)
class Pairs:
    """Samples and Gauss-Newton step of a network at `w * mask`.

    Attributes:
        weights: `w * mask` by weight name.
        steps: `d` by weight name, see `scorers.gauss_newton`.
        samples: by weight name.
        mask: the kept weights.

    Examples:
        >>> network, batch = nn.Linear(3, 2), (torch.eye(3), torch.tensor([0, 1, 0]))
        >>> pairs = Pairs.take(network, batch, nn.functional.cross_entropy, None)
        >>> pairs.layer("weight", np.array([0, 4])).number("input_spread").round(3)  # of 0, 0 and 1: sqrt(2) / 3
        array([0.471, 0.471], dtype=float32)
    """

    weights: Mapping[str, Tensor]
    steps: Mapping[str, Tensor]
    samples: Mapping[str, Samples]
    mask: Mask | None

    @classmethod
    def take(cls, network: nn.Module, batch: Batch, loss: Loss, mask: Mask | None) -> Pairs:
        """Of at most 256 examples of the batch.

        Raises:
            ValueError: a layer that is neither linear nor a 1d or 2d convolution.
        """
        few = spread(batch, EXAMPLES)
        samples = take_samples(network, few, loss, mask)
        weights, steps = gauss_newton_step(network, few, loss, mask, steps=STEPS, damping=DAMPING)
        return cls(weights, steps, samples, mask)

    def layer(self, name: str, indices: np.ndarray | None) -> LayerPairs:
        """One layer's numbers at the flat indices of its kept weights (None: all)."""
        chosen = None if indices is None else torch.from_numpy(indices).to(self.weights[name].device)
        return LayerPairs(self.weights[name], self.steps[name], self.samples[name], chosen)


class LayerPairs:
    """One layer; each number is `(n,)` over its kept weights. `s` is the sign of the weight.

    Correlations are Pearson's over the samples, 0 where one side does not vary.

    Examples:
        >>> inputs = torch.tensor([[[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]])
        >>> weight, samples = torch.tensor([[1.0, 1.0]]), Samples(inputs, inputs[:, :1], torch.zeros(1, 1, 3))
        >>> layer = LayerPairs(weight, torch.zeros(1, 2), samples, None)
        >>> layer.number("output_correlation").round(3)  # the output is the first input
        array([ 1., -1.], dtype=float32)
    """

    def __init__(self, weight: Tensor, step: Tensor, samples: Samples, chosen: Tensor | None) -> None:
        self.weight, self.step, self._samples, self._chosen = weight, step, samples, chosen
        self._known: dict[str, np.ndarray] = {}

    def number(self, name: str) -> np.ndarray:
        """By the name of its method here, or `weight` and `step`."""
        if name not in self._known:
            values = getattr(self, name)
            flat = values.reshape(-1)
            self._known[name] = (flat if self._chosen is None else flat[self._chosen]).float().cpu().numpy()
        return self._known[name]

    @property
    def slope_correlation(self) -> Tensor:
        """`-s corr(input, slope at the output)`: positive where descent makes the weight larger."""
        slopes = self._samples.slopes
        scale = slopes.square().mean(dim=2, keepdim=True).sqrt()
        return -self._sign * torch.bmm(_over(slopes, scale), self._standard.mT) / self._count

    @property
    def output_correlation(self) -> Tensor:
        """`s corr(input, output)`: positive where the input goes along with what the unit's weights make together."""
        return self._sign * torch.bmm(_standardised(self._samples.outputs), self._standard.mT) / self._count

    @property
    def kept_correlation(self) -> Tensor:
        """`s sum over the unit's other kept weights of s' corr(input, their input)^3`.

        Cubed, near neighbours count and the many faint correlations do not. An input without a kept weight correlates
        with nobody: after the first rounds most have none.
        """
        live = self._sign.any(dim=1).any(dim=0).nonzero()[:, 0]
        standard, sign = self._standard[:, live], self._sign[:, :, live]
        own = torch.bmm(standard, standard.mT).div_(self._count).pow_(3)
        torch.diagonal(own, dim1=1, dim2=2).zero_()
        return torch.zeros_like(self._sign).index_copy_(2, live, sign * torch.bmm(sign, own))

    @property
    def input_spread(self) -> Tensor:
        """Standard deviation of the input."""
        return self._spread.mT.expand(self._sign.shape)

    @property
    def slope_size(self) -> Tensor:
        """Root mean square of the slope at the output."""
        return self._samples.slopes.square().mean(dim=2, keepdim=True).sqrt().expand(self._sign.shape)

    @cached_property
    def _sign(self) -> Tensor:
        return by_pair(self.weight, self._samples).sign()

    @property
    def _count(self) -> int:
        return max(1, self._samples.inputs.shape[2])

    @cached_property
    def _spread(self) -> Tensor:
        return self._samples.inputs.var(dim=2, correction=0, keepdim=True).sqrt()

    @cached_property
    def _standard(self) -> Tensor:
        return _standardised(self._samples.inputs)


def _standardised(values: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1 over the last axis; 0 where nothing varies."""
    values = values - values.mean(dim=2, keepdim=True)
    return _over(values, values.square().mean(dim=2, keepdim=True).sqrt())


def _over(values: Tensor, scale: Tensor) -> Tensor:
    return torch.where(scale > _TINY, values / scale.clamp_min(_TINY), 0.0)
