"""Shelf: numbers of every weight of a large network, which lie in a file until they are read."""

from __future__ import annotations

import ctypes
import mmap
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

LARGE = 2**24
"""Weights of a network from which on its numbers lie in a file."""
HUGE = 2**26
"""From which on memory that was freed (hundreds of MiB) is worth giving back between rounds (a tenth of a second)."""
CHUNK = 2**20
_TIDIED = 16
"""Chunks of a sum after which what was read is let go."""

_mapped: list[weakref.ref[np.memmap]] = []
"""What lies in files, of all shelves: pages of any of them are as much in the way."""


class Shelf:
    """Arrays of one network: in memory, or, of a large network, in a file of the folder for temporary files.

    The file has no name, so that nothing is left of it, whatever happens. What was read of it stays in memory until
    `tidy`, of any shelf; the operating system may take that memory back earlier.

    Args:
        weights: of the network.

    Examples:
        >>> shelf = Shelf(weights=10)
        >>> shelf.put(np.arange(3.0, dtype=np.float32))
        array([0., 1., 2.], dtype=float32)
        >>> shelf = Shelf(weights=LARGE)
        >>> isinstance(shelf.put(np.zeros(3, np.float32)), np.memmap)
        True
        >>> shelf.tidy()
    """

    def __init__(self, weights: int) -> None:
        self.large = weights >= LARGE
        self.huge = weights >= HUGE
        self._room: Tensor | None = None

    @classmethod
    def of(cls, weights: Mapping[str, Tensor]) -> Shelf:
        """For a network of such weights."""
        return cls(sum(weight.numel() for weight in weights.values()))

    def put(self, values: np.ndarray) -> np.ndarray:
        """The same numbers `(n,)`, to be kept; they may be the array itself."""
        if not self.large or not values.size:
            return values
        return self.filled(values.size, values.dtype, lambda part: values[part])

    def kept(self, tensor: Tensor) -> Tensor:
        """A copy of a tensor, which may be changed in place; in the file if the network is large and on the CPU."""
        if not self.large or tensor.device.type != "cpu" or not tensor.numel():
            return tensor.detach().clone(memory_format=torch.contiguous_format)
        return torch.from_numpy(self.put(array(tensor))).reshape(tensor.shape)

    def zeros(self, like: Tensor) -> Tensor:
        """Zeros of a tensor's shape and precision, likewise; in the file they take no room until they are changed."""
        if not self.large or like.device.type != "cpu" or not like.numel():
            return torch.zeros_like(like, requires_grad=False, memory_format=torch.contiguous_format)
        return torch.from_numpy(self._empty(like.numel(), array(like[:0]).dtype)).reshape(like.shape)

    def add(self, total: Tensor, other: Tensor, factor: float = 1.0) -> None:
        """`total += factor * other`, a part at a time: nothing of a layer's size is made."""
        flat, more = total.view(-1), other.detach().reshape(-1)
        for part in self._parts(flat.numel()):
            flat[part] += more[part] if factor == 1.0 else torch.mul(more[part], factor, out=self._free(more[part]))

    def dot(self, left: Tensor, right: Tensor) -> float:
        """`<left, right>`, likewise."""
        one, other = left.view(-1), right.view(-1)
        return sum(
            float(torch.mul(one[part], other[part], out=self._free(one[part])).sum())
            for part in self._parts(one.numel())
        )

    def _parts(self, size: int) -> Iterator[slice]:
        """Slices of so many numbers; what was read of them does not pile up."""
        for number, part in enumerate(parts(size), start=1):
            yield part
            if number % _TIDIED == 0:
                self.tidy(heap=False)

    def _free(self, like: Tensor) -> Tensor:
        """Room for as many numbers; the same each time, as fresh pages cost more than what is written there."""
        room = self._room
        if room is None or room.numel() < like.numel() or room.dtype != like.dtype or room.device != like.device:
            room = self._room = torch.empty_like(like)
        return room[: like.numel()]

    def filled(self, size: int, dtype: np.dtype, part: Callable[[slice], np.ndarray]) -> np.ndarray:
        """Numbers that are made a part at a time."""
        place = self._empty(size, dtype) if self.large and size else np.empty(size, dtype)
        for chosen in parts(size):
            place[chosen] = part(chosen)
            if isinstance(place, np.memmap):
                _let_go(place)
        return place

    def tidy(self, *, heap: bool = True) -> None:
        """Let go what was read of all files, and of the heap what the C library keeps though it was freed (300 MiB)."""
        if not self.large:
            return
        _mapped[:] = [known for known in _mapped if known() is not None]
        for known in _mapped:
            array = known()
            if array is not None:
                _let_go(array)
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if heap and sys.platform == "linux" else None
        if trim is not None:
            trim(0)

    def _empty(self, size: int, dtype: np.dtype) -> np.memmap:
        with tempfile.TemporaryFile(prefix="scratchcard-") as file:  # the mapping holds on to it
            array = np.memmap(file, dtype=dtype, mode="w+", shape=(size,))
        _mapped.append(weakref.ref(array))
        return array


def parts(size: int) -> Iterator[slice]:
    """Slices of so many numbers, which follow each other.

    Examples:
        >>> [*parts(3)]
        [slice(0, 3, None)]
    """
    for start in range(0, size, CHUNK):
        yield slice(start, min(start + CHUNK, size))


def array(tensor: Tensor) -> np.ndarray:
    """A flat numpy view of a tensor (a copy if it is elsewhere, strided or half precision).

    Examples:
        >>> array(torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float16))
        array([1., 2., 3., 4.], dtype=float32)
    """
    flat = tensor.detach().reshape(-1)
    if flat.dtype in (torch.float16, torch.bfloat16):
        flat = flat.float()
    return np.asarray(flat.cpu().numpy())


def _let_go(array: np.memmap) -> None:
    mapping = array._mmap  # type: ignore[attr-defined]
    if hasattr(mmap, "MADV_DONTNEED"):  # the file keeps what was written
        mapping.madvise(mmap.MADV_DONTNEED)
