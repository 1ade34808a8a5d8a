"""GaussNewton: the size that a weight would have after one Gauss-Newton step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scratchcard.pruning.inputs import rows
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.scores import Scores
from scratchcard.scorers.detached_state import detached_state, placed
from scratchcard.scorers.gradients import twice_differentiable
from scratchcard.scorers.linearised import linearised, passes_of
from scratchcard.scorers.pieces import Piece, in_pieces
from scratchcard.scorers.scorer import Batch, Loss, Scorer, hand_over
from scratchcard.scorers.shelf import Shelf
from scratchcard.setting import setting
from scratchcard.settings import Settings

Product = Callable[[list[Tensor], list[Tensor]], None]


@dataclass(frozen=True)
class GaussNewton(Settings, Scorer):
    r"""`s = |w + d|`, where `d` minimises the loss of the network linearised at its weights.

    `d` solves `(G + damping * I) d = -g` approximately, by `steps` iterations of conjugate gradients from 0. `g` is
    the gradient of the batch's mean loss and `G = (1/n) sum_i J_i^T H_i J_i` the Gauss-Newton matrix, `J_i` the
    Jacobian of example i's outputs, `H_i` the Hessian of its loss in the outputs (Schraudolph, "Fast Curvature
    Matrix-Vector Products", 2002; Martens, "Deep Learning via Hessian-free Optimization", 2010). Biases and
    normalisation parameters move along, but have no score. All is restricted to kept weights.

    Iterative magnitude pruning keeps what is large *after* training. Here the training is that of the linearised
    network, to second order and in one step, and no weight is moved: a criterion of the untrained network like any
    other. To be used in several rounds: each linearises the network that the last one left.

    In one piece it costs a forward pass, a backward pass, and two backward passes an iteration. Of a batch in pieces
    (`scoring_memory`) and of a large network no graph is kept: an iteration takes a forward pass with derivatives in
    forward mode, a forward and a backward pass.

    Attributes:
        steps: of conjugate gradients.
        damping: added to the diagonal of G.
        examples: of the batch, at most so many, evenly spread over it.

    Raises:
        ValueError: no steps or examples, or a negative damping.

    Examples:
        >>> network = nn.Linear(3, 2, bias=False)
        >>> network.weight.data = torch.tensor([[1.0, -2.0, 0.5], [0.1, 0.2, -3.0]])
        >>> batch = torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 0.5]]), torch.tensor([0, 1])
        >>> GaussNewton(steps=1)(network, batch, nn.functional.cross_entropy).tensors["weight"]
        tensor([[2.6802, 0.6864, 0.1630],
                [1.5802, 2.4864, 2.6630]])
    """

    steps: int = setting(3, help="Steps of conjugate gradients", example=5, low=1)
    damping: float = setting(1e-3, help="Added to the diagonal of the Gauss-Newton matrix", example=0.01, low=0)
    examples: int = setting(
        400, help="Of the scoring batch, at most so many, evenly spread over it", example=1000, low=1
    )

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        batch = spread(batch, self.examples)
        weights, step = gauss_newton_step(network, batch, loss, mask, steps=self.steps, damping=self.damping)
        return hand_over({name: (weights[name] + step[name]).abs() for name in weights}, mask, self)


def spread(batch: Batch, examples: int) -> Batch:
    """At most so many examples, evenly spread over the batch, whose order may be that of classes.

    Examples:
        >>> inputs, targets = spread((torch.arange(10.0)[:, None], torch.arange(10)), 4)
        >>> targets
        tensor([0, 2, 5, 7])
    """
    held = len(batch[1])
    if held <= examples:
        return batch
    places = torch.arange(examples, device=batch[1].device) * held // examples
    return rows(batch[0], places), batch[1][places]


def gauss_newton_step(
    network: nn.Module,
    batch: Batch,
    loss: Loss,
    mask: Mask | None = None,
    *,
    steps: int = 3,
    damping: float = 1e-3,
    watched: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """`w * mask` and the step `d` from it by weight name; see `GaussNewton`. The network is left as it was.

    Args:
        network, batch, loss, mask: as a scorer's.
        steps, damping: as of `GaussNewton`.
        watched: entered around one pass of the whole batch, forward and backward with the gradient of the loss; not
            where the batch goes in pieces, anew where it turns out not to fit.

    Raises:
        ValueError: nothing to prune, a mask of another layout, or an operation without a second derivative.

    Examples:
        >>> network = nn.Linear(3, 2, bias=False)
        >>> network.weight.data = torch.tensor([[1.0, -2.0, 0.5], [0.1, 0.2, -3.0]])
        >>> batch = torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 0.5]]), torch.tensor([0, 1])
        >>> weights, step = gauss_newton_step(network, batch, nn.functional.cross_entropy, steps=1)
        >>> step["weight"]
        tensor([[ 1.6802,  2.6864, -0.3370],
                [-1.6802, -2.6864,  0.3370]])
    """
    with torch.inference_mode(False), torch.enable_grad(), twice_differentiable(network):
        state = detached_state(network, mask)
        leaves = state.leaves
        batch = placed(batch, next(iter(leaves.values())))
        moving = [other.requires_grad_() for other in state.others.values() if other.is_floating_point()]
        free = [*leaves.values(), *moving]
        shelf = Shelf.of(leaves)
        # As numbers: a product in place is many times as fast as filling by truth values.
        keeps = [None if mask is None else shelf.kept(mask.tensors[name].to(leaf)) for name, leaf in leaves.items()]
        keeps += [None] * len(moving)

        def solved(parts: list[Piece]) -> list[Tensor]:
            made = linearised(network, parts, state, free, shelf, watched)

            def restrict(found: list[Tensor]) -> None:
                for own, kept in zip(found, keeps, strict=True):
                    if kept is not None:
                        own.mul_(kept)
                shelf.tidy()

            def product(vector: list[Tensor], found: list[Tensor]) -> None:
                made.product(vector, found)
                restrict(found)

            right = [shelf.kept(_zeros(tensor)) for tensor in free]
            made.gradient(right)
            restrict(right)
            for tensor in right:
                tensor.neg_()
            return conjugate_gradients(product, right, steps, shelf, damping)

        found = in_pieces(solved, network, batch, loss, state, passes_of(shelf))
    return {name: leaf.detach() for name, leaf in leaves.items()}, dict(zip(leaves, found, strict=False))


def conjugate_gradients(
    product: Product, right: list[Tensor], steps: int, shelf: Shelf, damping: float = 0.0
) -> list[Tensor]:
    """`x` after so many iterations towards `(A + damping I) x = right`, from 0; A positive semi-definite.

    Ends earlier where nothing is left, or where there is no curvature along the direction. All is done in the same few
    tensors, `right` among them, which lie on the shelf.

    Args:
        product: called with v and with what to put `A v` into.
        right: overwritten.
        steps, damping: as of `GaussNewton`.
        shelf: of the network.

    Examples:
        >>> matrix = torch.tensor([[2.0, 0.0], [0.0, 4.0]])
        >>> def product(vector, found):
        ...     found[0].copy_(matrix @ vector[0])
        >>> conjugate_gradients(product, [torch.tensor([2.0, 2.0])], steps=2, shelf=Shelf(2))
        [tensor([1.0000, 0.5000])]
    """
    rest, towards = right, [shelf.kept(part) for part in right]
    found, image = ([shelf.kept(_zeros(part)) for part in right] for _ in range(2))

    def dot(left: list[Tensor], right: list[Tensor]) -> float:
        return sum(shelf.dot(one, other) for one, other in zip(left, right, strict=True))

    left = dot(rest, rest)
    for step in range(1, steps + 1):
        if left <= 0.0:
            break
        shelf.tidy()
        product(towards, image)
        for own, part in zip(image, towards, strict=True):
            shelf.add(own, part, damping)
        curvature = dot(towards, image)
        if curvature <= 0.0:
            break
        length = left / curvature
        for own, part in zip(found, towards, strict=True):
            shelf.add(own, part, length)
        if step == steps:
            break
        shelf.tidy(heap=False)
        for own, part in zip(rest, image, strict=True):
            shelf.add(own, part, -length)
        now = dot(rest, rest)
        for own, part in zip(towards, rest, strict=True):
            own.mul_(now / left)
            shelf.add(own, part)
        left = now
    return found


def _zeros(like: Tensor) -> Tensor:
    """Of its shape, in a single number's memory."""
    return like.new_zeros(()).expand(like.shape)
