"""Text files in a folder or an archive (zip, tar, tar.gz, tar.bz2, tar.xz), which is read without being unpacked."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from scratchcard.words import shortened
from scratchcard.workloads.tasks.image_files import Listed, files_of_folder, in_classes

ENDINGS = (".txt", ".text", "")
MOST_OF_A_FILE = 2**26
"""Bytes of one text."""
MOST_IN_ALL = 2**31
"""Bytes of all texts: a few kilobytes of an archive can claim a thousand times more."""
_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, NotImplementedError)


def contents(path: Path, wanted: Callable[[str], bool] = lambda name: True) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each regular file of a folder or an archive, as far as its name is wanted.

    Links and devices in an archive are left out, and a name is only a name: nothing is written anywhere. Files that end
    in `.gz` are unpacked, and lose that ending.

    Raises:
        FileNotFoundError: there is no such path.
        ValueError: a damaged archive or file, one twice, or more bytes than texts have.

    Examples:
        >>> with zipfile.ZipFile("mail.zip", "w") as archive:
        ...     archive.writestr("ham/1.txt", "hello")
        >>> list(contents(Path("mail.zip")))
        [('ham/1.txt', b'hello')]
    """
    if not path.exists():
        raise FileNotFoundError(
            f"no folder or archive {path}; one that is not seen from the working folder is looked for where "
            "SCRATCHCARD_DATA names a folder"
        )
    total, seen = 0, set[str]()
    try:
        for name, size, read in _members(path):
            plain = name.removesuffix(".gz")
            if not wanted(plain):
                continue
            if plain in seen:
                raise ValueError(f"{path} holds {shortened(plain)} twice; make the archive anew")
            seen.add(plain)
            _check_size(path, name, size, total)
            data = read()
            if name != plain:
                data = _unpacked(data)
                _check_size(path, name, len(data), total)
            total += len(data)
            yield plain, data
    except _DAMAGE as error:
        why = shortened(str(error)) or type(error).__name__
        raise ValueError(f"{path} is damaged or no archive of texts ({why}); get it again") from error


def decoded(data: bytes, encoding: str, what: str) -> str:
    """The text of bytes.

    Raises:
        ValueError: they are none in this encoding; begins with `what`.

    Examples:
        >>> decoded(b"caf\\xe9", "latin-1", "menu.txt")
        'café'
        >>> decoded(b"caf\\xe9", "utf-8", "menu.txt")
        Traceback (most recent call last):
            ...
        ValueError: menu.txt is no text in utf-8 (byte 3); name its encoding, as in encoding=latin-1, or convert it
    """
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{what} is no text in {encoding} (byte {error.start}); name its encoding, as in encoding=latin-1, or "
            "convert it"
        ) from error


def listed_texts(path: Path) -> Listed:
    """The texts in a folder or archive, one folder a class; see `image_files.in_classes`.

    Examples:
        >>> for kind in ("ham", "spam"):
        ...     Path(f"mail/{kind}").mkdir(parents=True)
        ...     _ = Path(f"mail/{kind}/1.txt").write_text("hello")
        >>> listed_texts(Path("mail")).images
        (('', 'ham', 'ham/1.txt'), ('', 'spam', 'spam/1.txt'))
    """
    if path.is_dir():
        found = sorted(files_of_folder(path))
    else:
        found = sorted((name, len(data), zlib.crc32(data)) for name, data in contents(path))
    return in_classes(path, found, ENDINGS, "text")


def _members(path: Path) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    """Name, size and reader of each file; of an archive in the order in which they lie there."""
    if path.is_dir():
        for name, size, _ in sorted(files_of_folder(path)):
            yield name, size, (path / name).read_bytes
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if not entry.is_dir():
                    yield entry.filename, entry.file_size, lambda entry=entry: archive.read(entry)  # type: ignore[misc]
    else:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                stream = archive.extractfile(member) if member.isreg() else None
                if stream is not None:
                    yield member.name.removeprefix("./"), member.size, stream.read


def _unpacked(data: bytes) -> bytes:
    with gzip.open(io.BytesIO(data)) as stream:
        return stream.read(MOST_OF_A_FILE + 1)


def _check_size(path: Path, name: str, size: int, total: int) -> None:
    if size > MOST_OF_A_FILE or total + size > MOST_IN_ALL:
        raise ValueError(
            f"{path}'s {shortened(name)} unpacks to {size:,} bytes, after {total:,} of other files; expected at most "
            f"{MOST_OF_A_FILE:,} bytes of one text and {MOST_IN_ALL:,} of all"
        )
