"""Path scores: how much of the flow through the linearised network passes through each weight."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scratchcard.pruning.inputs import forward
from scratchcard.pruning.linear_image import HIDDEN, linear_copy, put_weights, weight_leaves
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable_layers
from scratchcard.pruning.scores import Scores
from scratchcard.scorers.gradients import own_generators
from scratchcard.scorers.scorer import Batch, Loss, Scorer, check_mask, hand_over

# Far above rounding, and far below what a function leaves of R that saturates but a little.
_NEGLIGIBLE = 1e-9
_SMALLEST = sys.float_info.min / _NEGLIGIBLE


@dataclass(frozen=True, eq=False)
class Paths:
    """A network's linear copy and what is fed into it; made once, it scores every mask of that network.

    Attributes:
        network: whose present weights are scored; left untouched.
        linear: its linear copy.
        leaves: the copy's prunable weights, by name.
        features: the non-negative input `(1, *shape)`, float64; with `tokens`, what is fed in place of the one-hot
            vectors: `(positions, entries)`, or `(1,)` for the same value everywhere.
        tokens: integer input `(1, *positions)` of a network that begins with an embedding.
        power: 1 for SynFlow, 2 for its L2 form.

    Examples:
        >>> network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> network[0].weight.data = torch.tensor([[1.0, -1.0], [0.0, 2.0]])
        >>> network[2].weight.data = torch.tensor([[3.0, 0.5]])
        >>> Paths.of(network, torch.ones(1, 2)).scores(None)["2.weight"]  # two paths of 3, one of 1
        tensor([[6., 1.]], dtype=torch.float64)
    """

    network: nn.Module
    linear: nn.Module
    leaves: Mapping[str, Tensor]
    features: Tensor
    tokens: Tensor | None
    power: int

    @classmethod
    def of(cls, network: nn.Module, features: Tensor, tokens: Tensor | None = None, *, power: int = 1) -> Paths:
        """Make the linear copy; raises ValueError if there is nothing to prune."""
        with torch.inference_mode(False):
            linear = linear_copy(network)
            leaves = weight_leaves(linear)
            device = next(iter(leaves.values())).device
            placed = features.detach().to(device, torch.float64, copy=True).requires_grad_()
            return cls(network, linear, leaves, placed, None if tokens is None else tokens.to(device), power)

    def scores(self, mask: Mask | None) -> dict[str, Tensor]:
        """`|w|^p * dR/d|w|^p` by weight name, in float64; `R` is the linearised network's sum of outputs.

        R is linear in the input and the scores are linear in the output's gradient, so one power of two on either
        changes all scores by the same factor and no ranking. That is used, with 2^500 up or down, only where R or
        a score would otherwise overflow or R would vanish; scores are then exact up to that factor. (Normalising
        layer by layer is not as harmless: on a network with shortcuts it weighs the paths differently.)

        Raises:
            ValueError: a mask of another layout, or a copy that is not linear: its outputs cancel each other
                (log-softmax, normalisation) or do not grow with its input (softmax).
        """
        own = check_mask(self.network, mask)
        with torch.inference_mode(False), torch.enable_grad(), own_generators(self.network):
            put_weights(self.leaves, own, mask, self.power)
            scores: dict[str, Tensor] = {}
            for exponent in (0, -500, 500):
                scale = math.ldexp(1.0, exponent)
                outputs = self._outputs(scale)
                flow = outputs.sum()
                if exponent and not bool(torch.isfinite(flow)):
                    continue
                source, *products = torch.autograd.grad(
                    flow, [self.features, *self.leaves.values()], flow.new_tensor(scale), materialize_grads=True
                )
                scores = {
                    name: leaf.detach() * product
                    for (name, leaf), product in zip(self.leaves.items(), products, strict=True)
                }
                self._check_linear(outputs.detach(), source, scores, scale)
                # Scores are not negative, so a layer's sum is finite only if each of them is.
                total = float(torch.stack([tensor.sum() for tensor in scores.values()]).sum())
                if math.isfinite(total) and total > 0:
                    break
        return scores

    def _outputs(self, scale: float) -> Tensor:
        """The copy's outputs for the input `features * scale` (fed through the embeddings of `tokens`)."""
        features = self.features * scale
        if self.tokens is None:
            return forward(self.linear, features)
        ids = self.tokens.clone()

        def feed(layer: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
            table = layer.get_parameter("weight")
            if arguments[0].shape != ids.shape or not bool((arguments[0] == ids).all()):
                return output  # looks up something else, such as positions
            if features.numel() == 1:
                return (features * table.sum(0)).expand_as(output)
            return (features[:, : len(table)] @ table).reshape(output.shape)

        tables = [layer for layer in self.linear.modules() if isinstance(layer, nn.Embedding)]
        hooks = [layer.register_forward_hook(feed) for layer in tables]
        try:
            return forward(self.linear, ids)
        finally:
            for hook in hooks:
                hook.remove()

    def _check_linear(self, outputs: Tensor, source: Tensor, scores: Mapping[str, Tensor], scale: float) -> None:
        """Refuse a copy in which R is not made of paths.

        Paths have non-negative products, so `R = sum |outputs|`; and each begins at an input or in a table, so
        by Euler's theorem `R <= x * dR/dx + sum over tables of w * dR/dw`. Where no path is left (a collapsed
        layer) both sides are 0.
        """
        flow, size = float(outputs.sum()), float(outputs.abs().sum())
        if not math.isfinite(size):
            return  # another scale will tell
        tables = [n for n, layer in prunable_layers(self.linear).items() if isinstance(layer, nn.Embedding)]
        begun = float((self.features.detach() * source).sum()) + sum(float(scores[name].sum()) for name in tables)
        begins = flow <= _SMALLEST or not begun < _NEGLIGIBLE * flow * scale
        if (size > 0 and flow <= _NEGLIGIBLE * size) or not begins:
            raise ValueError(
                f"the paths of {type(self.network).__name__} cannot be told apart, as its outputs "
                f"{'do not grow with its inputs' if flow > 0 else 'cancel each other'}: {HIDDEN}"
            )


@dataclass(frozen=True, eq=False)
class PathScorer(Scorer):
    """A path scorer prepared for a multi-shot sequence: same scores, but input and linear copy are made once.

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
