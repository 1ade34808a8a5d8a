"""What a page is made of: parts and sections of charts, tables and texts; all plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scratchcard.analysis.report.cells import Table
from scratchcard.analysis.report.legend import Entry


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

    Examples:
        >>> chart = Chart({"height": 260, "mark": "point"}, "Digits", "Accuracy against density, a point a method.")
        >>> chart.height
        308
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

    Examples:
        >>> from scratchcard.analysis.report.legend import entries_of
        >>> legend = entries_of(["snip", "random"])
        >>> charts = [Chart({"height": 260}, f"density {density:g}", "", legend) for density in (0.01, 0.1)]
        >>> panels = Panels(charts, "Each panel has its own axis.")
        >>> panels.cut, [entry.name for entry in panels.legend]
        (False, ['snip', 'random'])
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
class Text:
    """A paragraph (`text`), a line to be typed into a terminal (`command`), or a file, folded (`listing`).

    Attributes:
        title: of a listing; of a paragraph its first words, in bold: such paragraphs are what a reader came for.

    Examples:
        >>> Text("scratchcard sweep grid.toml", kind="command").kind, Text("SNIP is first.", "Verdict").title
        ('command', 'Verdict')
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

    Examples:
        >>> section = Section("Accuracy", "Means over seeds.", [Text("No comparison was declared.")])
        >>> section.folded, section.blocks[0].text
        (True, 'No comparison was declared.')
    """

    title: str
    text: str
    blocks: Sequence[Block] = ()
    folded: bool = True


@dataclass
class Data:
    """Named data sets; numbers have six significant digits.

    >>> data = Data()
    >>> name = data.add("accuracy", [{"entry": "snip", "mean": 1 / 3}])
    >>> data.sets[name]
    [{'entry': 'snip', 'mean': 0.333333}]
    """

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

    Examples:
        >>> panels = Panels([Chart({}, "Digits", "Accuracy against density.")], "Point at a mark.")
        >>> part = Part("grid-toy", "A toy", "Two runs.", [Section("Accuracy", "", [panels])])
        >>> [chart.title for chart in part.charts]
        ['Digits']
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
    """JSON's value of a number: six significant digits, None for NaN and infinity (JSON has neither).

    >>> plain(np.float64(1 / 3)), plain(12885.0), plain([0.1, float("nan")])
    (0.333333, 12885, (0.1, None))
    """
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return tuple(plain(entry) for entry in value)
    number = float(value)
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() and abs(number) < 2**53 else float(f"{number:.6g}")
