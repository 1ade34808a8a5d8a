"""Recalibration: statistics of batch norms from the training split alone, whatever the network takes."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

import scratchcard as sc
from scratchcard.pruning.findings import TicketWarning
from scratchcard.workloads.engines.recalibration import recalibrate
from scratchcard.workloads.task import Split


def task_of(inputs: Tensor | dict[str, Tensor], examples: int = 100) -> sc.Task:
    return sc.Task.of(inputs, torch.arange(examples) % 2, name="own")


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.9), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_statistics_are_those_of_the_training_split_without_dropout(dtype: torch.dtype) -> None:
    made, task = network().to(dtype), task_of(torch.randn(100, 3) * 7 + 2)
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    made[2].eval()  # somebody froze it
    modes = [module.training for module in made.modules()]
    recalibrate(made, task)
    with torch.no_grad():
        entering = made[0](task.train.tensor.to(dtype))
    assert made[2].running_mean.dtype == dtype
    assert torch.allclose(made[2].running_mean, entering.mean(0), rtol=1e-5, atol=1e-5)
    assert torch.allclose(made[2].running_var, entering.var(0), rtol=1e-5)
    assert [module.training for module in made.modules()] == modes
    assert made[2].momentum == 0.1
    state = made.state_dict()
    changed = {name for name, tensor in before.items() if not torch.equal(state[name], tensor)}
    assert changed == {"2.running_mean", "2.running_var", "2.num_batches_tracked"}


def test_trap_neither_validation_nor_test_is_read() -> None:
    made, task = network(), task_of(torch.randn(100, 3))
    other = Split(torch.full((5, 3), 1e6), torch.zeros(5, dtype=torch.int64))
    one, two = network(), network()
    for each, data in ((one, task), (two, dataclasses.replace(task, validation=other, test=other))):
        each.load_state_dict(made.state_dict())
        recalibrate(each, data)
    assert torch.equal(one[2].running_mean, two[2].running_mean)


def test_many_batches_of_sorted_examples_come_to_the_statistics_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scratchcard.workloads.engines.recalibration.batch_size", lambda inputs: 64)
    inputs = torch.arange(929.0)[:, None].expand(-1, 3) / 100
    task = dataclasses.replace(
        task_of(inputs, 929), train=Split(inputs[:641], torch.arange(641) % 2)
    )  # 10 batches and one example
    made = network()
    recalibrate(made, task)
    with torch.no_grad():
        entering = made[0](task.train.tensor)
    assert int(made[2].num_batches_tracked) == 11
    assert torch.allclose(made[2].running_mean, entering.mean(0), rtol=0.01, atol=0.01)
    assert torch.allclose(made[2].running_var, entering.var(0), rtol=0.05)


class Tokens(nn.Module):
    """Token embeddings by name, normalised; in training mode it returns two outputs, as Inception does."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.norm, self.last = nn.Embedding(9, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)

    def forward(self, ids: Tensor, scale: Tensor) -> Tensor:
        out: Tensor = self.last(self.norm((self.table(ids) * scale[:, None, None]).mean(1)))
        return (out, out) if self.training else out  # type: ignore[return-value]


def test_inputs_by_name_and_tokens() -> None:
    task = task_of({"ids": torch.randint(0, 9, (100, 5)), "scale": torch.rand(100)})
    made = Tokens().double().eval()
    recalibrate(made, task)
    inputs = task.train.inputs
    assert isinstance(inputs, dict)
    with torch.no_grad():
        entering = (made.table(inputs["ids"]) * inputs["scale"][:, None, None]).mean(1)
    assert torch.allclose(made.norm.running_mean, entering.mean(0), atol=1e-6)


@pytest.mark.parametrize("norm", [nn.Identity(), nn.BatchNorm1d(4, track_running_stats=False), nn.LayerNorm(4)])
def test_without_running_statistics_nothing_happens_and_one_sentence_says_so(norm: nn.Module) -> None:
    made = nn.Sequential(nn.Linear(3, 4), norm, nn.Linear(4, 2))
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    with pytest.warns(UserWarning, match="no batch norm with running statistics: recalibrating changes nothing"):
        recalibrate(made, task_of(torch.randn(100, 3)))
    assert all(torch.equal(tensor, before[name]) for name, tensor in made.state_dict().items())


def test_a_pruned_network_is_evaluated_better_after_it() -> None:
    torch.manual_seed(3)
    x = torch.randn(600, 8)
    task = sc.Task.of(x, (x[:, 0] > 0).long())
    dense = nn.Sequential(nn.Linear(8, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 2))
    workload = sc.Workload(dense, task, sc.Recipe(max_steps=200, evaluation_interval=50))
    trained, _ = sc.train(sc.prune(workload, density=1.0, method="magnitude"), workload)
    assert trained.trained is not None
    dense.load_state_dict(dict(trained.trained))
    with pytest.warns(TicketWarning, match="lie on a path"):
        ticket = sc.prune(workload, density=0.2, method="magnitude")
    plain = sc.evaluate(ticket, workload, trained=False)
    assert sc.evaluate(ticket, workload, trained=False, recalibrate=True).loss < plain.loss
    with pytest.raises(ValueError, match=r"no trained weights: train it first .* \(trained=False\)"):
        sc.evaluate(ticket, workload)
