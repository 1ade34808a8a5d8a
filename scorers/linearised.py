"""Products with the Jacobian of a network's outputs: what a Gauss-Newton step is made of."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from scratchcard.clock import note_reads
from scratchcard.pruning.inputs import examples, forward
from scratchcard.pruning.parameters import inside
from scratchcard.scorers.detached_state import DetachedState, copied, outputs_at, own_generators
from scratchcard.scorers.gradient_sums import summed_up
from scratchcard.scorers.pieces import Passes, Piece
from scratchcard.scorers.shelf import Shelf

Watched = Callable[[], AbstractContextManager[object]]


class Linearised(Protocol):
    """A network's outputs for a batch, linear in its free tensors, and the curvature of its loss at the outputs.

    Examples:
        >>> class Same:
        ...     def gradient(self, found):
        ...         found[0].zero_()
        ...     def product(self, vector, found):
        ...         found[0].copy_(vector[0])
        >>> same: Linearised = Same()
    """

    def gradient(self, found: list[Tensor]) -> None:
        """Put the gradient of the batch's loss into `found`."""

    def product(self, vector: list[Tensor], found: list[Tensor]) -> None:
        """Put `J^T H J v` into `found`: J the Jacobian of the outputs, H the Hessian of the loss in them."""


def linearised(
    network: nn.Module, parts: list[Piece], state: DetachedState, free: list[Tensor], shelf: Shelf, watched: Watched
) -> Linearised:
    """Of a batch that fits all graphs are kept; of one that does not, and of a large network, passes are made anew.

    Args:
        network: called with the state.
        parts: of the batch. One without a bound of room is one that does not fit.
        state: what the network is called with.
        free: tensors of the state that the outputs are linear in.
        shelf: of the network.
        watched: entered around one pass of the whole batch, forward and backward.

    Examples:
        >>> from scratchcard.scorers.detached_state import detached_state
        >>> from scratchcard.scorers.pieces import whole
        >>> network, batch = nn.Linear(2, 1, bias=False), (torch.eye(2), torch.zeros(2, 1))
        >>> state, piece = detached_state(network), whole(batch, nn.functional.mse_loss)  # (a^2 + b^2) / 2
        >>> found = [torch.zeros(1, 2)]
        >>> made = linearised(network, [piece], state, [*state.leaves.values()], Shelf(2), nullcontext)
        >>> made.product([torch.tensor([[3.0, 1.0]])], found)
        >>> found
        [tensor([[3., 1.]])]
    """
    if len(parts) == 1 and parts[0].room < float("inf") and not shelf.large:
        with own_generators(network), watched():
            return _KeptGraphs.of(network, parts[0], state, free)
    return _MadeAnew(network, parts, state, free, shelf, watched)


def passes_of(shelf: Shelf) -> Passes:
    """What the passes of `linearised` take: a piece made anew keeps no graph of its backward pass.

    Examples:
        >>> passes_of(Shelf(10)).piece
        1.5
    """
    return Passes(1.5 if shelf.large else 5.0, 1.5, is_sum=True)


class _KeptGraphs(NamedTuple):
    """A batch whose two graphs, of the outputs and of their backward pass, are made once and serve all products.

    `J v` is taken by differentiating the backward pass once more: `J^T u` is linear in u, so its own transpose is J.
    `pulled` is `J^T direction`, with a graph, where the direction is the loss's slope: the gradient.
    """

    free: list[Tensor]
    outputs: Tensor
    direction: Tensor
    pulled: tuple[Tensor, ...]
    top: Tensor
    slope: Tensor

    @classmethod
    def of(cls, network: nn.Module, piece: Piece, state: DetachedState, free: list[Tensor]) -> _KeptGraphs:
        """Both passes of the batch."""
        outputs = outputs_at(network, piece.inputs, state, piece.room)
        top, slope = _slope(piece, outputs)
        direction = slope.detach().requires_grad_()
        pulled = torch.autograd.grad(outputs, free, direction, create_graph=True, materialize_grads=True)
        note_reads(2 * len(outputs))
        return cls(free, outputs, direction, pulled, top, slope)

    def gradient(self, found: list[Tensor]) -> None:
        """`J^T slope`."""
        _put(self.pulled, found)

    def product(self, vector: list[Tensor], found: list[Tensor]) -> None:
        """`J^T H J v`."""
        if not self.slope.requires_grad:  # a loss that is linear in the outputs
            return _put([torch.zeros_like(tensor) for tensor in self.free], found)
        through = [k for k, tensor in enumerate(self.pulled) if tensor.requires_grad]
        chosen = [self.pulled[k] for k in through]
        note_reads(4 * len(self.outputs))
        (pushed,) = torch.autograd.grad(chosen, self.direction, [vector[k] for k in through], retain_graph=True)
        (curved,) = torch.autograd.grad(self.slope, self.top, pushed, retain_graph=True)
        pulled = torch.autograd.grad(self.outputs, self.free, curved, retain_graph=True, materialize_grads=True)
        return _put(pulled, found)


class _MadeAnew(NamedTuple):
    """Pieces of which nothing is kept: a product is a pass forward with derivatives, and a gradient's two passes.

    `J v` is the derivative of the forward pass along v, in forward mode (dual numbers), which keeps no graph. Where
    torch has no such derivative of an operation it is taken as in `_KeptGraphs`, with more memory.
    """

    network: nn.Module
    parts: list[Piece]
    state: DetachedState
    free: list[Tensor]
    shelf: Shelf
    watched: Watched

    def gradient(self, found: list[Tensor]) -> None:
        """The sum of the pieces' gradients."""
        with nullcontext() if len(self.parts) > 1 else self.watched():
            self._pull(found, lambda number, outputs: _slope(self.parts[number], outputs)[1])

    def product(self, vector: list[Tensor], found: list[Tensor]) -> None:
        """`J^T H J v`, summed over the pieces."""
        along = {id(tensor): part for tensor, part in zip(self.free, vector, strict=True)}
        try:
            curved = self._curved(lambda piece: self._pushed(piece, along))
        except (NotImplementedError, ValueError) as error:  # the network's own errors are told by a ValueError
            if not isinstance(error.__cause__ or error, NotImplementedError):
                raise
            curved = self._curved(lambda piece: self._pushed_by_graph(piece, vector))
        self.shelf.tidy()
        self._pull(found, lambda number, outputs: curved[number])

    def _pull(self, found: list[Tensor], ends: Callable[[int, Tensor], Tensor]) -> None:
        """`J^T u` of all pieces, by the ends u of each."""
        for own in found:
            own.zero_()
        with own_generators(self.network):
            for number, piece in enumerate(self.parts):
                outputs = outputs_at(self.network, piece.inputs, self.state, piece.room)
                with summed_up(self.free, found, self.shelf):
                    note_reads(2 * examples(piece.inputs))
                    torch.autograd.grad(outputs, self.free, ends(number, outputs).detach(), allow_unused=True)
                del outputs
                self.shelf.tidy()

    def _curved(self, pushed: Callable[[Piece], tuple[Tensor, Tensor]]) -> list[Tensor]:
        """`H J v` of each piece, from its outputs and `J v`; random layers draw what they draw in `_pull`."""
        found = []
        with own_generators(self.network):
            for piece in self.parts:
                outputs, along = pushed(piece)
                top, slope = _slope(piece, outputs)
                curved = slope.requires_grad  # else the loss is linear in the outputs
                found.append(torch.autograd.grad(slope, top, along)[0] if curved else torch.zeros_like(along))
        return found

    def _pushed(self, piece: Piece, along: dict[int, Tensor]) -> tuple[Tensor, Tensor]:
        """The outputs of a piece and their derivative along a vector."""

        def dual(tensor: Tensor) -> Tensor:
            there = along.get(id(tensor))
            if there is None:
                return tensor
            found: Tensor = forward_ad.make_dual(tensor.detach(), there)  # type: ignore[no-untyped-call]
            return found

        note_reads(3 * examples(piece.inputs))
        with torch.no_grad(), forward_ad.dual_level(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*torch.jit.script", category=FutureWarning)  # torch's own use
            state = copied(self.state)
            moved = [{name: dual(tensor) for name, tensor in part.items()} for part in state]
            found = forward(inside(self.network), piece.inputs, tuple(moved))
            outputs, tangent = forward_ad.unpack_dual(found)  # type: ignore[no-untyped-call]
        return outputs, torch.zeros_like(outputs) if tangent is None else tangent

    def _pushed_by_graph(self, piece: Piece, vector: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The same, from a graph of the backward pass."""
        outputs = outputs_at(self.network, piece.inputs, self.state)
        direction = torch.zeros_like(outputs, requires_grad=True)
        pulled = torch.autograd.grad(outputs, self.free, direction, create_graph=True, materialize_grads=True)
        through = [k for k, tensor in enumerate(pulled) if tensor.requires_grad]
        note_reads(4 * examples(piece.inputs))
        chosen = [pulled[k] for k in through], direction, [vector[k] for k in through]
        return outputs.detach(), torch.autograd.grad(*chosen)[0]


def _slope(piece: Piece, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """The outputs as a leaf, and the slope of the piece's loss there, with a graph."""
    top = outputs.detach().requires_grad_()
    (slope,) = torch.autograd.grad(piece.loss(top), top, create_graph=True)
    return top, slope


def _put(parts: Sequence[Tensor], found: list[Tensor]) -> None:
    for own, tensor in zip(found, parts, strict=True):
        own.copy_(tensor.detach())
