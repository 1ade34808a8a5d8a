"""Words: how counts, times and what others wrote are said to people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

QUOTED = 200
"""Characters of foreign text that a sentence quotes at most."""


def counted(number: int, noun: str) -> str:
    """`1 run`, `1,200 runs`, `7 densities`.

    Examples:
        >>> counted(1, "run"), counted(1_200, "run"), counted(7, "density")
        ('1 run', '1,200 runs', '7 densities')
    """
    many = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{number:,} {noun if number == 1 else many}"


def listed(texts: Iterable[Any], most: int = 3, between: str = ", ") -> str:
    """The first few of many, and how many more there are; a single one more is named too.

    Examples:
        >>> listed("abcde"), listed("abcd"), listed("abcdef", between="; ")
        ('a, b, c and 2 more', 'a, b, c, d', 'a; b; c and 3 more')
    """
    every = [str(text) for text in texts]
    if len(every) <= most + 1:
        return between.join(every)
    return f"{between.join(every[:most])} and {len(every) - most:,} more"


def duration(seconds: float) -> str:
    """`35 s`, `12.3 min`, `3.4 h`.

    Examples:
        >>> duration(35), duration(740), duration(12_240)
        ('35 s', '12.3 min', '3.4 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def printable(text: str) -> str:
    """Foreign text on one line, without the characters that steer a terminal or turn the direction of writing.

    Examples:
        >>> printable("snip\\x1b[2J\\n  twice")
        'snip[2J twice'
    """
    return "".join(sign for sign in " ".join(text.split()) if sign.isprintable())


def shortened(text: str, most: int = QUOTED) -> str:
    """Foreign text as a sentence quotes it: `printable`, and its beginning alone where it is long.

    Examples:
        >>> shortened("a b\\n c"), len(shortened("long" * 1000))
        ('a b c', 204)
    """
    text = printable(text[: 10 * most])
    return text if len(text) <= most else f"{text[:most]} ..."


def quoted(value: Any, most: int = QUOTED) -> str:
    """A foreign value as a sentence quotes it: its `repr`, shortened.

    Examples:
        >>> quoted("snap"), quoted(10**5000)
        ("'snap'", 'a int that cannot be shown')
    """
    try:
        return shortened(repr(value), most)
    except Exception:  # more digits than Python prints, or a foreign object
        return f"a {type(value).__name__} that cannot be shown"


def said(error: BaseException) -> str:
    """An error of foreign code in one line, its beginning where it is long.

    Examples:
        >>> said(ValueError("so   much   space")), said(KeyError())
        ('ValueError: so much space', 'KeyError')
    """
    text = shortened(str(error))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
