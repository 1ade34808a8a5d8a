"""Calls in other processes: order, errors, deaths."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from concurrent.futures import wait
from functools import partial

import pytest
import torch

from scratchcard.workers.pool import Calls, Died, Processes, Workers, completed
from tests.sweeps.sweeping import lives, until


def calls(**named: partial[object]) -> Calls[str]:
    return deque(named.items())


def test_all_calls_are_made_as_room_allows() -> None:
    todo: Calls[int] = deque((number, partial(pow, number, 2)) for number in range(7))
    found = dict(completed(todo, Processes(2)))
    assert found == {number: number**2 for number in range(7)}
    assert not todo
    assert list(completed(todo, Processes(3))) == []


def test_a_death_is_told_and_the_call_can_be_made_again() -> None:
    todo = calls(dies=partial(os._exit, 3), lives=partial(int, "5"))
    found: list[tuple[str, object]] = []
    for key, outcome in completed(todo, Processes(1)):
        found.append((key, outcome))
        if isinstance(outcome, Died) and len(found) < 3:
            todo.append((key, partial(int, "6")))
    assert isinstance(found[0][1], Died)
    assert found[1:] == [("lives", 5), ("dies", 6)]


def test_a_process_that_died_while_it_waited_is_replaced() -> None:
    pool = Processes(1)
    try:
        first = wait([pool.submit(os.getpid)]).done.pop()
        process = pool.result(first)
        os.kill(process, signal.SIGKILL)
        until(lambda: not lives(process))
        second = wait([pool.submit(os.getpid)]).done.pop()
        found = pool.result(second)
        assert isinstance(found, Died) or found != process  # nothing hangs, and a death is no error
        third = pool.result(wait([pool.submit(os.getpid)]).done.pop())
        assert third not in (process, os.getpid())
    finally:
        pool.close(kill=True)


def test_an_error_ends_the_others() -> None:
    begin = time.monotonic()
    with pytest.raises(ValueError, match="invalid literal"):
        list(completed(calls(long=partial(time.sleep, 60), wrong=partial(int, "x")), Processes(2)))
    assert time.monotonic() - begin < 30


def test_processes_leave_ctrl_c_to_their_parent_and_have_one_thread() -> None:
    found = dict(completed(calls(hit=partial(signal.raise_signal, signal.SIGINT)), Processes(1)))
    assert found == {"hit": None}
    found = dict(completed(calls(threads=partial(os.getenv, "OMP_NUM_THREADS")), Processes(1)))
    assert found == {"threads": "1"}


def square(number: int) -> tuple[int, int]:
    """A call of `Workers`; with the threads of its process."""
    if number < 0:
        raise ValueError("negative")
    return number**2, torch.get_num_threads()


@pytest.mark.parametrize("jobs", [1, 2])
def test_workers_answer_in_order_and_raise_what_was_raised(jobs: int) -> None:
    with Workers(jobs) as workers:
        assert [found for found, _ in workers.call(square, [(3,), (1,), (2,)])] == [9, 1, 4]
        assert {threads for _, threads in workers.call(square, [(1,), (2,)])} == {1}
        with pytest.raises(ValueError, match="negative"):
            list(workers.call(square, [(1,), (-1,), (2,)]))
