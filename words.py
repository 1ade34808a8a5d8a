"""Words: how counts and times are said to people."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """`1 run`, `1,200 runs`, `7 densities`.

    Examples:
        >>> counted(1, "run"), counted(1_200, "run"), counted(7, "density")
        ('1 run', '1,200 runs', '7 densities')
    """
    many = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{number:,} {noun if number == 1 else many}"


def duration(seconds: float) -> str:
    """`35 s`, `12.3 min`, `3.4 h`.

    Examples:
        >>> duration(35), duration(740), duration(12_240)
        ('35 s', '12.3 min', '3.4 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
