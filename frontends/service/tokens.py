"""Tokens: who asks. A file names owners and their bearer tokens; each owner sees only what is its own."""

from __future__ import annotations

import hashlib
import hmac
import re
import stat
import warnings
from dataclasses import dataclass, field
from pathlib import Path

LEAST = 16
"""Characters of a token."""
EVERYBODY = "local"
"""The owner where there are no tokens."""
_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True)
class Tokens:
    """Owners by the sha256 of their tokens; the tokens themselves are not kept.

    Examples:
        >>> tokens = Tokens.parsed("ann aaaaaaaaaaaaaaaaaaaa\\nbob bbbbbbbbbbbbbbbbbbbb")
        >>> tokens.owner("Bearer bbbbbbbbbbbbbbbbbbbb"), tokens.owner("Bearer c"), tokens.owner(None)
        ('bob', None, None)
        >>> Tokens().owner(None)
        'local'
    """

    owners: tuple[tuple[bytes, str], ...] = field(default=(), repr=False)

    def __bool__(self) -> bool:
        return bool(self.owners)

    @classmethod
    def parsed(cls, text: str, called: str = "the token file") -> Tokens:
        """Of a text with lines `NAME TOKEN`; several tokens may have one name; `#` begins a remark.

        Raises:
            ValueError: a line of another form, a short token, or none at all; tokens are never quoted.
        """
        found: dict[bytes, str] = {}
        for number, line in enumerate(text.splitlines(), 1):
            words = line.partition("#")[0].split()
            if not words:
                continue
            if len(words) != 2 or not _OWNER.fullmatch(words[0]):
                raise ValueError(
                    f"line {number} of {called} is not NAME TOKEN, where a name has letters, digits, - and _"
                )
            if len(words[1]) < LEAST or not words[1].isascii():
                raise ValueError(
                    f"the token in line {number} of {called} is too short: expected at least {LEAST} plain characters, "
                    "such as `openssl rand -hex 32` gives"
                )
            if found.setdefault(_digest(words[1]), words[0]) != words[0]:
                raise ValueError(f"the token in line {number} of {called} has another name above")
        if not found:
            raise ValueError(f"{called} names no token: expected lines NAME TOKEN")
        return cls(tuple(found.items()))

    @classmethod
    def read(cls, path: Path) -> Tokens:
        """Of a file; errors as of `parsed`.

        Raises:
            FileNotFoundError: there is none; one sentence.

        Warns:
            UserWarning: everybody on this machine may read it.
        """
        if not path.is_file():
            raise FileNotFoundError(f"no token file at {path}: expected one with lines NAME TOKEN")
        if path.stat().st_mode & stat.S_IROTH:
            warnings.warn(f"the token file {path} can be read by everybody: chmod o-r {path}", stacklevel=2)
        return cls.parsed(path.read_text(), str(path))

    def owner(self, authorization: str | None) -> str | None:
        """The owner of the token in a header `Authorization: Bearer TOKEN`; None for a wrong one.

        All tokens are compared, each in constant time.
        """
        if not self.owners:
            return EVERYBODY
        kind, _, token = (authorization or "").partition(" ")
        given = _digest(token.strip())
        found = None
        for digest, owner in self.owners:
            if hmac.compare_digest(digest, given):
                found = owner
        return found if kind.lower() == "bearer" else None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()
