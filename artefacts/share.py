"""Share: work that several processes do together, each piece once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from scratchcard.artefacts.leases import Leases
from scratchcard.workers.pool import Call, Ready

Piece = TypeVar("Piece")


class Share(Generic[Piece]):
    """Pieces of work, of which this process takes those that no other one is at.

    Args:
        pieces: by names of files, in the order in which they are begun.
        leases: which every process that shares the work takes.
        ended: what came of a piece that another process has ended meanwhile; None if it is still to be done.

    Examples:
        >>> from pathlib import Path
        >>> done = {}
        >>> with Leases(Path("shared_out")) as leases, Leases(Path("shared_out")) as others:
        ...     share = Share({"a": 1, "b": 2, "c": 3}, leases, done.get)
        ...     _ = others.take("a"), done.update({2: "two"})
        ...     next(share.calls(lambda piece: lambda: piece))
        ...     share.next()
        ...     share.next() is None  # the other one is at it
        (2, Ready(value='two'))
        (3, None)
        True
    """

    def __init__(self, pieces: Mapping[str, Piece], leases: Leases, ended: Callable[[Piece], Any]) -> None:
        self.leases, self._ended = leases, ended
        self._left = deque(pieces.items())

    def __bool__(self) -> bool:
        """Whether pieces are left that were neither taken nor ended."""
        return bool(self._left)

    def next(self, want: Callable[[Piece], bool] = lambda _: True) -> tuple[Piece, Any] | None:
        """A piece that is this process' own from now on, and what came of it if it is done; None if others are at all.

        Args:
            want: which pieces may be taken.
        """
        for _ in range(len(self._left)):
            name, piece = self._left.popleft()
            if not want(piece) or not self.leases.take(name):
                self._left.append((name, piece))
                continue
            ended = self._ended(piece)
            if ended is not None:
                self.leases.give_back(name)
            return piece, ended
        return None

    def calls(self, call: Callable[[Piece], Call]) -> Iterator[tuple[Piece, Call | Ready] | None]:
        """For `completed`: a call for each piece that is taken, `Ready` where its end is known, None to wait."""
        while self:
            found = self.next()
            if found is None:
                yield None
            else:
                piece, ended = found
                yield piece, call(piece) if ended is None else Ready(ended)
