"""Where a score table lies: a folder of this machine, or one in an object store, by its address.

`s3://bucket/table` and `gs://bucket/table` are read and written through pyarrow, with the credentials that its file
systems find (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL and the like; GOOGLE_APPLICATION_CREDENTIALS). `file:///data/table` is
a folder of this machine. An object appears there whole or not at all; a table is complete once its manifest lists its
files.
"""

from __future__ import annotations

import contextlib
import fnmatch
import posixpath
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from scratchcard.artefacts.files import written_beside
from scratchcard.words import shortened

STORES = ("s3", "gs")


@dataclass(frozen=True, order=True)
class StorePath:
    """A file or folder in an object store, with what the readers and writers of tables ask of a `Path`.

    Args:
        uri: its address; a query (`?region=...`) is handed to pyarrow.

    Examples:
        >>> table = StorePath("s3://bucket/tables/mnist?region=eu-central-1")
        >>> str(table / "manifest.json"), table.name, (table / "a.parquet").suffix
        ('s3://bucket/tables/mnist/manifest.json?region=eu-central-1', 'mnist', '.parquet')
    """

    uri: str

    def __str__(self) -> str:
        return self.uri

    def __fspath__(self) -> str:
        raise TypeError(f"{self.uri} lies in an object store, where this needs a file of this machine")

    def __truediv__(self, name: str) -> StorePath:
        before, mark, query = self.uri.partition("?")
        return StorePath(f"{before.rstrip('/')}/{name}{mark}{query}")

    @property
    def name(self) -> str:
        """The last part of the address."""
        return posixpath.basename(self.uri.partition("?")[0].rstrip("/"))

    @property
    def suffix(self) -> str:
        """The name's ending."""
        return posixpath.splitext(self.name)[1]

    def absolute(self) -> StorePath:
        """Itself: an address is the same everywhere."""
        return self

    @contextlib.contextmanager
    def _store(self) -> Iterator[tuple[Any, str]]:
        """The file system, and the name in it; what goes wrong there is one sentence."""
        from pyarrow import ArrowException

        try:
            yield _file_system(self.uri)
        except FileNotFoundError:
            raise
        except (ArrowException, OSError) as error:
            reason = shortened(" ".join(str(error).split()), 200).rstrip(".")
            raise OSError(
                f"{self.uri} cannot be reached ({reason}); check the address, the credentials and the network"
            ) from error

    def _kind(self) -> Any:
        with self._store() as (store, name):
            return store.get_file_info(name).type

    def exists(self) -> bool:
        """Whether there is an object or a folder."""
        from pyarrow.fs import FileType

        return bool(self._kind() != FileType.NotFound)

    def is_file(self) -> bool:
        """Whether there is an object."""
        from pyarrow.fs import FileType

        return bool(self._kind() == FileType.File)

    def is_dir(self) -> bool:
        """Whether there are objects below."""
        from pyarrow.fs import FileType

        return bool(self._kind() == FileType.Directory)

    def iterdir(self) -> Iterator[StorePath]:
        """What lies right below; nothing where there is nothing."""
        from pyarrow.fs import FileSelector

        with self._store() as (store, name):
            found = store.get_file_info(FileSelector(name, allow_not_found=True))
        yield from (self / info.base_name for info in found)

    def glob(self, pattern: str) -> Iterator[StorePath]:
        """What lies right below and has such a name."""
        return (path for path in self.iterdir() if fnmatch.fnmatchcase(path.name, pattern))

    def open(self, mode: str = "rb") -> Any:
        """A file to read from at any place.

        Raises:
            FileNotFoundError: there is no such object.
        """
        with self._store() as (store, name):
            return store.open_input_file(name)

    def read_bytes(self) -> bytes:
        """All of it."""
        with self.open() as file, self._store():
            return bytes(file.read())

    def write_from(self, path: Path) -> None:
        """Put a file of this machine there; it appears when all of it is there."""
        with self._store() as (store, name), path.open("rb") as source, store.open_output_stream(name) as target:
            shutil.copyfileobj(source, target, 2**24)

    def remove_folder(self) -> None:
        """Remove all that lies below, if there is something."""
        if self.is_dir():
            with self._store() as (store, name):
                store.delete_dir(name)


Place = Path | StorePath


def place_of(path: str | Path | StorePath) -> Place:
    """The place of an address or a path.

    Raises:
        ValueError: an address of an unknown kind, or with credentials in it.

    Examples:
        >>> place_of("s3://bucket/table"), place_of("file:///data/table").as_posix(), place_of("table").name
        (StorePath(uri='s3://bucket/table'), '/data/table', 'table')
        >>> place_of("ftp://host/table")
        Traceback (most recent call last):
            ...
        ValueError: ftp://host/table is an address of an unknown kind: expected s3://, gs:// or file://, or a path
        >>> place_of("file://data/table")
        Traceback (most recent call last):
            ...
        ValueError: file://data/table names another machine; a file of this one is file:///, with three strokes
    """
    if not isinstance(path, str):
        return path
    scheme, mark, _ = path.partition("://")
    if not mark or not scheme.isalnum():
        return Path(path)
    if scheme == "file" and urlsplit(path).netloc not in ("", "localhost"):
        raise ValueError(f"{path} names another machine; a file of this one is file:///, with three strokes")
    if scheme == "file":
        return Path(unquote(urlsplit(path).path))
    if scheme not in STORES:
        raise ValueError(f"{path} is an address of an unknown kind: expected s3://, gs:// or file://, or a path")
    if "@" in urlsplit(path).netloc:
        raise ValueError(
            f"a {scheme} address holds a name or a key before @, which would be noted: set them outside it"
        )
    return StorePath(path)


@contextlib.contextmanager
def written_whole(place: Place) -> Iterator[Path]:
    """A file of this machine to write to; it is at its place after the block, or nothing is where there was an error.

    Raises:
        OSError: nothing can be written there; see `written_beside`.

    Examples:
        >>> with written_whole(Path("note.txt")) as beside:
        ...     _ = beside.write_text("whole or not there")
        >>> Path("note.txt").read_text()
        'whole or not there'
    """
    if isinstance(place, Path):
        with written_beside(place) as beside:
            yield beside
        return
    with tempfile.TemporaryDirectory() as folder:
        beside = Path(folder) / place.name
        yield beside
        place.write_from(beside)


def remove_folder(place: Place) -> None:
    """Remove a folder that this package made, if it is there.

    Examples:
        >>> Path("made").mkdir()
        >>> remove_folder(Path("made"))
        >>> Path("made").exists()
        False
    """
    if isinstance(place, Path):
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.remove_folder()


def _file_system(uri: str) -> tuple[Any, str]:
    """The file system of an address, made once, and the name in it."""
    parts = urlsplit(uri)
    store = _stores(f"{parts.scheme}://{parts.netloc}", parts.query)
    return store, f"{parts.netloc}{unquote(parts.path)}".rstrip("/")


@lru_cache(maxsize=16)
def _stores(root: str, query: str) -> Any:
    from pyarrow.fs import FileSystem

    return FileSystem.from_uri(f"{root}?{query}" if query else root)[0]
