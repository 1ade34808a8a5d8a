"""Store: results that several runs share, found by the digest of all that decides them."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor

from scratchcard.artefacts.digest import canonical, sha256, tensor_bytes
from scratchcard.artefacts.folders import claim_folder
from scratchcard.artefacts.leases import NO_LOCKS, user_of
from scratchcard.artefacts.tensor_file import read_tensors, write_tensors
from scratchcard.artefacts.version import RESULTS_VERSION

USERS = ".users"
_FILE = re.compile(r"[0-9a-f]{64}\.(safetensors|lock)")


@dataclass(frozen=True)
class Stored:
    """What was computed: tensors by name, and plain JSON about them.

    Examples:
        >>> Stored({"weight": torch.ones(2)}, {"seconds": 0.1}).about
        {'seconds': 0.1}
    """

    tensors: Mapping[str, Tensor]
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Store:
    """A folder of files named by their content's key, shared by processes; any of them may be deleted at any time.

    A file is written beside and renamed; a damaged one counts as missing and is computed again. Two processes that want
    the same key at once wait for each other (`claim`), so that neither computes in vain; a process that is killed
    leaves its lock to the next. Nothing is removed by itself: a folder grows by what is computed for it.

    Attributes:
        folder: where the files lie.
        brief: keep also what is made again almost as fast as it is found, such as short stretches of a training.

    Examples:
        >>> import tempfile
        >>> store = Store(Path(tempfile.mkdtemp()))
        >>> key = content_key("example", {"seed": 1})
        >>> store.get(key) is None
        True
        >>> store.put(key, Stored({"weight": torch.ones(2)}))
        >>> store.get(key).tensors
        {'weight': tensor([1., 1.])}
    """

    folder: Path
    brief: bool = False

    def get(self, key: str) -> Stored | None:
        """What is stored under `key`, or None."""
        try:
            tensors, texts = read_tensors(self._path(key))
            return Stored(tensors, json.loads(texts["about"]))
        except (FileNotFoundError, ValueError, KeyError, RecursionError):
            return None

    def put(self, key: str, found: Stored) -> None:
        """Store under `key`.

        Raises:
            OSError: the folder cannot be written to.
        """
        # A loss may be NaN here, which is no plain JSON: nobody else reads these texts.
        write_tensors(self._path(key), found.tensors, {"about": json.dumps(dict(found.about))})

    @contextlib.contextmanager
    def claim(self, key: str) -> Iterator[None]:
        """Hold `key` while computing it; others wait.

        Where the disk knows no locks nobody waits, and the same may be computed twice.
        """
        path = self._path(key).with_suffix(".lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire()
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        try:
            yield
        finally:
            # Whoever waits for the removed file goes on; whoever comes later makes a new one and finds what was stored.
            with contextlib.suppress(OSError):
                path.unlink()
            lock.release()

    @classmethod
    def of_user(cls, folder: Path) -> Store:
        """The store in a folder that a user named, which is made if it is not there.

            >>> Store.of_user(Path("finished_rounds")).folder.name
            'finished_rounds'

        Raises:
            OSError: it holds something other than a store, or nothing can be written there.
        """
        return cls(claim_folder(folder, "rounds", "a folder of finished rounds", lambda place: _files_of(place) != []))

    @contextlib.contextmanager
    def until_done(self) -> Iterator[Store]:
        """Use the store for work that needs it no more at its end: then it is removed.

        It stays where the work is broken off, so that it can go on, and as long as another process uses it so. Work
        that is refused (a ValueError) never goes on. Only what stores write is removed.
        """
        refused: ValueError | None = None
        try:
            with user_of(self.folder / USERS, entered=self.claim(USERS)) as users:
                try:
                    yield self
                except ValueError as error:
                    refused = error
                with self.claim(USERS):
                    if not users.others():
                        for path in _files_of(self.folder):
                            path.unlink(missing_ok=True)
        finally:
            for place in (*self.folder.glob("??"), self.folder):
                with contextlib.suppress(OSError):  # others' files may be there
                    place.rmdir()
        if refused is not None:
            raise refused

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"


def _files_of(folder: Path) -> list[Path]:
    """The files that stores wrote into a folder."""
    found = folder.glob("??/*")
    return [path for path in found if _FILE.fullmatch(path.name) and path.name.startswith(path.parent.name)]


def content_key(kind: str, described: Mapping[str, Any], **groups: Mapping[str, Tensor]) -> str:
    """sha256 over a kind of work, its plain JSON settings, named groups of tensors, the results version and torch's.

    Args:
        kind: what is computed, so that different work on equal inputs has different keys.
        described: settings, plain JSON.
        groups: tensors by name: their names, types, shapes and bytes count.

    Examples:
        >>> one = content_key("scores", {"scorer": "snip"}, state={"weight": torch.ones(2)})
        >>> other = content_key("scores", {"scorer": "snip"}, state={"weight": torch.zeros(2)})
        >>> one == other, len(one)
        (False, 64)
    """
    head = {"kind": kind, "described": described, "results_version": RESULTS_VERSION, "torch": torch.__version__}
    parts: list[str | memoryview] = [canonical(head)]
    for group, tensors in groups.items():
        for name, tensor in tensors.items():
            parts += [f"{group}/{name}{tensor.dtype}{tuple(tensor.shape)}", tensor_bytes(tensor)]
    return sha256(parts)
