"""Uploads: safetensors files that are streamed to disk and checked while they come."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from scratchcard.frontends.service.limits import Limits, retry_after
from scratchcard.frontends.service.problems import Problem, refused
from scratchcard.frontends.service.stored import Stored
from scratchcard.frontends.service.tensor_header import check_header, header_size
from scratchcard.workloads.tasks.tensors import splits_among

OFFSET = "Upload-Offset"
PIECE = 1 << 20
_RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})")


@dataclass
class Uploads:
    """What is uploaded now, so that it is not too much, and no file comes twice at once.

    Examples:
        >>> uploads = Uploads(Stored(Path("uploading")), Limits(uploads=2))
        >>> with uploads.one("ann", "a"):
        ...     with uploads.one("ann", "b"):
        ...         pass
        Traceback (most recent call last):
            ...
        scratchcard.frontends.service.problems.Problem: 429: 1 uploads of this token are under way; ...
    """

    stored: Stored
    limits: Limits
    owners: Counter[str] = field(default_factory=Counter)
    names: set[str] = field(default_factory=set)

    @contextmanager
    def one(self, owner: str, name: str) -> Iterator[None]:
        """Be one of the uploads."""
        if f"{owner}/{name}" in self.names:
            raise Problem(409, "this file is being uploaded by somebody else with the same token", retry_after(2))
        if self.owners[owner] >= self.limits.uploads // 2:
            raise Problem(
                429, f"{self.owners[owner]} uploads of this token are under way; wait for them", retry_after(2)
            )
        if self.owners.total() >= self.limits.uploads:
            raise Problem(503, f"{self.owners.total()} uploads are under way; try again", retry_after(2))
        self.owners[owner] += 1
        self.names.add(f"{owner}/{name}")
        try:
            yield
        finally:
            self.owners[owner] -= 1
            self.names.discard(f"{owner}/{name}")

    async def take(self, request: Request, owner: str, kind: str, name: str, digest: str | None) -> tuple[Path, bool]:
        """Receive a file; returns where it lies, and whether it is new.

        Raises:
            Problem: it is refused; what came stays only where it may be gone on with.
        """
        place = self.stored.place(owner, kind, name)
        if kind == "networks" and place.exists():
            self.stored.touch(place)
            return place, False
        with self.one(owner, f"{kind}/{name}"):
            part = self.stored.part(owner, kind, name, digest or "unknown")
            begin, total = _range(request.headers.get("content-range"), request.headers.get("content-length"))
            self._check_room(owner, total or 0)
            file = await run_in_threadpool(_Part.opened, part, begin, total, digest, is_task=kind == "tasks")
            try:
                await self._write(request, owner, file)
                await run_in_threadpool(file.finish)
            except Problem as problem:
                if problem.status_code != 408:
                    part.unlink(missing_ok=True)
                raise
            except ValueError as error:
                part.unlink(missing_ok=True)
                raise refused(422, error) from error
            except ClientDisconnect as gone:
                raise Problem(400, "the upload broke off") from gone
            except OSError as error:
                raise Problem(507, "there is no room on the service's disk") from error
            finally:
                file.close()
                if digest is None:  # nobody could go on with it
                    unfinished = part if part.exists() and not file.whole else None
                    if unfinished:
                        unfinished.unlink(missing_ok=True)
            is_new = not place.exists()
            os.replace(part, place)
            self.stored.forget_used(owner)
            return place, is_new

    async def _write(self, request: Request, owner: str, file: _Part) -> None:
        pieces: list[bytes] = []
        size = 0
        async for piece in request.stream():
            pieces.append(piece)
            size += len(piece)
            if size >= PIECE:
                self._check_room(owner, 0)  # what came is among the files
                await run_in_threadpool(file.write, b"".join(pieces))
                pieces, size = [], 0
        await run_in_threadpool(file.write, b"".join(pieces))

    def _check_room(self, owner: str, more: int) -> None:
        most = self.limits.upload_megabytes * 1_000_000
        if more > most:
            raise Problem(413, f"the file has {more:,} bytes, at most {most:,} are taken")
        quota = self.limits.quota_megabytes * 1_000_000
        if self.stored.used(owner) + more > quota:
            raise Problem(413, f"the files of this token would take more than {quota:,} bytes; delete some first")


class _Part:
    """A file that comes: written, digested, and its header checked as soon as it is there."""

    def __init__(self, path: Path, begin: int, total: int | None, digest: str | None, *, is_task: bool) -> None:
        self.path, self.total, self.wanted, self._is_task = path, total, digest, is_task
        self.size, self.whole, self._head, self._checked = 0, False, b"", False
        self._digest = hashlib.sha256()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("r+b" if begin else "w+b")
        while self.size < begin:
            self._note(self._file.read(min(PIECE, begin - self.size)))

    @classmethod
    def opened(cls, path: Path, begin: int, total: int | None, digest: str | None, *, is_task: bool) -> _Part:
        has = path.stat().st_size if path.exists() else 0
        if begin and (begin > has or digest is None):
            raise Problem(409, f"the upload cannot go on at byte {begin:,}, {has:,} are here", {OFFSET: str(has)})
        return cls(path, begin, total, digest, is_task=is_task)

    def write(self, content: bytes) -> None:
        self._note(content)
        self._file.write(content)

    def _note(self, content: bytes) -> None:
        self.size += len(content)
        self._digest.update(content)
        if self.total is not None and self.size > self.total:
            raise ValueError(f"the file has more than the {self.total:,} bytes that were told")
        if self._checked:
            return
        self._head += content
        if len(self._head) >= 8 and len(self._head) >= 8 + (size := header_size(self._head)):
            self._check(self._head[8 : 8 + size], self.total)
            self._checked, self._head = True, self._head[: 8 + size]

    def finish(self) -> None:
        self._file.truncate()
        self._file.flush()
        os.fsync(self._file.fileno())
        if self.total is not None and self.size < self.total:
            raise Problem(408, f"{self.size:,} of {self.total:,} bytes came", {OFFSET: str(self.size)})
        if not self._checked:
            raise ValueError("this is no whole safetensors file")
        self._check(self._head[8:], self.size)
        found = self._digest.hexdigest()
        if self.wanted is not None and found != self.wanted:
            raise ValueError(f"the sha256 of what came is {found}, and {self.wanted} was told")
        self.whole = True

    def _check(self, header: bytes, size: int | None) -> None:
        names = check_header(header, size)
        if self._is_task:
            splits_among(names, "the file")

    def close(self) -> None:
        self._file.close()


def _range(told: str | None, length: str | None) -> tuple[int, int | None]:
    """Where the body begins in the file, and how many bytes the file has, if that is told."""
    size = int(length) if length is not None and length.isdecimal() else None
    if told is None:
        return 0, size
    found = _RANGE.fullmatch(told)
    if not found:
        raise Problem(400, "Content-Range is not as expected: bytes FIRST-LAST/TOTAL")
    first, last, total = map(int, found.groups())
    if not first <= last < total or (size is not None and size != last - first + 1):
        raise Problem(400, "the numbers of Content-Range do not fit each other, or the body's length")
    return first, total
