"""A picture of accuracy against cost, each point with its name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from scratchcard.analysis.figures import mean_row, save
from scratchcard.analysis.report.charts import Spec, layer
from scratchcard.analysis.statistics import Summary, pareto

FASTEST, FEWEST = 0.005, 0.002
"""Seconds and passes; what takes less is drawn there, since a logarithmic axis has no 0."""
WIDE, HIGH = 640, 460
CHARACTER, LINE, GAP, DOT, THIN = 5.4, 11.0, 7.0, 4.0, 2.0
"""Pixels: a letter's width on average, a label's height, its distance from its point, half of a point, of a line with
room beside it."""
OFFSETS = tuple((right, down) for down in (-7.0, 8.0, -19.0, 20.0, -31.0, 32.0) for right in (True, False))
"""Where a label may stand: to the right of its point or to the left, and so many pixels down."""
Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def cost_front(
    summaries: Sequence[Summary],
    path: str | Path,
    title: str,
    subtitle: str = "",
    *,
    floor: float = 0.0,
    passes: Mapping[str, float] | None = None,
) -> Path:
    """Test accuracy against what finding the ticket cost, with the Pareto front of the means.

    Args:
        summaries: one for each method, of one density.
        path: ends in .png or .svg.
        title: of the picture.
        subtitle: what was compared; what lies below the floor is added to it.
        floor: per cent; methods below it are counted, not drawn.
        passes: over the training data by label: the cost, in place of processor seconds.

    Raises:
        ValueError: another ending, nothing above the floor, or vl-convert is not installed.
    """
    found = [s for s in summaries if 100 * s.test_accuracy.mean >= floor]
    if not found:
        raise ValueError(f"no method reaches {floor:g} %, so that there is nothing to draw")
    if len(found) < len(summaries):
        subtitle = f"{subtitle}; {len(summaries) - len(found)} left out, below {floor:g} %"
    fewest, unit = (FASTEST, "processor seconds") if passes is None else (FEWEST, "passes over the training data")
    cost = {s.label: s.pruning_seconds.mean if passes is None else passes[s.label] for s in found}
    same: dict[tuple[float, ...], list[Summary]] = {}  # with the same results in all runs: one point, the cheapest
    for summary in found:
        same.setdefault((*summary.accuracies, summary.effective_density.mean), []).append(summary)
    shown = [min(group, key=lambda s: cost[s.label]) for group in same.values()]
    front = pareto([(cost[s.label], s.test_accuracy.mean) for s in shown])
    rows = [
        mean_row(s)
        | {"method": " = ".join(s.label for s in group), "cost": max(cost[s.label], fewest)}
        | {"kind": "Pareto front" if k in front else "others"}
        for k, (s, group) in enumerate(zip(shown, same.values(), strict=True))
    ]
    bottom = max(floor, math.floor(min(row["low"] for row in rows)))
    top = max(bottom + 1, min(100, math.ceil(max(row["high"] for row in rows))))
    left, right = min(row["cost"] for row in rows) / 1.5, max(row["cost"] for row in rows) * 12
    places = [
        (
            WIDE * math.log(row["cost"] / left) / math.log(right / left),
            HIGH * (top - row["mean"]) / (top - bottom),
        )
        for row in rows
    ]
    scale = {"type": "log", "domain": [left, right], "nice": False}
    title_x = f"{unit} to find the ticket (log)"
    up = {"type": "quantitative", "title": "test accuracy, %", "scale": {"domain": [bottom, top], "nice": False}}
    place: Spec = {
        "x": {"field": "cost", "type": "quantitative", "title": title_x, "scale": scale},
        "y": up | {"field": "mean"},
    }
    range_ = {"range": ["#c8511b", "#4c78a8"]}
    coloured = place | {"color": {"field": "kind", "type": "nominal", "title": None, "scale": range_}}
    ends = {"y": up | {"field": "low"}, "y2": {"field": "high"}}
    step = {"interpolate": "step-after", "color": "#c8511b", "strokeDash": [4, 3], "strokeWidth": 1}
    layers = [
        {"transform": [{"filter": "datum.kind == 'Pareto front'"}]} | layer("line", place, step),
        layer("rule", coloured | ends, {"strokeWidth": 1.5}),
        layer("point", coloured, {"filled": True, "size": 60, "opacity": 1}),
    ]
    high = [HIGH * (top - row["high"]) / (top - bottom) for row in rows]
    low = [HIGH * (top - row["low"]) / (top - bottom) for row in rows]
    lines = [(x - THIN, a, x + THIN, b) for (x, _), a, b in zip(places, high, low, strict=True)]
    lines += front_line([place for place, row in zip(places, rows, strict=True) if row["kind"] == "Pareto front"])
    placed = place_labels(places, [row["method"] for row in rows], lines)
    for row, (side, down) in zip(rows, placed, strict=True):
        options = {"align": "left", "dx": GAP} if side else {"align": "right", "dx": -GAP}
        text = layer("text", coloured | {"text": {"field": "method"}}, options | {"dy": down, "fontSize": 10})
        layers.append({"data": {"values": [row]}} | text)
    return save(rows, layers, (WIDE, HIGH), (title, subtitle), path)


def front_line(points: Sequence[tuple[float, float]]) -> list[Box]:
    """The boxes that the steps through these points cover: from each to the right, then up or down to the next."""
    found: list[Box] = []
    for (x, y), (next_x, next_y) in pairwise(sorted(points)):
        found.append((x, y - THIN, next_x, y + THIN))
        found.append((next_x - THIN, min(y, next_y), next_x + THIN, max(y, next_y)))
    return found


def place_labels(
    points: Sequence[tuple[float, float]], texts: Sequence[str], lines: Sequence[Box] = ()
) -> list[tuple[bool, float]]:
    """For each label one of `OFFSETS`: of those near its point the first that covers nothing.

    One after the other, greedily; where all cover something, the one that covers least. Labels in the picture are
    better than labels that leave it.

    Args:
        points: in pixels from the upper left corner.
        texts: one for each point.
        lines: what else is drawn.
    """
    taken: list[Box] = [*((x - DOT, y - DOT, x + DOT, y + DOT) for x, y in points), *lines]
    found = []
    for (x, y), text in zip(points, texts, strict=True):
        long = CHARACTER * len(text)
        boxes: list[tuple[float, tuple[bool, float], Box]] = []
        for right, down in OFFSETS:
            left = x + GAP if right else x - GAP - long
            box = (left, y + down - LINE / 2, left + long, y + down + LINE / 2)
            outside = _overlap(box, box) - _overlap(box, (0.0, 0.0, WIDE, HIGH))
            boxes.append((outside + sum(_overlap(box, other) for other in taken), (right, down), box))
        _, offset, box = min(boxes, key=lambda entry: entry[0])  # the first of equals
        found.append(offset)
        taken.append(box)
    return found


def _overlap(a: Box, b: Box) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
