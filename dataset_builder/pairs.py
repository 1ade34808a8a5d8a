"""Numbers of a weight that need more than its own row and column: what it would grow to, what it goes together with."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scratchcard.dataset_builder.layer_inputs import LayerInputs, over, standardised
from scratchcard.dataset_builder.samples import Samples, SampleWatch, by_pair, take_samples
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.scorers.gauss_newton import gauss_newton_step, spread
from scratchcard.scorers.scorer import Batch, Loss, at_least_single

EXAMPLES = 256
"""Of the scoring batch, evenly spread: enough to tell units apart, and sixteen rounds take about a second."""

SAMPLES, STEPS = "samples", "steps"
"""What a feature may need."""
ITERATIONS = 3
DAMPING = 1e-3


@dataclass(frozen=True, eq=False)
class Pairs:
    """Samples and Gauss-Newton step of a network at `w * mask`, as far as they are asked for; all by weight name.

    Attributes:
        weights: the network's own, float32 at least.
        steps: `d`, see `scorers.gauss_newton`.
        samples: of each layer.
        inputs: what is known of each layer's inputs.

    Examples:
        >>> network, batch = nn.Linear(3, 2), (torch.eye(3), torch.tensor([0, 1, 0]))
        >>> pairs = Pairs.take(network, batch, nn.functional.cross_entropy, None, {SAMPLES})
        >>> pairs.layer("weight", np.array([0, 4])).number("input_spread").round(3)  # of 0, 0 and 1: sqrt(2) / 3
        array([0.471, 0.471], dtype=float32)
    """

    weights: Mapping[str, Tensor]
    steps: Mapping[str, Tensor]
    samples: Mapping[str, Samples]
    inputs: Mapping[str, LayerInputs]

    @classmethod
    def take(
        cls,
        network: nn.Module,
        batch: Batch,
        loss: Loss,
        mask: Mask | None,
        needs: Collection[str],
        known: dict[str, LayerInputs] | None = None,
    ) -> Pairs:
        """Of at most 256 examples of the batch.

        Args:
            network, batch, loss, mask: as of `compute_features`.
            needs: `SAMPLES`, `STEPS`, or both, which share a pass.
            known: what the last round found of the first layer's inputs, which are the data's as a rule; this round's
                is put there.

        Raises:
            ValueError: samples of a layer that is neither linear nor a 1d or 2d convolution.
        """
        few = spread(batch, EXAMPLES)
        watch = SampleWatch(network, len(few[1])) if SAMPLES in needs else None
        steps: Mapping[str, Tensor] = {}
        if STEPS in needs:
            watched = nullcontext if watch is None else watch
            how: dict[str, Any] = {"steps": ITERATIONS, "damping": DAMPING, "watched": watched}
            _, steps = gauss_newton_step(network, few, loss, mask, **how)
        samples: Mapping[str, Samples] = {}
        if watch is not None:
            samples = watch.samples() if watch.complete else take_samples(network, few, loss, mask)
        inputs = {name: LayerInputs(layer.inputs) for name, layer in samples.items()}
        if known is not None and inputs:
            first = next(iter(inputs))
            if first in known and known[first].samples.equal(inputs[first].samples):
                inputs[first] = known[first]
            known[first] = inputs[first]
        weights = {name: at_least_single(weight.detach()) for name, weight in prunable(network).items()}
        return cls(weights, steps, samples, inputs)

    def layer(self, name: str, indices: np.ndarray | None) -> LayerPairs:
        """One layer's numbers at the flat indices of its kept weights (None: all)."""
        weight = self.weights[name]
        chosen = None if indices is None else torch.from_numpy(indices).to(weight.device)
        return LayerPairs(weight, self.steps.get(name), self.samples.get(name), chosen, self.inputs.get(name))


class LayerPairs:
    """One layer; each number is `(n,)` over its kept weights. `s` is the sign of the weight.

    Correlations are Pearson's over the samples, 0 where one side does not vary. They are made of *live* inputs, those
    that a kept weight leads from: after the first rounds most inputs have none.

    Args:
        weight: of the layer.
        step, samples: of the layer, as far as numbers of them are asked for.
        chosen: flat indices of the kept weights; None: all are kept.
        inputs: what is known of the samples' inputs.

    Examples:
        >>> inputs = torch.tensor([[[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]])
        >>> weight, samples = torch.tensor([[1.0, 1.0]]), Samples(inputs, inputs[:, :1], torch.zeros(1, 1, 3))
        >>> layer = LayerPairs(weight, None, samples, None)
        >>> layer.number("output_correlation").round(3)  # the output is the first input
        array([ 1., -1.], dtype=float32)
    """

    def __init__(
        self,
        weight: Tensor,
        step: Tensor | None,
        samples: Samples | None,
        chosen: Tensor | None,
        inputs: LayerInputs | None = None,
    ) -> None:
        self._weight, self._step, self._given, self._chosen = weight, step, samples, chosen
        self._seen = inputs
        self._known: dict[str, np.ndarray] = {}

    def number(self, name: str) -> np.ndarray:
        """By the name of its method here."""
        if name not in self._known:
            self._known[name] = getattr(self, name).float().cpu().numpy()
        return self._known[name]

    @property
    def step(self) -> Tensor:
        """`d`."""
        if self._step is None:
            raise ValueError("the Gauss-Newton step was not asked for")
        return self._kept(self._step)

    @property
    def slope_correlation(self) -> Tensor:
        """`-s corr(input, slope at the output)`: positive where descent makes the weight larger."""
        return self._correlation(over(self._samples.slopes, self._slope_size)).neg_()

    @property
    def output_correlation(self) -> Tensor:
        """`s corr(input, output)`: positive where the input goes along with what the unit's weights make together."""
        return self._correlation(standardised(self._samples.outputs))

    @property
    def kept_correlation(self) -> Tensor:
        """`s sum over the unit's other kept weights of s' corr(input, their input)^3`.

        Cubed, near neighbours count and the many faint correlations do not.
        """
        signs = self._weights[:, :, self._live].sign()
        if self._pairs is not None:
            signs *= self._pairs[:, :, self._live]
        return self._chosen_of(torch.bmm(signs, self._inputs.near(self._live))) * self._sign

    @property
    def input_spread(self) -> Tensor:
        """Standard deviation of the input."""
        return self._chosen_of(self._inputs.spread[:, self._live].mT.expand(self._shape))

    @property
    def slope_size(self) -> Tensor:
        """Root mean square of the slope at the output."""
        return self._chosen_of(self._slope_size.expand(self._shape))

    def _correlation(self, outputs: Tensor) -> Tensor:
        """`s corr(input, number at the output)`, of standardised numbers `(g, O, S)`."""
        products = torch.bmm(outputs, self._live_standard.mT)
        return self._chosen_of(products).mul(self._sign).div_(self._inputs.count)

    def _kept(self, values: Tensor) -> Tensor:
        """Of numbers in the layout of the weight those of its kept weights, `(n,)`."""
        flat = values.reshape(-1)
        return flat if self._chosen is None else flat[self._chosen]

    def _chosen_of(self, values: Tensor) -> Tensor:
        """Of numbers `(g, O, L)` those of the kept weights, `(n,)`."""
        flat = values.reshape(-1)
        return flat if self._places is None else flat[self._places]

    @property
    def _samples(self) -> Samples:
        if self._given is None:
            raise ValueError("samples of the layer were not asked for")
        return self._given

    @cached_property
    def _inputs(self) -> LayerInputs:
        return self._seen or LayerInputs(self._samples.inputs)

    @property
    def _weights(self) -> Tensor:
        return by_pair(self._weight, self._samples)

    @cached_property
    def _sign(self) -> Tensor:
        return self._kept(self._weight).sign()

    @cached_property
    def _pairs(self) -> Tensor | None:
        """Which pairs of output and input a kept weight joins, `(g, O, P)`; None if all."""
        if self._chosen is None:
            return None
        kept = torch.zeros(self._weight.numel(), dtype=torch.bool, device=self._weight.device)
        return kept.index_fill_(0, self._chosen, True).view(self._weights.shape)

    @cached_property
    def _live(self) -> Tensor:
        """Places of the live inputs, `(L,)`."""
        if self._pairs is None:
            return torch.arange(self._weights.shape[2], device=self._weight.device)
        return self._pairs.any(dim=1).any(dim=0).nonzero()[:, 0]

    @cached_property
    def _places(self) -> Tensor | None:
        """Places of the kept weights among all pairs of output and live input, `(n,)`; None if all."""
        return None if self._pairs is None else self._pairs[:, :, self._live].reshape(-1).nonzero()[:, 0]

    @cached_property
    def _shape(self) -> tuple[int, int, int]:
        groups, outputs, _ = self._weights.shape
        return groups, outputs, len(self._live)

    @cached_property
    def _live_standard(self) -> Tensor:
        return self._inputs.standard[:, self._live]

    @cached_property
    def _slope_size(self) -> Tensor:
        return self._samples.slopes.square().mean(dim=2, keepdim=True).sqrt()
