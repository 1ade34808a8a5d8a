"""Ctrl-C, `kill`, a terminal that closes: soon, in one line that is true."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.frontends.calls import FAST, as_json, run
from tests.sweeps.sweeping import Command, children, lives, until

TOLD = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "the terminal has gone"}


# Two moments: while the workers start, and when they are at work. A terminal tells the whole process group, a scheduler
# perhaps the command alone.
@pytest.mark.parametrize(
    ("jobs", "after", "number", "everyone"),
    [
        (2, 1.0, signal.SIGINT, True),
        *(
            pytest.param(*moment, marks=pytest.mark.slow)
            for moment in (
                (1, 1.0, signal.SIGINT, True),
                (2, 0.2, signal.SIGINT, True),
                (1, 1.0, signal.SIGTERM, True),
                (2, 0.2, signal.SIGTERM, True),
                (2, 1.0, signal.SIGTERM, True),
                (2, 1.0, signal.SIGTERM, False),
                (2, 0.2, signal.SIGHUP, True),
                (2, 1.0, signal.SIGHUP, True),
            )
        ),
    ],
)
def test_what_stops_a_command_stops_it_soon_and_it_says_how_to_go_on(
    tmp_path: Path, jobs: int, after: float, number: signal.Signals, everyone: bool
) -> None:
    table = tmp_path / "table"
    arguments = ["build", "--seeds", "0-9", "--regime", "ISS", "--scorer", "magnitude", "--max-steps", "200000"]
    with Command(*arguments, "--patience", "1000", "--jobs", jobs, "--out", table) as command:
        until(lambda: (table / "manifest.json").exists())
        time.sleep(after)
        workers = children(command.process.pid)
        (os.killpg if everyone else os.kill)(command.process.pid, number)
        assert command.ends(30) == 128 + number
        assert not any(map(lives, workers)) or until(lambda: not any(map(lives, workers)), 5)
    truth = f"{TOLD[number]}; finished rounds and seeds are kept, the same command goes on"
    assert command.stderr == f"scratchcard: {truth}\n"
    assert command.stdout == ""
    assert not list(table.glob("*.parquet"))
    assert not list(tmp_path.rglob("*.part*"))
    assert not list(table.glob(".leases/*"))


@pytest.mark.slow
def test_nohup_is_heeded(tmp_path: Path) -> None:
    table = tmp_path / "table"
    arguments = ["build", "--seeds", "0", "--regime", "ISS", "--scorer", "magnitude", "--max-steps", "200000"]
    with Command(*arguments, "--patience", "1000", "--out", table, ignores=[signal.SIGHUP]) as command:
        until(lambda: (table / "manifest.json").exists())
        os.killpg(command.process.pid, signal.SIGHUP)
        time.sleep(1)
        assert command.process.poll() is None
        os.killpg(command.process.pid, signal.SIGTERM)
        assert command.ends(30) == 143


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


def test_train_goes_on_with_resume(job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scratchcard.frontends.cli import Stopped
    from scratchcard.pruning.ticket import Ticket
    from scratchcard.workloads.engines.fused import FusedEngine

    whole, out = tmp_path / "whole.safetensors", tmp_path / "out.safetensors"
    command = ["train", job / "ticket.safetensors", "--device", "cpu", "--out"]
    as_json(*command, whole)
    real, calls = FusedEngine.run, []

    def stopped(self: Any, order: Any) -> Any:
        calls.append(order.shape[1])
        if len(calls) == 3:  # a step of the trial, and one stretch
            raise Stopped(15)
        return real(self, order)

    with monkeypatch.context() as patched:
        patched.setattr(FusedEngine, "run", stopped)
        result = run(*command, out)
    hidden = tmp_path / ".out.safetensors.training"
    assert result.exit_code == 143
    truth = f"terminated; {hidden} holds the training, the same command with --resume goes on"
    assert result.stderr == f"scratchcard: {truth}\n"
    assert "--resume goes on with it, --overwrite begins anew" in run(*command, out).stderr
    assert "learning_rate was another" in run(*command, out, "--resume", "--learning-rate", 0.05).stderr
    assert f"resumed at step {calls[1]})" in run(*command, out, "--resume").stdout
    one, other = (Ticket.load(path).trained for path in (whole, out))
    assert one is not None
    assert other is not None
    assert all(one[name].equal(tensor) for name, tensor in other.items())
    assert not hidden.exists()
    assert "it begins anew" in run(*command, tmp_path / "new.safetensors", "--resume").stderr
