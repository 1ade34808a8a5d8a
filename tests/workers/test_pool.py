"""Calls here and in other processes: order, errors, deaths, what is kept between calls."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import wait
from functools import partial

import pytest
import torch

from scratchcard.workers.gpus import gpus_for
from scratchcard.workers.pool import Call, Died, completed, open_pool, ordered
from scratchcard.workers.processes import Processes
from tests.sweeps.sweeping import lives, until

_KEPT: list[bytearray] = []


def calls(**named: Call) -> list[tuple[str, Call]]:
    return list(named.items())


@pytest.mark.parametrize("jobs", [1, 2])
def test_all_calls_are_made_as_room_allows(jobs: int) -> None:
    with open_pool(jobs) as pool:
        found = dict(completed(((number, partial(pow, number, 2)) for number in range(7)), pool))
        assert found == {number: number**2 for number in range(7)}
        assert list(completed([], pool)) == []
        assert list(ordered([partial(int, "5")], pool)) == [5]  # it serves again


def test_in_this_process_each_call_is_made_when_its_turn_is() -> None:
    made: list[int] = []
    with open_pool() as pool:
        for number, _ in completed([(n, partial(made.append, n)) for n in range(3)], pool):
            assert made == list(range(number + 1))


def test_a_call_whose_process_died_is_made_once_more_after_the_others() -> None:
    pool = Processes(1)
    found = list(completed(calls(dies=partial(os._exit, 3), lives=partial(int, "5"), too=partial(int, "6")), pool))
    pool.close(kill=False)
    assert found[:2] == [("lives", 5), ("too", 6)]
    key, died = found[2]
    assert key == "dies"
    assert isinstance(died, Died)
    assert str(died) == "its worker process died 2 times (killed, or out of memory?)"


def test_a_call_that_dies_once_comes_to_its_end(tmp_path: object) -> None:
    with open_pool(2) as pool:
        assert dict(completed(calls(once=partial(dies_once, f"{tmp_path}/was"), other=int), pool)) == {
            "once": 7,
            "other": 0,
        }


def dies_once(note: str) -> int:
    if not os.path.exists(note):
        os.close(os.open(note, os.O_CREAT))
        os.kill(os.getpid(), signal.SIGKILL)
    return 7


def test_processes_that_always_die_end_it() -> None:
    with open_pool(2) as pool, pytest.raises(OSError, match="12 worker processes died and no seed came to its end"):
        list(completed(((number, partial(os._exit, number)) for number in range(20)), pool, what="seed"))


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
    with open_pool(2) as pool, pytest.raises(ValueError, match="invalid literal"):
        list(completed(calls(long=partial(time.sleep, 60), wrong=partial(int, "x")), pool))
    assert time.monotonic() - begin < 30


def test_processes_leave_ctrl_c_to_their_parent_and_have_one_thread() -> None:
    with open_pool(2) as pool:
        assert dict(completed(calls(hit=partial(signal.raise_signal, signal.SIGINT)), pool)) == {"hit": None}
        assert dict(completed(calls(threads=torch.get_num_threads), pool)) == {"threads": 1}
        assert dict(completed(calls(threads=partial(os.getenv, "NUMBA_NUM_THREADS")), pool)) == {"threads": "1"}


@pytest.mark.parametrize("jobs", [1, 2])
def test_ordered_calls_answer_in_their_order_and_raise_what_was_raised(jobs: int) -> None:
    with open_pool(jobs) as pool:
        assert list(ordered([partial(slow_square, number) for number in (3, 1, 2)], pool)) == [9, 1, 4]
        with pytest.raises(ValueError, match="negative"):
            list(ordered([partial(slow_square, number) for number in (1, -1, 2)], pool))


def slow_square(number: int) -> int:
    """The larger the slower."""
    if number < 0:
        raise ValueError("negative")
    time.sleep(0.1 * number)
    return number**2


def test_an_ordered_call_that_dies_is_an_error() -> None:
    with open_pool(2) as pool, pytest.raises(OSError, match="training 2 has no end: its worker process died 2 times"):
        list(ordered([int, partial(os._exit, 3)], pool, what="training"))


@pytest.mark.slow
def test_a_process_keeps_what_its_calls_keep() -> None:
    """Tasks are read once, though loky takes 300 MB more for a leak after a second."""
    pool = Processes(1)
    found = list(ordered([partial(keep, 1, 0.0), *[partial(keep, 160, 1.1)] * 3], pool))
    pool.close(kill=False)
    assert found == [(found[0][0], number) for number in range(1, 5)]


def keep(megabytes: int, seconds: float) -> tuple[int, int]:
    _KEPT.append(bytearray(os.urandom(1)) * (megabytes * 2**20))
    time.sleep(seconds)
    return os.getpid(), len(_KEPT)


def gpu_of_this_process(seconds: float = 0.0) -> tuple[str | None, int]:
    time.sleep(seconds)
    return os.environ.get("CUDA_VISIBLE_DEVICES"), os.getpid()


@pytest.mark.slow
def test_processes_are_spread_over_the_gpus_and_keep_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-7,2")
    with open_pool(3, device=torch.device("cuda")) as pool:
        found = list(ordered([partial(gpu_of_this_process, 0.3)] * 3, pool))
        assert sorted(str(gpu) for gpu, _ in found) == ["5", "5", "GPU-7"]
        assert len({process for _, process in found}) == 3
        # One that died is replaced by one on the same GPU.
        assert isinstance(dict(completed(calls(dies=partial(os._exit, 3)), pool))["dies"], Died)
        again = ordered([partial(gpu_of_this_process, 0.5)] * 3, pool)
        assert sorted(str(gpu) for gpu, _ in again) == ["5", "5", "GPU-7"]


@pytest.mark.parametrize(("device", "count"), [("cpu", 4), ("cuda:1", 4), ("cuda", 1), ("cuda", 0)])
def test_one_device_is_one_device(monkeypatch: pytest.MonkeyPatch, device: str, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "9")
    assert gpus_for(device) == ()


def test_without_a_choice_all_gpus_are_taken_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpus_for("cuda") == ("0", "1", "2")


def test_fewer_than_one_job_is_refused() -> None:
    with pytest.raises(ValueError, match="jobs must be at least 1, got 0"), open_pool(0):
        pass
