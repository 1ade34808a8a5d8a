"""Sizes in bytes, and lists of densities, on the command line."""

from __future__ import annotations

import re
from typing import Any

import click


class Size(click.ParamType[int]):
    """Bytes as a person writes them, with a unit.

    >>> Size().convert("2GiB", None, None), Size().convert("500 MB", None, None), Size().convert("4096B", None, None)
    (2147483648, 500000000, 4096)
    """

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number of bytes."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b", str(value).strip(), re.IGNORECASE)
        size = 0.0
        if found is not None:
            size = float(found[1]) * (1024 if found[3] else 1000) ** " kmgt".index(found[2].lower() or " ")
        if size < 1:
            self.fail(f"{value!r} is no size with a unit, such as 2GiB or 500MB", param, ctx)
        return int(size)


class Densities(click.ParamType[tuple[float, ...]]):
    """One density or several, with commas.

    >>> Densities().convert("0.05,0.01", None, None)
    (0.05, 0.01)
    """

    name = "densities"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """The numbers, as they were given."""
        try:
            return tuple(float(word) for word in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is no density and no list of them, such as 0.02 or 0.05,0.02,0.01", param, ctx)
