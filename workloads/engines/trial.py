"""Trial: whether an engine computes what a network computes, found out by one step of both."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from scratchcard.pruning.inputs import rows
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.state import copied_module
from scratchcard.words import said
from scratchcard.workloads.engines.autograd import AutogradEngine
from scratchcard.workloads.engines.engine import Engine, State, seeded
from scratchcard.workloads.objective import Objective
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.task import Split

EXAMPLES = 16
TOLERANCE = 0.01
"""Relative, of losses and of the whole step: far above rounding, far below what another network's step differs by.
Where numbers are coarser (bfloat16), 16 times their rounding."""


def first_examples(split: Split) -> Split:
    """The few examples that a trial is made with.

    Examples:
        >>> len(first_examples(Split(torch.rand(50, 4), torch.arange(50) % 2)))
        16
    """
    few = slice(0, EXAMPLES)
    return dataclasses.replace(split, inputs=rows(split.inputs, few), targets=split.targets[few])


def differs(
    network: nn.Module,
    mask: Mask | None,
    objective: Objective,
    examples: Split,
    make: Callable[[Recipe], tuple[Engine, Split, Callable[[State], State]]],
) -> str:
    """What an engine does otherwise than the network itself, in words; empty where they agree.

    Compared are the validation loss of a few examples, the training loss of the same, and the step of plain SGD on
    them, all parameters together. Both are done on copies without dropout, whose random numbers an engine may draw in
    another order. Where the network's own loss is no number, nothing is compared.

    Args:
        network: as it is trained, with its pruned weights at zero.
        mask: of it.
        objective: its loss is compared.
        examples: a few, in the network's dtype and on its device.
        make: the engine for a recipe, the same examples as it takes them, and from its state to the network's.

    Examples:
        >>> from scratchcard.workloads.engines.perceptron import PerceptronEngine
        >>> network, examples = nn.Sequential(nn.Linear(2, 2)), Split(torch.eye(2), torch.tensor([0, 1]))
        >>> def make(recipe):
        ...     engine = PerceptronEngine([network], [None], sc.Classification(), recipe, examples)
        ...     return engine, examples, lambda state: state
        >>> differs(network, None, sc.Classification(), examples, make)
        ''
        >>> _ = network[0].weight.data.fill_diagonal_(9.0)
        >>> more = nn.Sequential(network[0], nn.Tanh())  # than the engine knows of
        >>> differs(more, None, sc.Classification(), examples, make)[:35]
        'it finds another loss in evaluation'
    """
    count = len(examples)
    recipe = Recipe(learning_rate=1.0, batch_size=count, max_steps=1, evaluation_interval=1)
    alone = without_dropout(copied_module(network))
    tested, trained, wanted = _stepped(AutogradEngine(alone, mask, objective, recipe, examples), examples)
    try:
        engine, prepared, full = make(recipe)
        other_tested, other_trained, state = _stepped(engine, prepared)
        stepped = full(state)
    except Exception as error:  # a foreign network can raise anything where its layers are not what they were
        return f"it raised {said(error)}"
    if not math.isfinite(tested) or not math.isfinite(trained):
        return ""
    coarse = max(torch.finfo(p.dtype).eps for p in network.parameters() if p.is_floating_point())
    tolerance = max(TOLERANCE, 16 * coarse)
    if not math.isclose(tested, other_tested, rel_tol=tolerance, abs_tol=1e-5):
        return f"it finds another loss in evaluation, {other_tested:.6g}, not {tested:.6g}"
    if not math.isclose(trained, other_trained, rel_tol=tolerance, abs_tol=1e-5):
        return f"it finds another loss in training, {other_trained:.6g}, not {trained:.6g}"
    before = {name: parameter.detach() for name, parameter in network.named_parameters()}
    step, away = (
        _norm([_of(one, name, start) - _of(two, name, start) for name, start in before.items()])
        for one, two in ((wanted, before), (wanted, stepped))
    )
    if math.isfinite(step) and not away <= tolerance * step + 1e-6 * _norm(list(before.values())):
        return f"its step differs by {away / step if step else math.inf:.2g} of the step"
    return ""


def _stepped(engine: Engine, split: Split) -> tuple[float, float, State]:
    """Loss in evaluation, loss in training, and the state after a step on all examples."""
    with seeded(0, split.targets.device):
        tested = engine.evaluate(split)[0].loss
        trained = float(engine.run(torch.arange(len(split)).reshape(1, 1, -1)))
        return tested, trained, engine.state()


def without_dropout(network: nn.Module) -> nn.Module:
    """The network, with all its dropout layers dropping nothing.

    Examples:
        >>> without_dropout(nn.Dropout(0.5)).p
        0.0
    """
    for module in network.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    return network


def _of(state: State, name: str, like: Tensor) -> Tensor:
    return state[name].to(like.device, torch.float64)


def _norm(tensors: list[Tensor]) -> float:
    return math.sqrt(sum(float(tensor.double().square().sum()) for tensor in tensors))
