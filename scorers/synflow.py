"""SynFlow: how much of the flow from inputs to outputs passes through the weight; needs no data."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pruning.linearise import linearised
from pruning.mask import Mask
from pruning.parameters import prunable_layers
from pruning.scores import Scores
from scorers.gradients import own_generators
from scorers.scorer import Batch, Loss, check_mask, hand_over


@dataclass(frozen=True)
class SynFlow:
    r"""`s = |w| * dR/d|w|`, `R` being the output sum of the linearised absolute network fed with ones.

    `R = 1^T (prod_l |w_l| * mask_l) 1` sums, over all paths from an input to an output, the product of the
    absolute weights on the path; `s` is the share of `R` that passes through the weight (Tanaka et al.,
    "Pruning neural networks without any data by iteratively conserving synaptic flow", 2020, arXiv
    2006.05467). Hence the conservation law: the scores of a layer that all paths cross sum to `R`, and a
    hidden unit's incoming scores sum to its outgoing ones. Meant for many rounds (UMS, 100 in the paper); one
    round collapses layers.

    Of the batch only the inputs' shape is used. Biases, normalisation and activations stay out of the product
    (`linearised`). Scores are float64 whatever the network's dtype: in float32 R is infinite on ResNet-50. An
    embedding of the network's own input is a linear layer on one-hot vectors, so the all-ones input feeds
    every entry of it at every position. If R leaves float64's range, see `path_scores`.
    """

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        inputs = batch[0]
        if inputs.is_floating_point():
            features = inputs.new_ones((1, *inputs.shape[1:]), dtype=torch.float64)
            return hand_over(path_scores(network, mask, features), mask, self)
        everywhere = torch.ones(1, dtype=torch.float64)
        return hand_over(path_scores(network, mask, everywhere, inputs[:1]), mask, self)


def path_scores(
    network: nn.Module, mask: Mask | None, features: Tensor, tokens: Tensor | None = None, *, power: int = 1
) -> dict[str, Tensor]:
    """`|w|^p * dR/d|w|^p` by weight name, in float64; `R` is the linearised network's sum of outputs.

    R is linear in the input and the scores are linear in the output's gradient, so one power of two on either
    changes all scores by the same factor and no ranking. That is used, with 2^500 up or down, only where R or
    a score would otherwise overflow or R would vanish; scores are then exact up to that factor. (Normalising
    layer by layer is not as harmless: on a network with shortcuts it weighs the paths differently.)

    Args:
        network: left untouched.
        mask: the kept weights; None keeps all.
        features: the non-negative input `(1, *shape)`; with `tokens`, what is fed in place of the one-hot
            vectors: `(positions, entries)`, or `(1,)` for the same value everywhere.
        tokens: integer input `(1, *positions)` of a network that begins with an embedding.
        power: 1 for SynFlow, 2 for its L2 form.
    """
    weight = next(iter(check_mask(network, mask).values()))
    with torch.inference_mode(False), torch.enable_grad(), own_generators(network):
        linear = linearised(network, mask, power=power)
        features = features.to(weight.device, torch.float64, copy=True)
        leaves = {name: layer.get_parameter("weight") for name, layer in prunable_layers(linear).items()}
        scores: dict[str, Tensor] = {}
        for exponent in (0, -500, 500):
            scale = math.ldexp(1.0, exponent)
            flow = _flow(linear, features * scale, tokens)
            if exponent and not bool(torch.isfinite(flow)):
                continue
            products = torch.autograd.grad(flow, list(leaves.values()), flow.new_tensor(scale), materialize_grads=True)
            scores = {
                name: leaf.detach() * product for (name, leaf), product in zip(leaves.items(), products, strict=True)
            }
            # Scores are not negative, so a layer's sum is finite only if each of them is.
            total = float(torch.stack([tensor.sum() for tensor in scores.values()]).sum())
            if math.isfinite(total) and total > 0:
                break
    return scores


def _flow(linear: nn.Module, features: Tensor, tokens: Tensor | None) -> Tensor:
    """`R`, `()`: the sum of the outputs for the input `features` (fed through the embeddings of `tokens`)."""
    if tokens is None:
        return linear(features).sum()  # type: ignore[no-any-return]
    ids = tokens.to(features.device, copy=True)

    def feed(layer: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
        table = layer.get_parameter("weight")
        if arguments[0].shape != ids.shape or not bool((arguments[0] == ids).all()):
            return output  # looks up something else, such as positions
        if features.numel() == 1:
            return (features * table.sum(0)).expand_as(output)
        return (features[:, : len(table)] @ table).reshape(output.shape)

    hooks = [layer.register_forward_hook(feed) for layer in linear.modules() if isinstance(layer, nn.Embedding)]
    try:
        return linear(ids).sum()  # type: ignore[no-any-return]
    finally:
        for hook in hooks:
            hook.remove()
