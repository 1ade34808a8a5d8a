"""IDX files: the raw format of MNIST and its kin (LeCun, Cortes, Burges), plain or gzip."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

MOST_BYTES = 2**30
"""Of the data of one file; MNIST's kin have up to 550 million. Gzip can claim a thousand times what it takes."""
MOST_AXES = 8


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array of unsigned bytes in an IDX file.

    Layout: two zero bytes, the type (0x08), the number of dimensions, each dimension as a big-endian uint32, the data.

    Raises:
        ValueError: not an IDX file of unsigned bytes, or truncated; says which bytes were expected.

    Examples:
        >>> _ = Path("four.idx").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 4, 1, 2, 3, 4]))
        >>> read_idx(Path("four.idx"))
        array([1, 2, 3, 4], dtype=uint8)
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return _read(path, file)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is truncated or damaged ({error}); download the file again") from error


def _read(path: Path, file: BinaryIO | gzip.GzipFile) -> NDArray[np.uint8]:
    """Of a stream: no more is unpacked than the header promises, and that is bounded."""
    begin = file.read(4)
    if len(begin) < 4 or begin[:3] != b"\x00\x00\x08":
        raise ValueError(f"{path} is not an IDX file of unsigned bytes; expected it to begin with 00 00 08")
    if begin[3] > MOST_AXES:
        raise ValueError(
            f"{path} declares {begin[3]} dimensions, expected at most {MOST_AXES}; download the file again"
        )
    sizes = file.read(4 * begin[3])
    if len(sizes) < 4 * begin[3]:
        raise ValueError(f"{path} is truncated within its header; download the file again")
    shape = struct.unpack(f">{begin[3]}I", sizes)
    expected = math.prod(shape)
    if expected > MOST_BYTES:
        raise ValueError(
            f"{path} declares {expected:,} bytes of data, expected at most {MOST_BYTES:,}; download the file again, or "
            "bring the data as tensors:FILE"
        )
    raw = file.read(expected + 1)
    if len(raw) != expected:
        held = "more" if len(raw) > expected else str(len(raw))
        raise ValueError(f"{path} holds {held} bytes of data, its header promises {expected}; download the file again")
    return np.frombuffer(raw, dtype=np.uint8).reshape(shape)
