"""What options and arguments that name a file, a folder or a table become."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


class _FilePath(click.Path):
    """A path with a name: an empty text, which is what an unset variable of the shell leaves, is no folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path."""
        if value == "":
            self.fail("the path is empty, expected the name of a file or a folder", param, ctx)
        if isinstance(value, str) and "://" in value:
            self.fail(f"{value} is an address, expected a path: score tables alone may have addresses", param, ctx)
        return super().convert(value, param, ctx)


class _TablePath(_FilePath):
    """A path, or an address in an object store."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The place."""
        from scratchcard.score_tables.place import place_of

        place = place_of(value) if isinstance(value, str) and value else value
        return super().convert(str(place), param, ctx) if isinstance(place, str | Path) else place


PATH = _FilePath(path_type=Path)
TABLE = _TablePath(path_type=Path)
