"""The gradient of the loss with respect to the prunable weights, taken without touching the network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pruning.mask import Mask
from scorers.scorer import Batch, Loss, check_mask


class LossGradients(NamedTuple):
    """The loss of a batch and its gradient; tensors by weight name, each in its weight's shape.

    Attributes:
        weights: the leaves `w * mask` at which the network was evaluated; copies or views, never the
            parameters.
        gradients: `g = dL/d(w * mask)`, also at pruned places (where it says what a revived weight would do).
        loss: `()`, the mean over the batch's examples.
    """

    weights: dict[str, Tensor]
    gradients: dict[str, Tensor]
    loss: Tensor


def loss_gradients(
    network: nn.Module, batch: Batch, loss: Loss, mask: Mask | None = None, *, create_graph: bool = False
) -> LossGradients:
    """`g = dL/dw` at `w * mask`, in the mode (train or eval) that the network is in.

    The network is called with new leaves in place of its prunable weights and with copies of its buffers, so
    neither `.grad` nor `requires_grad` nor running statistics play a part; random layers (dropout) draw from
    generators of their own. Works under the caller's `torch.no_grad()`.

    Args:
        network: any module with prunable weights.
        batch: inputs and targets, moved to the network's device and dtype.
        loss: mean over the examples.
        mask: the kept weights; None keeps all.
        create_graph: keep the graph, so that the gradients can be differentiated again.

    Raises:
        ValueError: nothing to prune, or a mask of another layout.
    """
    own = check_mask(network, mask)
    inputs, targets = placed(batch, next(iter(own.values())))
    with torch.inference_mode(False), torch.enable_grad(), own_generators(network):
        leaves = masked_leaves(own, mask)
        # Detached, the other parameters cost no gradient; by `tie_weights` shared weights stay shared.
        others = {name: parameter.detach() for name, parameter in other_parameters(network, own).items()}
        buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
        outputs = functional_call(network, (leaves, others, buffers), (inputs,))
        value = loss(outputs, targets)
        gradients = torch.autograd.grad(value, list(leaves.values()), create_graph=create_graph, materialize_grads=True)
    return LossGradients(leaves, dict(zip(leaves, gradients, strict=True)), value)


def masked_leaves(weights: Mapping[str, nn.Parameter], mask: Mask | None) -> dict[str, Tensor]:
    """New leaves `w * mask` that gradients can be taken of; copies or views, never the parameters."""
    leaves = {}
    for name, weight in weights.items():
        value = weight.detach()
        if mask is not None:
            value = value.masked_fill(~mask.tensors[name].to(value.device), 0)
        leaves[name] = value.requires_grad_()
    return leaves


def other_parameters(network: nn.Module, weights: Mapping[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    """The parameters that are not among the prunable `weights`: biases, normalisations."""
    prunable_ids = {id(weight) for weight in weights.values()}
    return {name: parameter for name, parameter in network.named_parameters() if id(parameter) not in prunable_ids}


def placed(batch: Batch, weight: Tensor) -> Batch:
    """The batch on the device of `weight`, floating tensors in its dtype (integers, such as tokens, stay)."""
    inputs, targets = (
        tensor.to(weight.device, weight.dtype if tensor.is_floating_point() else tensor.dtype) for tensor in batch
    )
    # Tensors made under `torch.inference_mode()` cannot take part in a backward pass; copies can.
    with torch.inference_mode(False):
        return (
            inputs.clone() if inputs.is_inference() else inputs,
            targets.clone() if targets.is_inference() else targets,
        )


@contextmanager
def own_generators(network: nn.Module) -> Iterator[None]:
    """Let random layers (dropout) draw from generators that start at 0, and put the callers' back afterwards.

    So the scores do not depend on what was drawn before. Covers the CPU and the CUDA devices that `network`
    is on.
    """
    devices = sorted({p.device.index or 0 for p in network.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(0)
        for device in devices:
            torch.cuda.default_generators[device].manual_seed(0)
        yield
