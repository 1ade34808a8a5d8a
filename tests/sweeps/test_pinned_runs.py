"""The committed records stay valid: every run of every committed grid is identified as it was when it was run."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

from scratchcard.sweeps import grid
from scratchcard.sweeps.grid import Grid, read_grid
from scratchcard.workloads.task import Split, Task
from tests.sweeps.sweeping import ROOT

PINNED = json.loads((Path(__file__).parent / "pinned_runs.json").read_text())
"""`tasks`: digests of the data; `grids`: number of runs and a sha256 over their sorted digests; `runs`: some of them,
as their committed records have them."""


def of_digest(name: str, _: Path | None = None) -> Task:
    """A stand-in with the digest of the real data: no grid looks at the data to know its runs."""
    split = Split(torch.zeros(20, 1, 8, 8), torch.arange(20) % 10)
    return Task(name, split, split, split, 10, PINNED["tasks"][name])


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Grid]:
    monkeypatch.setattr(grid, "load_task", of_digest)
    monkeypatch.chdir(ROOT)
    return {name: read_grid(f"experiments/{name}.toml", tmp_path) for name in PINNED["grids"]}


def test_every_run_keeps_its_identity(read: dict[str, Grid]) -> None:
    for name, pinned in PINNED["grids"].items():
        digests = sorted(run.digest for run in read[name].experiments)
        assert len(digests) == pinned["runs"], name
        assert hashlib.sha256("\n".join(digests).encode()).hexdigest() == pinned["digest"], name


def test_runs_of_committed_records_keep_digest_and_label(read: dict[str, Grid]) -> None:
    for pinned in PINNED["runs"]:
        found = {run.digest: run for run in read[pinned["grid"]].experiments}[pinned["digest"]]
        assert (found.label, found.density, found.seed) == (pinned["label"], pinned["density"], pinned["seed"])
