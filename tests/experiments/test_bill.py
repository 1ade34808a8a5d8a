"""Passes over the data that finding a ticket is worth, against counts by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from experiments.bill import passes
from scratchcard.apply.experiment import Experiment
from scratchcard.apply.method import Method
from scratchcard.pruning.parameters import prunable
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload

BUILT = 2
"""Examples that a workload looks at to check the network that it builds."""
RECIPE = Recipe(max_steps=25, evaluation_interval=10, scoring_examples=128)


@pytest.fixture(scope="module")
def workload() -> Workload:
    return Workload("lenet_300_100", load_task("digits"), RECIPE)


def counted(workload: Workload, method: Method, *rounds: int) -> float:
    """In examples beyond those of building, as if the record had trained so many steps in each round."""
    record: dict[str, Any] = {"rounds": [{"steps": steps} for steps in rounds]}
    return passes(Experiment(workload, method, 0.1, 0), record) * len(workload.task.train) - BUILT


def backward(workload: Workload) -> float:
    """Of a gradient with respect to the weights, in forward passes: the first layer's inputs need none."""
    sizes = [weight.numel() for weight in prunable(workload.build(0)).values()]
    return (2 * sum(sizes) - sizes[0]) / sum(sizes)


def test_magnitude_and_random_read_nothing(workload: Workload) -> None:
    assert counted(workload, Method("magnitude")) == pytest.approx(0)
    assert counted(workload, Method("random")) == pytest.approx(0)


def test_snip_reads_its_batch_once_a_round(workload: Workload) -> None:
    once = 128 * (1 + backward(workload))
    assert counted(workload, Method("snip")) == pytest.approx(once)
    assert counted(workload, Method.of("snip", regime="UMS", rounds=7)) == pytest.approx(7 * once)
    less = replace(workload, recipe=replace(RECIPE, scoring_examples=32))
    assert counted(less, Method("snip")) == pytest.approx(once / 4)


def test_synflow_reads_one_input_a_round(workload: Workload) -> None:
    # The linearised network is differentiated at its inputs too.
    assert counted(workload, Method.of("synflow", regime="UMS", rounds=9)) == pytest.approx(9 * 3)


def test_scores_as_weights_are_part_of_the_search(workload: Workload) -> None:
    plain = counted(workload, Method("magnitude"))
    start = counted(workload, Method("magnitude", initial="saw", initial_scorer="snip"))
    assert start - plain == pytest.approx(128 * (1 + backward(workload)))


def test_trainings_count_their_steps_and_evaluations(workload: Workload) -> None:
    validation = len(workload.task.validation)
    trained = 3 * RECIPE.batch_size * (25 + 9 + 20) + validation * (2 + 0 + 2)
    assert counted(workload, Method.of("magnitude", regime="ISS", rounds=3), 25, 9, 20) == pytest.approx(trained)
    scored = 3 * 128 * (1 + backward(workload))
    assert counted(workload, Method.of("snip", regime="ISS", rounds=3, rewind_step=5), 25, 9, 20) == pytest.approx(
        trained + scored
    )
    shots = Method.of("snip", regime="IMS", rounds=3, shots=4, round_steps=25)
    assert counted(workload, shots, 25, 9, 20) == pytest.approx(trained + 4 * scored)


def test_searches_of_one_training_evaluate_nothing(workload: Workload) -> None:
    steps, gradient = 3 * RECIPE.batch_size, 128 * (1 + backward(workload))
    early = Method.of("snip", regime="EMS", rounds=2, shots=3, search_steps=40)
    assert counted(workload, early, 20, 20) == pytest.approx(40 * steps + 6 * gradient)
    rigl = {"regime": "RigL", "search_steps": 40, "update_steps": 10}  # two updates, and a last look
    assert counted(workload, Method.of("magnitude", **rigl), 10, 10, 20) == pytest.approx(40 * steps + 2 * gradient)
    assert counted(workload, Method.of("snip", **rigl), 10, 10, 20) == pytest.approx(40 * steps + 5 * gradient)


def test_a_convolution_counts_as_often_as_it_is_applied(workload: Workload) -> None:
    conv = replace(workload, network="experiments.networks.conv:small_conv")
    sizes = [1 * 16 * 9 * 64, 16 * 32 * 9 * 64, 512 * 64, 64 * 10]  # products at 8 x 8 places
    assert counted(conv, Method("snip")) == pytest.approx(128 * (3 - sizes[0] / sum(sizes)))
