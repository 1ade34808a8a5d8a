"""The demo, end to end: small in the quick tests, as `make demo` runs it in the slow ones."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from scratchcard.frontends.cli.demo import NEXT
from scratchcard.sweeps.demo import FIXED, SHIPPED, SLOW, Demo
from scratchcard.workloads.engines.training import Recipe


@pytest.mark.slow
def test_a_small_demo_end_to_end_and_its_second_run(tmp_path: Path) -> None:
    recipe = Recipe(max_steps=100, evaluation_interval=50, scoring_examples=200)
    demo = Demo(density=0.05, train_seeds=(0, 1), new_seeds=(100,), recipe=recipe)
    stages: list[str] = []
    results = demo.run(tmp_path, stage=lambda text, done, total: stages.append(text))
    assert len(results) == len(demo.methods(tmp_path))
    labels = {method.label: name for name, method in demo.methods(tmp_path / "predictor").items()}
    assert [labels[result["label"]] for result in results] == list(demo.methods(tmp_path))
    assert {SHIPPED, FIXED, SLOW} <= set(labels.values())
    assert len({result["kept"] for result in results}) == 1
    assert list(dict.fromkeys(stages)) == [
        "building the score table",
        "fitting the predictor",
        "pruning, training and evaluating tickets",
    ]
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "results").iterdir()}
    assert demo.run(tmp_path) == results
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "results").iterdir()} == files


@pytest.mark.slow
def test_the_demo_as_a_user_runs_it(tmp_path: Path) -> None:
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "scratchcard.frontends.cli", "demo", "--out", str(tmp_path / "demo")],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert time.monotonic() - begin < 600  # a hang, not a speed: the figure is in the README
    assert SHIPPED in done.stdout
    assert done.stdout.rstrip().endswith(NEXT)
    assert not done.stderr.count("Traceback")
    assert (tmp_path / "demo" / "comparison.png").read_bytes().startswith(b"\x89PNG")
