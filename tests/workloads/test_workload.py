"""Networks and workloads: seeds, foreign networks, refusals."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from scratchcard.pruning.known_layers import register_prunable
from scratchcard.pruning.parameters import prunable
from scratchcard.workers.processes import Processes
from scratchcard.workloads.device import choose_device
from scratchcard.workloads.engines.engine import seeded
from scratchcard.workloads.factory import load_factory
from scratchcard.workloads.module_copy import module_copy
from scratchcard.workloads.networks import build_network
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.task import Split, Task
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload


def test_lenet_is_kaiming_normal_with_266200_prunable_weights() -> None:
    weights = prunable(build_network("lenet_300_100", (1, 28, 28), 10, seed=0))
    assert sum(w.numel() for w in weights.values()) == 266_200
    for weight in weights.values():
        expected = math.sqrt(2 / weight.shape[1])
        weight = weight.detach()
        tolerance = 5 * expected / math.sqrt(2 * weight.numel())
        assert float(weight.std()) == pytest.approx(expected, abs=tolerance)
        assert float(weight.mean()) == pytest.approx(0, abs=5 * expected / math.sqrt(weight.numel()))


def test_seeds_decide_the_weights_alone_and_leave_the_random_state() -> None:
    state = torch.get_rng_state()
    one = build_network("lenet_300_100", (8,), 2, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    same = build_network("lenet_300_100", (8,), 2, seed=1)
    other = build_network("lenet_300_100", (8,), 2, seed=2)
    double = build_network("lenet_300_100", (8,), 2, seed=1).double()
    for (name, a), b, c, d in zip(
        one.named_parameters(), same.parameters(), other.parameters(), double.parameters(), strict=True
    ):
        assert torch.equal(a, b)
        assert torch.equal(a.double(), d)
        assert name.endswith("bias") or not torch.equal(a, c)


@pytest.fixture
def own_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_networks.py").write_text(
        "from torch import nn\n"
        "def small(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10))\n"
        "def narrow(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 9))\n"
        "def wrong_input(): return nn.Linear(5, 10)\n"
        "def nothing(): return nn.Flatten()\n"
        "def number(): return 3\n"
        "def needs(width): return small()\n"
        "def fails(): raise RuntimeError('no way')\n"
        "constant = 3\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_networks", raising=False)
    return "my_networks"


def test_a_network_of_the_users_own(own_network: str, tmp_path: Path) -> None:
    workload = Workload(f"{own_network}:small", load_task("digits"))
    assert workload.name == "small-digits"
    one, same, other = workload.build(1), workload.build(1), workload.build(2)
    assert torch.equal(one[1].weight, same[1].weight)
    assert not torch.equal(one[1].weight, other[1].weight)
    file = tmp_path / "weights.safetensors"
    save_file(one.state_dict(), file)
    loaded = Workload(f"{own_network}:small", load_task("digits"), weights=file).build(2)
    assert torch.equal(loaded[1].weight, one[1].weight)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("narrow", r"returns \(2, 9\)"),
        ("wrong_input", "cannot take a batch of digits"),
        ("nothing", "nothing to prune"),
        ("number", "returned int, expected a torch.nn.Module"),
        ("absent", "cannot import"),
        ("needs", r"needs raised TypeError: .*'width'; it is called without arguments"),
        ("fails", "fails raised RuntimeError: no way"),
        ("constant", "is int, expected a function"),
    ],
)
def test_foreign_networks_that_do_not_fit_are_refused(own_network: str, factory: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Workload(f"{own_network}:{factory}", load_task("digits")).build(0)


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    workload = Workload("lenet_300_100", load_task("digits"), weights=file)
    with pytest.raises(FileNotFoundError, match="no weights at"):
        workload.build(0)
    save_file({"other": torch.zeros(2)}, file)
    with pytest.raises(ValueError, match="do not fit the network"):
        workload.build(0)
    file.write_bytes(b"no safetensors at all")
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        workload.build(0)
    network = Workload("lenet_300_100", load_task("digits")).build(0)
    state = network.state_dict()
    state["1.weight"] = torch.full_like(state["1.weight"], math.nan)
    save_file(state, file)
    with pytest.raises(ValueError, match="NaN or infinity"):
        workload.build(0)


def test_the_probe_leaves_the_mode(own_network: str) -> None:
    network = Workload(f"{own_network}:small", load_task("digits")).build(0)
    assert isinstance(network, nn.Module)
    assert network.training


def test_devices() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ValueError, match="unknown device"):
        choose_device("tpu")
    for name in ("cpu:x", "cuda:x", "cuda:-1", "", "meta", "cuda:1:2"):
        with pytest.raises(ValueError, match=f"unknown device '{name}'"):
            choose_device(name)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no CUDA device"):
            choose_device("cuda")


def test_a_cuda_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(ValueError, match="sees 2 CUDA devices, the last is cuda:1"):
        choose_device("cuda:9")


@pytest.mark.parametrize(("device", "index"), [("cuda:1", 1), ("cuda", 0)])
def test_trap_the_random_state_of_the_given_cuda_device_is_seeded_and_put_back(
    monkeypatch: pytest.MonkeyPatch, device: str, index: int
) -> None:
    calls: list[tuple[str, object]] = []

    @contextmanager
    def fork_rng(devices: list[int]) -> Iterator[None]:
        calls.append(("fork", devices))
        yield

    @contextmanager
    def on(place: int) -> Iterator[None]:
        calls.append(("on", place))
        yield

    monkeypatch.setattr(torch.random, "fork_rng", fork_rng)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "device", on)
    monkeypatch.setattr(torch.cuda, "manual_seed", lambda seed: calls.append(("seed", seed)))
    with seeded(5, torch.device(device)):
        assert calls == [("fork", [index]), ("on", index), ("seed", 5)]


def test_the_description_is_stable_and_names_the_weights_by_content(tmp_path: Path) -> None:
    task = load_task("digits")
    recipe = Recipe(max_steps=7)
    assert Workload("lenet_300_100", task, recipe).describe() == {
        "network": "lenet_300_100",
        "task": "digits",
        "data_digest": task.digest,
        "recipe": {
            "optimizer": "sgd",
            "learning_rate": 0.1,
            "momentum": 0.0,
            "weight_decay": 0.0,
            "betas": (0.9, 0.999),
            "epsilon": 1e-8,
            "batch_size": 64,
            "max_steps": 7,
            "evaluation_interval": 430,
            "patience": 10,
            "scoring_examples": 2560,
            "scoring_balanced": False,
        },
    }
    file = tmp_path / "weights.safetensors"
    workload = Workload("lenet_300_100", task, weights=file)
    with pytest.raises(FileNotFoundError, match="no weights at"):
        workload.describe()
    file.write_bytes(b"one")
    described = workload.describe()
    assert described["weights"] == str(file)
    assert described["weights_sha256"] == hashlib.sha256(b"one").hexdigest()
    file.write_bytes(b"two")
    assert workload.describe() != described


def toy_task(counts: list[int]) -> Task:
    targets = torch.cat([torch.full((count,), index) for index, count in enumerate(counts)])
    split = Split(torch.zeros(len(targets), 3), targets)
    return Task("toy", split, split, split, len(counts), "")


@pytest.mark.parametrize(
    ("asked", "balanced", "expected"),
    [(9, False, 9), (10, False, 10), (11, False, 10), (2560, False, 10), (6, True, 6), (2560, True, 6)],
)
def test_the_scoring_batch_is_at_most_what_the_training_split_gives(asked: int, balanced: bool, expected: int) -> None:
    recipe = Recipe(scoring_examples=asked, scoring_balanced=balanced)
    workload = Workload("lenet_300_100", toy_task([3, 7]), recipe)
    assert workload.scoring_examples == expected
    _, targets = workload.scoring_batch(0)
    assert len(targets) == expected
    if balanced:
        assert targets.bincount().tolist() == [3, 3]


def test_a_balanced_batch_needs_every_class() -> None:
    workload = Workload("lenet_300_100", toy_task([0, 7]), Recipe(scoring_balanced=True))
    with pytest.raises(ValueError, match="class 0 of toy has 0"):
        workload.scoring_batch(0)


SAME = """
import hashlib, torch; torch.set_num_threads(1)
from scratchcard.regimes import ISS, UMS
from scratchcard.scorers import make_scorer
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.workload import Workload
w = Workload('lenet_300_100', load_task('digits'), Recipe(max_steps=40, evaluation_interval=20))
masks = [UMS().find(w, make_scorer('snip'), 0.01, 5).mask,
         ISS(rounds=2).find(w, make_scorer('magnitude'), 0.01, 5).mask]
found = [hashlib.sha256(m.flat().numpy().tobytes()).hexdigest() for m in masks]
"""


def test_the_same_seed_gives_the_same_ticket_in_a_second_process() -> None:
    here: dict[str, Any] = {}
    exec(SAME, here)  # noqa: S102
    start = [sys.executable, "-c", SAME + "print(found)"]
    other = subprocess.run(start, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=True)
    assert other.stdout == f"{here['found']}\n"
    assert len(set(here["found"])) == 2


NETWORK = """
import torch
from torch import nn
from torch.nn import functional as F

class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(64, 16), nn.Linear(16, 10)

    def forward(self, x):
        return self.last(F.relu(self.first(x.flatten(1))))

def width():
    return 16

def small():
    return Small()

def table():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width()), nn.ReLU(), nn.Linear(width(), 10))
"""


def described(folder: Path, text: str) -> dict[str, Any]:
    (folder / "edited_networks.py").write_text(text)
    return Workload("edited_networks:small", load_task("digits")).describe()


def test_a_network_whose_code_was_edited_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    before = described(tmp_path, NETWORK)
    assert isinstance(before["network_code"], str)
    for change in (("F.relu", "F.gelu"), ("return Small()", "return nn.Sequential(Small())")):
        after = described(tmp_path, NETWORK.replace(*change))
        assert after["network_code"] != before["network_code"]
        assert before | {"network_code": ""} == after | {"network_code": ""}
    assert described(tmp_path, NETWORK) == before
    # Of a package, its other files count too.
    package = tmp_path / "edited_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "layers.py").write_text(NETWORK)
    own = Workload("edited_package.nets:small", load_task("digits"))
    (package / "nets.py").write_text("from edited_package.layers import small\n")
    one = own.describe()["network_code"]
    (package / "layers.py").write_text(NETWORK.replace("F.relu", "F.gelu"))
    assert own.describe()["network_code"] != one


GATE = """
import scratchcard, torch
from torch import nn

class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.eye(10))

    def forward(self, x):
        return x @ self.table
"""
REGISTERED = 'scratchcard.register_prunable(Gate, ["table"])\n'
SMALL = "small = lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10), Gate())\n"


def test_what_a_network_registers_itself_is_its_code_whether_it_has_run_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "registering.py").write_text(GATE + REGISTERED + SMALL)
    own = Workload("registering:small", load_task("digits"))
    before = own.describe()
    assert list(prunable(own.build(0))) == ["1.weight", "2.table"]
    assert own.describe() == before


def test_what_a_script_registers_counts_and_goes_with_its_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "unregistered.py").write_text(GATE + SMALL)
    own = Workload("unregistered:small", load_task("digits"))
    before, other = own.describe(), Workload(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), load_task("digits"))
    of_other = other.describe()
    register_prunable(load_factory("unregistered:Gate"), ["table"])
    assert own.describe() == before | {"prunable": {"unregistered:Gate": ["table"]}}
    assert Workload(own.build(0), own.task).describe()["prunable"] == {"unregistered:Gate": ["table"]}
    assert other.describe() == of_other  # it has no gate
    pool = Processes(1)
    try:
        assert pool.result(pool.submit(own.describe)) == own.describe()
    finally:
        pool.close(kill=True)


def test_what_is_registered_for_torchs_layers_counts_for_registered_networks_too() -> None:
    known = Workload("lenet_300_100", load_task("digits"))
    before = known.describe()
    register_prunable(Gates, ["table"])
    assert known.describe() == before  # it has no such layer
    register_prunable(nn.Linear, ["weight", "bias"])
    assert known.describe()["prunable"] == {"torch.nn.modules.linear:Linear": ["weight", "bias"]}


class Gates(nn.Module):
    """Of no network."""


def test_a_class_of_a_script_has_the_same_code_in_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(nn.Linear):
        pass

    Mine.__module__ = "__main__"
    here = Workload(nn.Sequential(nn.Flatten(), Mine(64, 10)), load_task("digits"))
    described, state = here.describe(), here.__getstate__()
    there = Workload.__new__(Workload)
    there.__setstate__(state)
    monkeypatch.setattr("scratchcard.workloads.workload._code_of", lambda _: "cannot be read there")
    assert there.describe() == described
    again = Workload.__new__(Workload)
    again.__setstate__(there.__getstate__())
    assert again.describe() == described


def test_code_is_not_run_to_be_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    assert isinstance(described(tmp_path, "raise SystemExit")["network_code"], str)
    assert "edited_networks" not in sys.modules


def test_registered_networks_and_what_cannot_be_found_have_no_code(own_network: str) -> None:
    for network in ("lenet_300_100", "no_such_module:small", "no_such_package.module:small"):
        assert "network_code" not in Workload(network, load_task("digits")).describe()
    state = torch.get_rng_state()
    assert "network_code" in Workload(f"{own_network}:small", load_task("digits")).describe()
    assert torch.equal(torch.get_rng_state(), state)


class Closed(nn.Module):
    """A network with a function in whose closure it is itself."""

    def __init__(self, wrapped: bool = False) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 5), nn.Linear(5, 2)
        act = lambda inputs: self.first(inputs).relu()  # noqa: E731
        self.acts = {"hidden": [partial(act)]} if wrapped else {"hidden": [act]}

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.second(self.acts["hidden"][0](inputs))  # type: ignore[no-any-return]


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_network_whose_copy_would_compute_with_its_weights_is_refused(wrapped: bool) -> None:
    """The copy was scored, pruned and trained with the layer of the original, whose weights never changed."""
    network = Closed(wrapped)
    workload = Workload(network, Task.of(torch.randn(40, 4), torch.arange(40) % 2), Recipe(max_steps=2))
    with pytest.raises(ValueError, match="Closed holds in 'acts' a function that refers to the network itself"):
        workload.build(0)


def test_a_network_with_functions_of_its_own_is_copied() -> None:
    network = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 2))
    scale = 2.0
    network.scaled = lambda inputs: scale * inputs  # type: ignore[assignment]
    network.bound = network[0].forward  # type: ignore[assignment]
    network.register_forward_hook(lambda module, inputs, output: None)
    copied = module_copy(network)
    assert copied.bound.__self__ is copied[0]  # type: ignore[index,union-attr]
