"""Limits: how much of everything the service gives and takes; each is an option of `scratchcard serve`."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from dataclasses import dataclass

from scratchcard.setting import setting
from scratchcard.settings import Settings

MOST_BUCKETS = 10_000
BURST_SECONDS = 2.0
"""So many seconds' requests may come at once."""


@dataclass(frozen=True)
class Limits(Settings):
    """How much of everything.

    Examples:
        >>> Limits(workers=0)
        Traceback (most recent call last):
            ...
        scratchcard.setting.SettingError: the service's workers is 0, expected a whole number of at least 1
    """

    called = "the service"

    workers: int = setting(1, help="Jobs at once, each in a process of its own", example=2, low=1)
    job_megabytes: int = setting(4096, help="Memory that a job may take beside its libraries", example=2048, low=64)
    job_seconds: float = setting(3600.0, help="Time that a job may take", example=600.0, above=0)
    waiting_jobs: int = setting(1000, help="Jobs that may wait in all", example=100, low=1)
    own_jobs: int = setting(100, help="Unfinished jobs of one token", example=20, low=1)
    upload_megabytes: int = setting(2000, help="Size of an uploaded file", example=500, low=1)
    uploads: int = setting(8, help="Uploads at once in all; a token has half of them", example=4, low=2)
    quota_megabytes: int = setting(20_000, help="Files of one token, results among them", example=5000, low=1)
    keep_days: float = setting(30.0, help="Days after which unused files and finished jobs go", example=7.0, above=0)
    infer_megabytes: int = setting(512, help="Body of an inference request, in binary", example=64, low=1)
    requests_per_second: float = setting(200.0, help="Requests of one token", example=20.0, above=0)
    connections: int = setting(500, help="Open connections", example=100, low=1)
    slow_seconds: float = setting(20.0, help="Seconds to wait for the next piece of a request", example=5.0, above=0)
    stop_seconds: float = setting(20.0, help="Seconds that jobs have to finish when the service stops", example=2.0)


class Rate:
    """A token bucket for each name: so many calls a second, `BURST_SECONDS` of them at once.

    Examples:
        >>> rate = Rate(0.5)
        >>> rate.wait_for("a"), rate.wait_for("b"), round(rate.wait_for("a"))
        (0.0, 0.0, 2)
    """

    def __init__(self, per_second: float) -> None:
        self._per_second, self._size = per_second, max(1.0, BURST_SECONDS * per_second)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_for(self, name: str) -> float:
        """Zero and the call counts, or the seconds after which it may be made."""
        now = time.monotonic()
        level, since = self._buckets.pop(name, (self._size, now))
        level = min(self._size, level + (now - since) * self._per_second)
        allowed = level >= 1.0
        self._buckets[name] = (level - 1.0 if allowed else level), now
        while len(self._buckets) > MOST_BUCKETS:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1.0 - level) / self._per_second


def retry_after(seconds: float) -> dict[str, str]:
    """The header that says when to try again.

    Examples:
        >>> retry_after(0.2)
        {'Retry-After': '1'}
    """
    return {"Retry-After": str(max(1, math.ceil(seconds)))}
