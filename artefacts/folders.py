"""Folders that this package fills with many files: marked as its own, so that no other folder is written into."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from scratchcard.artefacts.destination import check_own
from scratchcard.artefacts.json_file import find_json, write_json

MARKER = ".scratchcard.json"
"""The file in such a folder that says what it is."""


def _never(_: Path) -> bool:
    return False


def is_own(folder: Path, kind: str) -> bool:
    """Whether a folder is marked as one of this kind.

    Examples:
        >>> is_own(Path("nowhere"), "results")
        False
    """
    return (find_json(folder / MARKER) or {}).get("kind") == kind


def check_folder(folder: str | Path, kind: str, what: str, looks_so: Callable[[Path], bool] = _never) -> None:
    """Refuse a folder that holds something and is not marked as one of this kind.

    Args:
        folder: that is going to be written to.
        kind: in one word, as the marker says it.
        what: in words, for the error.
        looks_so: whether one without a marker is of this kind all the same: earlier releases did not mark theirs.

    Raises:
        OSError: it holds something else.

    Examples:
        >>> check_folder("not_there_yet", "results", "a folder of results")
    """
    check_own(folder, what, lambda place: is_own(place, kind) or (not (place / MARKER).exists() and looks_so(place)))


def claim_folder(folder: str | Path, kind: str, what: str, looks_so: Callable[[Path], bool] = _never) -> Path:
    """Make a folder and mark it, if it is not there; refuse it as `check_folder` does.

    Raises:
        OSError: it holds something else, or nothing can be written there.

    Examples:
        >>> folder = claim_folder("claimed_results", "results", "a folder of results")
        >>> is_own(folder, "results")
        True
        >>> _ = Path("claimed_results/ab12.json").write_text("{}")
        >>> claim_folder("claimed_results", "logs", "a folder of logs")
        Traceback (most recent call last):
            ...
        FileExistsError: claimed_results is not a folder of logs but holds 1 file of another kind (ab12.json); ...
    """
    folder = Path(folder)
    check_folder(folder, kind, what, looks_so)
    if not is_own(folder, kind):
        write_json(folder / MARKER, {"kind": kind, "made by": "scratchcard"}, indent=None)
    return folder
