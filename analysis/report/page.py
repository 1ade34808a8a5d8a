"""What a page is made of: parts and sections of charts, tables and texts; all plain values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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
    """

    name: str
    colour: str
    shape: str
    outline: str
    dash: str
    swatch: str


def entry(name: str, number: int, swatch: str = "both") -> Entry:
    """An entry; colours repeat after eight numbers, shapes and dashes change with each repeat."""
    again, colour = divmod(number, COLOURS)
    shape = tuple(SHAPES)[(number + again) % len(SHAPES)]
    return Entry(name, f"var(--c{colour})", shape, SHAPES[shape], DASHES[again % len(DASHES)], swatch)


def entries_of(names: Iterable[Any], swatch: str = "both") -> tuple[Entry, ...]:
    """Legend entries in the order in which names appear."""
    return tuple(entry(name, k, swatch) for k, name in enumerate(dict.fromkeys(map(str, names))))


@dataclass(frozen=True)
class Chart:
    """A Vega-Lite specification over named data sets of the page.

    Attributes:
        spec: Vega-Lite; `data` by name only.
        title: above it.
        description: for those who cannot see it.
        legend: of the methods in it.
        width: pixels that it needs at least; on a narrower screen it scrolls by itself.
        floor: lowest y shown at first, and the lowest there is; None shows everything.
    """

    spec: Mapping[str, Any]
    title: str
    description: str
    legend: tuple[Entry, ...] = ()
    width: int = 0
    floor: tuple[float, float] | None = None

    @property
    def height(self) -> int:
        """Pixels that its place keeps free until it is drawn: its own height, axis and labels."""
        return int(self.spec["height"]) + 48


@dataclass(frozen=True)
class Panels:
    """Charts side by side that share a caption and, where needed, a switch to the whole range of y.

    Attributes:
        key: names of the marks' shapes, and their outlines.
    """

    charts: Sequence[Chart]
    caption: str
    key: tuple[tuple[str, str], ...] = ()
    kind: str = field(default="panels", init=False)

    @property
    def cut(self) -> bool:
        """Whether some chart has values below its axis, so that a switch to the whole range is of use."""
        return any(chart.floor for chart in self.charts)

    @property
    def legend(self) -> tuple[Entry, ...]:
        """What all charts share, shown once; empty where each has its own."""
        legends = {chart.legend for chart in self.charts}
        return self.charts[0].legend if len(legends) == 1 and len(self.charts) > 1 else ()


@dataclass(frozen=True)
class Cell:
    """A table's cell.

    Attributes:
        text: what is read.
        value: what is sorted by; None takes the text, NaN sorts last.
        small: after the text, e.g. an interval.
        note: under the text, e.g. a published figure.
        strong: best of its column.
    """

    text: str
    value: float | None = None
    small: str = ""
    note: str = ""
    strong: bool = False

    @property
    def key(self) -> str:
        """What it is sorted by where its text is no number; empty where it is one, or nothing is known."""
        if self.value is None or math.isnan(self.value):
            return ""
        try:
            float(self.text.replace("−", "-"))
        except ValueError:
            return f"{self.value:.6g}"
        return ""


def number(value: Any, form: str = ".4g", small: str = "", note: str = "", strong: bool = False) -> Cell:
    """The cell of a number; `–` where it is missing. `form` is a format."""
    if value is None or value != value:
        return Cell("–", math.nan, note=note)
    text = format(value, form)
    return Cell(f"−{text[1:]}" if text.startswith("-") else text, float(value), small, note, strong)


@dataclass(frozen=True)
class Table:
    """A sortable table; the first column names the row. A cell is a `Cell` or a plain text."""

    caption: str
    columns: Sequence[str]
    lines: Sequence[Sequence[Any]]
    kind: str = field(default="table", init=False)

    @property
    def rows(self) -> list[list[Cell]]:
        """Its cells."""
        return [[c if isinstance(c, Cell) else Cell(c) for c in line] for line in self.lines]

    @property
    def numeric(self) -> list[bool]:
        """Whether all cells of a column have values."""
        rows = self.rows
        return [bool(rows) and all(row[k].value is not None for row in rows) for k in range(len(self.columns))]


@dataclass(frozen=True)
class Text:
    """A paragraph (`text`), a line to be typed into a terminal (`command`), or a file, folded (`listing`).

    Attributes:
        title: of a listing; of a paragraph its first words, in bold: such paragraphs are what a reader came for.
    """

    text: str
    title: str = ""
    kind: str = "text"


Block = Panels | Table | Text


@dataclass(frozen=True)
class Section:
    """A heading, one or two sentences on what is seen and how it was made, and what they speak of.

    Attributes:
        folded: whether it is shown only when asked for.
    """

    title: str
    text: str
    blocks: Sequence[Block] = ()
    folded: bool = True


@dataclass
class Data:
    """Named data sets; numbers have six significant digits."""

    sets: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def add(self, name: str, rows: Sequence[Mapping[str, Any]]) -> str:
        """Add rows of plain values under a name; returns the name.

        Raises:
            ValueError: the name is taken by other rows.
        """
        entry = [{key: plain(value) for key, value in row.items()} for row in rows]
        if self.sets.setdefault(name, entry) != entry:
            raise ValueError(f"two data sets are called {name!r}; give each its own name")
        return name


@dataclass
class Part:
    """A part of the page that is folded away until it is asked for: a grid, the predictors, the tickets.

    Attributes:
        anchor: its name in an address.
        title: its heading.
        summary: what comes out of it, in one line.
        sections: what it shows.
        data: the data sets of its charts, each once.
    """

    anchor: str
    title: str
    summary: str
    sections: list[Section] = field(default_factory=list)
    data: Data = field(default_factory=Data)

    @property
    def charts(self) -> list[Chart]:
        """In the order of the page."""
        blocks = (block for section in self.sections for block in section.blocks)
        return [chart for block in blocks if isinstance(block, Panels) for chart in block.charts]


def plain(value: Any) -> Any:
    """JSON's value of a number: six significant digits, None for NaN and infinity (JSON has neither)."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return tuple(plain(entry) for entry in value)
    number = float(value)
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() and abs(number) < 2**53 else float(f"{number:.6g}")
