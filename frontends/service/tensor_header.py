"""The header of a safetensors file, checked before a byte of a tensor is loaded: it says how large everything is."""

from __future__ import annotations

import math
from typing import Any

from pydantic_core import from_json

from scratchcard.words import counted, quoted

BYTES = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2} | {
    "I32": 4,
    "U32": 4,
    "F32": 4,
    "I64": 8,
    "U64": 8,
    "F64": 8,
}
"""Types of numbers, and how many bytes one takes."""
MOST_HEADER = 2_000_000
MOST_TENSORS = 10_000
MOST_DIMENSIONS = 8
MOST_NAME = 300


def header_size(begin: bytes) -> int:
    """The length of the header that the first eight bytes of a file say.

    Raises:
        ValueError: none that a file has.

    Examples:
        >>> header_size((16).to_bytes(8, "little"))
        16
        >>> header_size(bytes([255] * 8))
        Traceback (most recent call last):
            ...
        ValueError: this is no safetensors file, or its header has more than 2,000,000 bytes
    """
    size = int.from_bytes(begin[:8], "little")
    if not 2 <= size <= MOST_HEADER:
        raise ValueError(f"this is no safetensors file, or its header has more than {MOST_HEADER:,} bytes")
    return size


def check_header(header: bytes, size: int | None = None) -> list[str]:
    """Check a whole header; returns the names of its tensors.

    Each tensor has a known type, a shape whose product is what its place in the file holds, and the places follow each
    other without gaps or overlaps to the end of the file.

    Args:
        header: the JSON, without the eight bytes before it.
        size: of the whole file, if it is known.

    Raises:
        ValueError: one sentence.

    Examples:
        >>> check_header(b'{"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}')
        ['a']
        >>> check_header(b'{"a": {"dtype": "F32", "shape": [9, 9], "data_offsets": [0, 16]}}')
        Traceback (most recent call last):
            ...
        ValueError: the tensor 'a' of shape [9, 9] in F32 takes 324 bytes, and its place has 16
    """
    try:
        told = from_json(header, allow_inf_nan=False)
    except ValueError as error:
        raise ValueError(f"its header is no JSON ({str(error)[:80]})") from error
    if not isinstance(told, dict):
        raise ValueError("its header is no JSON object")
    texts = told.pop("__metadata__", {})
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise ValueError("its metadata are no texts")
    if not 1 <= len(told) <= MOST_TENSORS:
        raise ValueError(f"it holds {counted(len(told), 'tensor')}, expected 1 to {MOST_TENSORS:,}")
    places = sorted(_place(name, entry) for name, entry in told.items())
    end = 0
    for begin, until, name in places:
        if begin != end:
            raise ValueError(f"the place of the tensor {quoted(name, 60)} does not follow the one before it")
        end = until
    if size is not None and 8 + len(header) + end != size:
        raise ValueError(f"its tensors take {end:,} bytes, and the file has {size - 8 - len(header):,} for them")
    return [*told]


def _place(name: str, entry: Any) -> tuple[int, int, str]:
    if len(name) > MOST_NAME:
        raise ValueError(f"the name of a tensor has more than {MOST_NAME} characters")
    said = f"the tensor {quoted(name, 60)}"
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{said} has other than dtype, shape and data_offsets")
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(kind, str) or kind not in BYTES:
        raise ValueError(f"{said} is of {quoted(kind, 40)}, expected one of {', '.join(BYTES)}")
    if not _whole(shape) or len(shape) > MOST_DIMENSIONS:
        raise ValueError(f"{said} has the shape {quoted(shape, 60)}, expected up to {MOST_DIMENSIONS} whole numbers")
    if not _whole(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ValueError(f"{said} has the data_offsets {quoted(offsets, 60)}, expected two growing whole numbers")
    takes, has = math.prod(shape) * BYTES[kind], offsets[1] - offsets[0]
    if takes != has:
        raise ValueError(
            f"{said} of shape {quoted(shape, 60)} in {kind} takes {takes:,} bytes, and its place has {has:,}"
        )
    return offsets[0], offsets[1], name


def _whole(numbers: Any) -> bool:
    return isinstance(numbers, list) and all(type(number) is int and 0 <= number < 2**48 for number in numbers)
