"""The public door: one's own network on one's own data, in Python, on the command line, in a grid and in a build."""

from __future__ import annotations

import contextlib
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_diabetes
from sklearn.metrics import r2_score
from torch import Tensor, nn

import scratchcard as sc
from scratchcard.apply.experiment import Experiment
from scratchcard.apply.pipeline import find_ticket
from scratchcard.apply.predicted import OutsideWarning
from scratchcard.dataset_builder.build import Recording, build
from scratchcard.pruning.findings import TicketWarning
from scratchcard.pruning.inputs import Inputs, forward
from scratchcard.pruning.ticket import Ticket
from scratchcard.sweeps.grid import read_grid
from scratchcard.sweeps.run_grid import run_grid
from tests.frontends.calls import as_json, refused

IMP = Recording.of(regime="ISS", scorer="magnitude", density=0.2, rounds=2)
RECIPE = sc.Recipe(max_steps=60, evaluation_interval=20, batch_size=32)

CODE = """
import numpy as np, torch
from torch import nn
import scratchcard as sc

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(8, 20), nn.Linear(20, 3)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)))

def net(): return Net()

def data(data_dir=None):
    held = np.load("arrays.npz")
    return sc.Task.of(held["train_inputs"], held["train_targets"])
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of the user's own in the working folder, beside a file of arrays."""
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(300, 8)).astype(np.float32)
    np.savez(tmp_path / "arrays.npz", train_inputs=inputs, train_targets=inputs[:, :3].argmax(1))
    (tmp_path / "mynets.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(importlib.sys.modules, "mynets", raising=False)  # type: ignore[attr-defined]
    return importlib.import_module("mynets")


def test_ones_own_network_and_tensors_in_python_the_command_line_a_grid_and_a_build(own: Any, tmp_path: Path) -> None:
    network, held = own.Net(), np.load("arrays.npz")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    task = sc.Task.of(held["train_inputs"], held["train_targets"])
    ticket = sc.prune(network, task, density=0.2, recipe=RECIPE)
    trained, record = sc.train(ticket, network, task)
    found = sc.evaluate(trained, network, task)
    assert ticket.mask.kept == round(0.2 * (8 * 20 + 20 * 3))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(torch.equal(ticket.initial[name], before[name]) for name in before)
    assert record.steps == 60  # the recipe is the ticket's
    assert found.accuracy > 0.5
    assert ticket.provenance["workload"]["network"] == "mynets:Net"
    ticket.save("ticket.safetensors")

    # The command line goes on with the same ticket, and comes to the same.
    places = ("--network", "mynets:net", "--task", "tensors:arrays.npz")
    as_json("train", "ticket.safetensors", *places)
    evaluated = as_json("evaluate", "ticket.safetensors", *places)
    assert evaluated["accuracy"] == found.accuracy
    same = Ticket.load("ticket.safetensors")
    assert same.trained is not None
    assert trained.trained is not None
    assert all(torch.equal(same.trained[name], tensor) for name, tensor in trained.trained.items())
    as_json("evaluate", "ticket.safetensors", "--network", "mynets:Net", "--task", "mynets:data")
    save_file(before, "init.safetensors")
    fast = ("--max-steps", 60, "--evaluation-interval", 20, "--batch-size", 32)
    method = ("--scorer", "synflow_l2_data", "--regime", "UMS", "--density", 0.2)
    as_json("prune", *places, *method, *fast, "--weights", "init.safetensors", "--out", "again.safetensors")
    again = Ticket.load("again.safetensors")
    assert again.mask == ticket.mask
    # And says what to do where something is missing.
    assert "code of your own: name it with --network" in refused("train", "ticket.safetensors")
    assert "with --task" in refused("train", "ticket.safetensors", "--network", "mynets:net")

    # A grid names the same network and data.
    (tmp_path / "grid.toml").write_text(
        'name = "own"\ntitle = "Own"\ndensities = [0.2]\nseeds = "1"\n[workload]\ntask = "tensors:arrays.npz"\n'
        'network = "mynets:net"\nrecipe = { max_steps = 60, evaluation_interval = 20, batch_size = 32 }\n'
        '[[methods]]\nscorer = ["snip", "magnitude"]\nregime = "USS"\n'
    )
    grid = read_grid("grid.toml", tmp_path / "results")
    assert {run.workload.task.name for run in grid.experiments} == {"tensors:arrays.npz"}
    run_grid(grid, tmp_path / "results")
    records = [json.loads(path.read_text()) for path in (tmp_path / "results").glob("[!.]*.json")]
    found_records = [record for record in records if "test_accuracy" in record]
    assert len(found_records) == 2
    assert all(record["configuration"]["workload"]["data_digest"] == task.digest for record in found_records)

    # And so does a build with two jobs.
    workload = sc.Workload("mynets:net", sc.load_task("tensors:arrays.npz"), RECIPE)
    table = build(workload, [1, 2], tmp_path / "table", IMP, jobs=2)
    assert table.seeds == {"net-arrays": (1, 2)}
    with pytest.raises(ValueError, match=r"with fixed weights \(mynets:Net\) all seeds are the same network"):
        build(sc.Workload(network, task, RECIPE), [1, 2], tmp_path / "other")
    module = sc.Workload(network, task, RECIPE)
    one = build(module, [1], tmp_path / "module", IMP)
    assert one.rows == 220


def test_the_default_is_the_best_fixed_criterion_and_the_old_calls_go_on() -> None:
    workload = sc.Workload("lenet_300_100", sc.load_task("digits"), RECIPE)
    snip = sc.prune(workload, sc.Method("snip"), 0.1, seed=3)
    assert snip.mask == find_ticket(workload, sc.Method("snip"), 0.1, 3).mask
    assert snip.mask == sc.prune(workload, density=0.1, seed=3, method=sc.Method("snip")).mask
    assert snip.mask == sc.prune("lenet_300_100", "digits", 0.1, 3, method=sc.Method("snip"), recipe=RECIPE).mask
    assert sc.prune(workload, density=0.1, seed=3).provenance["method"] == sc.Method.of().describe()
    with pytest.warns(OutsideWarning):
        shipped = sc.prune(workload, density=0.02, method="policy").provenance["method"]
    assert (shipped["scorer"], shipped["predictor"], shipped["regime"]) == ("predicted", "policy", "UMS")
    trained, _ = sc.train(snip, workload, 5)
    assert trained.provenance["training"]["data_seed"] == 5
    trained, _ = sc.train(snip, workload)
    assert trained.provenance["training"]["data_seed"] == 3
    assert sc.evaluate(trained, workload, "validation").examples == 180


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda n, t: sc.prune(n), "the task is NoneType, expected a Task"),
        (lambda n, t: sc.prune(t, t), "the network is Task, expected a torch.nn.Module"),
        (lambda n, t: sc.prune(sc.Workload(n, t), t), "a workload has its task"),
        (lambda n, t: sc.prune(sc.Workload(n, t), "snip"), r"sc\.prune\(workload, method='snip', density=0\.05\)"),
        (lambda n, t: sc.prune(n, t, method=3), "cannot be a method's scorer: expected a registered name"),
        (lambda n, t: sc.prune(n, t, method="snap"), "unknown scorer 'snap'"),
        (lambda n, t: sc.prune(n, sc.Method("snip"), method="snip"), "two methods"),
    ],
)
def test_what_does_not_go_together_is_said(call: Any, message: str) -> None:
    task = sc.Task.of(torch.randn(40, 4), torch.arange(40) % 2)
    with pytest.raises(ValueError, match=message):
        call(nn.Linear(4, 2), task)


class Bag(nn.Module):
    """Mean of token embeddings, two layers."""

    def __init__(self, entries: int, outputs: int) -> None:
        super().__init__()
        self.table, self.hidden, self.last = nn.Embedding(entries, 8), nn.Linear(8, 16), nn.Linear(16, outputs)

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits; `mask` holds ones where a token counts."""
        held = self.table(ids)
        mean = held.mean(1) if mask is None else (held * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return self.last(torch.relu(self.hidden(mean)))


def texts(named: bool) -> sc.Task:
    """Texts of 12 tokens out of 30; their class is whether token 0 or token 1 is more frequent."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 30, (600, 12), generator=generator)
    targets = torch.arange(600) % 2
    ids[:, :4] = targets[:, None]
    inputs: Inputs = {"ids": ids, "mask": torch.ones(600, 12)} if named else ids
    return sc.Task.of(inputs, targets, name="texts")


@pytest.mark.parametrize("method", ["snip", "grasp", "magnitude", "gauss_newton", "synflow", "synflow_l2_data"])
@pytest.mark.parametrize("named", [False, True])
def test_tokens_and_several_inputs_are_pruned_and_trained(named: bool, method: str) -> None:
    torch.manual_seed(1)
    task, network = texts(named), Bag(30, 2)
    odd = pytest.warns(TicketWarning, match=r"nothing is kept of hidden\.weight|lie on a path")
    with odd if method in ("magnitude", "gauss_newton") else contextlib.nullcontext():
        ticket = sc.prune(network, task, density=0.3, method=method, recipe=RECIPE)
    trained, record = sc.train(ticket, network, task)
    assert not record.diverged
    assert sc.evaluate(trained, network, task).examples == 120
    run, _ = Experiment(sc.Workload(network, task, RECIPE), sc.Method(method), 0.3, 1).run()
    # The embedding's weights are far larger than the layers': magnitude keeps no path.
    assert (run["effective_density"] > 0) == (method != "magnitude")
    assert run["effective_density"] <= 0.3 + 1e-9
    assert forward(network, task.example).shape == (1, 2)


def test_a_network_whose_paths_cannot_be_told_has_a_record_without_an_effective_density() -> None:
    class Ranked(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).sort(1).values

    task = sc.Task.of(torch.randn(200, 4), torch.arange(200) % 2)
    run = Experiment(sc.Workload(Ranked(4, 2), task, RECIPE), sc.Method("snip"), 0.5, 0)
    with pytest.warns(UserWarning, match="the effective density is not known: Ranked has no linear image"):
        record, ticket = run.run()
    assert record["effective_density"] is None
    assert record["layer_density"] == {"weight": 0.5} == {"weight": ticket.mask.density}


def test_a_regression_is_pruned_trained_and_measured_by_r2() -> None:
    data = load_diabetes()
    inputs = torch.tensor(data.data / data.data.std(0)).float()
    targets = torch.tensor((data.target - data.target.mean()) / data.target.std()).float()
    task = sc.Task.of(inputs, targets, name="diabetes")
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    recipe = sc.Recipe(max_steps=300, evaluation_interval=30, learning_rate=0.02)
    workload = sc.Workload(network, task, recipe)
    record, ticket = Experiment(workload, sc.Method.of(), 0.1, 0).run()
    found = sc.evaluate(ticket, workload)
    assert record["metric"] == "r2"
    assert record["test_metrics"] == dict(found.metrics) == {"r2": record["test_accuracy"]}
    built = workload.build(0)
    ticket.apply_to(built, trained=True)
    with torch.no_grad():
        outputs = built(task.test.tensor)
    assert found.metric == pytest.approx(r2_score(task.test.targets.numpy(), outputs.numpy()), rel=1e-5)
    assert found.metric > 0.3
    assert record["configuration"]["workload"]["objective"] == {"name": "regression"}


@pytest.mark.parametrize("objective", ["multi_label", "per_position", "own"])
def test_other_objectives_are_trained_and_measured(objective: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(400, 6)
    if objective == "per_position":
        network: nn.Module = nn.Conv1d(1, 3, 3, padding=1)
        task = sc.Task.of(x[:, None], (x > 0.3).long() + (x > 1).long(), objective="per_position")
    elif objective == "multi_label":
        network = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 4))
        task = sc.Task.of(x, x[:, :4] > 0, objective=objective)
    else:
        network = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 1))
        task = sc.Task.of(x, x[:, :1], objective=sc.OwnObjective(nn.functional.l1_loss, metric_name="minus_l1"))
    workload = sc.Workload(network, task, sc.Recipe(max_steps=200, evaluation_interval=50))
    record, ticket = Experiment(workload, sc.Method("snip"), 0.5, 0).run()
    found = sc.evaluate(ticket, workload)
    assert tuple(found.metrics) == task.objective.metric_names
    assert {"multi_label": 0.7, "per_position": 0.7, "own": -0.7}[objective] < found.metric
    assert record.get("metric", "accuracy") == task.objective.metric_names[0]
    assert ("test_metrics" in record) == (objective != "per_position")


class Activated(nn.Module):
    """Its function is in no tensor."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.function = nn.Linear(4, 8), nn.Linear(8, 2), function

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.second(self.function(self.first(inputs)))
        return found


def test_a_ticket_of_a_network_that_has_changed_is_refused_unless_that_is_meant() -> None:
    task, recipe = sc.Task.of(torch.randn(60, 4), torch.arange(60) % 2), sc.Recipe(max_steps=4, batch_size=8)
    network, other = Activated(torch.relu), Activated(torch.tanh)
    ticket = sc.prune(network, task, 0.5, recipe=recipe)
    trained, _ = sc.train(ticket, network, task)
    for call in (sc.train, sc.evaluate):
        with pytest.raises(ValueError, match=r"not the one that the ticket was found in.* say network_changed"):
            call(trained, other, task)
    moved, _ = sc.train(ticket, other, task, network_changed=True)
    sc.evaluate(moved, other, task)  # it is one of the changed network now
    with pytest.raises(ValueError, match="network_changed"):
        sc.evaluate(moved, network, task)
    assert sc.evaluate(trained, other, task, network_changed=True).loss != sc.evaluate(trained, network, task).loss
    network.first.requires_grad_(requires_grad=False)  # how it learns may change
    sc.train(ticket, network, task)


def test_the_command_refuses_a_ticket_whose_networks_code_was_edited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "import torch.nn as nn\ndef small(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.{}())\n"
    (tmp_path / "edited_net.py").write_text(text.format("ReLU"))
    named = ["--network", "edited_net:small"]
    as_json("prune", *named, "--scorer", "magnitude", "--density", 0.5, "--max-steps", 20)
    trained = as_json("train", "ticket.safetensors", *named)
    assert trained["steps"] == 20
    (tmp_path / "edited_net.py").write_text(text.format("Tanh"))
    importlib.reload(importlib.import_module("edited_net"))
    for command in (["train", "--overwrite"], ["evaluate"], ["export", "--as", "pt"]):
        assert "or say --network-changed if that is meant" in refused(*command, "ticket.safetensors", *named)
    assert as_json("evaluate", "ticket.safetensors", *named, "--network-changed")["examples"] == 360
    assert as_json("export", "ticket.safetensors", *named, "--as", "pt", "--network-changed")["weights"] == "trained"


def test_an_argument_that_is_none_says_where_settings_go() -> None:
    task = sc.Task.of(torch.randn(60, 4), torch.arange(60) % 2)
    with pytest.raises(TypeError, match=r"unexpected argument 'exclude': .* go into method=Method\.of\("):
        sc.prune(nn.Linear(4, 2), task, 0.5, exclude=("0",))
