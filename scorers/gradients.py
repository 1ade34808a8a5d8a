"""The gradient of the loss with respect to the prunable weights, taken without touching the network."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from scratchcard.pruning.inputs import Inputs, each, forward, loss_of
from scratchcard.pruning.inputs import placed as inputs_placed
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import inside
from scratchcard.scorers.scorer import Batch, Loss, at_least_single, check_mask
from scratchcard.words import said


class LossGradients(NamedTuple):
    """The loss of a batch and its gradient; tensors by weight name, each in its weight's shape.

    Attributes:
        weights: the leaves `w * mask` at which the network was evaluated; copies or views, never the
            parameters.
        gradients: `g = dL/d(w * mask)`, also at pruned places (where it says what a revived weight would do).
        loss: `()`, the mean over the batch's examples.

    Examples:
        >>> network = nn.Linear(3, 2, bias=False)
        >>> network.weight.data = torch.tensor([[1.0, -2.0, 0.5], [0.1, 0.2, -3.0]])
        >>> batch = torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 0.5]]), torch.tensor([0, 1])
        >>> found = loss_gradients(network, batch, nn.functional.cross_entropy)
        >>> found._fields, round(found.loss.item(), 3)
        (('weights', 'gradients', 'loss'), 2.011)
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
    generators of their own. Works under the caller's `torch.no_grad()`. A network in half precision is computed in
    float32 (`at_least_single`), and so are its gradients.

    Args:
        network: any module with prunable weights.
        batch: inputs and targets, moved to the network's device and dtype, float32 at least.
        loss: mean over the examples.
        mask: the kept weights; None keeps all.
        create_graph: keep the graph, so that the gradients can be differentiated again.

    Raises:
        ValueError: nothing to prune, a mask of another layout, or outputs that are no tensor.

    Examples:
        >>> network = nn.Linear(3, 2, bias=False)
        >>> network.weight.data = torch.tensor([[1.0, -2.0, 0.5], [0.1, 0.2, -3.0]])
        >>> batch = torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 0.5]]), torch.tensor([0, 1])
        >>> loss_gradients(network, batch, nn.functional.cross_entropy).gradients["weight"]
        tensor([[-0.4853, -0.7760,  0.0973],
                [ 0.4853,  0.7760, -0.0973]])
        >>> network.weight.grad is None
        True
    """
    own = check_mask(network, mask)
    inputs, targets = placed(batch, next(iter(own.values())))
    with torch.inference_mode(False), torch.enable_grad(), own_generators(network):
        state = detached_state(network, own, mask)
        value = loss_of(loss, outputs_at(network, inputs, state), targets)
        leaves = list(state.leaves.values())
        gradients = torch.autograd.grad(value, leaves, create_graph=create_graph, materialize_grads=True)
    return LossGradients(state.leaves, dict(zip(state.leaves, gradients, strict=True)), value)


class DetachedState(NamedTuple):
    """What a network is called with in place of its own tensors, none of which is changed by what follows.

    Attributes:
        leaves: `w * mask` by weight name, which gradients can be taken of; copies or views, never the parameters.
        others: the parameters that are not prunable (biases, normalisations), detached: they cost no gradient.
        buffers: copies.

    Examples:
        >>> network = nn.Linear(3, 2)
        >>> state = detached_state(network, check_mask(network, None), None)
        >>> [*state.leaves], [*state.others], [*state.buffers]
        (['weight'], ['bias'], [])
    """

    leaves: dict[str, Tensor]
    others: dict[str, Tensor]
    buffers: dict[str, Tensor]


def detached_state(network: nn.Module, weights: Mapping[str, nn.Parameter], mask: Mask | None) -> DetachedState:
    """The network's state with its prunable `weights` as masked leaves; for `functional_call`.

    There, by `tie_weights`, shared weights stay shared. What is in half precision is there in float32.

    Examples:
        >>> network = nn.Linear(2, 1)
        >>> mask = Mask({"weight": torch.tensor([[True, False]])})
        >>> detached_state(network, check_mask(network, mask), mask).leaves["weight"][0, 1].item()
        0.0
    """
    leaves = {}
    for name, weight in weights.items():
        value = at_least_single(weight.detach())
        if mask is not None:
            value = value.masked_fill(~mask.tensors[name].to(value.device), 0)
        leaves[name] = value.requires_grad_()
    prunable_ids = {id(weight) for weight in weights.values()}
    named, buffers = inside(network).named_parameters(), inside(network).named_buffers()
    others = {name: at_least_single(p.detach()) for name, p in named if id(p) not in prunable_ids}
    return DetachedState(leaves, others, {name: at_least_single(buffer.clone()) for name, buffer in buffers})


def outputs_at(network: nn.Module, inputs: Inputs, state: DetachedState) -> Tensor:
    """The network's outputs at the leaves of a state, which gradients can be taken of.

    Raises:
        ValueError: the network raises, returns no tensor, or outputs without a gradient.

    Examples:
        >>> network = nn.Linear(3, 2)
        >>> state = detached_state(network, check_mask(network, None), None)
        >>> outputs_at(network, torch.ones(1, 3), state).requires_grad
        True
    """
    outputs = forward(inside(network), inputs, tuple(state))
    if not outputs.requires_grad:
        raise ValueError(
            f"{type(network).__name__} gives outputs without a gradient in its prunable weights, so that none can be "
            "taken: its `forward` detaches them, or uses other weights"
        )
    return outputs


def placed(batch: Batch, weight: Tensor) -> Batch:
    """The batch on the device of `weight`, floating tensors in its dtype, float32 at least (integers, tokens, stay).

    Examples:
        >>> inputs, targets = placed((torch.ones(2, 3), torch.tensor([0, 1])), torch.ones(1, dtype=torch.float64))
        >>> inputs.dtype, targets.dtype
        (torch.float64, torch.int64)
    """

    def usable(tensor: Tensor) -> Tensor:
        # Tensors made under `torch.inference_mode()` cannot take part in a backward pass; copies can.
        return tensor.clone() if tensor.is_inference() else tensor

    dtype = torch.promote_types(weight.dtype, torch.float32)
    inputs = inputs_placed(batch[0], weight.device, dtype)
    targets = batch[1].to(weight.device, dtype if batch[1].is_floating_point() else batch[1].dtype)
    with torch.inference_mode(False):
        return each(inputs, usable), usable(targets)


class _Composed(TorchFunctionMode):
    """Writes what has a gradient that torch cannot differentiate as what it is made of.

    `hardsigmoid(x) = clamp(x / 6 + 1/2, 0, 1)`; a bag of embeddings is the sum or mean of embeddings. Under any mode of
    this kind attention takes no fused path of the whole layer either.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        plain = kwargs.get("padding_idx") is None and kwargs.get("per_sample_weights") is None
        if name == "embedding_bag" and plain and args[0].ndim == 2 and kwargs.get("mode", "mean") != "max":
            rows = nn.functional.embedding(args[0], args[1])
            return rows.sum(1) if kwargs.get("mode") == "sum" else rows.mean(1)
        if name.rstrip("_") != "hardsigmoid":
            return func(*args, **kwargs)
        value = (args[0] / 6 + 0.5).clamp(0, 1)
        return args[0].copy_(value) if name.endswith("_") or kwargs.get("inplace") else value


@contextmanager
def twice_differentiable(network: nn.Module) -> Iterator[None]:
    """Let the network be computed by operations whose gradient can be differentiated again.

    Attention is not fused, hard sigmoids are composed, recurrent layers on a GPU do without cuDNN.

    Raises:
        ValueError: (in place of torch's RuntimeError) an operation that has no second derivative, by name.

    Examples:
        >>> x = torch.zeros(1, requires_grad=True)
        >>> network = nn.Hardsigmoid()
        >>> with twice_differentiable(network):
        ...     (slope,) = torch.autograd.grad(network(x).square(), x, create_graph=True)
        ...     torch.autograd.grad(slope, x)
        (tensor([0.0556]),)
    """
    recurrent = any(isinstance(module, nn.RNNBase) for module in network.modules())
    plain = torch.backends.cudnn.flags(enabled=False) if recurrent else nullcontext()
    with sdpa_kernel(SDPBackend.MATH), _Composed(), plain:
        try:
            yield
        except RuntimeError as error:
            found = re.search(r"derivative for '?(?:aten::)?(\w+)'? is not implemented", str(error))
            if "can't allocate memory" in str(error) or isinstance(error, torch.OutOfMemoryError):
                raise
            if found is None and "ifferentiate twice" not in str(error) and "ouble backward" not in str(error):
                raise ValueError(f"{type(network).__name__} cannot be differentiated twice: {said(error)}") from error
            what = found.group(1) if found else str(error).splitlines()[0]
            raise ValueError(
                f"{type(network).__name__} cannot be scored by second derivatives, as torch has none for {what!r}; "
                "replace that operation, or use a criterion of first order, such as SNIP"
            ) from error


@contextmanager
def own_generators(network: nn.Module) -> Iterator[None]:
    """Let random layers (dropout) draw from generators that start at 0, and put the callers' back afterwards.

    So the scores do not depend on what was drawn before. Covers the CPU and the CUDA devices that `network`
    is on.

    Examples:
        >>> layer = nn.Dropout()
        >>> with own_generators(layer):
        ...     first = layer(torch.ones(5))
        >>> with own_generators(layer):
        ...     again = layer(torch.ones(5))
        >>> first.equal(again)
        True
    """
    devices = sorted({p.device.index or 0 for p in network.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(0)
        for device in devices:
            torch.cuda.default_generators[device].manual_seed(0)
        yield
