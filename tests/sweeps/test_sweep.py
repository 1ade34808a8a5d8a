"""Sweeps in which all goes well, and the notes that they leave."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from scratchcard.apply.experiment import Experiment
from scratchcard.apply.method import Method
from scratchcard.artefacts.process import here
from scratchcard.pruning.ticket import Ticket
from scratchcard.sweeps.running import forget, in_flight, interrupted, mark, running
from scratchcard.sweeps.runs import unwritable_folder
from scratchcard.sweeps.sweep import Progress, in_order, run_all, sweep
from tests.sweeps.sweeping import IMP, SNIP, results, runs, workload, written

RANDOM = Method("random")


def test_the_number_of_jobs_changes_nothing(tmp_path: Path) -> None:
    experiments = runs([SNIP, IMP, Method("snip", initial="bimodal")])
    tickets: dict[int, dict[str, Ticket | None]] = {1: {}, 2: {}}
    for jobs in (1, 2):
        shown = tickets[jobs]
        swept = sweep(
            experiments, tmp_path / str(jobs), jobs=jobs, each=lambda r, t, shown=shown: shown.update({r["digest"]: t})
        )
        assert (swept.ran, swept.total, swept.failed) == (6, 6, {})
        assert not list((tmp_path / str(jobs)).rglob("*.part*"))
        assert not list((tmp_path / str(jobs) / ".shared" / "tickets").glob("*"))  # all were handed over
        assert running(tmp_path / str(jobs)) == []
    assert results(tmp_path / "1") == results(tmp_path / "2")
    assert len(results(tmp_path / "1")) == 6
    for digest, one in tickets[1].items():
        two = tickets[2][digest]
        assert one is not None
        assert two is not None
        assert one.trained is not None
        assert two.trained is not None
        assert all(torch.equal(tensor, two.trained[name]) for name, tensor in one.trained.items())
        assert all(torch.equal(tensor, two.mask.tensors[name]) for name, tensor in one.mask.tensors.items())


def test_a_finished_sweep_costs_nothing_and_tells_so(tmp_path: Path) -> None:
    experiments = runs([SNIP, RANDOM])
    sweep(experiments, tmp_path)
    before = written(tmp_path)
    told: list[Progress] = []
    swept = sweep([*experiments, *experiments], tmp_path, jobs=2, dask="tcp://nobody:1", progress=told.append)
    assert (swept.ran, swept.total) == (0, 4)
    assert swept.seconds < 1
    assert swept.runs_per_minute == 0
    assert written(tmp_path) == before
    assert told == [Progress(4, 0, 4, None)]


def test_progress_and_the_time_left(tmp_path: Path) -> None:
    told: list[Progress] = []
    sweep(runs([SNIP, RANDOM]), tmp_path, progress=told.append)
    assert [(now.done, now.failed, now.total) for now in told] == [(done, 0, 4) for done in range(5)]
    assert told[0].seconds_left is None
    left = [now.seconds_left for now in told[1:]]
    assert all(seconds is not None and seconds > 0 for seconds in left[:-1])
    assert left[-1] == 0


def test_tickets_are_kept_and_a_run_without_one_is_done_again(tmp_path: Path) -> None:
    experiments = runs(seeds=(1, 2, 3))
    shown: list[Any] = []
    sweep(experiments, tmp_path, keep_tickets=True, each=lambda record, ticket: shown.append((record, ticket)))
    first = results(tmp_path)
    places = sorted((tmp_path / "tickets").iterdir())
    assert [path.stem for path in places] == sorted(first)
    for record, ticket in shown:
        kept = Ticket.load(tmp_path / "tickets" / f"{record['digest']}.safetensors")
        assert kept.trained is not None
        assert all(torch.equal(kept.trained[name], tensor) for name, tensor in ticket.trained.items())
        assert kept.mask.kept == record["kept"]
    places[0].unlink()
    assert sweep(experiments, tmp_path).ran == 0
    assert sweep(experiments, tmp_path, keep_tickets=True).ran == 1
    assert places[0].is_file()
    assert results(tmp_path) == first


def test_what_is_shared_may_be_deleted_at_any_time(tmp_path: Path) -> None:
    import shutil

    experiments = runs([IMP], seeds=(1, 2))
    sweep(experiments, tmp_path, each=lambda *_: shutil.rmtree(tmp_path / ".shared"))
    sweep(experiments, tmp_path / "other")
    assert results(tmp_path) == results(tmp_path / "other")


def test_the_order_is_seed_by_seed_slow_first_from_high_density(tmp_path: Path) -> None:
    base = workload()
    experiments = [
        Experiment(base, method, density, seed) for seed in (2, 1) for method in (SNIP, IMP) for density in (0.1, 0.5)
    ]
    order = [(e.seed, e.method.make_regime().name, e.density) for e in in_order(experiments)]
    assert order == [
        (seed, regime, density)
        for seed in (1, 2)
        for regime, density in (("ISS", 0.5), ("ISS", 0.1), ("USS", 0.1), ("USS", 0.5))
    ]
    # A run at which an earlier sweep was killed comes last: it may be what kills.
    mark(tmp_path, in_order(experiments)[0].digest, dead())
    ran: list[str] = []
    sweep(experiments, tmp_path, each=lambda record, _: ran.append(record["digest"]))
    first, *others = [e.digest for e in in_order(experiments)]
    assert ran == [*others, first]


def test_another_sweep_may_have_done_a_run_meanwhile(tmp_path: Path) -> None:
    experiments = runs(seeds=(1, 2, 3))
    other: list[int] = []
    shown: list[str] = []

    def each(record: dict[str, Any], _: Ticket | None) -> None:
        shown.append(record["digest"])
        if not other:
            other.append(sweep(experiments, tmp_path).ran)

    swept = sweep(experiments, tmp_path, each=each)
    assert other == [2]
    assert (swept.ran, swept.failed) == (1, {})
    assert shown == [in_order(experiments)[0].digest]
    assert len(results(tmp_path)) == 3


def test_the_callers_threads_are_as_they_were(tmp_path: Path) -> None:
    torch.set_num_threads(2)
    sweep(runs(seeds=(1,)), tmp_path)
    assert torch.get_num_threads() == 2


def test_what_it_refuses(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="jobs must be at least 1, got 0"):
        sweep([], tmp_path, jobs=0)
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="is a file"):
        sweep([], tmp_path / "file")


def test_run_all_refuses_failures_and_lost_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = runs(seeds=(1,))[0], runs(seeds=(1,), network="no_such_module:network")[0]
    with pytest.raises(ValueError, match=f"1 of 2 runs failed, {bad.digest}.error.json: ValueError: cannot import"):
        run_all([good, bad], tmp_path)
    with pytest.raises(ValueError, match="was removed or damaged"):
        run_all([good], tmp_path / "b", progress=lambda done, _: done and (tmp_path / "b" / record(good)).unlink())


def record(experiment: Experiment) -> str:
    return f"{experiment.digest}.json"


def dead() -> int:
    """The number of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_notes_of_runs_in_flight(tmp_path: Path) -> None:
    assert running(tmp_path) == in_flight(tmp_path) == interrupted(tmp_path) == []
    mark(tmp_path, "a", os.getpid())
    mark(tmp_path, "b", dead())
    mark(tmp_path, "c", os.getpid())
    note = tmp_path / ".running" / "c"
    note.write_text(f"{os.getpid()} 1")  # an earlier process, whose number this one got
    (tmp_path / ".running" / "d").write_text("")
    (tmp_path / ".running" / "e").write_text("9" * 30)
    (tmp_path / ".running" / "f").write_text(str(os.getpid()))  # as notes were before they said when it began
    assert running(tmp_path) == list("abcdef")
    assert in_flight(tmp_path) == ["a", "f"]
    assert interrupted(tmp_path) == list("bcde")
    forget(tmp_path)
    assert running(tmp_path) == ["a", "f"]
    mark(tmp_path, "a", None)
    mark(tmp_path, "a", None)
    assert running(tmp_path) == ["f"]


def test_notes_that_cannot_be_written_don_t_matter(tmp_path: Path) -> None:
    (tmp_path / ".running").touch()
    mark(tmp_path, "a", os.getpid())
    assert in_flight(tmp_path) == []


def test_half_written_files_of_killed_processes_are_removed(tmp_path: Path) -> None:
    sweep(runs(seeds=(1,)), tmp_path)
    left = [
        tmp_path / f"{place}.{here()}-{dead()}-0123abcd.part.{ending}"
        for place, ending in ((".a", "json"), (".shared/ab/.c", "safetensors"))
    ]
    users = tmp_path / ".a.part.json"
    for path in (*left, users):
        path.parent.mkdir(exist_ok=True, parents=True)
        path.touch()
    assert sweep(runs(seeds=(1, 2)), tmp_path).ran == 1
    assert [path.name for path in tmp_path.rglob("*.part*")] == [users.name]


@pytest.mark.parametrize(
    ("problem", "number"),
    [
        (OSError(errno.ENOSPC, "x"), errno.ENOSPC),
        (OSError("cannot write it: I/O error: No space left on device (os error 28)"), errno.ENOSPC),
        (PermissionError(errno.EACCES, "x", "/results/.shared/ab"), errno.EACCES),
        (PermissionError(errno.EACCES, "x", "/data/secret"), None),  # that is the run's own problem
        (FileNotFoundError(errno.ENOENT, "x", "/results/a"), None),
        (OSError("no number"), None),
        (ValueError("os error 28"), None),
    ],
)
def test_what_ends_a_sweep_and_what_only_a_run(problem: Exception, number: int | None) -> None:
    found = unwritable_folder(problem, Path("/results"))
    assert (found and found.errno) == number
    if found is not None:
        assert json.dumps(found.strerror) != "null"
