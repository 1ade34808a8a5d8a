"""Benchmarks where MNIST is not there: they run on what is there, and say what they left out."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import __main__ as all_of_them
from benchmarks import data, searching, sweep


def nowhere(*_: object) -> Any:
    raise FileNotFoundError("no mnist data\nanywhere")


def test_without_mnist_noise_of_its_shape_is_measured_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(data, "load_task", nowhere)
    monkeypatch.setattr(data, "raw_images", nowhere)
    task = data.mnist_or_noise()
    images, labels = data.images_or_noise()
    assert (task.name, len(task.train), task.input_shape) == ("noise", 55_000, (1, 28, 28))
    assert (images.shape, labels.shape) == ((60_000, 28, 28), (60_000,))
    said = capsys.readouterr().err.splitlines()
    assert said == ["no MNIST, measured on noise of its shape instead (no mnist data anywhere)"] * 2


def test_what_means_nothing_without_mnist_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(data, "load_task", nowhere)
    with pytest.raises(SystemExit) as ended:
        data.mnist_or_left_out()
    assert ended.value.code == data.LEFT_OUT
    assert capsys.readouterr().err == "left out: it needs MNIST (no mnist data anywhere)\n"


def test_a_sweep_is_measured_on_digits(tmp_path: Path) -> None:
    assert sweep.mnist_or_digits(tmp_path).name == "digits"  # a folder that is named is binding


@pytest.mark.parametrize(("statuses", "ended"), [((0, 77), 0), ((77, 1), 1), ((0, 0), 0)])
def test_all_run_and_the_end_says_which_did_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], statuses: tuple[int, int], ended: int
) -> None:
    left = list(statuses)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=left.pop(0)))
    monkeypatch.setattr("sys.argv", ["benchmarks", "one", "two"])
    assert all_of_them.main() == ended
    said = capsys.readouterr().out.splitlines()
    names = dict(zip(statuses, ("one", "two"), strict=True))
    expected = ["== one", "== two"]
    expected += [f"== left out for want of data: {names[77]}"] if 77 in statuses else []
    expected += [f"== failed: {names[1]}"] if 1 in statuses else []
    assert said == expected


def test_searches_are_measured_for_the_steps_that_are_fitted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(searching, "BUDGETS", {4: {"rounds": 2, "search_steps": searching.STEPS[0]}})
    monkeypatch.setattr(searching, "timed", lambda work: (2.0, 1.0))
    monkeypatch.setattr("sys.argv", ["searching", "--networks", "experiments.networks.conv:small_conv"])
    searching.main()
    row = "| experiments.networks.conv:small_conv | 2,200 | 2 | 2.0 (1.0) |" + " 1.00 (1.00) |" * 4
    assert row in capsys.readouterr().out
