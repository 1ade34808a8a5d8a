"""Tasks: splits, scoring batches, where data is looked for, damaged files."""

from __future__ import annotations

import gzip
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from scratchcard.workloads.task import Split, Task, task_digest
from scratchcard.workloads.tasks import TASKS, load_task, takes_data_dir
from scratchcard.workloads.tasks.idx import read_idx
from scratchcard.workloads.tasks.mnist import STEMS


def test_digits_splits_are_whole_disjoint_and_normalised() -> None:
    task = load_task("digits")
    assert (len(task.train), len(task.validation), len(task.test)) == (1257, 180, 360)
    assert task.input_shape == (1, 8, 8)
    assert float(task.train.inputs.mean()) == pytest.approx(0, abs=1e-5)
    assert float(task.train.inputs.std()) == pytest.approx(1, abs=1e-5)
    from sklearn.datasets import load_digits

    raw = sorted(map(tuple, load_digits().images.reshape(-1, 64)))
    splits = [task.train, task.validation, task.test]
    pixels = torch.cat([s.inputs for s in splits]).reshape(-1, 64).double()
    back = (pixels - pixels.min()) / (pixels.max() - pixels.min()) * 16
    assert sorted(map(tuple, back.round().tolist())) == raw


DIGESTS = {
    "digits": "b36fd9f01484cabb216fe7e5fbe69a5545db23d671e0aa9ed8d7543043021de8",
    "mnist": "f840c3d96e26761c56d43561a52a472dea51eef550e9d19cc8ce95a2ca9af0a6",
    "fashion_mnist": "62273a2f0b18e2ce65165acd7bab015d245cde682810e325ff568b7cfc2e4cbf",
}
"""Of the data as published: results and stored trainings are known by them."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if takes_data_dir(name) else ()) for name in TASKS]
)
def test_every_task_keeps_the_contract(name: str) -> None:
    try:
        task = load_task(name)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    assert task.name == name
    assert task.digest == DIGESTS.get(name, task.digest)
    assert len(task.digest) == 64
    assert min(len(task.train), len(task.validation), len(task.test)) > 0
    inputs, targets = task.scoring_batch(30, seed=0)
    assert isinstance(inputs, torch.Tensor)
    assert inputs.shape == (30, *task.input_shape)
    task.objective.check_targets(targets, outputs=task.outputs, what="they")
    assert task.objective.outputs_of(task.train.targets) == task.outputs
    packed = pickle.dumps(task)  # to another process by name
    assert len(packed) < 500
    assert pickle.loads(packed).digest == task.digest  # noqa: S301
    assert task.to("cpu").loader == task.loader
    assert len(pickle.dumps(task.to("cpu"))) < 500
    assert (TASKS[name].__doc__ or "").strip()


def test_an_input_by_name_is_other_data_than_the_same_without() -> None:
    assert task_digest(*[Split(torch.zeros(2, 1), torch.tensor([0, 1]))] * 3) != task_digest(
        *[Split({"x": torch.zeros(2, 1)}, torch.tensor([0, 1]))] * 3
    )


@pytest.mark.parametrize("size", [10, 25, 1000])
def test_scoring_batch_is_seeded_without_repeats_and_balanced_on_demand(size: int) -> None:
    task = load_task("digits")
    inputs, targets = task.scoring_batch(size, seed=1)
    again, _ = task.scoring_batch(size, seed=1)
    other, _ = task.scoring_batch(size, seed=2)
    assert inputs.shape == (size, 1, 8, 8)
    assert torch.equal(inputs, again)
    assert not torch.equal(inputs, other)
    counts = task.scoring_batch(size, seed=1, balanced=True)[1].bincount(minlength=10)
    assert int(counts.max() - counts.min()) <= 1
    assert int(counts.sum()) == size
    assert len(targets) == size


def test_scoring_batch_refuses_what_it_cannot_draw() -> None:
    task = load_task("digits")
    with pytest.raises(ValueError, match="1 to 1257"):
        task.scoring_batch(2000, seed=0)
    few = Split(task.train.inputs[:20], torch.tensor([0] * 19 + [1]))
    skewed = Task("skewed", few, few, few, 2, "")
    with pytest.raises(ValueError, match="class 1 of skewed has 1"):
        skewed.scoring_batch(10, seed=0, balanced=True)


def test_splits_refuse_unequal_or_no_data() -> None:
    with pytest.raises(ValueError, match="as many inputs as targets"):
        Split(torch.zeros(3, 1), torch.zeros(2, dtype=torch.int64))


def write_idx(path: Path, array: np.ndarray) -> None:
    raw = b"\x00\x00\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_round_trip(tmp_path: Path, suffix: str) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    path = tmp_path / f"file{suffix}"
    write_idx(path, array)
    assert np.array_equal(read_idx(path), array)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("length", [0, 2, 7, 30])
def test_truncated_idx_files_are_refused_in_one_sentence(tmp_path: Path, suffix: str, length: int) -> None:
    path = tmp_path / f"file{suffix}"
    write_idx(path, np.arange(240, dtype=np.uint8).reshape(20, 3, 4))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"truncated|not an IDX|promises"):
        read_idx(path)


def test_idx_of_another_type_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\x00\x00\x0d\x01\x00\x00\x00\x01\x00\x00\x00\x00")
    with pytest.raises(ValueError, match="unsigned bytes"):
        read_idx(path)


def fake_mnist(folder: Path, train: int = 60_000) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for stem, count in zip(STEMS[::2], (train, 10_000), strict=True):
        write_idx(folder / stem, np.zeros((count, 28, 28), dtype=np.uint8))
    for stem, count in zip(STEMS[1::2], (train, 10_000), strict=True):
        write_idx(folder / stem, rng.integers(0, 10, count, dtype=np.uint8))


def test_a_folder_of_another_size_is_refused(tmp_path: Path) -> None:
    fake_mnist(tmp_path / "mnist", train=100)
    with pytest.raises(ValueError, match="does not hold mnist"):
        load_task("mnist", tmp_path)


def test_the_data_dir_comes_first_and_the_split_is_fixed(tmp_path: Path) -> None:
    fake_mnist(tmp_path / "fashion-mnist")
    task = load_task("fashion_mnist", tmp_path)
    assert (len(task.train), len(task.validation), len(task.test)) == (55_000, 5_000, 10_000)
    assert float(task.train.inputs[0].max()) == pytest.approx(-0.2860 / 0.3530)


def test_missing_data_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision

    class Offline:
        def __init__(self, **_: object) -> None:
            raise OSError("no network")

    monkeypatch.setattr(torchvision.datasets, "MNIST", Offline)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("SCRATCHCARD_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match=r"train-images-idx3-ubyte.*put the files into.*--data-dir"):
        TASKS["mnist"](None)


def test_a_data_dir_is_binding_and_the_environment_a_first_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_mnist(tmp_path / "named" / "mnist")
    monkeypatch.setenv("SCRATCHCARD_DATA", str(tmp_path / "named"))
    assert len(TASKS["mnist"](None).train) == 55_000
    (tmp_path / "asked").mkdir()
    with pytest.raises(
        FileNotFoundError, match=r"no mnist data in .*asked: looked for train-images.*leave out"
    ) as caught:
        TASKS["mnist"](tmp_path / "asked")
    assert "named" not in str(caught.value)


def test_unknown_task_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'mnist'"):
        load_task("mnsit")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_real_sets(name: str) -> None:
    try:
        task = load_task(name)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    assert (len(task.train), len(task.validation), len(task.test)) == (55_000, 5_000, 10_000)
    inputs = torch.cat([task.train.inputs, task.validation.inputs])
    assert float(inputs.mean()) == pytest.approx(0, abs=1e-3)
    assert float(inputs.std()) == pytest.approx(1, abs=1e-3)
    # No training image is a validation image by construction: all 60,000 are there once.
    assert torch.cat([task.train.targets, task.validation.targets]).bincount().sum() == 60_000
