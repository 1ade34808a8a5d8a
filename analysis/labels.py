"""Where to write the labels of a scatter plot's points, so that they can be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

CHARACTER = 5.4
"""Width of a character at 10 pixels, on average."""
LINE = 11.0
GAP = 7.0
_DOT = 4.0


@dataclass(frozen=True)
class Offset:
    """Of a label from its point: to the right of it or to the left, and so many pixels down."""

    right: bool
    down: float


@dataclass(frozen=True)
class _Box:
    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: _Box) -> float:
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.bottom, other.bottom) - max(self.top, other.top)
        return wide * high if wide > 0 and high > 0 else 0.0


_CANDIDATES = tuple(Offset(right, down) for down in (-7.0, 8.0, -19.0, 20.0, -31.0, 32.0) for right in (True, False))


def place_labels(
    points: Sequence[tuple[float, float]], texts: Sequence[str], width: float, height: float
) -> list[Offset]:
    """An offset for each label, in the order of the points: of those near its point the first that covers nothing.

    One after the other, greedily; where all cover something, the one that covers least. Labels in the picture are
    better than labels that leave it.

    Args:
        points: in pixels from the upper left corner.
        texts: one for each point.
        width, height: of the picture.
    """
    taken = [_Box(x - _DOT, y - _DOT, x + _DOT, y + _DOT) for x, y in points]
    frame = _Box(0.0, 0.0, width, height)
    found = []
    for (x, y), text in zip(points, texts, strict=True):
        boxes = {offset: _box(x, y, text, offset) for offset in _CANDIDATES}

        def cost(offset: Offset, boxes: dict[Offset, _Box] = boxes) -> float:
            box = boxes[offset]
            outside = box.overlap(box) - box.overlap(frame)
            return outside + sum(box.overlap(other) for other in taken)

        best = min(_CANDIDATES, key=cost)  # the first of equals
        found.append(best)
        taken.append(boxes[best])
    return found


def _box(x: float, y: float, text: str, offset: Offset) -> _Box:
    long = CHARACTER * len(text)
    left = x + GAP if offset.right else x - GAP - long
    middle = y + offset.down
    return _Box(left, middle - LINE / 2, left + long, middle + LINE / 2)
