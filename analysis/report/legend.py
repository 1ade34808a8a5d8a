"""Legends: the colour, the mark and the line of each method."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

SHAPES: Mapping[str, str] = {
    "circle": "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0",
    "square": "M-3.6,-3.6h7.2v7.2h-7.2z",
    "triangle-up": "M0,-4.6L4.6,3.6H-4.6z",
    "diamond": "M0,-5L4.4,0L0,5L-4.4,0z",
    "triangle-down": "M0,4.6L4.6,-3.6H-4.6z",
    "cross": "M-1.6,-4.6h3.2v3h3v3.2h-3v3h-3.2v-3h-3v-3.2h3z",
    "triangle-right": "M4.6,0L-3.6,4.6V-4.6z",
    "triangle-left": "M-4.6,0L3.6,4.6V-4.6z",
}
"""Vega's name of a mark's shape, and its outline for a legend."""
DASHES = ("", "7,3", "2,2", "9,3,2,3")
COLOURS = 8
"""The style sheet has the variables --c0 to --c7, one set a theme."""


class Entry(NamedTuple):
    """A line of a legend; its button shows the method alone or among others.

    Attributes:
        name: what the data call it.
        colour: a style sheet's variable, so that a theme changes it without drawing again.
        shape: Vega's name of its mark.
        outline: the shape as an SVG path.
        dash: SVG's dash array.
        swatch: `both` a line and a mark, or a `line`, or a `chip` of its colour where shapes mean something else.

    Examples:
        >>> first = entry("snip", 0)
        >>> first.name, first.colour, first.shape, first.dash
        ('snip', 'var(--c0)', 'circle', '')
    """

    name: str
    colour: str
    shape: str
    outline: str
    dash: str
    swatch: str


def entry(name: str, number: int, swatch: str = "both") -> Entry:
    """An entry; colours repeat after eight numbers, shapes and dashes change with each repeat.

    >>> entry("snip", 0).colour, entry("random", COLOURS).colour, entry("random", COLOURS).dash
    ('var(--c0)', 'var(--c0)', '7,3')
    """
    again, colour = divmod(number, COLOURS)
    shape = tuple(SHAPES)[(number + again) % len(SHAPES)]
    return Entry(name, f"var(--c{colour})", shape, SHAPES[shape], DASHES[again % len(DASHES)], swatch)


def entries_of(names: Iterable[Any], swatch: str = "both") -> tuple[Entry, ...]:
    """Legend entries in the order in which names appear.

    >>> [(one.name, one.shape) for one in entries_of(["snip", "random", "snip"])]
    [('snip', 'circle'), ('random', 'square')]
    """
    return tuple(entry(name, k, swatch) for k, name in enumerate(dict.fromkeys(map(str, names))))
