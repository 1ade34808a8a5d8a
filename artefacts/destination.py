"""Place: where a file or folder is going to be written, checked before the work whose result goes there.

Nothing of the user's is taken: a file is written only where there is none or a regular one, and a folder only where
there is none, an empty one, or one that this package made.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from scratchcard.words import counted

KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def destination(path: str | Path) -> Path:
    """Where a file called `path` is written: there, or where the symbolic link of this name leads, which stays one.

    Raises:
        OSError: what is there is no regular file (a folder, a named pipe, a socket, a device), is write-protected, or
            is a link that leads in a circle; one sentence.

    Examples:
        >>> destination("ticket.safetensors").name
        'ticket.safetensors'
        >>> destination(".")
        Traceback (most recent call last):
            ...
        IsADirectoryError: . is a folder, expected the name of a file to write
    """
    path = Path(path)
    found = path
    if path.is_symlink():
        try:
            found = path.resolve()  # a target that is not there yet is made
            if found.is_symlink():
                raise RuntimeError  # a circle, before Python 3.13
        except (RuntimeError, OSError) as error:
            raise OSError(f"{path} is a symbolic link that leads nowhere; remove it or choose another name") from error
    try:
        mode = os.stat(found).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return found
    if stat.S_ISREG(mode):
        if not mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH):
            raise PermissionError(f"{path} is write-protected; choose another name, or let it be written to")
        return found
    kind = next((name for is_kind, name in KINDS if is_kind(mode)), "no regular file")
    error_of = IsADirectoryError if stat.S_ISDIR(mode) else FileExistsError
    raise error_of(f"{path} is {kind}, expected the name of a file to write")


def check_destination(path: str | Path, kind: Literal["file", "folder"] = "file") -> None:
    """Refuse a place that nothing can be written to; leaves nothing behind.

    What is missing on the way is not made: the nearest folder that exists must take a new (unnamed) file.

    Raises:
        OSError: what is there is no regular file (see `destination`), or no folder; or the folder above cannot be
            written to; one sentence.

    Examples:
        >>> check_destination("ticket.safetensors")
    """
    path = Path(path)
    place = path if kind == "folder" else destination(path)
    if kind == "folder" and path.exists() and not path.is_dir():
        raise NotADirectoryError(f"{path} is a file, expected the name of a folder to write to")
    above = place if kind == "folder" else place.parent
    while not above.exists() and above != above.parent:
        above = above.parent
    if not above.is_dir():
        raise NotADirectoryError(f"cannot write {path}: {above} is not a folder")
    try:
        with tempfile.TemporaryFile(dir=above):
            pass
    except OSError as error:
        raise PermissionError(f"cannot write {path}: nothing can be written to {above} ({error.strerror})") from error


def check_own(folder: str | Path | Any, what: str, is_ours: Callable[[Any], bool]) -> None:
    """Refuse a folder that holds something and was not made by whoever is going to write into it.

    Hidden entries alone, such as a file browser's, leave a folder empty.

    Args:
        folder: that is going to be written to; what is no path of this machine lists its entries by `iterdir`.
        what: it should be, in words: `a score table`.
        is_ours: whether a folder that is not empty is one.

    Raises:
        FileExistsError: it holds something else; one sentence.

    Examples:
        >>> Path("mine").mkdir()
        >>> _ = Path("mine/notes.txt").write_text("precious")
        >>> check_own("mine", "a score table", lambda folder: (folder / "manifest.json").exists())
        Traceback (most recent call last):
            ...
        FileExistsError: mine is not a score table but holds 1 file of another kind (notes.txt); choose another folder
    """
    folder = Path(folder) if isinstance(folder, str) else folder
    try:
        held = sorted(entry.name for entry in folder.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno != errno.ENOTDIR:
            raise
        raise NotADirectoryError(f"{folder} is a file, expected the name of a folder to write to") from error
    seen = [name for name in held if not name.startswith(".")]
    if not seen or is_ours(folder):
        return
    others = f"{counted(len(seen), 'file')} of another kind ({', '.join(seen[:3])}{' ...' if len(seen) > 3 else ''})"
    raise FileExistsError(f"{folder} is not {what} but holds {others}; choose another folder")
