"""Clock: what work costs, whatever else the machine does at the same time; and what time it is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch


@dataclass
class Reads:
    """What was computed of a network, in forward passes of one example; see `counted_reads`.

    Examples:
        >>> Reads().examples
        0.0
    """

    examples: float = 0.0


_reads: ContextVar[Reads | None] = ContextVar("reads", default=None)


@contextmanager
def counted_reads() -> Iterator[Reads]:
    """Count what those inside note with `note_reads`; what was noted inside counts outside too.

    Examples:
        >>> with counted_reads() as all_of_it:
        ...     with counted_reads() as first:
        ...         note_reads(256)
        ...     note_reads(512)
        >>> first.examples, all_of_it.examples
        (256.0, 768.0)
    """
    token = _reads.set(reads := Reads())
    try:
        yield reads
    finally:
        _reads.reset(token)
        note_reads(reads.examples)


def note_reads(examples: float) -> None:
    """Note that a network was computed for so many examples; a pass backward is two passes forward.

    Products with the Hessian are six: four differentiate the two products of each layer's backward pass, and two are
    the backward pass through the forward one. Convolutions and matrix products cost these; the rest is small.

    Examples:
        >>> note_reads(256)  # nobody counts
    """
    if (reads := _reads.get()) is not None:
        reads.examples += examples


def spent(device: torch.device | str) -> float:
    """Seconds on a clock whose differences are the cost of work on `device`; for comparing methods.

    On the CPU: processor time of this process, summed over its cores, as other processes on a shared machine do not
    count. With one torch thread on an idle machine that is the wall-clock time. On a GPU: wall-clock time, after all
    that was started on it has ended.

    Examples:
        >>> begin = spent("cpu")
        >>> spent("cpu") >= begin
        True
    """
    if torch.device(device).type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def utc_now() -> str:
    """The time as records have it, to the second.

    >>> len(utc_now()), utc_now()[-1]
    (20, 'Z')
    """
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
