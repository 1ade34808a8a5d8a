"""Passes over the data that finding a ticket is worth, against counts by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch.utils.flop_counter import FlopCounterMode

from experiments.bill import passes
from scratchcard.apply.experiment import Experiment
from scratchcard.apply.method import Method
from scratchcard.apply.pipeline import find_ticket
from scratchcard.artefacts.store import Store
from scratchcard.clock import counted_reads
from scratchcard.scorers import make_scorer
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.session import Session
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload

RECIPE = Recipe(max_steps=25, evaluation_interval=10, scoring_examples=128)


@pytest.fixture(scope="module")
def workload() -> Workload:
    return Workload("lenet_300_100", load_task("digits"), RECIPE)


def counted(workload: Workload, method: Method, *rounds: int) -> float:
    """In examples, as if the record had trained so many steps in each round."""
    record: dict[str, Any] = {"rounds": [{"steps": steps, "validation_loss": 0.1} for steps in rounds]}
    return passes(Experiment(workload, method, 0.1, 0), record) * len(workload.task.train)


def test_magnitude_and_random_read_nothing(workload: Workload) -> None:
    assert counted(workload, Method("magnitude")) == pytest.approx(0)
    assert counted(workload, Method("random")) == pytest.approx(0)


def test_snip_reads_its_batch_once_a_round(workload: Workload) -> None:
    once = 128 * 3
    assert counted(workload, Method("snip")) == pytest.approx(once)
    assert counted(workload, Method.of("snip", regime="UMS", rounds=7)) == pytest.approx(7 * once)
    less = replace(workload, recipe=replace(RECIPE, scoring_examples=32))
    assert counted(less, Method("snip")) == pytest.approx(once / 4)


def test_synflow_reads_one_input_a_round(workload: Workload) -> None:
    assert counted(workload, Method.of("synflow", regime="UMS", rounds=9)) == pytest.approx(9 * 3)


def test_scores_as_weights_are_part_of_the_search(workload: Workload) -> None:
    plain = counted(workload, Method("magnitude"))
    start = counted(workload, Method("magnitude", initial="saw", initial_scorer="snip"))
    assert start - plain == pytest.approx(128 * 3)


def test_trainings_count_their_steps_and_evaluations(workload: Workload) -> None:
    validation = len(workload.task.validation)
    trained = 3 * RECIPE.batch_size * (25 + 9 + 20) + validation * (3 + 1 + 2)
    assert counted(workload, Method.of("magnitude", regime="ISS", rounds=3), 25, 9, 20) == pytest.approx(trained)
    scored = 3 * 128 * 3
    assert counted(workload, Method.of("snip", regime="ISS", rounds=3, rewind_step=5), 25, 9, 20) == pytest.approx(
        trained + scored
    )
    shots = Method.of("snip", regime="IMS", rounds=3, shots=4, round_steps=25)
    assert counted(workload, shots, 25, 9, 20) == pytest.approx(trained + 4 * scored)


@pytest.mark.parametrize("regime", [{"regime": "EMS", "rounds": 3, "search_steps": 30}, {"regime": "ISS", "rounds": 2}])
def test_a_record_has_what_is_counted_from_an_earlier_ones_rounds(workload: Workload, regime: dict[str, Any]) -> None:
    experiment = Experiment(workload, Method.of("snip", **regime), 0.1, 0)
    record, _ = experiment.run()
    earlier = {name: value for name, value in record.items() if name != "passes"}
    assert record["passes"] == pytest.approx(passes(experiment, earlier))


def test_searches_of_one_training_evaluate_nothing(workload: Workload) -> None:
    def found(**settings: Any) -> float:
        ticket = find_ticket(workload, Method.of(**settings), 0.1, 0)
        return float(ticket.provenance["passes"]) * len(workload.task.train)

    steps, gradient = 3 * RECIPE.batch_size, 128 * 3
    early = {"scorer": "snip", "regime": "EMS", "rounds": 2, "shots": 3, "search_steps": 40}
    assert found(**early) == pytest.approx(40 * steps + 6 * gradient)
    rigl = {"regime": "RigL", "search_steps": 40, "update_steps": 10}  # two updates, and a last look
    assert found(scorer="magnitude", **rigl) == pytest.approx(40 * steps + 2 * gradient)
    assert found(scorer="snip", **rigl) == pytest.approx(40 * steps + 5 * gradient)


def test_scores_that_were_stored_are_as_dear_as_new_ones(workload: Workload, tmp_path: Path) -> None:
    experiment, session = Experiment(workload, Method("snip"), 0.1, 0), Session(store=Store(tmp_path / "shared"))
    first, _ = experiment.run(session)
    again, _ = experiment.run(session)
    assert first["passes"] == again["passes"] == pytest.approx(3 * 128 / len(workload.task.train))


@pytest.mark.parametrize("network", ["lenet_300_100", "experiments.networks.conv:small_conv"])
@pytest.mark.parametrize("scorer", ["snip", "grasp", "gauss_newton", "synflow", "synflow_l2_data", "prospr"])
def test_what_is_noted_is_what_pytorch_counts(workload: Workload, network: str, scorer: str) -> None:
    """Floating-point operations of products and convolutions, in those of one example's forward pass."""
    workload = replace(workload, network=network)
    built, batch = workload.build(0), workload.scoring_batch(0)
    with FlopCounterMode(display=False) as one:
        built(batch[0][:1])
    with FlopCounterMode(display=False) as all_of_it, counted_reads() as reads:
        make_scorer(scorer)(built, batch, workload.task.loss)
    # Noted though not needed: the gradient of the first layer's inputs. Not noted: what PyTorch takes twice.
    assert 0.6 < all_of_it.get_total_flops() / one.get_total_flops() / reads.examples < 1.4
