"""Path scores: how much of the flow through the linear image passes through each weight."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from scratchcard.clock import note_reads
from scratchcard.pruning.inputs import Inputs, examples, tensors
from scratchcard.pruning.linear_image import LinearImage
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.row_blocks import fill
from scratchcard.pruning.scores import Scores
from scratchcard.scorers.detached_state import own_generators
from scratchcard.scorers.scorer import Batch, Loss, Scorer, check_mask, hand_over

_LARGE = 2**29
"""Bytes of leaves from which on each is let go as soon as its slope is known, and made again for the product."""
_CHUNK = 2**20
_ROUNDING = 1e-6
"""Relative; far above what float64 leaves of sums of positive numbers."""


@dataclass(frozen=True, eq=False)
class Paths:
    """A network's linear image and what is fed into it; made once, it scores every mask of that network.

    Attributes:
        network: whose present weights are scored; left untouched.
        image: its linear image.
        features: by the input's name (empty if there is but one), float64 and not negative: the input `(1, *shape)`; of
            tokens, what is fed in place of their one-hot vectors: `(positions, entries)`, or `(1,)` for the same value
            everywhere.
        tokens: integer inputs `(1, *positions)` by name, such as what a network looks up in an embedding.
        power: 1 for SynFlow, 2 for its L2 form.

    Examples:
        >>> network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> network[0].weight.data = torch.tensor([[1.0, -1.0], [0.0, 2.0]])
        >>> network[2].weight.data = torch.tensor([[3.0, 0.5]])
        >>> Paths.of(network, torch.ones(1, 2)).scores(None)["2.weight"]  # two paths of 3, one of 1
        tensor([[6., 1.]], dtype=torch.float64)
    """

    network: nn.Module
    image: LinearImage
    features: Mapping[str, Tensor]
    tokens: Mapping[str, Tensor]
    power: int

    @classmethod
    def of(cls, network: nn.Module, features: Inputs, inputs: Inputs | None = None, *, power: int = 1) -> Paths:
        """Make the linear image; of `inputs`, the first example's tokens are taken.

        Raises:
            ValueError: nothing to prune.
        """
        with torch.inference_mode(False):
            image = LinearImage(network, in_blocks=True)
            device = image.begin.device
            placed = {
                name: tensor.detach().to(device, torch.float64, copy=True).requires_grad_()
                for name, tensor in tensors(features).items()
            }
            tokens = {
                name: tensor[:1].to(device, copy=True)
                for name, tensor in tensors({} if inputs is None else inputs).items()
                if not tensor.is_floating_point()
            }
            return cls(network, image, placed, tokens, power)

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
            large = sum(leaf.nbytes for leaf in image.leaves.values()) > _LARGE
            image.put(own, mask, self.power)
            scores: dict[str, Tensor] = {}
            vanished, fault = False, ""
            for exponent in (0, -500, 500):
                if vanished and exponent < 0:
                    continue
                if exponent and (large or image.rows):
                    image.put(own, mask, self.power)
                scale = math.ldexp(1.0, exponent)
                with torch.no_grad():
                    image.begin.fill_(scale)
                note_reads(3 * examples(self.features))
                flow = image({name: given * scale for name, given in self.features.items()}, self.tokens).sum()
                if exponent and not bool(torch.isfinite(flow)):
                    continue
                starts = [image.begin, *self.features.values()]
                hooks = [
                    leaf.register_hook(partial(_let_go, image, name))  # type: ignore[no-untyped-call]
                    for name, leaf in image.leaves.items()
                    if large and name not in image.rows
                ]
                slopes = torch.autograd.grad(
                    flow, [*starts, *image.leaves.values()], flow.new_tensor(scale), materialize_grads=True
                )
                for hook in hooks:
                    hook.remove()
                entries, products = slopes[: len(starts)], slopes[len(starts) :]
                places = Counter(slope.data_ptr() for slope in slopes)
                pairs = {
                    # In place where the gradient is memory of its own: fresh pages cost more than the product.
                    name: self._times(name, own[name], mask, product, places[product.data_ptr()] == 1)
                    for name, product in zip(image.leaves, products, strict=True)
                }
                del slopes, products
                found = {name: product for name, (product, _) in pairs.items()}
                passing = [total for _, total in pairs.values()]
                del pairs
                begun = [
                    torch.vdot(start.detach().reshape(-1), slope.reshape(-1))
                    for start, slope in zip(starts, entries, strict=True)
                ]
                entered = torch.stack(begun).sum()
                sums = torch.stack([flow.detach() * scale, entered, *passing]).tolist()
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
                if vanished:  # these are zeros; a large network has no room for them beside the next
                    scores = found = {}
        if fault:
            raise ValueError(fault)
        # Beside a layer of zeros flow and slopes may be infinite, and 0 times infinity is no number; no path, no score.
        if (large or image.rows) and not vanished:
            image.put(own, mask, self.power)
        if vanished or not all(image.any(name) for name in image.cuts):
            return {name: torch.zeros_like(leaf, requires_grad=False) for name, leaf in image.leaves.items()}
        return scores

    def _times(self, name: str, weight: Tensor, mask: Mask | None, slope: Tensor, alone: bool) -> tuple[Tensor, Tensor]:
        """A leaf's slope times the leaf, and its sum; in place where it can, as new pages cost more."""
        leaf, rows = self.image.leaves[name], self.image.rows.get(name)
        if rows is not None and rows.uses:
            found, total = rows.product()
            if not rows.made:
                return found, total
            found += slope * leaf.detach()
            return found, found.sum()
        own = slope if slope.is_contiguous() and alone else None
        if leaf.untyped_storage().nbytes():
            found = slope * leaf.detach() if own is None else own.mul_(leaf.detach())
            return found, found.sum()
        own = slope.clone(memory_format=torch.contiguous_format) if own is None else own
        kept = None if mask is None else mask.tensors[name].to(leaf.device).reshape(-1)
        flat, weights = own.view(-1), weight.detach().reshape(-1)
        for start in range(0, flat.numel(), _CHUNK):
            part = slice(start, start + _CHUNK)
            values = torch.empty_like(flat[part])
            fill(values, weights[part], None if kept is None else kept[part], self.power)
            flat[part].mul_(values)
        return own, own.sum()

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


def _let_go(image: LinearImage, name: str, slope: Tensor) -> None:
    image.let_go(name)


@dataclass(frozen=True, eq=False)
class PathScorer(Scorer):
    """A path scorer prepared for a multi-shot sequence: same scores, but input and linear image are made once.

    It scores the network that it was prepared for, at the weights that it has when asked, on the batch that it was
    prepared with.

    Examples:
        >>> network = nn.Linear(3, 2, bias=False)
        >>> network.weight.data = torch.tensor([[1.0, -2.0, 0.5], [0.1, 0.2, -3.0]])
        >>> batch = torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 0.5]]), torch.tensor([0, 1])
        >>> prepared = sc.make_scorer("synflow").prepare(network, batch, nn.functional.cross_entropy)
        >>> prepared
        SynFlow()
        >>> prepared(network, batch, nn.functional.cross_entropy).tensors["weight"]
        tensor([[1.0000, 2.0000, 0.5000],
                [0.1000, 0.2000, 3.0000]], dtype=torch.float64)
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
