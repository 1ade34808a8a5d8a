"""Clock: what work costs, whatever else the machine does at the same time; and what time it is."""

from __future__ import annotations

import time

import torch


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
