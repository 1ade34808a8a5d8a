"""Sweeps whose runs a Dask cluster does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

import pytest

from scratchcard.apply.method import Method
from scratchcard.sweeps.sweep import sweep
from scratchcard.workers import cluster as dask_cluster
from tests.frontends.calls import refused
from tests.sweeps.sweeping import IMP, ROOT, SNIP, Command, results, runs, until, write_grid
from tests.workers.clusters import cluster

distributed = pytest.importorskip("distributed")
CommClosedError = distributed.comm.CommClosedError

# Dask's own: what its loops and sockets leave behind when a cluster is closed.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:distributed"),
]


@pytest.mark.slow
def test_a_cluster_does_the_runs_also_when_a_worker_is_killed(tmp_path: Path) -> None:
    experiments = runs([SNIP, IMP], seeds=range(1, 6), steps=400)
    tickets: list[Any] = []
    with cluster() as found:
        victim = next(iter(found.workers.values())).pid

        def kill() -> None:
            until(lambda: len(results(tmp_path / "cluster")) >= 2)
            os.kill(victim, signal.SIGKILL)

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        swept = sweep(
            experiments,
            tmp_path / "cluster",
            dask=found.scheduler_address,
            keep_tickets=True,
            each=lambda _, ticket: tickets.append(ticket),
        )
        killer.join(5)
        assert not killer.is_alive()
    assert (swept.ran, swept.failed) == (10, {})
    assert len(list((tmp_path / "cluster" / "tickets").iterdir())) == 10
    assert all(ticket.trained is not None for ticket in tickets)
    sweep(experiments, tmp_path / "here")
    assert results(tmp_path / "cluster") == results(tmp_path / "here")


@pytest.mark.slow
def test_runs_that_fail_or_kill_their_worker_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cluster_networks.py").write_text(
        "import os, signal\nfrom torch import nn\n"
        "def kills():\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "def raises():\n    raise RuntimeError('no luck')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    kills, raises = (runs(seeds=(1,), network=f"cluster_networks:{name}")[0] for name in ("kills", "raises"))
    others = runs(seeds=(1, 2, 3))
    with cluster() as found:
        swept = sweep([kills, raises, *others], tmp_path / "results", dask=found.scheduler_address)
    assert set(swept.failed) == {kills.digest, raises.digest}
    assert "worker process died" in swept.failed[kills.digest]
    assert "no luck" in swept.failed[raises.digest]
    assert swept.ran == len(results(tmp_path / "results")) == 3


@pytest.mark.slow
def test_workers_with_several_threads_are_warned_of_and_give_the_same_results(tmp_path: Path) -> None:
    experiments = runs([SNIP, IMP, Method("random")], seeds=(1, 2))
    with cluster(1, 3) as found, pytest.warns(UserWarning, match="--nthreads 1"):
        sweep(experiments, tmp_path / "cluster", dask=found.scheduler_address)
    sweep(experiments, tmp_path / "here")
    assert results(tmp_path / "cluster") == results(tmp_path / "here")


@pytest.mark.parametrize("error", [CancelledError(), CommClosedError("ConnectionResetError")])
@pytest.mark.parametrize("asked", ["room", "result"])
def test_whichever_call_meets_it_first_a_scheduler_that_has_gone_is_one_sentence(asked: str, error: Exception) -> None:
    class Gone:
        def nthreads(self) -> dict[str, int]:
            raise error

    pool = dask_cluster.Cluster.__new__(dask_cluster.Cluster)
    pool.__dict__ |= {"_address": "tcp://127.0.0.1:1", "_client": Gone(), "_killed": distributed.scheduler.KilledWorker}
    future: Future[None] = Future()
    future.set_exception(error)
    with pytest.raises(OSError, match=r"scheduler at tcp://127\.0\.0\.1:1 is gone: finished work is kept"):
        _ = pool.room(0) if asked == "room" else pool.result(future)


@pytest.mark.slow
def test_a_scheduler_that_dies_is_one_sentence(tmp_path: Path) -> None:
    dask, folder = [sys.executable, "-m", "dask"], tmp_path / "results"
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": ROOT}
    note = tmp_path / "scheduler.json"
    arguments = ["--port", "0", "--no-dashboard", "--host", "127.0.0.1", "--scheduler-file", str(note)]
    scheduler = subprocess.Popen([*dask, "scheduler", *arguments], **quiet)
    worker = None
    try:
        address = until(lambda: _address(note))
        place = ["--local-directory", str(tmp_path), "--nthreads", "1", "--no-dashboard"]
        worker = subprocess.Popen([*dask, "worker", address, *place], **quiet)

        def kill() -> None:
            until(lambda: len(results(folder)) >= 1)
            scheduler.kill()

        threading.Thread(target=kill, daemon=True).start()
        with pytest.raises(OSError, match=f"scheduler at {address} is gone: finished work is kept"):
            sweep(runs([IMP], seeds=range(30), steps=600), folder, dask=address)
    finally:
        for process in filter(None, (worker, scheduler)):
            process.terminate()
            process.wait(30)
    assert 1 <= len(results(folder)) < 30


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_stops_the_command_is_one_sentence_and_the_cluster_lives_on(
    tmp_path: Path, number: signal.Signals
) -> None:
    grid, out = write_grid(tmp_path, steps=2000), tmp_path / "results"
    with cluster() as found:
        address = found.scheduler_address
        with Command("sweep", grid, "--out", out, "--dask", address) as command:
            until(lambda: len(results(out)) >= 1)
            os.killpg(command.process.pid, number)
            assert command.ends(30) == 128 + number
        *progress, last = command.stderr.splitlines()
        assert last.endswith(f"; finished runs are kept in {out}, the same command goes on")
        assert last.startswith("scratchcard: ")
        assert all(line.startswith("grid faults, ") for line in progress), command.stderr
        assert command.stdout == ""
        assert not list(out.rglob("*.part*")) or until(lambda: not list(out.rglob("*.part*")), 30)
        assert not (out / ".leases").exists()
        before = len(results(out))
        experiments = runs([SNIP], seeds=(1,))
        assert sweep(experiments, out, dask=address).ran == 1
    assert len(results(out)) >= before + 1


def _address(note: Path) -> str | None:
    try:
        return str(json.loads(note.read_text())["address"])
    except (OSError, ValueError):
        return None


def test_nobody_at_the_address_is_one_sentence_within_seconds(tmp_path: Path) -> None:
    begin = time.monotonic()
    with pytest.raises(OSError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1: start one"):
        sweep(runs(), tmp_path, dask="tcp://127.0.0.1:1")
    assert time.monotonic() - begin < 10
    with pytest.raises(ValueError, match="'nobody' is no address of a Dask scheduler: expected tcp://host:port"):
        sweep(runs(), tmp_path, dask="nobody")


def test_a_scheduler_without_workers_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_cluster, "CLUSTER_SECONDS", 1)
    with (
        distributed.LocalCluster(n_workers=0, processes=True, dashboard_address=":0") as found,
        pytest.raises(OSError, match="has no worker after 1 s: start some with `dask worker"),
    ):
        sweep(runs(), tmp_path, dask=found.scheduler_address)


def test_without_dask_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ValueError, match=r"pip install 'scratchcard\[cluster\]'"):
        sweep(runs(), tmp_path, dask="tcp://127.0.0.1:1")


def test_the_command_says_it_in_one_line(tmp_path: Path) -> None:
    line = refused("sweep", write_grid(tmp_path), "--out", tmp_path / "results", "--dask", "nobody")
    assert "'nobody' is no address of a Dask scheduler" in line
