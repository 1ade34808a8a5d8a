"""A Dask cluster for tests."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def cluster(workers: int = 2, threads: int = 1) -> Iterator[Any]:
    """A Dask scheduler and workers in processes of their own, on this machine."""
    import dask
    import distributed

    slow = {"distributed.comm.timeouts.connect": "60s", "distributed.comm.timeouts.tcp": "60s"}
    with (
        dask.config.set(slow),
        distributed.LocalCluster(  # a busy machine starts processes slowly
            n_workers=workers,
            threads_per_worker=threads,
            processes=True,
            dashboard_address=":0",  # others may have one at the usual port
            silence_logs=logging.CRITICAL,
        ) as found,
    ):
        yield found
