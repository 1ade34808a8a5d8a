"""Tables of a page, made of cells that are read, sorted by and noted on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Cell:
    """A table's cell.

    Attributes:
        text: what is read.
        value: what is sorted by; None takes the text, NaN sorts last.
        small: after the text, e.g. an interval.
        note: under the text, e.g. a published figure.
        strong: best of its column.

    Examples:
        >>> Cell("96.12", 96.12, small="± 0.15", strong=True).key, Cell("about 10", 10.0).key
        ('', '10')
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
    """The cell of a number; `–` where it is missing. `form` is a format.

    >>> number(-0.51234, ".2f").text, number(12885).text, number(None).text
    ('−0.51', '1.288e+04', '–')
    """
    if value is None or value != value:
        return Cell("–", math.nan, note=note)
    text = format(value, form)
    return Cell(f"−{text[1:]}" if text.startswith("-") else text, float(value), small, note, strong)


@dataclass(frozen=True)
class Table:
    """A sortable table; the first column names the row. A cell is a `Cell` or a plain text.

    >>> table = Table("Accuracy by density.", ("method", "0.1"), [["snip", number(91.0)], ["random", number(None)]])
    >>> [[cell.text for cell in row] for row in table.rows], table.numeric
    ([['snip', '91'], ['random', '–']], [False, True])
    """

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
