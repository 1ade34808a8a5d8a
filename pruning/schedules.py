"""Schedules: the density after each pruning round, from dense (1) to the final density.

A schedule is a function `(final_density, rounds) -> (d_1, ..., d_rounds)` with `d_rounds = final_density`,
never increasing.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any

MOST_ROUNDS = 1_000_000
Schedule = Callable[[float, int], tuple[float, ...]]


def check_density(density: float) -> float:
    """Refuse a density outside (0, 1].

    Raises:
        ValueError: naming the value.

    Examples:
        >>> check_density(0.05)
        0.05
        >>> check_density(0.0)
        Traceback (most recent call last):
            ...
        ValueError: density must lie in (0, 1], got 0.0: it is the share of prunable weights to keep, for example 0.005
    """
    given: Any = density
    if not isinstance(given, numbers.Real):
        several = "; for several densities call sc.find_tickets" if isinstance(given, list | tuple) else ""
        raise ValueError(f"density must be a number in (0, 1], got {density!r}{several}")
    if not 0.0 < density <= 1.0:
        raise ValueError(
            f"density must lie in (0, 1], got {density}: it is the share of prunable weights to keep, for example 0.005"
        )
    return float(density)


def check_count(density: float, total: int) -> None:
    """Refuse a density outside (0, 1], or one that keeps none of `total` weights.

    Raises:
        ValueError: naming the smallest that would do.

    Examples:
        >>> check_count(0.05, total=1_000)
        >>> check_count(0.0001, total=1_000)
        Traceback (most recent call last):
            ...
        ValueError: density 0.0001 keeps none of the 1,000 prunable weights; ask for at least 0.001
    """
    density = check_density(density)
    if total == 0:
        raise ValueError("the prunable weights have no entries, so that there is nothing to keep; check the shapes")
    if round(density * total) == 0:
        raise ValueError(
            f"density {density} keeps none of the {total:,} prunable weights; ask for at least {1 / total:.3g}"
        )


def check_floor(floor: int, needed: int, kept: int) -> None:
    """Refuse a floor that needs more weights than a density keeps.

    Args:
        floor: weights that each layer keeps at least.
        needed: weights in all for that; a smaller layer keeps what it has.
        kept: weights that the density keeps.

    Raises:
        ValueError: saying both counts.

    Examples:
        >>> check_floor(8, needed=11, kept=10)
        Traceback (most recent call last):
            ...
        ValueError: a floor of 8 weights in each layer needs 11 weights, but the density keeps 10; take a lower ...
    """
    if needed > kept:
        raise ValueError(
            f"a floor of {floor} weights in each layer needs {needed} weights, but the density keeps {kept}; take a "
            "lower floor or a higher density"
        )


def _check(final_density: float, rounds: int) -> None:
    check_density(final_density)
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}")
    if rounds > MOST_ROUNDS:
        raise ValueError(f"rounds must be at most {MOST_ROUNDS:,}, got {rounds:,}")


def exponential(final_density: float, rounds: int) -> tuple[float, ...]:
    """`d_t = d^(t/T)`: every round keeps the same share of what is left (Tanaka et al. 2020, arXiv 2006.05467).

    Examples:
        >>> [round(density, 3) for density in exponential(0.125, rounds=3)]
        [0.5, 0.25, 0.125]
    """
    _check(final_density, rounds)
    return (*(final_density ** (t / rounds) for t in range(1, rounds)), final_density)


def linear(final_density: float, rounds: int) -> tuple[float, ...]:
    """`d_t = 1 - (1 - d) t/T`: every round removes the same number of weights.

    Examples:
        >>> [round(density, 3) for density in linear(0.125, rounds=3)]
        [0.708, 0.417, 0.125]
    """
    _check(final_density, rounds)
    return (*(1.0 - (1.0 - final_density) * t / rounds for t in range(1, rounds)), final_density)


def cubic(final_density: float, rounds: int) -> tuple[float, ...]:
    """`d_t = d + (1 - d) (1 - t/T)^3`: fast at first, slow at the end (Zhu & Gupta 2017, arXiv 1710.01878).

    Examples:
        >>> [round(density, 3) for density in cubic(0.125, rounds=3)]
        [0.384, 0.157, 0.125]
    """
    _check(final_density, rounds)
    return (*(final_density + (1.0 - final_density) * (1.0 - t / rounds) ** 3 for t in range(1, rounds)), final_density)


SCHEDULES: dict[str, Schedule] = {"exponential": exponential, "linear": linear, "cubic": cubic}
