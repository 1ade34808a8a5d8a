"""What is in a key: each part that decides a value changes its key, and what changes nothing does not.

docs/trust.md has the table; a part that is added there gets its line here.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import scratchcard as sc
from scratchcard.artefacts import store as store_module
from scratchcard.artefacts.code_digest import code_digest
from scratchcard.artefacts.fingerprint import fingerprint
from scratchcard.artefacts.store import Store
from scratchcard.dataset_builder.recording import Recording
from scratchcard.pruning.known_layers import register_prunable
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.network_code import network_code
from scratchcard.pruning.scores import Scores
from scratchcard.scorers.scorer import Batch, Loss, Scorer
from scratchcard.scorers.stored_scores import Shared
from scratchcard.settings import Settings
from scratchcard.sweeps.fitted import FittedSpec
from scratchcard.workloads.stored_training import train_once

TASK = sc.Task.of(torch.randn(60, 4, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 3)
SHORT = sc.Recipe(max_steps=2, batch_size=8, evaluation_interval=2)


class Net(nn.Module):
    """Layers with something between them that no state and no repr tells."""

    def __init__(self, function: Any = F.relu, slope: float = 0.1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 3)
        self.function, self.slope = function, slope
        self.register_buffer("scale", torch.ones(1), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.function(self.first(inputs))
        found: Tensor = self.second(hidden * self.scale + self.slope)
        return found


def scaled(factor: float) -> Callable[[Tensor], Tensor]:
    """A closure."""
    return lambda x: x * factor


def hooked(network: nn.Module) -> nn.Module:
    network.get_submodule("first").register_forward_hook(lambda *_: None)
    return network


def frozen(network: nn.Module) -> nn.Module:
    network.get_parameter("first.bias").requires_grad_(requires_grad=False)
    return network


def buffered(network: nn.Module) -> nn.Module:
    network.get_buffer("scale").fill_(2.0)
    return network


def moved(network: nn.Module) -> nn.Module:
    with torch.no_grad():
        network.get_parameter("first.bias").add_(1.0)
    return network


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "another function": lambda: Net(torch.tanh),
    "another builtin": lambda: Net(torch.sigmoid),
    "a module as function": lambda: Net(nn.ReLU()),
    "a lambda": lambda: Net(lambda x: x.relu() * 2),
    "a lambda of another constant": lambda: Net(lambda x: x.relu() * 3),
    "a closure": lambda: Net(scaled(2.0)),
    "a closure of another value": lambda: Net(scaled(3.0)),
    "a partial": lambda: Net(functools.partial(F.leaky_relu, negative_slope=0.1)),
    "a partial of another value": lambda: Net(functools.partial(F.leaky_relu, negative_slope=0.2)),
    "an attribute": lambda: Net(slope=0.2),
    "a buffer outside the state": lambda: buffered(Net()),
    "a hook": lambda: hooked(Net()),
    "a parameter's value": lambda: moved(Net()),
}


@pytest.fixture
def kept(tmp_path: Path) -> Callable[[], int]:
    return lambda: len(list(tmp_path.rglob("*.safetensors")))


@pytest.mark.parametrize("kind", ["scores", "trainings"])
def test_networks_of_stored_work(kind: str, kept: Callable[[], int], tmp_path: Path) -> None:
    """All at once: any two that shared a key would leave a file less."""
    makers = {"as it is": Net, **NETWORKS}
    if kind == "trainings":
        makers["frozen"] = lambda: frozen(Net())
    for expected, make in enumerate(makers.values(), start=1):
        for _ in range(2):  # again: it is found
            network = make()
            if kind == "scores":
                scorer = Shared(Store(tmp_path)).of(sc.make_scorer("magnitude"))
                scorer(network, (TASK.train.tensor, TASK.train.targets), F.cross_entropy)
            else:
                workload = sc.Workload("lenet_300_100", TASK, SHORT)
                train_once(network, workload, store=Store(tmp_path))
            assert kept() == expected, list(makers)[expected - 1]


def other_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs * 2, targets)


@pytest.mark.parametrize(
    "changed",
    [
        {"scorer": sc.make_scorer({"name": "grasp", "temperature": 2.0})},
        {"scorer": sc.make_scorer("snip")},
        {"loss": other_loss},
        {"inputs": TASK.train.tensor * 2},
        {"targets": (TASK.train.targets + 1) % 3},
        {"network": Net().double()},
        {"network": Net().eval()},
        {"known": {"network_code": "edited"}},
        {"results": 99},
        {"torch": "0.0"},
    ],
    ids=lambda changed: "-".join(changed),
)
def test_stored_scores(
    changed: dict[str, Any], kept: Callable[[], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for words in ({}, {}, changed):
        if "results" in words:
            monkeypatch.setattr(store_module, "RESULTS_VERSION", words["results"])
        if "torch" in words:
            monkeypatch.setattr(torch, "__version__", words["torch"])
        batch = words.get("inputs", TASK.train.tensor), words.get("targets", TASK.train.targets)
        scorer = words.get("scorer", sc.make_scorer("grasp"))
        shared = Shared(Store(tmp_path), words.get("known", {}))
        shared.of(scorer)(words.get("network", Net()), batch, words.get("loss", F.cross_entropy))
    assert kept() == 2


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 1},
        {"snapshot_steps": (1,)},
        {"mask": Mask({"first.weight": torch.eye(8, 4) > 0, "second.weight": torch.ones(3, 8) > 0})},
        {"recipe": replace(SHORT, learning_rate=0.5)},
        {"task": sc.Task.of(TASK.train.tensor.repeat(2, 1), TASK.train.targets.repeat(2))},
        {"network": Net().double()},
        {"torch": "0.0"},
    ],
    ids=lambda changed: "-".join(changed),
)
def test_stored_trainings(
    changed: dict[str, Any], kept: Callable[[], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for words in ({}, {}, changed):
        how = dict(words)
        monkeypatch.setattr(torch, "__version__", how.pop("torch", torch.__version__))
        workload = sc.Workload("lenet_300_100", how.pop("task", TASK), how.pop("recipe", SHORT))
        train_once(how.pop("network", Net()), workload, store=Store(tmp_path), **how)
    assert kept() == 2


def run(network: Any = None, task: sc.Task = TASK, recipe: sc.Recipe = SHORT, **words: Any) -> str:
    workload = sc.Workload(Net() if network is None else network, task, recipe)
    settings = {"method": sc.Method("snip"), "density": 0.5, "seed": 0} | words
    return sc.Experiment(workload, **settings).digest


@pytest.mark.parametrize("network", [*NETWORKS.values(), lambda: frozen(Net())], ids=[*NETWORKS, "frozen"])
def test_the_module_of_a_run(network: Callable[[], nn.Module]) -> None:
    assert run(Net()) == run(Net())
    assert run(network()) == run(network())
    assert run(network()) != run(Net())


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 1},
        {"density": 0.25},
        {"dtype": torch.float64},
        {"recipe": replace(SHORT, scoring_examples=10)},
        {"task": sc.Task.of(TASK.train.tensor, TASK.train.targets)},
        {"task": sc.Task.of(TASK.train.tensor, TASK.train.targets, objective=sc.OwnObjective(other_loss))},
        {"method": sc.Method("grasp")},
        {"method": sc.Method.of("snip", regime="UMS", rounds=3)},
        {"method": sc.Method("synflow", on="snip")},
        {"method": sc.Method("predicted", predictor="policy")},
    ],
    ids=lambda changed: "-".join(changed),
)
def test_a_run(changed: dict[str, Any]) -> None:
    assert run(**changed) == run(**changed) != run()


def test_what_counts_as_prunable_is_in_a_run_of_ones_own_network() -> None:
    before = run()
    register_prunable(nn.Linear, ["weight", "bias"])
    assert run() != before


def module(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


FILES = {
    "alone": "from beside import width\nimport json, torch\n",
    "beside": "import further\nwidth = 1\n",
    "further": "depth = 1\n",
    "outer__inner__nets": "from ..layers import width\nfrom outer import more\n",
    "outer__inner__init": "",
    "outer__layers": "width = 1\n",
    "outer__more": "import further\n",
}


@pytest.mark.parametrize(
    ("path", "edited"),
    [("alone", name) for name in ("alone", "beside", "further")]
    + [("outer.inner.nets", f"outer__{name}") for name in ("inner__nets", "inner__init", "layers", "more")]
    + [("outer.inner.nets", "further")],
)
def test_code_that_a_factory_imports(path: str, edited: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    module(tmp_path, **FILES, unrelated="x = 1\n")
    for part in ("outer", "outer.inner"):
        monkeypatch.delitem(sys.modules, part, raising=False)
    before = code_digest(f"{path}:build")
    module(tmp_path, unrelated="x = 2\n")
    assert code_digest(f"{path}:build") == before is not None
    module(tmp_path, **{edited: FILES[edited] + "# edited\n"})
    assert code_digest(f"{path}:build") != before


def test_an_installed_packages_version_is_in_the_code_of_its_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision

    network = torchvision.models.squeezenet1_1()
    named, held = code_digest("torchvision.models:squeezenet1_1"), network_code(network)
    monkeypatch.setattr("scratchcard.artefacts.code_digest.version", lambda _: "0.0")
    assert code_digest("torchvision.models:squeezenet1_1") != named
    assert network_code(network) != held


@dataclass(frozen=True)
class Own(Settings, Scorer):
    """A scorer of the user's own."""

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        return sc.make_scorer("magnitude")(network, batch, loss, mask=mask)


def test_a_table_and_a_predictor() -> None:
    workload = sc.Workload("lenet_300_100", TASK)
    spec = {"family": "linear", "objective": "regression", "train_seeds": "0-1", "held_out_seeds": "2"}
    base = FittedSpec(**spec)
    changes: list[dict[str, Any]] = [
        {"family": "gbm"},
        {"train_seeds": "0"},
        {"held_out_seeds": "3"},
        {"features": "thesis"},
        {"target": "rounds_survived"},
        {"table": {"density": 0.02}},
        {"table": {"regime": "ISS"}},
        {"table": {"rounds": 3}},
        {"table": {"repeat": True}},
    ]
    digests = [FittedSpec(**(spec | change)).identity(workload) for change in changes]
    assert len({base.identity(workload), *digests}) == len(changes) + 1
    assert base.identity(replace(workload, recipe=SHORT)) != base.identity(workload)
    assert "code" not in Recording().describe()
    assert list(Recording("USS", Own()).describe()["code"]) == [f"{__name__}:Own"]
    assert list(sc.Method(Own()).describe()["code"]) == [f"{__name__}:Own"]


@pytest.mark.parametrize("group", ["scorers", "schedules", "networks"])
def test_code_that_another_package_registered(group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    member: Any = {"scorers": Own, "schedules": own_schedule, "networks": own_network}[group]
    point = types.SimpleNamespace(name="theirs", load=lambda: member)
    monkeypatch.setattr("scratchcard.registry._added", lambda of: (point,) if of == f"scratchcard.{group}" else ())
    found = {
        "scorers": lambda: sc.Method("theirs").describe(),
        "schedules": lambda: sc.Method.of("snip", regime="UMS", schedule="theirs").describe(),
        "networks": lambda: sc.Workload("theirs", TASK).describe(),
    }[group]()
    assert code_digest(f"{__name__}:") in (*found.get("code", {}).values(), found.get("network_code"))


def own_schedule(density: float, rounds: int) -> tuple[float, ...]:
    return (density,) * rounds


def own_network(*_: Any, **__: Any) -> nn.Module:
    return Net()


def test_code_is_compared_without_comments_and_numbers_whole() -> None:
    long = torch.zeros(5000)
    other = long.clone()
    other[2500] = 1  # where a tensor's text has dots
    assert fingerprint(long) != fingerprint(other)
    assert fingerprint({"a": [1, (2.0, "x")]}) == fingerprint({"a": [1, (2.0, "x")]})
    assert fingerprint([1]) != fingerprint((1,))
    circle: list[Any] = [1]
    circle.append(circle)
    assert fingerprint(circle) == fingerprint(circle)


class Referring(nn.Module):
    """A network with an attribute that leads back into it."""

    def __init__(self, refer: Callable[[Referring], Any]) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 5), nn.Linear(5, 3)
        self.held = refer(self)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.second(self.activation(self.first(inputs)))  # type: ignore[no-any-return]

    def activation(self, values: Tensor) -> Tensor:
        return values.relu()


@pytest.mark.parametrize(
    "refer",
    [
        lambda net: [net.first, net.second],
        lambda net: [net.first.weight],
        lambda net: net.activation,
        lambda net: functools.partial(net.activation),
        lambda _: logging.getLogger("a.network"),
    ],
    ids=["layers", "weights", "method", "partial", "logger"],
)
def test_weights_are_no_code_of_a_network_that_refers_to_itself(refer: Callable[[Referring], Any]) -> None:
    network = Referring(refer)
    ticket = sc.prune(network, TASK, 0.5, method="magnitude", recipe=SHORT)
    with torch.no_grad():
        network.first.weight.add_(1)
    logging.getLogger("a.network").addHandler(logging.NullHandler())
    logging.getLogger(f"another.{id(network)}")
    assert sc.train(ticket, network, TASK)[1].steps == 2


def test_what_a_network_refers_to_is_its_code() -> None:
    assert network_code(Referring(lambda net: [net.first])) != network_code(Referring(lambda net: [net.second]))
    assert network_code(Referring(lambda _: [nn.Linear(2, 2)])) != network_code(Referring(lambda _: [nn.Linear(2, 2)]))


def test_a_compiled_network_computes_the_same() -> None:
    network = Net()
    code = network_code(network)
    network.compile()
    assert network_code(network) == code


def test_a_forward_put_on_one_of_torchs_layers() -> None:
    layer = nn.Linear(4, 2)
    code = network_code(layer)
    layer.forward = lambda inputs: 3 * inputs  # type: ignore[method-assign]
    assert network_code(layer) != code


class Slotted:
    __slots__ = ("slope",)

    def __init__(self, slope: float) -> None:
        self.slope = slope


def test_an_object_counts_with_its_slots() -> None:
    assert fingerprint(Slotted(1.0)) == fingerprint(Slotted(1.0))
    assert fingerprint(Slotted(1.0)) != fingerprint(Slotted(2.0))


SIZE: Any = (1, 2)


def of_module(inputs: Tensor) -> Any:
    return SIZE, inputs


def of_attribute(inputs: Any) -> Any:
    return inputs.SIZE


def test_a_constant_of_the_module_counts_where_it_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [fingerprint(of_module), fingerprint(of_attribute)]
    monkeypatch.setitem(globals(), "SIZE", (1, 3))
    assert fingerprint(of_module) != before[0]
    assert fingerprint(of_attribute) == before[1]


def test_data_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that the variable named earlier is not the one that it names now."""
    calls: list[str] = []

    def read(_: Path | None) -> sc.Task:
        calls.append(os.environ["SCRATCHCARD_DATA"])
        return TASK

    monkeypatch.setitem(sc.TASKS, "counted", read)
    for folder in ("one", "one", "two"):
        monkeypatch.setenv("SCRATCHCARD_DATA", folder)
        sc.load_task("counted")
    assert calls == ["one", "two"]
