"""Builds in other processes, here and on a cluster: what dies costs its seed, what comes back is the same table."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from scratchcard.dataset_builder import build as module
from scratchcard.dataset_builder.build import Recording, build
from scratchcard.score_tables.table import ScoreTable
from scratchcard.workers.pool import Here, Pool
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload
from tests.frontends.calls import refused
from tests.sweeps.sweeping import until
from tests.workers.clusters import cluster

SNIP = Recording("USS", "snip", 0.05)
NETWORKS = """
import os, signal
from pathlib import Path
import torch
from torch import nn

def plain():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))

def dies_once():
    note = Path(__file__).parent / "died"
    if torch.initial_seed() == 2 and not note.exists():
        note.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return plain()

def dies():
    if torch.initial_seed() == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return plain()
"""


@pytest.fixture
def networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's module of networks, some of which kill the process of seed 2."""
    (tmp_path / "deadly_networks.py").write_text(NETWORKS)
    monkeypatch.syspath_prepend(str(tmp_path))


def workload(network: str, steps: int = 40) -> Workload:
    recipe = Recipe(max_steps=steps, evaluation_interval=20, scoring_examples=100, patience=1000)
    return Workload(network, load_task("digits"), recipe)


def same(one: ScoreTable, other: ScoreTable) -> bool:
    """Whether two tables hold the same rows."""
    pairs = zip(one.blocks(), other.blocks(), strict=True)
    return all(np.array_equal(a.columns[n], b.columns[n], equal_nan=True) for a, b in pairs for n in a.columns)


@pytest.mark.slow
def test_a_worker_that_dies_costs_only_what_it_was_at(tmp_path: Path, networks: None) -> None:
    told: list[tuple[int, int]] = []
    deadly = workload("deadly_networks:dies_once")
    apart = build(deadly, range(4), tmp_path / "apart", SNIP, jobs=2, progress=lambda *now: told.append(now))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert same(apart, build(deadly, range(4), tmp_path / "here", SNIP))


@pytest.mark.slow
def test_a_seed_that_kills_its_workers_is_named_and_the_others_are_built(tmp_path: Path, networks: None) -> None:
    deadly = workload("deadly_networks:dies")
    with pytest.raises(OSError, match=r"seed 2 of .*table could not be built, its worker process died 2 times .*kept"):
        build(deadly, range(4), tmp_path / "table", SNIP, jobs=2)
    assert ScoreTable.open(tmp_path / "table").seeds == {deadly.name: (0, 1, 3)}


@pytest.mark.slow
def test_an_error_in_a_worker_is_raised_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown network 'nonesuch'"):
        build(workload("nonesuch"), [0, 1], tmp_path, SNIP, jobs=2)


def test_workers_that_do_not_see_the_folder_send_what_they_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.contextmanager
    def elsewhere(jobs: int, dask: str | None, device: str) -> Iterator[Pool]:
        assert (jobs, dask, device) == (1, "tcp://far.away:8786", "cpu")
        yield Here()

    lenet = workload("lenet_300_100")
    here = build(lenet, [0, 1], tmp_path / "here", SNIP)
    monkeypatch.setattr(module, "open_pool", elsewhere)
    monkeypatch.setattr(module, "_holds", lambda *_: False)
    there = build(lenet, [0, 1], tmp_path / "there", SNIP, dask="tcp://far.away:8786")
    assert same(here, there)
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == sorted(
        path.name for path in (tmp_path / "here").iterdir()
    )


def test_a_folder_is_the_same_only_with_the_same_manifest(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    assert module._holds(tmp_path / "manifest.json", b"{}")
    assert not module._holds(tmp_path / "manifest.json", b"{ }")
    assert not module._holds(tmp_path / "other" / "manifest.json", b"{}")


def test_what_cannot_be_a_pool_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="jobs must be at least 1, got 0"):
        build(workload("lenet_300_100"), [0], tmp_path / "none", SNIP, jobs=0)
    line = refused("build", "--seeds", "0-1", "--regime", "USS", "--out", tmp_path / "table", "--dask", "nobody")
    assert "'nobody' is no address of a Dask scheduler: expected tcp://host:port" in line


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # these three are Dask's own
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:distributed")
def test_a_cluster_builds_also_when_a_worker_is_killed(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    lenet, out = workload("lenet_300_100", 300), tmp_path / "cluster"
    imp = Recording.of(regime="ISS", scorer="magnitude", density=0.05, rounds=2)
    with cluster() as found:
        victim = next(iter(found.workers.values())).pid

        def kill() -> None:
            until(lambda: len(list(out.glob("*.parquet"))) >= 1)
            os.kill(victim, signal.SIGKILL)

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        there = build(lenet, range(5), out, imp, dask=found.scheduler_address)
        killer.join(5)
        assert not killer.is_alive()
    assert same(there, build(lenet, range(5), tmp_path / "here", imp))
