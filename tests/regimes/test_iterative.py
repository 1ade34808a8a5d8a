"""ISS and IMS: rewinding, nesting, resuming round by round."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pruning.mask import keep_top
from pruning.scores import Scores
from regimes import Iterative
from scorers import make_scorer
from workloads.tasks import load_task
from workloads.training import Recipe, train
from workloads.workload import Workload


@pytest.fixture(scope="module")
def workload() -> Workload:
    return Workload("lenet_300_100", load_task("digits"), Recipe(max_steps=60, evaluation_interval=20))


def test_one_round_of_imp_by_hand(workload: Workload) -> None:
    found = Iterative(rounds=1).find(workload, make_scorer("magnitude"), 0.1, seed=4)
    network = workload.build(4)
    train(network, workload.task, workload.recipe, seed=4)
    scores = {n: p.detach().abs() for n, p in network.named_parameters() if n.endswith("weight")}
    assert found.mask == keep_top(Scores(scores, "by hand"), 0.1, seed=4)
    # The ticket starts from the initialisation, not from what training left.
    for name, tensor in workload.build(4).state_dict().items():
        assert torch.equal(found.start[name], tensor)


@pytest.mark.parametrize(("shots", "scorer"), [(1, "magnitude"), (4, "synflow"), (3, "snip")])
def test_masks_are_nested_and_counts_exact(workload: Workload, shots: int, scorer: str) -> None:
    found = Iterative(rounds=3, shots=shots).find(workload, make_scorer(scorer), 0.02, seed=0)
    for number in range(1, 4):
        assert found.mask_after(number).kept == round(found.densities[number - 1] * found.mask.total)
        assert found.mask_after(number - 1).contains(found.mask_after(number))
    assert found.mask.kept == round(0.02 * found.mask.total)
    assert len(found.training) == 3


def test_rewinding_to_an_early_step(workload: Workload) -> None:
    found = Iterative(rounds=2, rewind_step=10).find(workload, make_scorer("magnitude"), 0.1, seed=0)
    network = workload.build(0)
    record = train(network, workload.task, workload.recipe, seed=0, snapshot_steps=(10,))
    early = record.snapshots[10]
    initial = workload.build(0).state_dict()
    assert any(not torch.equal(found.start[name], initial[name]) for name in initial)
    for name, tensor in early.items():
        assert torch.equal(found.start[name], tensor)


def test_a_rewind_step_after_the_end_is_refused(workload: Workload) -> None:
    with pytest.raises(ValueError, match="cannot rewind to step 5000"):
        Iterative(rounds=2, rewind_step=5000).find(workload, make_scorer("magnitude"), 0.1, seed=0)


class Killed(Exception):
    pass


def kill_in(round_: int, max_steps: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done > (round_ - 1) * max_steps:
            raise Killed

    return progress


@pytest.mark.parametrize("rewind_step", [0, 10])
def test_a_killed_search_goes_on_where_it_stopped(
    workload: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rewind_step: int
) -> None:
    regime = Iterative(rounds=3, rewind_step=rewind_step)
    whole = regime.find(workload, make_scorer("magnitude"), 0.05, seed=0)
    with pytest.raises(Killed):
        regime.find(workload, make_scorer("magnitude"), 0.05, seed=0, directory=tmp_path, progress=kill_in(3, 60))
    trained: list[Any] = []

    def counted(*args: Any, **kwargs: Any) -> Any:
        trained.append(kwargs.get("mask"))
        return train(*args, **kwargs)

    monkeypatch.setattr("regimes.iterative.train", counted)
    resumed = regime.find(workload, make_scorer("magnitude"), 0.05, seed=0, directory=tmp_path)
    assert len(trained) == 1
    assert resumed.mask == whole.mask
    assert all(torch.equal(resumed.start[n], whole.start[n]) for n in whole.start)
    for name, tensor in whole.scores.tensors.items():
        assert torch.equal(resumed.scores.tensors[name], tensor)
    # A finished search is only read.
    again = regime.find(workload, make_scorer("magnitude"), 0.05, seed=0, directory=tmp_path)
    assert len(trained) == 1
    assert again.mask == whole.mask


def test_a_folder_of_another_search_is_refused(workload: Workload, tmp_path: Path) -> None:
    regime = Iterative(rounds=1)
    regime.find(workload, make_scorer("magnitude"), 0.05, seed=0, directory=tmp_path)
    with pytest.raises(ValueError, match="another search"):
        regime.find(workload, make_scorer("magnitude"), 0.06, seed=0, directory=tmp_path)
    with pytest.raises(ValueError, match="another search"):
        regime.find(workload, make_scorer("magnitude"), 0.05, seed=1, directory=tmp_path)


def test_a_truncated_round_file_is_refused_in_one_sentence(workload: Workload, tmp_path: Path) -> None:
    regime = Iterative(rounds=1)
    regime.find(workload, make_scorer("magnitude"), 0.05, seed=0, directory=tmp_path)
    file = tmp_path / "rounds.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match="damaged"):
        regime.find(workload, make_scorer("magnitude"), 0.05, seed=0, directory=tmp_path)


def test_another_data_order_gives_another_ticket_of_the_same_initialisation(workload: Workload) -> None:
    regime = Iterative(rounds=2)
    one = regime.find(workload, make_scorer("magnitude"), 0.05, seed=0)
    other = regime.find(workload, make_scorer("magnitude"), 0.05, seed=0, data_seed=9)
    assert all(torch.equal(one.start[n], other.start[n]) for n in one.start)
    assert one.mask != other.mask
    assert (one.mask & other.mask).kept > 0.3 * one.mask.kept


def test_the_given_network_comes_back_as_it_was(workload: Workload) -> None:
    network = workload.build(0)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    Iterative(rounds=1).find(workload, make_scorer("magnitude"), 0.1, seed=0, network=network)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("density", [0.9999, 0.999, 1.0])
def test_densities_so_high_that_rounds_keep_the_same_count(workload: Workload, density: float) -> None:
    found = Iterative(rounds=6).find(workload, make_scorer("magnitude"), density, seed=0)
    assert found.mask.kept == round(density * found.mask.total)
