"""What finding a ticket reads: passes over the training split."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from torch.utils.flop_counter import FlopCounterMode

from scratchcard.apply.experiment import Experiment
from scratchcard.apply.pipeline import find_ticket
from scratchcard.regimes import UMS, Iterative, OneTraining, RigL
from scratchcard.scorers.gradients import loss_gradients
from scratchcard.workloads.session import Session

STEP = 3
"""A training step's forward and backward pass, in forward passes."""


def passes(experiment: Experiment, record: Mapping[str, Any]) -> float:
    r"""Forward passes of the dense network over the training split that finding the ticket is worth.

    `(F / f + sum over trainings of (3 * batch size * steps + validation examples * evaluations)) / training examples`,
    with `F` the floating-point operations of PyTorch's products and convolutions while the network is scored, counted
    (`torch.utils.flop_counter`) as the method is run once more, RigL's gradients among them, and `f` those of one
    example's forward pass. Trainings, whose engines PyTorch cannot count, are taken from the record, and as dense ones.
    What works on scores and weights alone (matching, predictors) reads no data and is not in it: see the seconds.

    Args:
        experiment: the run; of its method only the scoring is done again.
        record: its result.
    """
    workload, method, recipe = experiment.workload, experiment.method, experiment.workload.recipe
    trained, evaluations, updates = [int(entry["steps"]) for entry in record["rounds"]], 0, 0
    network = workload.build(experiment.seed, dtype=experiment.dtype)
    batch = workload.scoring_batch(experiment.seed, dtype=experiment.dtype)
    if trained:  # scored as often at the initial weights: the products have the same shapes
        regime = method.make_regime()
        assert isinstance(regime, Iterative | OneTraining)  # noqa: S101
        rounds, schedule = len(trained) * getattr(regime, "scorings", 1), getattr(regime, "schedule", "exponential")
        method = dataclasses.replace(method, regime=UMS(rounds=rounds, schedule=schedule, scope=regime.scope))
        updates = len(regime.updates) if isinstance(regime, RigL) else 0
        if isinstance(regime, Iterative):  # searches of one training evaluate nothing
            evaluations = sum(steps // recipe.evaluation_interval for steps in trained)
    with FlopCounterMode(display=False) as counter:
        session = Session(dtype=experiment.dtype)
        find_ticket(workload, method, experiment.density, experiment.seed, session, check=False)
        for _ in range(updates):
            loss_gradients(network, batch, workload.task.loss)
    with FlopCounterMode(display=False) as once:
        network(workload.task.train.inputs[:1].to(experiment.dtype))
    examples = counter.get_total_flops() / once.get_total_flops()
    examples += STEP * recipe.batch_size * sum(trained) + len(workload.task.validation) * evaluations
    return examples / len(workload.task.train)
