"""Ctrl-C: soon, in one line that is true."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.frontends.calls import FAST, as_json, run


# Two moments: while the workers start, and when they are at work.
@pytest.mark.parametrize(("jobs", "after"), [(1, 1.0), (2, 0.2), (2, 1.0)])
def test_ctrl_c_stops_soon_and_says_how_to_go_on(tmp_path: Path, jobs: int, after: float) -> None:
    table = tmp_path / "table"
    arguments = ["build", "--seeds", "0-9", "--regime", "ISS", "--scorer", "magnitude", "--max-steps", "200000"]
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "scratchcard.frontends.cli",
            *arguments,
            "--patience",
            "1000",
            "--jobs",
            str(jobs),
            "--out",
            str(table),
        ],
        cwd=Path(__file__).resolve().parents[2],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's background jobs ignore SIGINT, and children inherit that: the tests may run in one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not (table / "manifest.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(after)
    os.killpg(process.pid, signal.SIGINT)
    try:
        _, errors = process.communicate(timeout=30)
    finally:
        if process.poll() is None:  # never leave a builder behind
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert process.returncode == 130
    assert errors == "scratchcard: interrupted; finished rounds and seeds are kept, the same command goes on\n"
    assert "Traceback" not in errors
    assert not list(table.glob("*.parquet"))


class Interrupted:
    """Stands in for a function: Ctrl-C comes in its n-th call."""

    def __init__(self, real: Any, call: int) -> None:
        self.real, self.call, self.calls = real, call, 0

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        self.calls += 1
        if self.calls == self.call:
            raise KeyboardInterrupt
        return self.real(*arguments, **keywords)


def test_prune_goes_on_after_its_finished_rounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import scratchcard.workloads.stored_training

    out = tmp_path / "ticket.safetensors"
    command = ["prune", "--regime", "ISS", "--scorer", "magnitude", "--rounds", "3", *FAST, "--out", str(out)]
    training = scratchcard.workloads.stored_training.train
    monkeypatch.setattr(scratchcard.workloads.stored_training, "train", Interrupted(training, 3))
    result = run(*command)
    assert result.exit_code == 130
    hidden = tmp_path / ".ticket.safetensors.rounds"
    truth = f"interrupted; finished rounds are kept in {hidden}, the same command goes on"
    assert result.stderr == f"scratchcard: {truth}\n"
    counting = Interrupted(training, -1)
    monkeypatch.setattr(scratchcard.workloads.stored_training, "train", counting)
    as_json(*command)
    assert counting.calls == 1
    assert [path.name for path in tmp_path.iterdir()] == ["ticket.safetensors"]


@pytest.mark.parametrize(
    ("command", "interrupts", "truth"),
    [
        (["prune", "--scorer", "snip"], "scratchcard.regimes.upfront.prune_upfront", "nothing was saved"),
        (["train", "JOB/ticket.safetensors"], "scratchcard.workloads.stored_training.train", "the ticket is as it was"),
        (["fit", "JOB/table", "--family", "tree"], "scratchcard.meta.fit.Rows", "nothing was saved"),
    ],
)
def test_what_cannot_go_on_says_so(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], interrupts: str, truth: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(interrupts, Interrupted(None, 1))
    result = run(*(word.replace("JOB", str(job)) for word in command))
    assert result.exit_code == 130
    assert result.stderr == f"scratchcard: interrupted; {truth}, the same command begins again\n"
    assert not list(tmp_path.iterdir())
