"""The manifest of a score table's folder: how the table was built, and which files it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scratchcard.artefacts.json_file import find_json, read_json, sealed
from scratchcard.score_tables.place import Place, place_of, written_whole

MANIFEST = "manifest.json"
SECONDS = ".seconds"
"""Of a table's folder: how long files took that the manifest does not list yet."""


def write_manifest(folder: str | Place, manifest: Mapping[str, Any]) -> Place:
    """Write `manifest.json` into the folder; written beside and renamed, so never half there.

    Examples:
        >>> write_manifest("table", {"rows": 3}).name
        'manifest.json'
    """
    return _written(place_of(folder) / MANIFEST, manifest, indent=2)


def read_manifest(folder: str | Place) -> dict[str, Any]:
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
    path = place_of(folder) / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"no {MANIFEST} in {folder}: expected a folder that `scratchcard build` wrote")
    return read_json(path, "build the table again")


def write_seconds(folder: str | Place, file: str, seconds: Mapping[str, Any]) -> Place:
    """Note how long a file took. It stands beside the file, not in it: equal builds give equal files.

    Examples:
        >>> _ = write_seconds("timed", "toy-seed0.parquet", {"seconds": 0.5})
        >>> read_seconds("timed", {"toy-seed0.parquet": {"seconds": 9.0}, "toy-seed1.parquet": {"seconds": 0.7}})
        {'toy-seed0.parquet': {'seconds': 0.5}, 'toy-seed1.parquet': {'seconds': 0.7}}
    """
    return _written(place_of(folder) / SECONDS / f"{file}.json", seconds, indent=1)


def read_seconds(folder: str | Place, known: Mapping[str, Any]) -> dict[str, Any]:
    """How long files took: what is noted, and else what is known; damaged notes count as none.

    Examples:
        >>> read_seconds("nothing noted", {"toy-seed1.parquet": {"seconds": 0.7}})
        {'toy-seed1.parquet': {'seconds': 0.7}}
    """
    notes = {note.name.removesuffix(".json"): find_json(note) for note in (place_of(folder) / SECONDS).glob("*.json")}
    found = dict(known) | {name: note for name, note in notes.items() if note is not None}
    return {name: found[name] for name in sorted(found)}


def _written(place: Place, content: Mapping[str, Any], *, indent: int) -> Place:
    text = sealed(content, indent=indent)
    with written_whole(place) as beside:
        beside.write_bytes(text)
    return place
