"""JSON files: one way to write them, one to read them, and one that takes a damaged file for a missing one.

Each holds the sha256 of its own text, with zeros in its place, so that a digit that was changed is found. Files without
one, of earlier releases or by hand, are read as they are.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeVar

from scratchcard.artefacts.files import written_beside
from scratchcard.words import shortened

Kind = TypeVar("Kind")


class Readable(Protocol):
    """What has bytes to read, though it may be no file of this machine.

    Examples:
        >>> _ = write_json("read.json", {"a": 1})
        >>> source: Readable = Path("read.json")
        >>> find_json(source)
        {'a': 1}
    """

    def read_bytes(self) -> bytes:
        """All of it."""


CHECKSUM = "sha256 of this text"
_BLANK = "0" * 64
_WRITTEN = re.compile(f'"{CHECKSUM}": "([0-9a-f]{{64}})"'.encode())


def write_json(path: str | Path, content: Mapping[str, Any], *, indent: int | None = 1) -> Path:
    """Write an object with sorted keys and its checksum; written beside and renamed: whole or not there.

    Args:
        path: of the file; its folder is made if it is missing.
        content: plain JSON.
        indent: spaces a level; None writes one line.

    Raises:
        OSError: nothing can be written there.
        TypeError: the content is not plain JSON.
        ValueError: it holds NaN or infinity, which JSON has no word for.

    >>> import tempfile
    >>> path = write_json(Path(tempfile.mkdtemp()) / "new" / "note.json", {"b": 1, "a": [2]}, indent=None)
    >>> path.read_text()
    '{"a": [2], "b": 1, "sha256 of this text": "..."}\\n'
    >>> read_json(path)
    {'a': [2], 'b': 1}
    """
    path, text = Path(path), sealed(content, indent=indent)
    with written_beside(path) as beside:
        beside.write_bytes(text)
    return path


def sealed(content: Mapping[str, Any], *, indent: int | None = 1) -> bytes:
    """The text of a JSON file, with sorted keys and its checksum; errors as of `write_json`.

    Examples:
        >>> parse_object(sealed({"a": 1}))
        {'a': 1}
    """
    blank = dict(content) | {CHECKSUM: _BLANK}
    text = (json.dumps(blank, indent=indent, sort_keys=True, allow_nan=False) + "\n").encode()
    entry = f'"{CHECKSUM}": "'.encode()
    return text.replace(entry + _BLANK.encode(), entry + hashlib.sha256(text).hexdigest().encode())


def check_text(text: str | bytes) -> None:
    """Refuse the text of a JSON file whose checksum is that of another text; one without a checksum passes.

    Raises:
        ValueError: it is not what was written.

    Examples:
        >>> text = write_json("note.json", {"a": 1}).read_text()
        >>> check_text(text)
        >>> check_text(text.replace("1", "2", 1))
        Traceback (most recent call last):
            ...
        ValueError: its text is not what was written: the checksum is another
    """
    content = text.encode() if isinstance(text, str) else text
    written = _WRITTEN.search(content)
    if written is None:
        return
    blank = content[: written.start(1)] + _BLANK.encode() + content[written.end(1) :]
    if hashlib.sha256(blank).hexdigest().encode() != written[1]:
        raise ValueError("its text is not what was written: the checksum is another")


def read_json(path: str | Path | Readable, mend: str = "restore it from a copy") -> dict[str, Any]:
    """The object in a file.

    Args:
        path: of the file.
        mend: what to do about a damaged file, for the error's sentence.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or holds something other than an object.

    Examples:
        >>> _ = Path("broken.json").write_text('{"a": ')
        >>> read_json("broken.json", "run it again")
        Traceback (most recent call last):
            ...
        ValueError: broken.json is damaged (...); run it again
    """
    content = (Path(path) if isinstance(path, str) else path).read_bytes()
    try:
        return parse_object(content)
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({shortened(str(error))}); {mend}") from error


def find_json(path: str | Path | Readable) -> dict[str, Any] | None:
    """The object in a file; None if the file is missing or damaged, which is for work that can be done again.

    Examples:
        >>> find_json("missing.json") is None
        True
        >>> find_json(write_json("note.json", {"a": 1}))
        {'a': 1}
    """
    try:
        return parse_object((Path(path) if isinstance(path, str) else path).read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def parse_object(text: str | bytes) -> dict[str, Any]:
    """The object that a JSON text is, without its checksum.

    Raises:
        ValueError: no JSON, NaN or infinity in it, nested too deeply, no object, or not what was written.

    >>> parse_object("[1]")
    Traceback (most recent call last):
        ...
    ValueError: expected a JSON object
    """
    try:
        found = json.loads(text, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(found, dict):
        raise ValueError("expected a JSON object")
    check_text(text)
    found.pop(CHECKSUM, None)
    return found


def declared(kind: type[Kind], content: Any, what: str) -> Kind:
    """Plain JSON as a value of a type that says what it may be: a dataclass, `list[str]`, `dict[str, int]` ...

    A number is no text and `true` is no number. Keys that a dataclass does not have are refused.

    Args:
        kind: the type.
        content: what `parse_object` found, or a part of it.
        what: it is of, for the error's sentence.

    Raises:
        ValueError: something in it is of another kind; the sentence names the place.

    Examples:
        >>> declared(list[str], ["weight"], "the file's names")
        ['weight']
        >>> declared(list[str], ["weight", 3], "the file's names")
        Traceback (most recent call last):
            ...
        ValueError: the file's names: 1 is 3, input should be a valid string
    """
    from pydantic import ValidationError

    if is_dataclass(kind) and isinstance(content, dict):
        more = sorted(content.keys() - {field.name for field in fields(kind)})
        if more:
            raise ValueError(f"{what}: {shortened(more[0], 60)} is no part of it")
    try:
        found: Kind = _adapter(kind).validate_json(json.dumps(content), strict=True)  # type: ignore[arg-type]
        return found
    except ValidationError as error:
        first = error.errors()[0]
        place = shortened(".".join(map(str, first["loc"])), 60) or "it"
        if first["type"] in ("missing", "missing_argument"):
            raise ValueError(f"{what}: {place} is missing") from error
        message = shortened(first["msg"].removeprefix("Value error, "))
        said = message[:1].lower() + message[1:]
        raise ValueError(f"{what}: {place} is {shortened(str(first['input']), 80)}, {said}") from error


@lru_cache(maxsize=32)
def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def as_read(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content as a reader of its file finds it: tuples are lists, and keys are texts.

    Examples:
        >>> as_read({"densities": (0.5, 0.25), 3: "three"})
        {'densities': [0.5, 0.25], '3': 'three'}
    """
    found: dict[str, Any] = json.loads(json.dumps(dict(content)))
    return found


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")
