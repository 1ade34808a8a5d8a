"""Numbers of a weight that need more than its own row and column: what it would grow to, what it goes together with."""

from __future__ import annotations

import math
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
        found = self.steps.get(name), self.samples.get(name)
        return LayerPairs(self.weights[name], *found, indices, self.inputs.get(name))


class LayerPairs:
    """One layer; each number is `(n,)` over its kept weights. `s` is the sign of the weight.

    Correlations are Pearson's over the samples, 0 where one side does not vary. They are made of *live* inputs, those
    that a kept weight leads from: after the first rounds most inputs have none.

    Args:
        weight: of the layer.
        step, samples: of the layer, as far as numbers of them are asked for.
        indices: flat ones of the kept weights; None: all are kept.
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
        indices: np.ndarray | None,
        inputs: LayerInputs | None = None,
    ) -> None:
        self._weight, self._step, self._given, self._seen = weight, step, samples, inputs
        self._chosen = None if indices is None else torch.from_numpy(indices).to(weight.device)
        self._indices = indices
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
        return _at(self._step, self._chosen)

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
        together = self._inputs.company(self._spread_out(self._sign), self._live)
        return _at(together, self._places) * self._sign

    @property
    def input_spread(self) -> Tensor:
        """Standard deviation of the input."""
        return _at(self._inputs.spread.index_select(1, self._live).mT.expand(self._shape), self._places)

    @property
    def slope_size(self) -> Tensor:
        """Root mean square of the slope at the output."""
        return _at(self._slope_size.expand(self._shape), self._places)

    def _correlation(self, outputs: Tensor) -> Tensor:
        """`s corr(input, number at the output)`, of standardised numbers `(g, O, S)`."""
        products = torch.bmm(outputs, self._live_standard.mT)
        return _at(products, self._places).mul(self._sign).div_(self._inputs.count)

    def _spread_out(self, values: Tensor) -> Tensor:
        """`(g, O, L)` from the numbers of the kept weights, zeros between them."""
        if self._places is None:
            return values.view(self._shape)
        return values.new_zeros(math.prod(self._shape)).index_copy_(0, self._places, values).view(self._shape)

    @property
    def _samples(self) -> Samples:
        if self._given is None:
            raise ValueError("samples of the layer were not asked for")
        return self._given

    @cached_property
    def _inputs(self) -> LayerInputs:
        return self._seen or LayerInputs(self._samples.inputs)

    @cached_property
    def _sign(self) -> Tensor:
        return _at(self._weight, self._chosen).sign()

    @cached_property
    def _live_and_places(self) -> tuple[Tensor, Tensor | None]:
        # In numpy, which looks for what is true ten times as fast.
        shape = by_pair(self._weight, self._samples).shape
        if self._indices is None:
            return torch.arange(shape[2], device=self._weight.device), None
        kept = np.zeros(self._weight.numel(), dtype=bool)
        kept[self._indices] = True
        pairs = kept.reshape(shape)
        live = np.flatnonzero(pairs.any(axis=(0, 1)))
        places = np.flatnonzero(pairs.take(live, axis=2))
        return torch.from_numpy(live).to(self._weight.device), torch.from_numpy(places).to(self._weight.device)

    @property
    def _live(self) -> Tensor:
        """Places of the live inputs, `(L,)`."""
        return self._live_and_places[0]

    @property
    def _places(self) -> Tensor | None:
        """Places of the kept weights among all pairs of output and live input, `(n,)`; None if all."""
        return self._live_and_places[1]

    @property
    def _shape(self) -> tuple[int, int, int]:
        groups, outputs, _ = by_pair(self._weight, self._samples).shape
        return groups, outputs, len(self._live)

    @cached_property
    def _live_standard(self) -> Tensor:
        return self._inputs.standard.index_select(1, self._live)

    @cached_property
    def _slope_size(self) -> Tensor:
        return self._samples.slopes.square().mean(dim=2, keepdim=True).sqrt()


def _at(values: Tensor, places: Tensor | None) -> Tensor:
    """Numbers at flat places, all where these are None; several times as fast as by brackets."""
    flat = values.reshape(-1)
    return flat if places is None else flat.index_select(0, places)
