"""Tasks of the user's own data: tensors, datasets, files, factories; what is refused and how."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from scratchcard.pruning.inputs import tensors
from scratchcard.workloads.objectives import OwnObjective, PerPosition
from scratchcard.workloads.task import Split, Task
from scratchcard.workloads.tasks import load_task

X = torch.randn(100, 4, generator=torch.Generator().manual_seed(1))
Y = torch.arange(100) % 3


def examples_of(task: Task) -> list[list[float]]:
    parts = [split.inputs for split in (task.train, task.validation, task.test)]
    return sorted(torch.cat([part for part in parts if isinstance(part, Tensor)]).tolist())


def test_splits_are_cut_once_and_for_all() -> None:
    task, again = Task.of(X, Y), Task.of(X.numpy(), Y.tolist())
    assert (len(task.train), len(task.validation), len(task.test)) == (70, 10, 20)
    assert examples_of(task) == sorted(X.tolist())
    assert task.digest == again.digest != Task.of(X, Y, seed=1).digest
    assert (task.outputs, task.classes, task.objective.name) == (3, 3, "classification")
    sized = Task.of(X, Y, validation_size=7, test_size=0.5)
    assert (len(sized.train), len(sized.validation), len(sized.test)) == (43, 7, 50)
    given = Task.of(X, Y, test=(X[:5], Y[:5]))
    assert (len(given.train), len(given.validation)) == (90, 10)
    assert torch.equal(given.test.tensor, X[:5])


def test_tensors_are_taken_as_they_are_where_nothing_is_cut() -> None:
    task = Task.of(X, Y, validation=(X[:9], Y[:9]), test=(X[9:], Y[9:]))
    assert task.train.tensor.data_ptr() == X.data_ptr()
    assert Task.of(X.double(), Y).train.tensor.dtype == torch.float32
    assert Task.of(Y[:, None].to(torch.uint8), Y).train.tensor.dtype == torch.uint8


def test_read_only_arrays(tmp_path: Path) -> None:
    held = X.numpy().copy()
    held.flags.writeable = False
    assert Task.of(held, Y).digest == Task.of(X, Y).digest
    np.save(tmp_path / "x.npy", held)
    assert Task.of(np.load(tmp_path / "x.npy", mmap_mode="c"), Y).digest == Task.of(X, Y).digest
    with pytest.raises(ValueError, match="open the file with mmap_mode='c'"):
        Task.of(np.load(tmp_path / "x.npy", mmap_mode="r"), Y)


@pytest.mark.parametrize(
    ("targets", "objective", "outputs"),
    [
        (Y, "classification", 3),
        (Y.to(torch.uint8), "classification", 3),
        (X[:, 0], "regression", 1),
        (X[:, :2].double(), "regression", 2),
    ],
)
def test_the_objective_is_found_where_only_one_fits(targets: Tensor, objective: str, outputs: int) -> None:
    task = Task.of(X, targets)
    assert (task.objective.name, task.outputs) == (objective, outputs)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (torch.eye(3)[Y], r"one 1 in each row fit several objectives: name 'multi_label'.*argmax\(1\)"),
        ((X > 0).float(), "fit several objectives: name 'multi_label'"),
        ((X[:, 0] > 0).float(), "name 'regression', or pass whole numbers"),
        (torch.stack([Y, Y], 1), "name the objective 'per_position'"),
        (torch.randn(100, 2, 2), "no registered objective fits"),
    ],
)
def test_targets_that_several_objectives_fit_are_not_guessed(targets: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Task.of(X, targets)


def test_named_objectives_take_what_they_want() -> None:
    assert Task.of(X, X > 0, objective="multi_label").outputs == 4
    assert Task.of(X, (X[:, 0] > 0).float(), objective="regression").train.targets.shape == (70, 1)
    assert Task.of(X, torch.stack([Y, Y], 1), objective=PerPosition()).outputs == 3
    assert Task.of(X, X, objective=OwnObjective(torch.nn.functional.l1_loss)).outputs == 4
    with pytest.raises(ValueError, match=r"own has no classes: its objective is multi_label"):
        _ = Task.of(X, X > 0, objective="multi_label").classes
    with pytest.raises(ValueError, match="a balanced scoring batch needs one class an example, and own is regression"):
        Task.of(X, X[:, 0]).scoring_batch(10, seed=0, balanced=True)


def nan(inputs: Tensor) -> Tensor:
    inputs = inputs.clone()
    inputs[3, 1] = torch.nan
    return inputs


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Task.of(nan(X), Y, seed=0), r"the \w+ inputs of own hold NaN or infinity"),
        (lambda: Task.of(X, nan(X)), r"the \w+ targets of own hold NaN or infinity"),
        (lambda: Task.of(X, Y - 1), "hold the class index -1; 2 classes go from 0 to 1"),
        (lambda: Task.of(X, Y, outputs=2), "hold the class index 2; 2 classes"),
        (
            lambda: Task.of(X, torch.stack([Y, Y - 100], 1), objective="per_position"),
            r"hold the class index -100; .*; ignored positions are named: sc.PerPosition\(ignore=-100\)",
        ),
        (lambda: Task.of(X, Y[:50]), "100 inputs and 50 targets"),
        (lambda: Task.of(X), "the train data is Tensor without targets"),
        (lambda: Task.of(X[:2], Y[:2]), "cannot cut 0 for test"),
        (lambda: Task.of(X, Y, test_size=95), "cannot cut 95 for test and 10 for validation from 100"),
        (lambda: Task.of(X, Y, test=(X[:, :3], Y)), r"the test inputs of own are torch.float32 \(3,\)"),
        (lambda: Task.of(X, Y, test=(X.half(), Y)), r"test inputs of own are torch.float16 \(4,\), and those of train"),
        (lambda: Task.of(["a", "b"], [0, 1]), r"the train inputs are no tensor of numbers [^;]*$"),
        (lambda: Task.of((X, X[:, :2]), Y), r"the train inputs are no tensor .*; several inputs go by name: \{"),
        (lambda: Task.of(X, Y, objective="accuracy"), "unknown objective 'accuracy'"),
        (lambda: load_task("mine.npz"), "unknown task 'mine.npz': the arrays of a file are the task tensors:mine.npz"),
    ],
)
def test_what_is_wrong_is_named_in_one_sentence(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("targets", [torch.eye(3)[Y], torch.stack([Y, Y], 1), Y.int(), Y.float()])
def test_a_classification_refuses_targets_of_another_kind(targets: Tensor) -> None:
    split = Split(X, targets)
    with pytest.raises(ValueError, match=r"the train targets of own are torch.* classification takes class indices"):
        Task("own", split, split, split, 3, "")


class Squares(Dataset[Any]):
    """Items as dictionaries or as arrays."""

    def __init__(self, named: bool) -> None:
        self.named, self.read = named, 0

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < 40:
            raise IndexError(index)
        self.read += 1
        number = np.full(3, index, dtype=np.float32)
        return ({"x": number, "ids": torch.tensor([index])} if self.named else number), index % 2


@pytest.mark.parametrize("named", [False, True])
def test_a_dataset_is_read_once(named: bool) -> None:
    dataset = Squares(named)
    task = Task.of(dataset, name="squares")
    assert dataset.read == 40
    assert len(task.train) == 28
    assert task.input_shape == ({"x": (3,), "ids": (1,)} if named else (3,))
    held = tensors(task.train.inputs)
    if named:
        assert held["ids"].dtype == torch.int64
        assert torch.equal(held["ids"][:, 0] % 2, task.train.targets)
    assert torch.equal(Task.of(TensorDataset(X, Y)).train.tensor, Task.of(X, Y).train.tensor)
    assert len(Task.of(TensorDataset(X, Y), test=TensorDataset(X, Y)).test) == 100


def test_datasets_that_cannot_be_stacked() -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter(())

    class Uneven(Squares):
        def __getitem__(self, index: int) -> Any:
            return np.zeros(1 + index % 2), 0

    class Texts(Squares):
        def __getitem__(self, index: int) -> Any:
            return "a text", 0

    class Alone(Squares):
        def __getitem__(self, index: int) -> Any:
            return np.zeros(3)

    for dataset, message in (
        (Stream(), "no map-style Dataset|has no length"),
        (Uneven(False), "item 1 of the train dataset is not like the first"),
        (Texts(False), "item 0 of the train dataset .* give the dataset a transform"),
        (Alone(False), r"item 0 of the train dataset is ndarray, expected \(input, target\)"),
    ):
        with pytest.raises(ValueError, match=message):
            Task.of(dataset)


def test_tokens_stay_integers_and_several_inputs_go_together() -> None:
    ids = torch.randint(0, 9, (100, 6))
    task = Task.of({"ids": ids, "x": X}, Y)
    inputs, targets = task.scoring_batch(12, seed=0)
    assert isinstance(inputs, dict)
    assert (inputs["ids"].shape, inputs["ids"].dtype, inputs["x"].shape) == ((12, 6), torch.int64, (12, 4))
    rows = {tuple(row): int(target) for row, target in zip(X.tolist(), Y, strict=True)}
    assert [rows[tuple(row)] for row in inputs["x"].tolist()] == targets.tolist()
    assert task.digest != Task.of({"ids": ids, "y": X}, Y).digest
    assert task.digest == Task.of({"x": X, "ids": ids}, Y).digest
    assert pickle.loads(pickle.dumps(task)).digest == task.digest  # noqa: S301
    assert task.to("cpu").input_shape == task.input_shape
    with pytest.raises(ValueError, match=r"3 and 100 inputs"):
        Split({"ids": ids, "x": X[:3]}, Y)


ARRAYS = {"train_inputs": X.numpy(), "train_targets": Y.numpy()}
WHOLE = ARRAYS | {
    f"{split}_{what}": ARRAYS[f"train_{what}"] for split in ("validation", "test") for what in ("inputs", "targets")
}


def write(path: Path, arrays: dict[str, Any], metadata: dict[str, str] | None = None) -> str:
    if path.suffix == ".npz":
        np.savez(path, **arrays, **(metadata or {}))
    else:
        save_file({name: torch.tensor(array) for name, array in arrays.items()}, path, metadata)
    return f"tensors:{path}"


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_file_of_tensors_is_a_task(tmp_path: Path, suffix: str) -> None:
    name = write(tmp_path / f"mine{suffix}", ARRAYS)
    task = load_task(name)
    assert task.name == name
    assert task.digest == Task.of(X, Y).digest
    packed = pickle.dumps(task)
    assert len(packed) < 600
    assert pickle.loads(packed).digest == task.digest  # noqa: S301
    assert load_task(name) is task
    write(tmp_path / f"mine{suffix}", ARRAYS | {"train_inputs": X.numpy() + 1})
    os.utime(tmp_path / f"mine{suffix}", (1, 1))  # two writes can fall into one tick of the file system's clock
    assert load_task(name).digest != task.digest
    both = {"train_inputs.ids": Y.numpy()[:, None], "train_inputs.x": X.numpy(), "train_targets": (X > 0).numpy()}
    named = load_task(write(tmp_path / f"named{suffix}", both, {"objective": "multi_label"}))
    assert named.input_shape == {"ids": (1,), "x": (4,)}
    assert named.objective.name == "multi_label"


def test_a_relative_file_is_found_by_a_worker_in_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "mine.npz", ARRAYS)
    monkeypatch.chdir(tmp_path)
    task = load_task("tensors:mine.npz")
    packed = pickle.dumps(task)
    monkeypatch.chdir("/")
    assert pickle.loads(packed).name == task.name == "tensors:mine.npz"  # noqa: S301


@pytest.mark.slow
def test_data_stays_in_its_file(tmp_path: Path) -> None:
    """200 MB of inputs must not become the process's own memory."""
    big = np.zeros((50_000, 1000), dtype=np.float32)
    arrays = {"train_inputs": big, "train_targets": np.arange(50_000) % 2}
    for split in ("validation", "test"):
        arrays |= {f"{split}_inputs": big[:2], f"{split}_targets": np.arange(2)}
    names = [write(tmp_path / f"big{suffix}", arrays) for suffix in (".npz", ".safetensors")]
    code = (
        "import sys; from scratchcard.workloads.tasks import load_task\n"
        "def own(): return int(open('/proc/self/status').read().split('RssAnon:')[1].split()[0]) // 1024\n"
        f"load_task('digits'); before = own(); tasks = [load_task(name) for name in {names!r}]\n"
        "print(own() - before, *(len(task.train) for task in tasks))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    grown, *examples = map(int, done.stdout.split())
    assert examples == [50_000, 50_000]
    assert grown < 60


def test_a_compressed_file_is_read(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "small.npz", **WHOLE)  # type: ignore[arg-type]
    np.savez(
        tmp_path / "plain.npz",
        train_inputs=np.asfortranarray(X.numpy()),
        **{k: v for k, v in WHOLE.items() if k != "train_inputs"},
    )
    assert load_task(f"tensors:{tmp_path}/small.npz").digest == load_task(f"tensors:{tmp_path}/plain.npz").digest


@pytest.mark.parametrize("objective", ["classification", "multi_label", "regression", PerPosition(ignore=-1)])
def test_a_saved_task_is_the_same_task(tmp_path: Path, objective: Any) -> None:
    targets = {"classification": Y, "multi_label": X > 0, "regression": X}.get(
        objective if isinstance(objective, str) else "", torch.stack([Y, Y - 1], 1).clamp(min=-1)
    )
    task = Task.of({"a": X, "b": Y[:, None]}, targets, objective=objective)
    again = load_task(f"tensors:{task.save(tmp_path / 'mine.safetensors')}")
    assert (again.digest, again.objective, again.outputs) == (task.digest, task.objective, task.outputs)


def test_files_that_are_no_task(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.npz", ARRAYS)
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(Path(whole.removeprefix("tensors:")).read_bytes()[:300])
    (tmp_path / "damaged.safetensors").write_bytes(b"nothing")
    np.savez(tmp_path / "objects.npz", train_inputs=np.array([{}, 1], dtype=object), train_targets=Y.numpy())
    cases = {
        write(tmp_path / "a.npz", {"train_inputs": X.numpy()}): "lacks train_targets; it has train_inputs",
        write(tmp_path / "b.npz", ARRAYS | {"test_targets": Y.numpy()}): "lacks test_inputs",
        write(tmp_path / "c.npz", ARRAYS | {"images": X.numpy()}): "has an entry 'images', expected train_inputs",
        write(tmp_path / "d.npz", ARRAYS, {"objective": "own.code:objective"}): "code that a file names is not run",
        f"tensors:{damaged}": "is damaged",
        f"tensors:{tmp_path}/damaged.safetensors": "is damaged",
        f"tensors:{tmp_path}/objects.npz": "train_inputs cannot be read",
        f"tensors:{tmp_path}/mine.csv": "no file",
    }
    (tmp_path / "text.csv").write_text("1,2")
    cases[f"tensors:{tmp_path}/text.csv"] = r"expected one that ends in \.npz or \.safetensors"
    for name, message in cases.items():
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            load_task(name)
    with pytest.raises(ValueError, match="has a loss of its own"):
        Task.of(X, X, objective=OwnObjective(torch.nn.functional.l1_loss)).save(tmp_path / "t.safetensors")


def test_an_encoding_goes_with_its_task(tmp_path: Path) -> None:
    inputs, targets = torch.rand(60, 3, 4, 4), torch.arange(60) % 2
    known: dict[str, Any] = {"mean": [0.1, 0.2, 0.3], "std": [1.0, 2.0, 3.0], "scale": 255.0, "classes": ["cat", "dog"]}
    task = Task.of(inputs, targets, encoding=known)
    plain = Task.of(inputs, targets)
    assert (plain.encoding.to_json(), plain.digest) == ({}, task.digest)
    task.save(tmp_path / "pets.safetensors")
    named = json.dumps({"classes": ["cat", "dog"]})
    np.savez(tmp_path / "pets.npz", train_inputs=inputs, train_targets=targets, encoding=named)
    for other in (task.to("cpu"), pickle.loads(pickle.dumps(task)), load_task(f"tensors:{tmp_path}/pets.safetensors")):  # noqa: S301
        assert other.encoding.to_json() == known
    assert load_task(f"tensors:{tmp_path}/pets.npz").encoding.classes == ("cat", "dog")
    for wrong, told in (
        ({"classes": ["cat"]}, "own has 2 outputs, and its encoding names 1 classes; name each output, or none"),
        ({"classes": "cats"}, "an encoding's classes is 'cats', expected a list"),
        ({"classes": [1, 2]}, r"classes are \[1, 2\], expected their names"),
        ({"labels": []}, "an encoding has labels, expected mean, std, scale, classes and text"),
        ({"mean": [0.1, 0.2], "std": [1.0, 2.0]}, "and its encoding 2 means; give one for each channel"),
        ({"mean": [10**400], "std": [1]}, "expected as many finite means as standard deviations"),
        ({"mean": [0.1], "std": [0]}, "a scale and deviations above 0"),
        (["cat"], "an encoding is .*, expected an object"),
    ):
        with pytest.raises(ValueError, match=told):
            Task.of(inputs, targets, encoding=wrong)  # type: ignore[arg-type]
    np.savez(tmp_path / "pets.npz", train_inputs=inputs, train_targets=targets, encoding="[")
    with pytest.raises(ValueError, match="names no objective, number of outputs or encoding that can be read"):
        load_task(f"tensors:{tmp_path}/pets.npz")


def test_a_factory_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_tasks.py").write_text(
        "import torch, scratchcard as sc\n"
        "def mine(): return sc.Task.of(torch.ones(20, 2), torch.arange(20) % 2)\n"
        "def placed(data_dir=None): return sc.Task.of(torch.ones(20, 2), torch.arange(20) % 2, name=str(data_dir))\n"
        "def number(): return 3\n"
        "def fails(): raise RuntimeError('no way')\n"
        "def absent(): raise FileNotFoundError('no data here')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    task = load_task("my_tasks:mine")
    assert task.name == "my_tasks:mine"
    assert task.code is not None
    assert len(task.code) == 64
    assert pickle.loads(pickle.dumps(task)) is task  # noqa: S301
    assert load_task("my_tasks:placed", tmp_path).digest == task.digest
    for name in ("my_tasks:mine", f"tensors:{tmp_path / 'mine.npz'}", f"image_folder:{tmp_path / 'pets'}"):
        with pytest.raises(ValueError, match="has no setting data_dir, it looks in no folder"):
            load_task(name, tmp_path)
    for name, message in (
        ("number", "returned int, expected a Task"),
        ("fails", "the task's factory my_tasks:fails raised RuntimeError: no way"),
        ("missing", "cannot import the task"),
        ("absent", "no data here"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            load_task(f"my_tasks:{name}")
