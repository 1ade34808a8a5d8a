"""What a user's own data and networks can be wrong in: one sentence, and nothing silently wrong."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

from scratchcard.apply.method import Method
from scratchcard.apply.prune import prune, train
from scratchcard.artefacts.store import Store
from scratchcard.artefacts.tensor_file import write_tensors
from scratchcard.pruning.chain import NotAChainError, chain
from scratchcard.pruning.ticket import Ticket
from scratchcard.workloads.objective import Classification
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.session import Session
from scratchcard.workloads.task import Split, Task
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload

INPUTS = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
TARGETS = torch.arange(60) % 3
SHORT = Recipe(max_steps=10, batch_size=8, evaluation_interval=5)


class Items:
    """A map-style dataset of what a function gives."""

    def __init__(self, item: Callable[[int], Any]) -> None:
        self.item = item

    def __len__(self) -> int:
        return 30

    def __getitem__(self, number: int) -> Any:
        return self.item(number)


class Own(nn.Module):
    """A network whose outputs a function makes of its layer and its inputs."""

    def __init__(self, outputs: Callable[[nn.Module, torch.Tensor], Any]) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.outputs = outputs

    def forward(self, inputs: torch.Tensor) -> Any:
        return self.outputs(self.layer, inputs)


class Leaky(nn.Module):
    """Its slope is in no tensor and in no repr."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.slope = nn.Linear(4, 8), nn.Linear(8, 3), slope

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.second(nn.functional.leaky_relu(self.first(inputs), self.slope))
        return found


def raises(number: int) -> Any:
    raise RuntimeError(f"no item {number}")


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        (raises, "item 0 of the train dataset raised RuntimeError: no item 0"),
        (lambda i: sys.exit(0), "item 0 of the train dataset raised SystemExit: 0"),
        # Was rounded down to 0, as the first item's type is that of all.
        (lambda i: (torch.zeros(1).long() if i == 0 else torch.full((1,), 0.5), i % 2), "its type is torch.float32"),
        # Was memory that nobody had written to.
        (lambda i: ({"a": INPUTS[i]} | ({} if i == 5 else {"b": INPUTS[i]}), i % 2), "item 5 .* called a, the first"),
    ],
)
def test_items_of_a_dataset(item: Callable[[int], Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Task.of(Items(item))


def test_items_may_be_bfloat16_and_have_gradients() -> None:
    task = Task.of(Items(lambda i: (INPUTS[i].bfloat16().requires_grad_(), i % 3)))
    assert task.train.tensor.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("targets", "options", "sentence"),
    [
        (torch.full((60,), -1), {}, "^the targets of own are all negative; expected class indices from 0 on$"),
        (torch.arange(60) - 90, {"encoding": {"classes": ["a", "b"]}}, "^the targets of own are all negative"),
        (torch.full((60, 4), -1), {"objective": "per_position"}, "^the targets of own are all negative"),
        (
            torch.zeros(60, 0),
            {"objective": "multi_label"},
            r"^the targets of own have the shape \(42, 0\), and no label",
        ),
        (torch.zeros(60, 0), {"objective": "regression"}, r"the shape \(42, 0\), and no label or number; give one"),
        (torch.zeros(60, 0).long(), {"objective": "per_position"}, r"the shape \(\d+, 0\), and no position"),
        (torch.full((60,), -1), {"outputs": 2}, "class index -1; 2 classes go from 0 to 1"),
    ],
)
def test_targets_that_tell_no_number_of_outputs(targets: torch.Tensor, options: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Task.of(INPUTS, targets, **options)


@pytest.mark.parametrize("outputs", ["3", 3.0, True, 0, -1, 2**40])
def test_outputs_are_a_whole_number(outputs: Any) -> None:
    with pytest.raises(ValueError, match="the outputs of own are"):
        Task.of(INPUTS, torch.zeros(60).long(), outputs=outputs)


@pytest.mark.parametrize(
    ("inputs", "options", "sentence"),
    [
        (INPUTS.to_sparse(), {}, "no plain tensor of numbers"),
        (INPUTS.to("meta"), {}, "no plain tensor"),
        (INPUTS.to(torch.float8_e4m3fn), {}, "float8"),
        ({"a": INPUTS, "b": INPUTS[:50]}, {}, "got 50 inputs and 60 targets"),
        ({}, {}, "called nothing"),
        ({1: INPUTS, "1": INPUTS}, {}, "called 1, '1'"),
        (INPUTS, {"validation_size": float("inf")}, "validation_size is inf"),
        (INPUTS, {"test_size": "0.1"}, "test_size is '0.1'"),
        (INPUTS, {"seed": 1.5}, "seed of the cut is 1.5"),
        (INPUTS, {"objective": 5}, "the objective is 5"),
        (INPUTS, {"objective": Classification}, "the objective is <class"),
    ],
)
def test_own_data(inputs: Any, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Task.of(inputs, TARGETS, **options)


def test_a_split_is_of_tensors() -> None:
    with pytest.raises(ValueError, match="a split is of tensors"):
        Split(INPUTS.numpy(), TARGETS.numpy())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the task is NoneType"):
        load_task(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("what", ["task", "network"])
def test_a_factory_that_ends_its_process(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "leaving.py").write_text("import sys\ndef now(): sys.exit(0)\n")
    (tmp_path / "leaving_at_once.py").write_text("import sys\nsys.exit(0)\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name, sentence in (("leaving:now", "raised SystemExit: 0"), ("leaving_at_once:now", "cannot import")):
        with pytest.raises(ValueError, match=sentence):
            load_task(name) if what == "task" else Workload(name, Task.of(INPUTS, TARGETS)).build(0)


def npy(array: np.ndarray, shape: tuple[int, ...] | None = None) -> bytes:
    """A `.npy` file, perhaps one whose header declares another shape."""
    stream = io.BytesIO()
    np.save(stream, array)
    content = stream.getvalue()
    if shape is not None:
        said, wrong = repr(array.shape).encode(), repr(shape).encode()
        content = content.replace(said, wrong).replace(b"}" + b" " * (len(wrong) - len(said)), b"}", 1)
    return content


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("shape", [(60, 8), (60, 2), (60, -4), (10**12, 4), (10**30, 4)])
def test_an_array_that_declares_another_size(shape: tuple[int, ...], compression: int, tmp_path: Path) -> None:
    # A larger one read on into the next array of the file.
    with zipfile.ZipFile(tmp_path / "task.npz", "w", compression) as archive:
        archive.writestr("train_inputs.npy", npy(INPUTS.numpy(), shape))
        archive.writestr("train_targets.npy", npy(TARGETS.numpy()))
    with pytest.raises(ValueError, match="its header declares"):
        load_task(f"tensors:{tmp_path / 'task.npz'}")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_arrays_of_one_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "task.npz", "w") as archive:
        for factor in (1, 5):
            archive.writestr("train_inputs.npy", npy(INPUTS.numpy() * factor))
        archive.writestr("train_targets.npy", npy(TARGETS.numpy()))
    with pytest.raises(ValueError, match="two entries 'train_inputs'"):
        load_task(f"tensors:{tmp_path / 'task.npz'}")


def test_code_that_a_file_names_as_json_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hostile.py").write_text("from pathlib import Path\nPath('ran').touch()\ndef objective(): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    named = json.dumps({"name": "hostile:objective"})
    np.savez(tmp_path / "task.npz", train_inputs=INPUTS, train_targets=TARGETS, objective=named)
    with pytest.raises(ValueError, match="code that a file names is not run"):
        load_task(f"tensors:{tmp_path / 'task.npz'}")
    assert not (tmp_path / "ran").exists()


def test_saved_tasks_are_as_readable_as_other_files(tmp_path: Path) -> None:
    saved = Task.of(INPUTS, TARGETS).save(tmp_path / "task.safetensors")
    (tmp_path / "other").touch()
    assert saved.stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize(
    ("outputs", "sentence"),
    [
        (lambda layer, x: layer(x.mul_(2)), "changes its inputs in place"),
        (lambda layer, x: layer(x).detach(), "without a gradient"),
        (lambda layer, x: layer(x).long(), "expected a dense tensor of floats"),
        (lambda layer, x: layer(x).to_sparse(), "expected a dense tensor of floats"),
        (lambda layer, x: sys.exit(0), "cannot take a batch of own"),
    ],
)
def test_networks(outputs: Callable[[nn.Module, torch.Tensor], Any], sentence: str) -> None:
    task = Task.of(INPUTS, TARGETS)
    before = task.train.tensor.clone()
    with pytest.raises(ValueError, match=sentence):
        prune(Own(outputs), task, 0.5, method="magnitude")
    assert task.train.tensor.equal(before)


def test_weights_that_are_computed_or_not_there_yet() -> None:
    pruned = nn.Sequential(nn.Linear(4, 3))
    torch_prune.l1_unstructured(pruned[0], "weight", 0.5)
    pruned(INPUTS)
    lazy, meta = nn.Sequential(nn.LazyLinear(3)), nn.Linear(4, 3, device="meta")
    for network, sentence in ((pruned, "not a parameter"), (lazy, "no values yet"), (meta, "no values yet")):
        with pytest.raises(ValueError, match=sentence):
            prune(network, Task.of(INPUTS, TARGETS), 0.5)


def test_a_ticket_of_a_wrapped_network_can_be_saved_and_read(tmp_path: Path) -> None:
    task, network = Task.of(INPUTS, TARGETS), nn.DataParallel(nn.Sequential(nn.Linear(4, 3)))
    trained, _ = train(prune(network, task, 0.5, recipe=SHORT), network, task)
    assert Ticket.load(trained.save(tmp_path / "ticket.safetensors")).mask.kept == 6


def test_a_forward_of_an_instance_is_seen() -> None:
    network = nn.Sequential(nn.Linear(4, 3))
    network.forward = lambda inputs: 2 * nn.Sequential.forward(network, inputs)  # type: ignore[method-assign]
    with pytest.raises(NotAChainError, match="a `forward` of its own"):
        chain(network)


def test_networks_that_differ_in_an_attribute_share_no_scores(tmp_path: Path) -> None:
    task, store = Task.of(INPUTS, TARGETS), Store(tmp_path)
    flat, steep = (Workload(Leaky(slope), task, SHORT) for slope in (0.01, 5.0))
    assert flat.describe() != steep.describe()
    first = prune(flat, method="snip", density=0.2, store=store)
    second = prune(steep, method="snip", density=0.2, store=store)
    assert second.mask.tensors["first.weight"].equal(
        prune(steep, method="snip", density=0.2).mask.tensors["first.weight"]
    )
    assert not second.mask.tensors["first.weight"].equal(first.mask.tensors["first.weight"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"density": "0.5"}, "density must be a number"),
        ({"density": None}, "density must be a number"),
        ({"density": torch.tensor(0.5)}, "density must be a number"),
        ({"seed": 1.5}, "the seed is 1.5"),
        ({"seed": "a"}, "the seed is 'a'"),
        ({"data_seed": True}, "the seed is True"),
        ({"method": 5}, "cannot be a method's scorer"),
        ({"recipe": {"max_steps": 5}}, "the recipe is dict"),
        ({"session": 5}, "the session is int"),
        ({"device": "gpu9"}, "unknown device 'gpu9'"),
        ({"dtype": torch.int64}, "dtype is torch.int64"),
        ({"store": "folder"}, "store is 'folder'"),
        ({"jobs": 0}, "jobs must be at least 1"),
    ],
)
def test_words_of_prune(words: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        prune(nn.Linear(4, 3), Task.of(INPUTS, TARGETS), **words)


def test_a_session_says_which_device_auto_is() -> None:
    assert Session("auto").device in (torch.device("cpu"), torch.device("cuda"))


def test_what_is_no_ticket_and_a_network_without_entries() -> None:
    with pytest.raises(ValueError, match="the ticket is int"):
        train(5, nn.Linear(4, 3), Task.of(INPUTS, TARGETS))  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="zero-element"):
        empty = nn.Linear(0, 3)
    with pytest.raises(ValueError, match="have no entries"):
        prune(empty, Task.of(torch.zeros(60, 0), TARGETS), 0.5)


@pytest.mark.filterwarnings("ignore::scratchcard.pruning.findings.TicketWarning")
@pytest.mark.parametrize("about", ["{}", "[]", "[" * 100_000])
def test_a_stored_training_that_holds_something_else_is_done_again(about: str, tmp_path: Path) -> None:
    task, method = Task.of(INPUTS, TARGETS), Method.of("magnitude", regime="ISS", rounds=2)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    first = prune(network, task, 0.2, method=method, recipe=SHORT, store=Store(tmp_path))
    for file in tmp_path.glob("*/*.safetensors"):
        write_tensors(file, {"end/x": torch.ones(1)}, {"about": about})
    again = prune(network, task, 0.2, method=method, recipe=SHORT, store=Store(tmp_path))
    assert all(kept.equal(again.mask.tensors[name]) for name, kept in first.mask.tensors.items())
