"""What a worker does around a call: one at a time, with one thread, warnings handed back; Ctrl-C is not for it."""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals that ask a program to end: with Ctrl-C, by `kill` or a scheduler, by a terminal that closes."""
_ONE_AT_A_TIME = threading.Lock()


@dataclass
class WorkerWarnings:
    """Warnings as (text, category), each once; they can be pickled and shown in the parent process.

    Examples:
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     WorkerWarnings([("the table is old", UserWarning)]).show_again()
        >>> str(caught[0].message)
        'the table is old'
    """

    found: list[tuple[str, type[Warning]]] = field(default_factory=list)

    def show_again(self) -> None:
        """Warn again, here; Python's own filters decide what is shown, and how often."""
        for text, category in self.found:
            warnings.warn(text, category, stacklevel=3)


@contextmanager
def worker_warnings() -> Iterator[WorkerWarnings]:
    """Collect the warnings of a block instead of printing them on a worker's stderr, where they look raw.

    Examples:
        >>> with worker_warnings() as caught:
        ...     warnings.warn("the table is old", stacklevel=1)
        >>> caught.found
        [('the table is old', <class 'UserWarning'>)]
    """
    result = WorkerWarnings()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield result
    result.found = list(dict.fromkeys((str(warning.message), warning.category) for warning in caught))


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use so many threads: with other numbers of threads sums are rounded otherwise.

    Examples:
        >>> with torch_threads(1):
        ...     torch.get_num_threads()
        1
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def alone() -> Iterator[WorkerWarnings]:
    """What a call runs in wherever it is made: with one thread, its warnings collected, and no other beside it.

    Calls use the process's random state and number of threads, and a Dask worker may have several threads.

    Examples:
        >>> with alone() as caught:
        ...     torch.get_num_threads()
        1
        >>> caught.found
        []
    """
    with _ONE_AT_A_TIME, torch_threads(1), worker_warnings() as caught:
        yield caught


@contextmanager
def without_interrupts() -> Iterator[None]:
    """Processes that are started here inherit that what stops this one is blocked: none shows a traceback, or dies
    before this one has acted on it, while it starts.

    Examples:
        >>> with without_interrupts():
        ...     if hasattr(signal, "pthread_sigmask"):
        ...         signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
        True
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    from loky.backend import resource_tracker as loky_tracker

    # Where these are not running yet, the first process starts them, and Python 3.11's unblocks signals after that.
    # They ignore Ctrl-C and `kill`; a terminal's end, which would kill them, stays blocked in them.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, set(STOPPING))
    try:
        loky_tracker.ensure_running()
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, set(STOPPING))
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
