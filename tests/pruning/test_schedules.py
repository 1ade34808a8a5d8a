"""Schedules: from dense to the final density, never upwards."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scratchcard.pruning.schedules import SCHEDULES, Schedule, check_density, cubic, exponential, linear

every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)


@every_schedule
@settings(max_examples=40, deadline=None)
@given(density=st.floats(1e-6, 1.0), rounds=st.integers(1, 200))
def test_ends_exactly_at_the_density_and_never_rises(schedule: Schedule, density: float, rounds: int) -> None:
    steps = schedule(density, rounds)
    assert len(steps) == rounds
    assert steps[-1] == density
    assert all(0.0 < step <= 1.0 for step in steps)
    # One rounding error is allowed where all steps are equal.
    assert all(later <= earlier * (1 + 1e-12) for earlier, later in itertools.pairwise(steps))


@every_schedule
def test_one_round_goes_straight_there(schedule: Schedule) -> None:
    assert schedule(0.3, 1) == (0.3,)


@every_schedule
def test_dense_stays_dense(schedule: Schedule) -> None:
    assert schedule(1.0, 5) == (1.0,) * 5


def test_exponential_keeps_the_same_share_each_round() -> None:
    assert exponential(1 / 16, 4) == pytest.approx((1 / 2, 1 / 4, 1 / 8, 1 / 16), rel=1e-15)


def test_linear_removes_the_same_number_each_round() -> None:
    assert linear(0.2, 4) == pytest.approx((0.8, 0.6, 0.4, 0.2), rel=1e-15)


def test_cubic_closed_form() -> None:
    # d + (1 - d) (1 - t/2)^3 at t = 1, with d = 0.2: 0.2 + 0.8 / 8.
    assert cubic(0.2, 2) == pytest.approx((0.3, 0.2), rel=1e-15)


def test_cubic_prunes_most_at_first() -> None:
    steps = (1.0, *cubic(0.1, 10))
    removed = [earlier - later for earlier, later in itertools.pairwise(steps)]
    assert removed == sorted(removed, reverse=True)


@every_schedule
@pytest.mark.parametrize("rounds", [0, -1])
def test_refuses_no_rounds(schedule: Schedule, rounds: int) -> None:
    with pytest.raises(ValueError, match=f"rounds must be at least 1, got {rounds}"):
        schedule(0.5, rounds)


@every_schedule
@pytest.mark.parametrize("density", [0.0, -0.1, 1.1, float("nan"), float("inf")])
def test_refuses_a_density_outside_its_range(schedule: Schedule, density: float) -> None:
    with pytest.raises(ValueError, match=r"density must lie in \(0, 1\], got"):
        schedule(density, 3)


@pytest.mark.parametrize("density", [1e-300, 0.005, 1.0, 1])
def test_check_density_returns_it_as_a_float(density: float) -> None:
    assert check_density(density) == density
    assert isinstance(check_density(density), float)


def test_several_densities_are_sent_where_they_are_found() -> None:
    with pytest.raises(ValueError, match=r"must be a number .*; for several densities call sc.find_tickets"):
        check_density([0.5, 0.1])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"got 'many'$"):
        check_density("many")  # type: ignore[arg-type]
