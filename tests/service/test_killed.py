"""Server and workers are killed without a word: no job is lost, and none is done twice."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path

import httpx2
import pytest

import scratchcard as sc
from scratchcard.frontends.service.jobs import Queue
from scratchcard.frontends.service.limits import Limits
from scratchcard.frontends.service.problems import Problem
from tests.service.running import Process, ended, free_port
from tests.service.test_jobs import same

WORDS = {"task": "digits", "scorer": "synflow", "regime": "UMS", "regime_settings": {"rounds": 60}, "density": 0.05}


def _ends(log: Path) -> Counter[str]:
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return Counter(line["job"] for line in lines if line["event"] == "job ended" and line["state"] == "done")


def _killed(tmp_path: Path, jobs: int, times: int) -> None:
    state, port = tmp_path / "state", free_port()
    service = Process(state, "--workers", "2", port=port)
    with httpx2.Client(base_url=service.address, timeout=60) as client:
        asked = [client.post("/jobs", json=WORDS | {"seed": seed}).json()["id"] for seed in range(jobs)]
    for number in range(times):
        time.sleep(0.3 + 0.7 * int.from_bytes(os.urandom(1)) / 255)
        service.kill(workers=number % 4 != 3)  # where they are left, they may be at a job when the next service begins
        service = Process(state, "--workers", "2", port=port)
    with httpx2.Client(base_url=service.address, timeout=60) as client:
        found = {job: ended(client, job, 600) for job in asked}
        assert {each["state"] for each in found.values()} == {"done"}
        assert max(each["attempts"] for each in found.values()) <= times + 1
        ticket = sc.Ticket.load(client.get(f"/jobs/{asked[0]}/ticket").content)
        method = sc.Method.of("synflow", regime="UMS", rounds=60)
        assert same(ticket, sc.prune("lenet_300_100", "digits", 0.05, 0, method=method))
        assert len(client.get("/jobs", params={"limit": 100}).json()) == jobs
    assert service.stop() == 0
    assert max(_ends(tmp_path / "state.log").values()) == 1


@pytest.mark.slow
def test_jobs_survive_a_kill_of_all(tmp_path: Path) -> None:
    _killed(tmp_path, jobs=3, times=1)


@pytest.mark.slow
def test_twenty_jobs_survive_twenty_kills(tmp_path: Path) -> None:
    _killed(tmp_path, jobs=20, times=20)


@pytest.mark.slow
def test_a_job_whose_worker_dies_is_done_again_and_a_stop_lets_it_wait(tmp_path: Path) -> None:
    words = WORDS | {"regime_settings": {"rounds": 1500}}
    service = Process(tmp_path / "state", "--stop-seconds", "0.1")
    with httpx2.Client(base_url=service.address, timeout=60) as client:
        job = client.post("/jobs", json=words).json()["id"]
        while not client.get(f"/jobs/{job}").json()["progress"]:
            time.sleep(0.05)
        for child in service.children():
            os.kill(child, signal.SIGKILL)
        while client.get(f"/jobs/{job}").json()["attempts"] < 2:
            time.sleep(0.05)
    assert service.stop() == 0  # in order; the job waits for the next service
    service = Process(tmp_path / "state")
    with httpx2.Client(base_url=service.address, timeout=60) as client:
        assert ended(client, job)["state"] == "done"
    assert service.stop() == 0


def test_a_queue_hands_out_each_job_once_and_keeps_them_over_a_restart(tmp_path: Path) -> None:
    queue = Queue(tmp_path / "jobs.sqlite")
    limits = Limits(own_jobs=3, waiting_jobs=4)
    jobs = [queue.add("ann", {"seed": seed}, limits)[0].id for seed in range(3)]
    with pytest.raises(Problem, match="3 jobs of this token are unfinished"):
        queue.add("ann", {}, limits)
    other = queue.add("bob", {}, limits)[0].id
    with pytest.raises(Problem, match="4 jobs wait already"):
        queue.add("eve", {}, limits)
    first, second = queue.take(), queue.take()
    assert first is not None
    assert second is not None
    assert (first.id, second.id) == (jobs[0], other)  # whoever has none at work comes first
    queue.close()
    queue = Queue(tmp_path / "jobs.sqlite")
    assert {job.id for job in queue.running()} == {jobs[0], other}
    assert queue.again(jobs[0], died=True) == 1
    again = queue.take()
    assert again is not None
    assert (again.id, again.attempts, again.deaths) == (jobs[0], 2, 1)
    assert queue.end(jobs[0], "done")
    assert not queue.end(jobs[0], "failed", "too late")
    assert queue.again(jobs[0], died=True) == 0
    assert queue.counts() == {"queued": 2, "running": 1, "done": 1, "failed": 0, "cancelled": 0}
