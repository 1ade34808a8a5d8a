"""ProsPr: how much the loss after a few steps of training would change if the weight were removed before them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scratchcard.clock import note_reads
from scratchcard.pruning.inputs import loss_of, rows
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.scores import Scores
from scratchcard.scorers.detached_state import DetachedState, detached_state, outputs_at, own_generators, placed
from scratchcard.scorers.gradients import twice_differentiable
from scratchcard.scorers.scorer import Batch, Loss, Scorer, hand_over, without_pruned
from scratchcard.setting import setting
from scratchcard.settings import Settings


@dataclass(frozen=True)
class ProsPr(Settings, Scorer):
    """`s = |dL_K / dc|` at `c = 1`: the loss after K steps of training that begins at `w_0 = c * w`.

    With `w_k+1 = w_k - learning_rate * dL_k/dw_k`, and `L_K` at `w_K`. Alizadeh et al., "Prospect Pruning: Finding
    Trainable Weights at Initialization using Meta-Gradients", 2022, arXiv 2202.08132. The gates multiply the initial
    weights only, and the derivative goes through all K steps exactly, by second derivatives; it is `w * dL_K/dw_0`.
    Biases and normalisation parameters are trained along, but have no gates. With K = 0 it would be SNIP.

    Each step, and the loss after the last, has a part of the batch of its own: the examples in a fixed random order,
    cut into K + 1 parts. The authors take a training batch for each. Their code knows momentum, too; here there is
    none. They divide the scores by their sum, which changes no ranking. Under a mask the pruned weights stay zero in
    all steps. All steps are in memory at once, whatever the memory for scoring.

    Attributes:
        steps: K.
        learning_rate: of the steps.

    Raises:
        ValueError: fewer examples than `steps + 1`, or an operation without a second derivative.

    Examples:
        >>> network = nn.Linear(3, 2, bias=False)
        >>> network.weight.data = torch.tensor([[1.0, -2.0, 0.5], [0.1, 0.2, -3.0]])
        >>> batch = torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 0.5]]), torch.tensor([0, 1])
        >>> ProsPr(steps=1)(network, batch, nn.functional.cross_entropy).tensors["weight"]
        tensor([[5.5150e-03, 9.4709e-01, 1.2114e-01],
                [5.5150e-04, 9.4709e-02, 7.2686e-01]])
    """

    steps: int = setting(3, help="Steps of training that the derivative goes through", example=1, low=1)
    learning_rate: float = setting(0.1, help="Of these steps", example=0.5, above=0)

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        with torch.inference_mode(False), torch.enable_grad(), twice_differentiable(network), own_generators(network):
            state = detached_state(network, mask)
            leaves = list(state.leaves.values())
            *before, after = parts(placed(batch, leaves[0]), self.steps + 1)
            for other in state.others.values():
                if other.is_floating_point():
                    other.requires_grad_()
            now = state
            for part in before:
                now = stepped(network, part, loss, now, self.learning_rate, mask)
            value = loss_of(loss, outputs_at(network, after[0], now), after[1])
            note_reads(2 * len(after[1]) + sum(6 * len(targets) for _, targets in before))
            slopes = torch.autograd.grad(value, leaves, materialize_grads=True)
        named = {
            name: (leaf.detach() * slope).abs()
            for (name, leaf), slope in zip(state.leaves.items(), slopes, strict=True)
        }
        return hand_over(without_pruned(named, mask), mask, self)


def parts(batch: Batch, number: int) -> list[Batch]:
    """A batch cut into parts of about the same size, its examples in a fixed random order: its own may be of classes.

    Raises:
        ValueError: fewer examples than parts.

    Examples:
        >>> [len(targets) for _, targets in parts((torch.ones(7, 2), torch.arange(7)), 3)]
        [3, 2, 2]
    """
    held = len(batch[1])
    if held < number:
        raise ValueError(
            f"prospr with {number - 1} steps needs {number} examples at least, one for each step and one for the loss "
            f"after them; the scoring batch has {held}"
        )
    order = torch.randperm(held, generator=torch.Generator().manual_seed(0)).to(batch[1].device)
    return [(rows(batch[0], places), batch[1][places]) for places in torch.tensor_split(order, number)]


def stepped(
    network: nn.Module, batch: Batch, loss: Loss, state: DetachedState, learning_rate: float, mask: Mask | None
) -> DetachedState:
    """The state after a step of plain gradient descent, with the graph of all that led to it.

    Examples:
        >>> network = nn.Linear(1, 1, bias=False)
        >>> _ = network.weight.data.fill_(2.0)
        >>> batch = torch.ones(1, 1), torch.zeros(1, 1)  # the loss is w^2, its slope 4
        >>> stepped(network, batch, nn.functional.mse_loss, detached_state(network), 0.25, None).leaves["weight"]
        tensor([[1.]], grad_fn=<SubBackward0>)
    """
    value = loss_of(loss, outputs_at(network, batch[0], state), batch[1])
    free = state.leaves | {name: other for name, other in state.others.items() if other.requires_grad}
    note_reads(2 * len(batch[1]))
    slopes = torch.autograd.grad(value, list(free.values()), create_graph=True, materialize_grads=True)
    moved: dict[str, Tensor] = {}
    for (name, tensor), slope in zip(free.items(), slopes, strict=True):
        held = mask.tensors[name].to(slope.device) if mask is not None and name in mask.tensors else None
        moved[name] = tensor - learning_rate * (slope if held is None else slope.masked_fill(~held, 0))
    leaves = {name: moved[name] for name in state.leaves}
    return state._replace(leaves=leaves, others=state.others | {n: t for n, t in moved.items() if n not in leaves})
