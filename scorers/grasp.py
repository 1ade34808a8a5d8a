"""GraSP: how much the weight helps the gradient flow; and its absolute value."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from scratchcard.pruning.mask import Mask
from scratchcard.pruning.scores import Scores
from scratchcard.scorers.gradients import loss_gradients, own_generators, twice_differentiable
from scratchcard.scorers.scorer import Batch, Loss, hand_over, without_pruned


@dataclass(frozen=True)
class GraSP:
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
    """

    temperature: float = 200.0

    def __post_init__(self) -> None:
        check_temperature(self.temperature)

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        return hand_over(gradient_flow(network, batch, loss, mask, self.temperature), mask, self)


@dataclass(frozen=True)
class GraSPAbs:
    """`s = |w * (H g)|`: keeps what changes the gradient flow most, in either direction.

    Attributes:
        temperature: as in `GraSP`.

    Raises:
        ValueError: a temperature that is not positive.
    """

    temperature: float = 200.0

    def __post_init__(self) -> None:
        check_temperature(self.temperature)

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        flow = gradient_flow(network, batch, loss, mask, self.temperature)
        return hand_over({name: tensor.abs() for name, tensor in flow.items()}, mask, self)


def check_temperature(temperature: float) -> None:
    """Refuse a temperature that is not positive and finite."""
    if not 0.0 < temperature < float("inf"):
        raise ValueError(f"temperature must be positive, got {temperature}: it divides the logits; GraSP uses 200")


def gradient_flow(
    network: nn.Module, batch: Batch, loss: Loss, mask: Mask | None, temperature: float
) -> dict[str, Tensor]:
    """`w * (H g)` by weight name, at `w * mask` and with `g` restricted to kept weights.

    Raises:
        ValueError: what `loss_gradients` raises, or an operation without a second derivative.
    """

    def tempered(outputs: Tensor, targets: Tensor) -> Tensor:
        return loss(tree_map_only(Tensor, lambda logits: logits / temperature, outputs), targets)

    # One graph serves both: g is differentiated again rather than computed twice, so H and g cannot disagree.
    with twice_differentiable(network):
        weights, gradients, _ = loss_gradients(network, batch, tempered, mask, create_graph=True)
        direction = without_pruned(gradients, mask)
        with torch.inference_mode(False), torch.enable_grad(), own_generators(network):
            through = {name: gradient for name, gradient in gradients.items() if gradient.requires_grad}
            if not through:  # a loss that is linear in the weights: H = 0
                return {name: torch.zeros_like(weight) for name, weight in weights.items()}
            products = torch.autograd.grad(
                list(through.values()),
                list(weights.values()),
                grad_outputs=[direction[name] for name in through],
                materialize_grads=True,
            )
    return {name: weight.detach() * product for (name, weight), product in zip(weights.items(), products, strict=True)}
