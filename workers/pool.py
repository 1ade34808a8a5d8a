"""Pool: where calls are made, and how they are all made, whatever dies meanwhile."""

from __future__ import annotations

import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

Key = TypeVar("Key")
Call = Callable[[], Any]

MOST_DEATHS = 2
"""A call whose process died so often is given up: it is likely to be what kills it."""
POLL_SECONDS = 0.2
"""Between two looks at work that others are at."""
HOPELESS_DEATHS = 12
"""So many deaths before any call came to its end: it is not the calls."""


class Died(RuntimeError):
    """The process that was at a call died. `cause` says how it was told.

    Examples:
        >>> died = Died("its worker process died 2 times", cause="SIGKILL")
        >>> str(died), died.cause
        ('its worker process died 2 times', 'SIGKILL')
    """

    def __init__(self, text: str, cause: str = "") -> None:
        super().__init__(text)
        self.cause = cause


class Pool(Protocol):
    """Where calls are made.

    Examples:
        >>> pool: Pool = Here()
        >>> pool.result(pool.submit(lambda: 6 * 7))
        42
    """

    def room(self, busy: int) -> bool:
        """Whether another call can be handed over, `busy` ones being under way."""

    def submit(self, call: Call) -> Future[Any]:
        """Hand over a call."""

    def result(self, future: Future[Any]) -> Any:
        """What a finished call returned, or `Died`; raises what it raised."""

    def close(self, *, kill: bool) -> None:
        """Let go of the processes; `kill` ends what they are at. A second time it does nothing."""


class Here:
    """This process, one call at a time; each is made when its result is asked for.

    Examples:
        >>> here = Here()
        >>> here.room(busy=0), here.room(busy=1)
        (True, False)
        >>> here.result(here.submit(lambda: "done"))
        'done'
    """

    def room(self, busy: int) -> bool:
        """See `Pool`."""
        return not busy

    def submit(self, call: Call) -> Future[Any]:
        """See `Pool`."""
        future: Future[Any] = Future()
        future.set_result(call)
        return future

    def result(self, future: Future[Any]) -> Any:
        """See `Pool`; nothing dies here but this process."""
        return future.result()()

    def close(self, *, kill: bool) -> None:
        """See `Pool`."""


@contextlib.contextmanager
def open_pool(jobs: int = 1, dask: str | None = None, device: Any = "cpu") -> Iterator[Pool]:
    """`jobs` processes of one thread each, or the workers of a Dask scheduler; one job makes its calls in this process.

    Args:
        jobs: calls at once.
        dask: the scheduler's address, `tcp://host:port`; then `jobs` is not used.
        device: that the calls work on; with `cuda` the processes are spread over the GPUs, see `gpus_for`.

    Raises:
        ValueError: fewer than one job, dask is not installed, or that is no address.
        OSError: no scheduler answers, or it has no worker.

    >>> with open_pool() as pool:
    ...     list(ordered([lambda: 1, lambda: 2], pool))
    [1, 2]
    """
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}")
    # Where they are not needed, neither Dask nor loky is imported.
    if dask is not None:
        from scratchcard.workers.cluster import Cluster

        pool: Pool = Cluster(dask)
    elif jobs > 1:
        from scratchcard.workers.gpus import gpus_for
        from scratchcard.workers.processes import Processes

        pool = Processes(jobs, gpus_for(device))
    else:
        pool = Here()
    try:
        yield pool
    finally:
        pool.close(kill=False)


@dataclass(frozen=True)
class Ready:
    """Stands for a call whose outcome is known already.

    Examples:
        >>> dict(completed([("five", Ready(5))], Here()))
        {'five': 5}
    """

    value: Any


def completed(
    calls: Iterable[tuple[Key, Call | Ready] | None], pool: Pool, *, what: str = "call", once: Collection[Key] = ()
) -> Generator[tuple[Key, Any], None, None]:
    """Make all calls; yields (key, what it returned, or a `Died`) as they finish.

    A call whose process died is made once more, after all others; if it dies then too, its `Died` is yielded. Closing
    the generator, or an error in it, ends the calls under way and closes the pool.

    Args:
        calls: (key, function without arguments that can be pickled), in the order in which they begin; each is asked
            for when there is room. None says that nothing can begin now: it is asked again a little later.
        pool: where.
        what: a call is, for errors.
        once: keys of calls that are not made again.

    Raises:
        Exception: what a call raised.
        OSError: processes died again and again, and no call came to its end.

    Examples:
        >>> from functools import partial
        >>> dict(completed([("five", partial(sum, [2, 3])), ("nine", partial(sum, [4, 5]))], Here()))
        {'five': 5, 'nine': 9}
    """
    source = _Source(calls)
    busy: dict[Future[Any], tuple[Key, Call]] = {}
    finished: deque[tuple[Key, Any]] = deque()
    deaths: Counter[Call] = Counter()
    survived = False
    try:
        while True:
            waits = False
            while pool.room(len(busy) + len(finished)) and not waits:
                item = source.next()
                if item is None:
                    waits = True
                elif isinstance(item[1], Ready):
                    finished.append((item[0], item[1].value))
                else:
                    busy[pool.submit(item[1])] = item[0], item[1]
            if finished:
                while finished:
                    yield finished.popleft()
                continue
            if not busy:
                if source.is_empty:
                    return
                time.sleep(POLL_SECONDS)
                continue
            patience = POLL_SECONDS if waits and not source.is_empty else None
            for future in wait(busy, timeout=patience, return_when=FIRST_COMPLETED).done:
                key, call = busy.pop(future)
                outcome = pool.result(future)
                if not isinstance(outcome, Died):
                    survived = True
                    finished.append((key, outcome))
                    continue
                deaths[call] += 1
                if deaths.total() >= HOPELESS_DEATHS and not survived:
                    raise OSError(
                        f"{deaths.total()} worker processes died and no {what} came to its end (killed, or out of "
                        "memory?): run with fewer jobs or more memory"
                    )
                if deaths[call] < MOST_DEATHS and key not in once:
                    source.again.append((key, call))
                    continue
                text = f"its worker process died {deaths[call]} times (killed, or out of memory?)"
                finished.append((key, Died(text, str(outcome))))
    finally:
        if busy:
            pool.close(kill=True)


class _Source(Generic[Key]):
    """What is to be called: as it comes, then what is called again."""

    def __init__(self, calls: Iterable[tuple[Key, Call | Ready] | None]) -> None:
        self._calls = iter(calls)
        self._ended = False
        self.again: deque[tuple[Key, Call | Ready]] = deque()

    @property
    def is_empty(self) -> bool:
        return self._ended and not self.again

    def next(self) -> tuple[Key, Call | Ready] | None:
        """The next one; None if there is none now."""
        if not self._ended:
            try:
                found = next(self._calls)
            except StopIteration:
                self._ended = True
            else:
                if found is not None:
                    return found
        return self.again.popleft() if self.again else None


def ordered(calls: Iterable[Call], pool: Pool, *, what: str = "call") -> Iterator[Any]:
    """What the calls return, in their order, as it comes.

    Raises:
        Exception: what a call raised.
        OSError: the process of a call died, and died again.

    Examples:
        >>> from functools import partial
        >>> list(ordered([partial(pow, 2, 3), partial(pow, 3, 2)], Here()))
        [8, 9]
    """
    found: dict[int, Any] = {}
    following = 0
    with contextlib.closing(completed(enumerate(calls), pool, what=what)) as outcomes:
        for number, outcome in outcomes:
            if isinstance(outcome, Died):
                raise OSError(f"{what} {number + 1} has no end: {outcome}")
            found[number] = outcome
            while following in found:
                yield found.pop(following)
                following += 1
