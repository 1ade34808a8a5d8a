"""A cluster: the workers of a Dask scheduler."""

from __future__ import annotations

import contextlib
import logging
import re
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from typing import Any

from scratchcard.workers.pool import POLL_SECONDS, Call, Died

SCHEDULER_SECONDS = 5
CLUSTER_SECONDS = 30


class Cluster:
    """The workers of a Dask scheduler; each needs this package and the data, and should have one thread.

    Raises:
        ValueError: dask is not installed, or that is no address.
        OSError: no scheduler answers, or it has no worker.

    Examples:
        >>> Cluster("nowhere")
        Traceback (most recent call last):
            ...
        ValueError: 'nowhere' is no address of a Dask scheduler: expected tcp://host:port
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
                "Dask workers with several threads make one call at a time all the same: start them with --nthreads 1 "
                "and --nworkers for as many as the machine has cores",
                stacklevel=2,
            )
        self._pool = self._client.get_executor(pure=False)

    @property
    def client(self) -> Any:
        """Dask's own, for libraries that are given one."""
        return self._client

    def workers(self) -> frozenset[str]:
        """Addresses of the workers that there are now."""
        with self._gone_told():
            return frozenset(self._client.scheduler_info(n_workers=-1)["workers"])

    def wait_until_idle(self, seconds: float) -> None:
        """Until no worker is at a call, but no longer than so many seconds, and until there is one."""
        until = time.monotonic() + seconds
        with self._gone_told():
            while any(self._client.processing().values()) and time.monotonic() < until:
                time.sleep(POLL_SECONDS)
            self._client.wait_for_workers(1, timeout=CLUSTER_SECONDS)

    @staticmethod
    def does_not_see(error: FileNotFoundError) -> OSError:
        """What to say where a worker lacks a file that this process reads."""
        return OSError(
            f"a worker of the cluster does not see the table ({error}): put it where all workers read it under the "
            "same name, a shared folder or an object store"
        )

    def room(self, busy: int) -> bool:
        """See `Pool`; workers may join later."""
        with self._gone_told():
            return busy < 2 * max(1, len(self._client.nthreads()))

    def submit(self, call: Call) -> Future[Any]:
        """See `Pool`."""
        future: Future[Any] = self._pool.submit(call)
        return future

    def result(self, future: Future[Any]) -> Any:
        """See `Pool`."""
        try:
            with self._gone_told():
                return future.result()
        except self._killed as error:
            return Died(str(error))

    @contextlib.contextmanager
    def _gone_told(self) -> Iterator[None]:
        """Whichever call meets it first, a scheduler that has gone is one sentence."""
        from distributed.comm import CommClosedError

        try:
            yield
        except (CancelledError, CommClosedError) as error:
            raise OSError(
                f"the Dask scheduler at {self._address} is gone: finished work is kept; start it and its "
                "workers, then run the same command again"
            ) from error

    def close(self, *, kill: bool) -> None:
        """See `Pool`; a call that a worker is at cannot be stopped, its outcome is dropped."""
        from distributed.utils import silence_logging_cmgr

        with silence_logging_cmgr(logging.CRITICAL):  # it logs tracebacks when the scheduler is gone
            with contextlib.suppress(Exception):
                self._pool.shutdown(wait=False)
            self._client.close()


@contextlib.contextmanager
def open_cluster(address: str | None) -> Iterator[Cluster | None]:
    """The cluster at an address, let go of at the end; none without an address. Errors as of `Cluster`.

    Examples:
        >>> with open_cluster(None) as cluster:
        ...     cluster is None
        True
    """
    if address is None:
        yield None
        return
    cluster = Cluster(address)
    try:
        yield cluster
    finally:
        cluster.close(kill=False)
