"""Apart: a job at a worker of a Dask cluster, in a process of its own, which ends where the job is no longer wanted."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scratchcard.frontends.service.work import Order, work
from scratchcard.workers.cluster import Cluster
from scratchcard.workers.pool import Call, Died
from scratchcard.workers.processes import ONE_THREAD

LOOK_SECONDS = 0.2
"""Between two looks at whether the job's folder is still there."""


def work_apart(order: Order, seconds: float) -> Any:
    """Do a job in a process of its own, by the same code as on one machine; what `work` returns, or `Died`.

    The service says that a job is cancelled by removing its folder, which lies on storage that all machines share: then
    the process is killed, and what it left is removed.

    Args:
        order: of the job.
        seconds: that it may take.

    Examples:
        >>> work_apart(Order("ab", "gone", "leases", None, None, 1000), seconds=60)
        {'state': 'cancelled'}
    """
    folder = Path(order.folder)
    if not folder.is_dir():
        return {"state": "cancelled"}
    command = [sys.executable, "-m", __name__]
    try:
        process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | ONE_THREAD
        )
    except OSError as error:  # of this worker alone; whoever hands out work takes an OSError for a lost cluster
        return Died(f"its process did not start ({error})")
    with process:
        try:
            _tell(process, json.dumps(asdict(order)))
            until = time.monotonic() + seconds
            while process.poll() is None:
                if not folder.is_dir() or time.monotonic() > until:
                    process.kill()
                    process.wait()
                    shutil.rmtree(folder, ignore_errors=True)
                    return {"state": "cancelled"}
                time.sleep(LOOK_SECONDS)
            told = "" if process.stdout is None else process.stdout.read()
        finally:
            process.kill()
    if process.returncode:
        return Died(f"its process ended with {process.returncode}")
    return json.loads(told.splitlines()[-1])


def _tell(process: subprocess.Popen[str], text: str) -> None:
    if process.stdin is not None:
        with process.stdin:
            process.stdin.write(text)


class Borrowed:
    """One worker of a cluster at a time, as a `Pool` that is let go of without ending the cluster's work.

    Examples:
        >>> Borrowed(None).close(kill=True)  # a job that is no longer wanted ends by itself, see `work_apart`
    """

    def __init__(self, cluster: Cluster | None) -> None:
        self._cluster = cluster

    def room(self, busy: int) -> bool:
        """See `Pool`."""
        return not busy

    def submit(self, call: Call) -> Future[Any]:
        """See `Pool`."""
        assert self._cluster is not None  # noqa: S101  (as the service made it)
        return self._cluster.submit(call)

    def result(self, future: Future[Any]) -> Any:
        """See `Pool`."""
        assert self._cluster is not None  # noqa: S101  (as the service made it)
        return self._cluster.result(future)

    def close(self, *, kill: bool) -> None:
        """See `Pool`."""


def _main() -> None:
    """Do the job that stands on stdin; the last line on stdout is what came of it."""
    outcome = work(Order(**json.loads(sys.stdin.read())))
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(f"{json.dumps(outcome)}\n")


if __name__ == "__main__":
    _main()
