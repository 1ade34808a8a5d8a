"""Jobs at the workers of a Dask cluster: the same tickets, cancelled for real, waiting where the cluster is gone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch

import scratchcard as sc
from scratchcard.frontends.service.apart import work_apart
from scratchcard.frontends.service.app import Settled
from scratchcard.frontends.service.limits import Limits
from scratchcard.frontends.service.work import REQUEST, Order
from scratchcard.workers.pool import Died
from tests.service.running import serving
from tests.workers.clusters import cluster

pytestmark = pytest.mark.slow
LONG = {"task": "digits", "scorer": "magnitude", "regime": "ISS", "recipe_settings": {"max_steps": 10_000_000}}


@pytest.fixture(scope="module")
def found() -> Iterator[Any]:
    with cluster(workers=2) as running:
        yield running


def apart() -> list[int]:
    """The processes that are at jobs."""
    pids = []
    for path in Path("/proc").iterdir():
        try:
            if path.name.isdecimal() and b"scratchcard.frontends.service.apart" in (path / "cmdline").read_bytes():
                pids.append(int(path.name))
        except OSError:
            continue
    return pids


def until(condition: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_two_workers_find_the_tickets_that_are_found_here(found: Any, tmp_path: Path) -> None:
    settled = Settled(tmp_path / "state", limits=Limits(workers=2), dask=found.scheduler_address)
    with serving(settled) as address, httpx2.Client(base_url=address, timeout=120) as client:
        asked = [{"task": "digits", "scorer": "snip", "density": 0.1, "seed": seed} for seed in range(3)]
        places = [client.post("/jobs", json=body).headers["location"] for body in asked]
        for seed, place in enumerate(places):
            assert client.get(f"{place}?wait=60").json()["state"] == "done"
            (tmp_path / "ticket").write_bytes(client.get(f"{place}/ticket").content)
            ticket = sc.Ticket.load(tmp_path / "ticket")
            own = sc.prune("lenet_300_100", "digits", 0.1, seed, method="snip")
            assert all(torch.equal(tensor, own.mask.tensors[name]) for name, tensor in ticket.mask.tensors.items())


def test_what_is_cancelled_ends_at_the_worker(found: Any, tmp_path: Path) -> None:
    settled = Settled(tmp_path / "state", limits=Limits(workers=1), dask=found.scheduler_address)
    with serving(settled) as address, httpx2.Client(base_url=address, timeout=60) as client:
        place = client.post("/jobs", json=LONG | {"density": 0.1}).headers["location"]
        until(apart)
        assert client.delete(place).status_code in (202, 204)
        until(lambda: not apart())
        until(lambda: not list((tmp_path / "state").glob("owners/*/jobs/*")))
        after = client.post("/jobs", json={"task": "digits", "scorer": "magnitude", "density": 0.1})
        assert client.get(f"{after.headers['location']}?wait=60").json()["state"] == "done"


def test_a_job_that_takes_too_long_or_dies_is_told(tmp_path: Path) -> None:
    def ordered(name: str) -> Order:
        folder = tmp_path / name
        folder.mkdir()
        (folder / REQUEST).write_text(json.dumps(LONG | {"density": 0.1}))
        return Order(name, str(folder), str(tmp_path / "leases"), None, None, 100_000)

    assert work_apart(ordered("slow"), seconds=0.5) == {"state": "cancelled"}
    assert not (tmp_path / "slow").exists()
    died = work_apart(replace(ordered("broken"), megabytes=None), seconds=60)  # type: ignore[arg-type]
    assert isinstance(died, Died) or died["state"] == "failed"


def test_a_process_that_does_not_start_is_no_lost_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "absent"))
    order = Order("ab", str(tmp_path), str(tmp_path / "leases"), None, None, 100_000)
    assert "did not start" in str(work_apart(order, seconds=60))


def test_without_the_cluster_jobs_wait_for_the_next_service(tmp_path: Path) -> None:
    with cluster(workers=1) as own:
        settled = Settled(tmp_path / "state", limits=Limits(workers=1), dask=own.scheduler_address)
        with serving(settled) as address, httpx2.Client(base_url=address, timeout=60) as client:
            place = client.post("/jobs", json=LONG | {"density": 0.1}).headers["location"]
            until(apart)
            own.close()
            until(lambda: client.get("/v2/health/ready").status_code == 503)
            assert client.get(place).json()["state"] == "queued"
