"""Sharpness: how much the loss curves where it curves most."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from scratchcard.scorers.detached_state import detached_state, own_generators, placed
from scratchcard.scorers.gauss_newton import spread
from scratchcard.scorers.gradients import piece_gradients, twice_differentiable
from scratchcard.scorers.grasp import hessian_product
from scratchcard.scorers.pieces import whole
from scratchcard.scorers.scorer import Batch, Loss

EXAMPLES, PRODUCTS = 128, 4


def sharpness(network: nn.Module, batch: Batch, loss: Loss) -> float:
    """`|H v|`, the largest curvature of the loss in the prunable weights, with v from a few power iterations.

    v begins at the gradient, which lies mostly in the directions of large curvature, and is multiplied by the Hessian H
    four times, on at most 128 examples, evenly spread over the batch. So the number is a little below the largest
    absolute eigenvalue of H. Cost: about a twelfth of a pass over 55,000 images.

    Raises:
        ValueError: the loss does not curve there, or an operation without a second derivative.

    Examples:
        >>> network = nn.Linear(2, 1, bias=False)
        >>> network.weight.data = torch.tensor([[1.0, 1.0]])
        >>> batch = torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.zeros(2, 1)  # the loss is (9 a^2 + b^2) / 2
        >>> round(sharpness(network, batch, nn.functional.mse_loss), 3)
        9.0
    """
    with torch.inference_mode(False), torch.enable_grad(), twice_differentiable(network):
        state = detached_state(network)
        piece = whole(spread(placed(batch, next(iter(state.leaves.values()))), EXAMPLES), loss)
        with own_generators(network):
            found = piece_gradients(network, piece, state)
        for _ in range(PRODUCTS):
            size = _norm(found)
            direction = {name: tensor.detach() / size for name, tensor in zip(state.leaves, found, strict=True)}
            with own_generators(network):
                found = hessian_product(network, piece, state, direction, None)
    return _norm(found)


def _norm(tensors: list[Tensor]) -> float:
    size = math.sqrt(sum(float(tensor.detach().double().square().sum()) for tensor in tensors))
    if not math.isfinite(size) or size == 0:
        raise ValueError(
            "the loss has no curvature at the initial weights, so that no rate follows from its sharpness; give a "
            "search_learning_rate, or a method that does not train"
        )
    return size
