"""The manifest of a score table's folder: how the table was built, and which files it has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scratchcard.artefacts.json_file import read_json, write_json

MANIFEST = "manifest.json"


def write_manifest(folder: str | Path, manifest: Mapping[str, Any]) -> Path:
    """Write `manifest.json` into the folder; written beside and renamed, so never half there.

    Examples:
        >>> write_manifest("table", {"rows": 3}).name
        'manifest.json'
    """
    return write_json(Path(folder) / MANIFEST, manifest, indent=2)


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The manifest of a table's folder.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged.

    Examples:
        >>> _ = write_manifest("table", {"rows": 3})
        >>> read_manifest("table")
        {'rows': 3}
        >>> read_manifest("elsewhere")
        Traceback (most recent call last):
            ...
        FileNotFoundError: no manifest.json in elsewhere: expected a folder that `scratchcard build` wrote
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"no {MANIFEST} in {folder}: expected a folder that `scratchcard build` wrote")
    return read_json(path, "build the table again")
