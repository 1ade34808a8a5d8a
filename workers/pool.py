"""Pool: calls in other processes, here or on a cluster; what dies there is told, and costs only what it was at."""

from __future__ import annotations

import contextlib
import itertools
import logging
import multiprocessing
import os
import re
import signal
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from concurrent.futures import ProcessPoolExecutor as ProcessPool
from typing import Any, Protocol, TypeVar

from joblib.externals.loky import ProcessPoolExecutor
from joblib.externals.loky.process_executor import BrokenProcessPool

from scratchcard.workers.worker import without_interrupts

Key = TypeVar("Key")
Calls = deque[tuple[Key, Callable[[], Any]]]

ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMBA", "NUMEXPR")} | {
    "VECLIB_MAXIMUM_THREADS": "1"
}
SCHEDULER_SECONDS = 5
CLUSTER_SECONDS = 30
WATCH_SECONDS = 1.0


class Died(RuntimeError):
    """The process that was at a call died; the call may be made again."""


class Pool(Protocol):
    """Where calls are made."""

    def room(self, busy: int) -> bool:
        """Whether another call can be handed over, `busy` ones being under way."""

    def submit(self, call: Callable[[], Any]) -> Future[Any]:
        """Hand over a call."""

    def result(self, future: Future[Any]) -> Any:
        """What a finished call returned, or `Died`; raises what it raised."""

    def close(self, *, kill: bool) -> None:
        """Let go of the processes; `kill` ends what they are at."""


def completed(calls: Calls[Key], pool: Pool) -> Generator[tuple[Key, Any], None, None]:
    """Make all calls; yields (key, what it returned, or a `Died`) as they finish.

    Whoever iterates may append to `calls` meanwhile, for example a call whose process died. Closing the generator, or
    an error in it, ends the calls under way.

    Args:
        calls: (key, function without arguments that can be pickled), in the order in which they begin; emptied.
        pool: where; it is closed at the end.

    Raises:
        Exception: what a call raised.
    """
    busy: dict[Future[Any], Key] = {}
    finished: deque[tuple[Key, Any]] = deque()
    try:
        while calls or busy:
            while calls and pool.room(len(busy)):
                key, call = calls.popleft()
                busy[pool.submit(call)] = key
            while finished:
                yield finished.popleft()
            if busy:
                for future in wait(busy, return_when=FIRST_COMPLETED).done:
                    finished.append((busy.pop(future), pool.result(future)))
            if not busy:
                while finished:
                    yield finished.popleft()
    finally:
        pool.close(kill=bool(busy))


class Workers:
    """`jobs` processes of one thread each, for calls of a module's function; one job makes the calls here.

    For calls that keep much in memory from one to the next, such as tasks: loky, as `Processes` has it, ends processes
    that grow by 300 MB. They end with this process, however it ends.
    """

    def __init__(self, jobs: int) -> None:
        self._pool: ProcessPool | None = None
        if jobs > 1:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPool(jobs, context, _begin_with_one_thread, (os.getpid(),))

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def call(self, function: Callable[..., Any], arguments: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        """What the function returns for each tuple of arguments, in their order, as they come.

        Raises:
            Exception: what a call raised.
        """
        if self._pool is None:
            yield from itertools.starmap(function, arguments)
            return
        for future in [self._pool.submit(function, *each) for each in arguments]:
            yield future.result()


class Processes:
    """`jobs` processes on this machine, one call at a time in each.

    Each is a pool of its own, so that one that dies takes no other's work with it. They don't hear Ctrl-C, which is for
    this process to act on, and end soon after it, however it ends (on Windows only if it ends by itself).
    """

    def __init__(self, jobs: int) -> None:
        self._idle = [_process() for _ in range(jobs)]
        self._busy: dict[Future[Any], ProcessPoolExecutor] = {}

    def room(self, busy: int) -> bool:
        """See `Pool`."""
        return bool(self._idle)

    def submit(self, call: Callable[[], Any]) -> Future[Any]:
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
        for process in (*self._busy.values(), *self._idle):
            process.shutdown(wait=kill, kill_workers=kill)


class Cluster:
    """The workers of a Dask scheduler; each needs this package and the data, and should have one thread.

    Raises:
        ValueError: dask is not installed, or that is no address.
        OSError: no scheduler answers, or it has no worker.
    """

    def __init__(self, address: str) -> None:
        try:
            from distributed import Client
            from distributed.scheduler import KilledWorker
        except ImportError as error:
            raise ValueError("a Dask cluster needs dask: pip install 'scratchcard[cluster]'") from error
        self._address, self._killed = address, KilledWorker
        if not re.fullmatch(r"(\w+://)?[^/\s]+:\d+", address):
            raise ValueError(f"{address!r} is no address of a Dask scheduler: expected tcp://host:port")
        try:
            self._client = Client(address, timeout=SCHEDULER_SECONDS, set_as_default=False)
        except OSError as error:
            raise OSError(
                f"no Dask scheduler answers at {address}: start one (`dask scheduler`), or name its address"
            ) from error
        try:
            self._client.wait_for_workers(1, timeout=CLUSTER_SECONDS)
        except TimeoutError as error:
            self._client.close()
            raise OSError(
                f"the Dask scheduler at {address} has no worker after {CLUSTER_SECONDS} s: start some with "
                f"`dask worker {address} --nthreads 1`"
            ) from error
        if max(self._client.nthreads().values(), default=1) > 1:
            warnings.warn(
                "Dask workers with several threads make one run at a time all the same: start them with --nthreads 1 "
                "and --nworkers for as many as the machine has cores",
                stacklevel=2,
            )
        self._pool = self._client.get_executor(pure=False)

    def room(self, busy: int) -> bool:
        """See `Pool`; workers may join later."""
        return busy < 2 * max(1, len(self._client.nthreads()))

    def submit(self, call: Callable[[], Any]) -> Future[Any]:
        """See `Pool`."""
        future: Future[Any] = self._pool.submit(call)
        return future

    def result(self, future: Future[Any]) -> Any:
        """See `Pool`."""
        try:
            return future.result()
        except self._killed as error:
            return Died(str(error))
        except CancelledError as error:
            raise OSError(
                f"the Dask scheduler at {self._address} is gone: finished runs are kept; start it and its workers, "
                "then run the same command again"
            ) from error

    def close(self, *, kill: bool) -> None:
        """See `Pool`; a run that a worker is at cannot be stopped, its outcome is dropped."""
        from distributed.utils import silence_logging_cmgr

        with silence_logging_cmgr(logging.CRITICAL):  # it logs tracebacks when the scheduler is gone
            with contextlib.suppress(Exception):
                self._pool.shutdown(wait=False)
            self._client.close()


def _process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(max_workers=1, env=ONE_THREAD, initializer=_begin, initargs=(os.getpid(),))


def _begin(parent: int) -> None:
    """In a process of the pool: leave Ctrl-C to the parent, and end when it has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "getppid") and os.name != "nt":
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _begin_with_one_thread(parent: int) -> None:
    import torch

    _begin(parent)
    torch.set_num_threads(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os._exit(1)
