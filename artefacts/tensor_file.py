"""Files of tensors: safetensors with texts and a checksum of all of it, so that reading one runs no code."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from safetensors import SafetensorError, safe_open

from scratchcard.artefacts.files import written_beside

if TYPE_CHECKING:
    from torch import Tensor

CHECKSUM = "sha256"
_BLANK = "0" * 64
_BEFORE = "1"
"""The text `version` of files that were written before there were checksums."""


class UncheckedWarning(UserWarning):
    """A file has no checksum, as those of earlier releases: damage to its numbers cannot be told.

    Examples:
        >>> from safetensors.torch import save_file
        >>> save_file({"a": torch.ones(2)}, "old.safetensors", {"version": "1"})
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     _ = read_tensors("old.safetensors")
        >>> str(caught[0].message)
        'old.safetensors has no checksum, so that damage to its numbers cannot be told; written again, it has one'
    """


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> Path:
    """Write tensors by name, from whatever device, and texts about them; written beside and renamed.

    The text `sha256` is the checksum of the whole file, with zeros in its own place. The file gets the mode that any
    new file of this process gets.

    Raises:
        OSError: `path` is a folder, or nothing can be written there.

    Examples:
        >>> import torch
        >>> write_tensors("mask.safetensors", {"kept": torch.tensor([True, False])}, {"density": "0.5"}).name
        'mask.safetensors'
    """
    from safetensors.torch import save_file

    path = Path(path)
    # Copies where safetensors would refuse tensors that share memory; what is mapped from a file stays there.
    places = Counter(tensor.untyped_storage().data_ptr() for tensor in tensors.values())
    apart = {
        name: tensor.detach().to("cpu", copy=places[tensor.untyped_storage().data_ptr()] > 1).contiguous()
        for name, tensor in tensors.items()
    }
    with written_beside(path) as beside:
        beside.touch()
        mode = beside.stat().st_mode
        try:
            save_file(apart, beside, dict(texts) | {CHECKSUM: _BLANK})
            _seal(beside)
        except SafetensorError as error:
            raise OSError(f"cannot write {path}: {error}") from error
        beside.chmod(mode)  # safetensors makes files that only their owner can read
    return path


def read_tensors(path: str | Path | bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and texts of a file, or of a file's bytes, in memory of their own: the file may go away.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or of another kind.

    Warns:
        UncheckedWarning: the file has no checksum.

    Examples:
        >>> import torch
        >>> path = write_tensors("weights.safetensors", {"weight": torch.tensor([1.0, 2.0])}, {"found by": "hand"})
        >>> read_tensors(path)
        ({'weight': tensor([1., 2.])}, {'found by': 'hand'})
        >>> read_tensors(path.read_bytes())[1]
        {'found by': 'hand'}
    """
    try:
        if isinstance(path, bytes):
            tensors, texts = _of_bytes(path)
            _check(path, texts)
            return tensors, texts
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            texts = dict(file.metadata() or {})
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    _check(path, texts)
    return tensors, texts


def _of_bytes(content: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors.torch import load

    tensors = load(content)  # which has checked the header
    head = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return {name: tensor.clone() for name, tensor in tensors.items()}, dict(head.get("__metadata__", {}))


def read_texts(path: str | Path) -> dict[str, str]:
    """The texts of a file alone, after a check of the whole file; torch is not imported.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or of another kind.

    Warns:
        UncheckedWarning: the file has no checksum.

    Examples:
        >>> import tempfile
        >>> file = write_tensors(Path(tempfile.mkdtemp()) / "one.safetensors", {"a": torch.ones(2)}, {"about": "ones"})
        >>> read_texts(file)
        {'about': 'ones'}
    """
    try:
        with safe_open(path, framework="np") as file:
            texts = dict(file.metadata() or {})
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    _check(path, texts)
    return texts


def _check(path: str | Path | bytes, texts: dict[str, str]) -> None:
    """Take the checksum out of the texts, and refuse a file that is not what it says."""
    written = texts.pop(CHECKSUM, None)
    if written is None and texts.get("version") != _BEFORE:
        raise ValueError("it has no checksum")
    if written is None:
        what = "it" if isinstance(path, bytes) else path
        warnings.warn(
            f"{what} has no checksum, so that damage to its numbers cannot be told; written again, it has one",
            UncheckedWarning,
            stacklevel=3,
        )
    else:
        check_bytes(path, written)


def check_bytes(path: str | Path | bytes, written: str) -> None:
    """Refuse a file, or a file's content, whose bytes are not those that its checksum says were written.

    Raises:
        ValueError: the checksum is another.

    Examples:
        >>> import torch
        >>> path = write_tensors("bytes.safetensors", {"weight": torch.ones(2)}, {})
        >>> check_bytes(path, "0" * 64)
        Traceback (most recent call last):
            ...
        ValueError: its bytes are not those that were written: the checksum is another
    """
    if written != _digest(path, written)[0]:
        raise ValueError("its bytes are not those that were written: the checksum is another")


def _seal(path: Path) -> None:
    """Put the checksum in the place that was left blank for it."""
    digest, place = _digest(path, _BLANK)
    with path.open("r+b") as file:
        file.seek(place)
        file.write(digest.encode())


def _digest(path: str | Path | bytes, written: str) -> tuple[str, int]:
    """sha256 of the file's bytes with zeros in place of the checksum `written` in it, and where that stands."""
    found, entry = hashlib.sha256(), f'"{CHECKSUM}":"'.encode()  # quotes within a text are escaped
    with _opened(path) as file:
        size = file.read(8)
        head = file.read(int.from_bytes(size, "little"))  # safetensors has read it before: its size is bounded
        place = head.find(entry + written.encode()) + len(entry)
        found.update(size + head[:place] + _BLANK.encode() + head[place + len(_BLANK) :])
        while piece := file.read(1 << 20):
            found.update(piece)
    return found.hexdigest(), place + len(size)


def _opened(path: str | Path | bytes) -> BinaryIO:
    return io.BytesIO(path) if isinstance(path, bytes) else Path(path).open("rb")
