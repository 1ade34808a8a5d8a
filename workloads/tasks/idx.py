"""IDX files: the raw format of MNIST and its kin (LeCun, Cortes, Burges), plain or gzip."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


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
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is truncated or damaged ({error}); download the file again") from error
    if len(raw) < 4 or raw[:3] != b"\x00\x00\x08":
        raise ValueError(f"{path} is not an IDX file of unsigned bytes; expected it to begin with 00 00 08")
    header = 4 + 4 * raw[3]
    if len(raw) < header:
        raise ValueError(f"{path} is truncated within its header; download the file again")
    shape = struct.unpack(f">{raw[3]}I", raw[4:header])
    expected = int(np.prod(shape, dtype=np.int64))
    if len(raw) - header != expected:
        raise ValueError(
            f"{path} holds {len(raw) - header} bytes of data, its header promises {expected}; download the file again"
        )
    return np.frombuffer(raw, dtype=np.uint8, offset=header).reshape(shape)
