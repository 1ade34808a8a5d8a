"""Processes on this machine, one call at a time in each."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from loky import ProcessPoolExecutor
from loky.process_executor import BrokenProcessPool

from scratchcard.workers.gpus import VISIBLE
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

    Args:
        jobs: how many.
        gpus: by the names that `CUDA_VISIBLE_DEVICES` takes; each process sees one of them as `cuda`, in turn. With
            more jobs than GPUs several processes share one. Without any they see what this process sees.

    Examples:
        >>> from functools import partial
        >>> pool = Processes(jobs=1)
        >>> pool.result(pool.submit(partial(pow, 2, 10)))
        1024
        >>> pool.close(kill=False)
    """

    def __init__(self, jobs: int, gpus: Sequence[str] = ()) -> None:
        places = [gpus[number % len(gpus)] if gpus else None for number in range(jobs)]
        # The first of the idle is taken next, so that a few calls have a GPU each.
        self._idle = deque((_process(gpu), gpu) for gpu in places)
        self._busy: dict[Future[Any], tuple[ProcessPoolExecutor, str | None]] = {}

    def room(self, busy: int) -> bool:
        """See `Pool`."""
        return bool(self._idle)

    def submit(self, call: Call) -> Future[Any]:
        """See `Pool`."""
        process, gpu = self._idle.popleft()
        try:
            with without_interrupts():
                future: Future[Any] = process.submit(call)
        except BrokenProcessPool:  # it died while it waited
            process.shutdown(kill_workers=True)
            process = _process(gpu)
            with without_interrupts():
                future = process.submit(call)
        self._busy[future] = process, gpu
        return future

    def result(self, future: Future[Any]) -> Any:
        """See `Pool`."""
        (process, gpu), error = self._busy.pop(future), future.exception()
        if isinstance(error, BrokenProcessPool):
            process.shutdown(kill_workers=True)
            self._idle.append((_process(gpu), gpu))
            return Died(str(error))
        self._idle.append((process, gpu))
        return future.result()

    def close(self, *, kill: bool) -> None:
        """See `Pool`."""
        processes = (*self._busy.values(), *self._idle)
        self._busy, self._idle = {}, deque()
        for process, _ in processes:
            process.shutdown(wait=kill, kill_workers=kill)


def _process(gpu: str | None) -> ProcessPoolExecutor:
    environment = ONE_THREAD | KEEPS_MEMORY | ({} if gpu is None else {VISIBLE: gpu})
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
