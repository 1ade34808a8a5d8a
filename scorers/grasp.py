"""GraSP: how much the weight helps the gradient flow; and its absolute value."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from scratchcard.clock import note_reads
from scratchcard.pruning.inputs import examples
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.scores import Scores
from scratchcard.scorers.detached_state import DetachedState, detached_state, own_generators, placed
from scratchcard.scorers.few_examples import Tempered
from scratchcard.scorers.gradient_sums import hollow_gradients, summed_up
from scratchcard.scorers.gradients import piece_value, sum_of_gradients, twice_differentiable
from scratchcard.scorers.large_linear import LargeLinears, in_rows
from scratchcard.scorers.pieces import SECOND_ORDER, Piece, in_pieces
from scratchcard.scorers.scorer import Batch, Loss, Scorer, hand_over, without_pruned
from scratchcard.scorers.shelf import Shelf
from scratchcard.setting import setting
from scratchcard.settings import Settings


@dataclass(frozen=True)
class GraSP(Settings, Scorer):
    r"""`s = w * (H g)`: to first order, how much of the squared gradient norm goes when the weight goes.

    Removing the weight `w_q` is the step `-w_q e_q`, so `g^T g` changes by `-2 w_q (H g)_q`: a weight with a
    large `+w * Hg` carries gradient flow and stays. Wang et al. ("Picking Winning Tickets Before Training by
    Preserving Gradient Flow", 2020, arXiv 2002.07376) write the negative, `S = -w * Hg`, and remove the
    *largest*; here higher = keep, so the sign is turned. About half of the scores are negative: a pruned
    weight's 0 is not the lowest score, and only `keep_top(within=mask)` keeps it out.

    `g` and `H` belong to the loss of the logits divided by `temperature`, as in the authors' code. Both come
    from one forward pass of one batch, and both are restricted to kept weights. `H g = d/dw <g.detach(), g>`.

    Attributes:
        temperature: of the logits; 200 in the authors' code. 1 is the loss as it is.

    Raises:
        ValueError: a temperature that is not positive.

    Examples:
        >>> network = nn.Linear(3, 2, bias=False)
        >>> network.weight.data = torch.tensor([[1.0, -2.0, 0.5], [0.1, 0.2, -3.0]])
        >>> batch = torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 0.5]]), torch.tensor([0, 1])
        >>> GraSP(temperature=1.0)(network, batch, nn.functional.cross_entropy).tensors["weight"]
        tensor([[-0.0580,  0.5777, -0.0432],
                [ 0.0058,  0.0578, -0.2594]])
    """

    temperature: float = setting(
        200.0, help="What the logits are divided by; 1 is the loss as it is", example=1.0, above=0
    )

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        return hand_over(gradient_flow(network, batch, loss, mask, self.temperature), mask, self)


@dataclass(frozen=True)
class GraSPAbs(Settings, Scorer):
    """`s = |w * (H g)|`: keeps what changes the gradient flow most, in either direction.

    Attributes:
        temperature: as in `GraSP`.

    Raises:
        ValueError: a temperature that is not positive.

    Examples:
        >>> network = nn.Linear(3, 2, bias=False)
        >>> network.weight.data = torch.tensor([[1.0, -2.0, 0.5], [0.1, 0.2, -3.0]])
        >>> batch = torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 0.5]]), torch.tensor([0, 1])
        >>> GraSPAbs(temperature=1.0)(network, batch, nn.functional.cross_entropy).tensors["weight"]
        tensor([[0.0580, 0.5777, 0.0432],
                [0.0058, 0.0578, 0.2594]])
    """

    temperature: float = setting(
        200.0, help="What the logits are divided by; 1 is the loss as it is", example=1.0, above=0
    )

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        flow = gradient_flow(network, batch, loss, mask, self.temperature)
        return hand_over({name: tensor.abs() for name, tensor in flow.items()}, mask, self)


def gradient_flow(
    network: nn.Module, batch: Batch, loss: Loss, mask: Mask | None, temperature: float
) -> dict[str, Tensor]:
    """`w * (H g)` by weight name, at `w * mask` and with `g` restricted to kept weights.

    Raises:
        ValueError: what `loss_gradients` raises, or an operation without a second derivative.

    Examples:
        >>> network = nn.Linear(3, 2, bias=False)
        >>> network.weight.data = torch.tensor([[1.0, -2.0, 0.5], [0.1, 0.2, -3.0]])
        >>> batch = torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 0.5]]), torch.tensor([0, 1])
        >>> gradient_flow(network, batch, nn.functional.cross_entropy, None, temperature=1.0)["weight"]
        tensor([[-0.0580,  0.5777, -0.0432],
                [ 0.0058,  0.0578, -0.2594]])
    """
    tempered = Tempered(loss, temperature)
    with torch.inference_mode(False), torch.enable_grad(), twice_differentiable(network):
        state = detached_state(network, mask)
        leaves = state.leaves
        batch = placed(batch, next(iter(leaves.values())))

        def summed(parts: list[Piece]) -> list[Tensor]:
            shelf = Shelf.of(leaves)
            if len(parts) == 1 and not shelf.large:
                with own_generators(network):
                    return hessian_product(network, parts[0], state, None, mask)
            with own_generators(network):  # H g needs all of g; of a large network g, its graph and H g are too much
                whole_gradient = sum_of_gradients(network, parts, state, shelf)
            direction = without_pruned(dict(zip(leaves, whole_gradient, strict=True)), mask)
            del whole_gradient
            products = partial(_sum_of_products, network, parts, state, direction, mask, shelf)
            return in_rows(leaves.values(), shelf, products)

        total = in_pieces(summed, network, batch, tempered, state, SECOND_ORDER)
    if not total:
        return {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    total.reverse()
    return {name: leaf.detach() * total.pop() for name, leaf in leaves.items()}  # each is let go, not all kept beside


def _sum_of_products(
    network: nn.Module,
    parts: list[Piece],
    state: DetachedState,
    direction: Mapping[str, Tensor],
    mask: Mask | None,
    shelf: Shelf,
    large: LargeLinears | None,
) -> list[Tensor]:
    """The products of all pieces; of large linear layers a block of rows at a time, or as torch has it."""
    total: list[Tensor] = []
    with own_generators(network):
        for piece in parts:
            shelf.tidy()
            hessian_product(network, piece, state, direction, mask, shelf, total, large)
    return total


def hessian_product(
    network: nn.Module,
    piece: Piece,
    state: DetachedState,
    direction: Mapping[str, Tensor] | None,
    mask: Mask | None,
    shelf: Shelf | None = None,
    total: list[Tensor] | None = None,
    large: LargeLinears | None = None,
) -> list[Tensor]:
    """A piece's part of the Hessian's product with a direction; nothing where its loss is linear in the weights.

    Without a direction it is the piece's gradient g: one graph serves both, and g is differentiated again rather than
    computed twice, so H and g cannot disagree. With one, of the piece's own gradient only the graph is kept. With a
    shelf the product is added to `total`, as `summed_up` does it.

    Examples:
        >>> from scratchcard.scorers.pieces import whole
        >>> network, batch = nn.Linear(2, 1, bias=False), (torch.eye(2), torch.zeros(2, 1))
        >>> state = detached_state(network)  # the loss is (a^2 + b^2) / 2
        >>> direction = {"weight": torch.tensor([[3.0, 1.0]])}
        >>> hessian_product(network, whole(batch, nn.functional.mse_loss), state, direction, None)
        [tensor([[3., 1.]])]
    """
    leaves = list(state.leaves.values())
    with nullcontext() if large is None else large.forward():
        value = piece_value(network, piece, state)
    note_reads(2 * examples(piece.inputs))
    with nullcontext() if direction is None else hollow_gradients(leaves):
        found = torch.autograd.grad(value, leaves, create_graph=True, materialize_grads=True)
    del value  # and of the forward pass what the second backward pass does not need
    gradients = dict(zip(state.leaves, found, strict=True))
    along = without_pruned(gradients, mask) if direction is None else direction
    through = {name: gradient for name, gradient in gradients.items() if gradient.requires_grad}
    if not through:
        return []
    ends = [along[name] for name in through]
    note_reads(6 * examples(piece.inputs))
    with nullcontext() if shelf is None or total is None else summed_up(leaves, total, shelf, large):
        return list(torch.autograd.grad(list(through.values()), leaves, ends, materialize_grads=True))
