"""What a backward pass keeps of a forward pass, counted while it runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class DoesNotFit(BaseException):
    """A forward pass keeps more than its room. Never an error of the network: what catches those must let it pass.

    Examples:
        >>> issubclass(DoesNotFit, Exception)
        False
    """


class Kept:
    """The bytes that have been kept so far.

    Attributes:
        bytes: without what the network itself holds.

    Examples:
        >>> Kept().bytes
        0
    """

    def __init__(self) -> None:
        self.bytes = 0


@contextmanager
def counted_kept(own: Iterable[Tensor], room: float = math.inf) -> Iterator[Kept]:
    """Count what the graph that is made inside keeps for its backward pass; values and graph are as without.

    Args:
        own: tensors that are there anyway, such as the network's weights: they do not count.
        room: in bytes.

    Raises:
        DoesNotFit: as soon as more than the room is kept.

    Examples:
        >>> x = torch.ones(1000, requires_grad=True)
        >>> with counted_kept([]) as kept:
        ...     y = x.exp()
        >>> kept.bytes
        4000
        >>> try:
        ...     with counted_kept([], room=6000):
        ...         y = x.exp().exp()
        ... except DoesNotFit:
        ...     print("left")
        left
    """
    known = {tensor.untyped_storage().data_ptr() for tensor in own if tensor.layout is torch.strided}
    alive: list[torch.UntypedStorage] = []  # so that no two have one address
    kept = Kept()

    def pack(tensor: Tensor) -> tuple[Tensor, int]:
        if tensor.layout is torch.strided:
            storage = tensor.untyped_storage()
            if (place := storage.data_ptr()) not in known:
                known.add(place)
                alive.append(storage)
                kept.bytes += storage.nbytes()
                if kept.bytes > room:
                    raise DoesNotFit
        # Detached: an operation that keeps its own result would hold itself. The graph is put on again by torch.
        return tensor.detach(), tensor._version

    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, _unpacked):
            yield kept
    finally:
        alive.clear()


def _unpacked(packed: tuple[Tensor, int]) -> Tensor:
    """The tensor, if it is as it was: torch itself does not look where there are hooks."""
    tensor, version = packed
    if tensor._version != version:
        raise RuntimeError(
            f"one of the variables needed for gradient computation has been modified by an inplace operation: a tensor "
            f"of shape {tuple(tensor.shape)} is at version {tensor._version}; expected version {version} instead"
        )
    return tensor
