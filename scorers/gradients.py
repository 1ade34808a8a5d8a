"""The gradient of the loss with respect to the prunable weights, taken without touching the network."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from scratchcard.clock import note_reads
from scratchcard.pruning.inputs import examples
from scratchcard.pruning.mask import Mask
from scratchcard.scorers.detached_state import DetachedState, detached_state, outputs_at, own_generators, placed
from scratchcard.scorers.gradient_sums import summed_up
from scratchcard.scorers.large_linear import LargeLinears, in_rows
from scratchcard.scorers.pieces import Piece, in_pieces, whole
from scratchcard.scorers.scorer import Batch, Loss
from scratchcard.scorers.shelf import Shelf
from scratchcard.words import said


class LossGradients(NamedTuple):
    """The gradient of a batch's loss, and where it was taken; tensors by weight name, each in its weight's shape.

    Attributes:
        weights: the leaves `w * mask` at which the network was evaluated; copies or views, never the
            parameters.
        gradients: `g = dL/d(w * mask)`, also at pruned places (where it says what a revived weight would do).

    Examples:
        >>> network = nn.Linear(3, 2, bias=False)
        >>> network.weight.data = torch.tensor([[1.0, -2.0, 0.5], [0.1, 0.2, -3.0]])
        >>> batch = torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 0.5]]), torch.tensor([0, 1])
        >>> found = loss_gradients(network, batch, nn.functional.cross_entropy)
        >>> found.weights["weight"].equal(network.weight), found.gradients["weight"].shape
        (True, torch.Size([2, 3]))
    """

    weights: dict[str, Tensor]
    gradients: dict[str, Tensor]


def loss_gradients(
    network: nn.Module,
    batch: Batch,
    loss: Loss,
    mask: Mask | None = None,
    *,
    in_one_piece: bool = False,
    watched: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> LossGradients:
    """`g = dL/dw` at `w * mask`, in the mode (train or eval) that the network is in.

    The network is called with new leaves in place of its prunable weights and with copies of its buffers, so
    neither `.grad` nor `requires_grad` nor running statistics play a part; random layers (dropout) draw from
    generators of their own. Works under the caller's `torch.no_grad()`. A network in half precision is computed in
    float32 (`at_least_single`), and so are its gradients. A batch that takes more than the memory for scoring is
    computed in pieces (`scoring_memory`).

    Args:
        network: any module with prunable weights.
        batch: inputs and targets, moved to the network's device and dtype, float32 at least.
        loss: mean over the examples.
        mask: the kept weights; None keeps all.
        in_one_piece: whatever it takes.
        watched: entered around the passes, for those who watch them; anew where the batch turns out not to fit.

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
    with torch.inference_mode(False), torch.enable_grad():
        state = detached_state(network, mask)
        batch = placed(batch, next(iter(state.leaves.values())))

        def summed(parts: list[Piece]) -> list[Tensor]:
            with own_generators(network), watched():
                return sum_of_gradients(network, parts, state)

        total = summed([whole(batch, loss)]) if in_one_piece else in_pieces(summed, network, batch, loss, state)
    return LossGradients(state.leaves, dict(zip(state.leaves, total, strict=True)))


def sum_of_gradients(
    network: nn.Module, parts: list[Piece], state: DetachedState, shelf: Shelf | None = None
) -> list[Tensor]:
    """The gradient of the batch's loss through all of its pieces, in the order of the state's leaves.

    With a shelf a sum of several pieces lies there; of a large network also that of one.

    Examples:
        >>> from scratchcard.scorers.pieces import whole
        >>> network, batch = nn.Linear(3, 2), (torch.ones(2, 3), torch.tensor([0, 1]))
        >>> state = detached_state(network)
        >>> sum_of_gradients(network, [whole(batch, nn.functional.cross_entropy)], state)[0].shape
        torch.Size([2, 3])
    """
    lies = shelf or Shelf(0)
    if len(parts) == 1 and not lies.large:
        return piece_gradients(network, parts[0], state)
    leaves = list(state.leaves.values())

    def summed(large: LargeLinears | None) -> list[Tensor]:
        total: list[Tensor] = []
        with own_generators(network):
            for piece in parts:
                with nullcontext() if large is None else large.forward():
                    value = piece_value(network, piece, state)
                note_reads(2 * examples(piece.inputs))
                with summed_up(leaves, total, lies, large):
                    torch.autograd.grad(value, leaves, materialize_grads=True)
        return total

    return in_rows(leaves, lies, summed)


def piece_gradients(network: nn.Module, piece: Piece, state: DetachedState) -> list[Tensor]:
    """The gradient of the batch's loss through one piece, in the order of the state's leaves.

    Raises:
        DoesNotFit: the pass keeps more than the piece's room.

    Examples:
        >>> from scratchcard.scorers.pieces import whole
        >>> network, batch = nn.Linear(3, 2), (torch.ones(2, 3), torch.tensor([0, 1]))
        >>> state = detached_state(network)
        >>> piece_gradients(network, whole(batch, nn.functional.cross_entropy), state)[0].shape
        torch.Size([2, 3])
    """
    value = piece_value(network, piece, state)
    leaves = list(state.leaves.values())
    note_reads(2 * examples(piece.inputs))
    return list(torch.autograd.grad(value, leaves, materialize_grads=True))


def piece_value(network: nn.Module, piece: Piece, state: DetachedState) -> Tensor:
    """What a piece adds to the batch's loss, with a graph.

    Raises:
        DoesNotFit: the pass keeps more than the piece's room.

    Examples:
        >>> from scratchcard.scorers.pieces import whole
        >>> network, batch = nn.Linear(3, 2), (torch.ones(2, 3), torch.tensor([0, 1]))
        >>> piece_value(network, whole(batch, nn.functional.cross_entropy), detached_state(network)).shape
        torch.Size([])
    """
    return piece.loss(outputs_at(network, piece.inputs, state, piece.room))


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
