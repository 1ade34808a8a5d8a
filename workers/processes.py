"""Processes on this machine, one call at a time in each."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import Future
from typing import Any

from loky import ProcessPoolExecutor
from loky.process_executor import BrokenProcessPool

from scratchcard.workers.pool import Call, Died
from scratchcard.workers.worker import STOPPING, without_interrupts

ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMBA", "NUMEXPR")} | {
    "VECLIB_MAXIMUM_THREADS": "1"
}
KEEPS_MEMORY = {"LOKY_MAX_MEMORY_LEAK_SIZE": "1e18"}
"""What a task keeps in memory is no leak: loky replaces a process that grew by 300 MB if it is not told otherwise."""
WATCH_SECONDS = 1.0


class Processes:
    """`jobs` processes on this machine, one call at a time in each.

    Each is a pool of its own, so that one that dies takes no other's work with it. They don't hear Ctrl-C and the like,
    which are for this process to act on, and end soon after it, however it ends (on Windows only if it ends by itself).
    Between calls they keep what calls keep, such as tasks that were read.

    Examples:
        >>> from functools import partial
        >>> pool = Processes(jobs=1)
        >>> pool.result(pool.submit(partial(pow, 2, 10)))
        1024
        >>> pool.close(kill=False)
    """

    def __init__(self, jobs: int) -> None:
        self._idle = [_process() for _ in range(jobs)]
        self._busy: dict[Future[Any], ProcessPoolExecutor] = {}

    def room(self, busy: int) -> bool:
        """See `Pool`."""
        return bool(self._idle)

    def submit(self, call: Call) -> Future[Any]:
        """See `Pool`."""
        process = self._idle.pop()
        try:
            with without_interrupts():
                future: Future[Any] = process.submit(call)
        except BrokenProcessPool:  # it died while it waited
            process.shutdown(kill_workers=True)
            process = _process()
            with without_interrupts():
                future = process.submit(call)
        self._busy[future] = process
        return future

    def result(self, future: Future[Any]) -> Any:
        """See `Pool`."""
        process, error = self._busy.pop(future), future.exception()
        if isinstance(error, BrokenProcessPool):
            process.shutdown(kill_workers=True)
            self._idle.append(_process())
            return Died(str(error))
        self._idle.append(process)
        return future.result()

    def close(self, *, kill: bool) -> None:
        """See `Pool`."""
        processes = (*self._busy.values(), *self._idle)
        self._busy, self._idle = {}, []
        for process in processes:
            process.shutdown(wait=kill, kill_workers=kill)


def _process() -> ProcessPoolExecutor:
    environment = ONE_THREAD | KEEPS_MEMORY
    with without_interrupts():  # its semaphores have a process that watches them
        return ProcessPoolExecutor(max_workers=1, env=environment, initializer=_begin, initargs=(os.getpid(),))


def _begin(parent: int) -> None:
    """In a process of the pool: leave Ctrl-C and the like to the parent, and end when it has ended."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(os, "getppid") and os.name != "nt":
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os._exit(1)
