"""Digests: the sha256 of what decides a thing, by which it is known and found again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def json_digest(value: Any) -> str:
    """sha256 of plain JSON in its canonical text, with sorted keys.

    >>> json_digest({"seed": 1, "density": 0.5}) == json_digest({"density": 0.5, "seed": 1})
    True
    """
    return sha256([canonical(value)])


def canonical(value: Any) -> str:
    """The text of plain JSON that a digest is taken of.

    >>> canonical({"b": 1, "a": (2, 3)})
    '{"a": [2, 3], "b": 1}'
    """
    return json.dumps(value, sort_keys=True)


def sha256(parts: Iterable[str | bytes | memoryview]) -> str:
    """sha256 of texts (as UTF-8) and bytes, one after the other; nothing is put between them.

    Examples:
        >>> sha256(["a", b"b"]) == sha256(["ab"])
        True
        >>> len(sha256(["ab"]))
        64
    """
    found = hashlib.sha256()
    for part in parts:
        found.update(part.encode() if isinstance(part, str) else part)
    return found.hexdigest()


def file_digest(path: str | Path | Any) -> str:
    """sha256 of a file's bytes, read piece by piece.

    Examples:
        >>> _ = Path("note.txt").write_text("ab")
        >>> file_digest("note.txt") == sha256(["ab"])
        True
    """
    with (Path(path) if isinstance(path, str) else path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tensor_bytes(tensor: Tensor) -> memoryview:
    """The bytes of a tensor's numbers in order, on any device; its type and shape are not in them.

    Examples:
        >>> tensor_bytes(torch.tensor([[1, 2], [3, 4]], dtype=torch.uint8)).tolist()
        [1, 2, 3, 4]
    """
    import torch

    flat = tensor.detach().cpu().contiguous().reshape(-1)
    found: memoryview = flat.view(torch.uint8).numpy().data if flat.numel() else memoryview(b"")
    return found
