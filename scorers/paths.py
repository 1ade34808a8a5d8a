"""Path scores: how much of the flow through the linear image passes through each weight."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scratchcard.pruning.linear_image import LinearImage
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.scores import Scores
from scratchcard.scorers.gradients import own_generators
from scratchcard.scorers.scorer import Batch, Loss, Scorer, check_mask, hand_over

_ROUNDING = 1e-6
"""Relative; far above what float64 leaves of sums of positive numbers."""


@dataclass(frozen=True, eq=False)
class Paths:
    """A network's linear image and what is fed into it; made once, it scores every mask of that network.

    Attributes:
        network: whose present weights are scored; left untouched.
        image: its linear image.
        features: the non-negative input `(1, *shape)`, float64; with `tokens`, what is fed in place of the one-hot
            vectors: `(positions, entries)`, or `(1,)` for the same value everywhere.
        tokens: integer input `(1, *positions)` of a network that begins with an embedding.
        power: 1 for SynFlow, 2 for its L2 form.
    """

    network: nn.Module
    image: LinearImage
    features: Tensor
    tokens: Tensor | None
    power: int

    @classmethod
    def of(cls, network: nn.Module, features: Tensor, tokens: Tensor | None = None, *, power: int = 1) -> Paths:
        """Make the linear image; raises ValueError if there is nothing to prune."""
        with torch.inference_mode(False):
            image = LinearImage(network)
            device = image.begin.device
            placed = features.detach().to(device, torch.float64, copy=True).requires_grad_()
            return cls(network, image, placed, None if tokens is None else tokens.to(device, copy=True), power)

    def scores(self, mask: Mask | None) -> dict[str, Tensor]:
        """`|w|^p * dR/d|w|^p` by weight name, in float64; `R` is the linear image's sum of outputs.

        R is linear in the input and the scores are linear in the output's gradient, so one power of two on either
        changes all scores by the same factor and no ranking. That is used, with 2^500 up or down, only where R or
        a score would otherwise overflow or R would vanish; scores are then exact up to that factor. (Normalising
        layer by layer is not as harmless: on a network with shortcuts it weighs the paths differently.)

        Raises:
            ValueError: a mask of another layout, an operation that has no linear image, or an image that is not
                linear (`_fault`).
        """
        own = check_mask(self.network, mask)
        image = self.image
        with torch.inference_mode(False), torch.enable_grad(), own_generators(self.network):
            image.put(own, mask, self.power)
            scores: dict[str, Tensor] = {}
            vanished, fault = False, ""
            for exponent in (0, -500, 500):
                if vanished and exponent < 0:
                    continue
                scale = math.ldexp(1.0, exponent)
                with torch.no_grad():
                    image.begin.fill_(scale)
                flow = image(self.features * scale, self.tokens).sum()
                if exponent and not bool(torch.isfinite(flow)):
                    continue
                source, begun, *products = torch.autograd.grad(
                    flow,
                    [self.features, image.begin, *image.leaves.values()],
                    flow.new_tensor(scale),
                    materialize_grads=True,
                )
                places = Counter(part.data_ptr() for part in (source, begun, *products))
                found = {
                    # In place where the gradient is memory of its own: fresh pages cost more than the product.
                    name: product.mul_(leaf.detach())
                    if product.is_contiguous() and places[product.data_ptr()] == 1
                    else product * leaf.detach()
                    for (name, leaf), product in zip(image.leaves.items(), products, strict=True)
                }
                entered = torch.vdot(self.features.detach().reshape(-1), source.reshape(-1))
                entered += image.begin.detach() * begun
                sums = torch.stack([flow.detach() * scale, entered, *(part.sum() for part in found.values())]).tolist()
                # Numbers out of range break the identity too, so another scale may mend it.
                now = self._fault(sums[0], sums[1], dict(zip(found, sums[2:], strict=True)))
                if now:
                    fault = fault or now
                    continue
                # Scores are not negative, so a layer's sum is finite only if each of them is.
                total = sum(sums[2:])
                if not scores or math.isfinite(total):
                    scores = found
                if math.isfinite(total) and total > 0:
                    return scores
                vanished = sums[0] == 0
        if fault:
            raise ValueError(fault)
        return scores

    def _fault(self, flow: float, entered: float, sums: Mapping[str, float]) -> str:
        """What shows that the image is not linear, else nothing; at no cost: Euler's identity over cuts of all paths.

        `R = x * dR/dx` (`entered`, with the paths that begin at a weight), and `R = sum_w w * dR/dw` over each layer
        that every path crosses exactly once. Both hold for every sum over paths, and fail as soon as one operation
        has another degree than one.
        """
        if not math.isfinite(flow) or abs(flow) < sys.float_info.min / _ROUNDING:
            return ""  # another scale will tell, or nothing is left
        crossed = {"the inputs": entered} | {f"the layer {name!r}": sums[name] for name in self.image.cuts}
        for place, found in crossed.items():
            if not abs(found - flow) <= _ROUNDING * flow and math.isfinite(found):
                return (
                    f"the linear image of {type(self.network).__name__} is not linear: {found / flow:.4g} of the flow "
                    f"passes {place}, where all of it must; an operation there has a gradient of its own (a custom "
                    "autograd function?), so use a criterion that needs no paths, such as SNIP"
                )
        return ""


@dataclass(frozen=True, eq=False)
class PathScorer:
    """A path scorer prepared for a multi-shot sequence: same scores, but input and linear image are made once.

    It scores the network that it was prepared for, at the weights that it has when asked, on the batch that it was
    prepared with.
    """

    scorer: Scorer
    paths: Paths

    def __repr__(self) -> str:
        return repr(self.scorer)

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        """See `scorers.Scorer`.

        Raises:
            ValueError: (also) another network.
        """
        if network is not self.paths.network:
            raise ValueError(f"{self.scorer} was prepared for another network; prepare it anew, or call it directly")
        return hand_over(self.paths.scores(mask), mask, self.scorer)
