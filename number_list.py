"""Lists of whole numbers as people type them: `0-4`, `3` or `0,2,10-12`."""

from __future__ import annotations

from scratchcard.words import quoted

MOST_NUMBERS = 100_000
LARGEST = 2**31 - 1
"""What torch, NumPy, scikit-learn and LightGBM all take as a seed; no setting is a larger whole number."""


def whole_numbers(text: str, name: str = "seed") -> tuple[int, ...]:
    """The numbers that `text` lists, in its order.

    Raises:
        ValueError: not such a list, none or too many numbers, or one beyond what libraries take as a seed.

    Examples:
        >>> whole_numbers("0-3,7")
        (0, 1, 2, 3, 7)
    """
    ranges: list[range] = []
    try:
        for part in text.split(","):
            first, dash, last = part.strip().partition("-")
            ranges.append(range(int(first), int(last if dash else first) + 1))
    except ValueError:
        raise ValueError(f"{quoted(text)} is no list of {name}s; expected for example 0-4 or 0,2,10-12") from None
    if any(numbers.stop > LARGEST + 1 for numbers in ranges):
        raise ValueError(f"{quoted(text)} goes beyond the largest {name}, {LARGEST}")
    if not 0 < sum(map(len, ranges)) <= MOST_NUMBERS:
        raise ValueError(f"{quoted(text)} names no {name}, or more than {MOST_NUMBERS:,}")
    return tuple(number for numbers in ranges for number in numbers)
