"""Pictures of a comparison of methods: accuracy, and accuracy against cost."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scratchcard.analysis.report.charts import Spec, layer
from scratchcard.analysis.statistics import Summary, pareto
from scratchcard.artefacts.files import written_beside

FASTEST = 0.005
"""Seconds; what takes less is drawn there, since a logarithmic axis has no 0."""
WIDE, HIGH = 640, 460
CHARACTER, LINE, GAP, DOT = 5.4, 11.0, 7.0, 4.0
"""Pixels: a letter's width on average, a label's height, its distance from its point, half of a point."""
OFFSETS = tuple((right, down) for down in (-7.0, 8.0, -19.0, 20.0, -31.0, 32.0) for right in (True, False))
"""Where a label may stand: to the right of its point or to the left, and so many pixels down."""
Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def comparison(summaries: Sequence[Summary], path: str | Path, title: str, subtitle: str = "") -> Path:
    """Test accuracy of every method: mean with its 95 % interval, and each seed as a small dot.

    Args:
        summaries: one for each method.
        path: ends in .png or .svg.
        title: of the picture.
        subtitle: what was compared.

    Raises:
        ValueError: another ending, or vl-convert is not installed.
    """
    headline = summaries[0].headline
    ordered = sorted(summaries, key=lambda s: s.test_accuracy.mean, reverse=True)
    means = [_mean(s) | {"text": f"{headline.scale * s.test_accuracy.mean:.{headline.digits - 1}f}"} for s in ordered]
    seeds = [{"method": s.label, "mean": headline.scale * value} for s in ordered for value in s.accuracies]
    place = {
        "y": {"field": "method", "type": "nominal", "sort": [s.label for s in ordered], "title": None},
        "x": {"field": "mean", "type": "quantitative", "title": headline.title, "scale": {"zero": False}},
    }
    ends = {"x": place["x"] | {"field": "low"}, "x2": {"field": "high"}}
    text = place | {"text": {"field": "text"}}
    layers = [
        layer("rule", place | ends, {"strokeWidth": 2, "color": "#4c78a8"}),
        {"data": {"values": seeds}} | layer("circle", place, {"size": 22, "color": "#f58518", "opacity": 0.75}),
        layer("point", place, {"filled": True, "size": 70, "color": "#1f3f66", "opacity": 1}),
        layer("text", text, {"dy": -10, "fontSize": 10, "color": "#333333", "clip": False}),
    ]
    return _save(means, layers, (520, 32 * len(ordered)), (title, subtitle), path)


def cost_front(
    summaries: Sequence[Summary], path: str | Path, title: str, subtitle: str = "", *, floor: float = 0.0
) -> Path:
    """Test accuracy against the seconds spent on finding the ticket, with the Pareto front of the means.

    Args:
        summaries: one for each method, of one density.
        path: ends in .png or .svg.
        title: of the picture.
        subtitle: what was compared; what lies below the floor is added to it.
        floor: per cent; methods below it are counted, not drawn.

    Raises:
        ValueError: another ending, nothing above the floor, or vl-convert is not installed.
    """
    found = [s for s in summaries if 100 * s.test_accuracy.mean >= floor]
    if not found:
        raise ValueError(f"no method reaches {floor:g} %, so that there is nothing to draw")
    if len(found) < len(summaries):
        subtitle = f"{subtitle}; {len(summaries) - len(found)} left out, below {floor:g} %"
    same: dict[tuple[float, ...], list[Summary]] = {}  # with the same results in all runs: one point, the cheapest
    for summary in found:
        same.setdefault((*summary.accuracies, summary.effective_density.mean), []).append(summary)
    shown = [min(group, key=lambda s: s.pruning_seconds.mean) for group in same.values()]
    front = pareto([(s.pruning_seconds.mean, s.test_accuracy.mean) for s in shown])
    rows = [
        _mean(s)
        | {"method": " = ".join(s.label for s in group), "seconds": max(s.pruning_seconds.mean, FASTEST)}
        | {"kind": "Pareto front" if k in front else "others"}
        for k, (s, group) in enumerate(zip(shown, same.values(), strict=True))
    ]
    bottom = max(floor, math.floor(min(row["low"] for row in rows)))
    top = max(bottom + 1, min(100, math.ceil(max(row["high"] for row in rows))))
    left, right = min(row["seconds"] for row in rows) / 1.5, max(row["seconds"] for row in rows) * 12
    places = [
        (
            WIDE * math.log(row["seconds"] / left) / math.log(right / left),
            HIGH * (top - row["mean"]) / (top - bottom),
        )
        for row in rows
    ]
    scale = {"type": "log", "domain": [left, right], "nice": False}
    title_x = "processor seconds to find the ticket (log)"
    up = {"type": "quantitative", "title": "test accuracy, %", "scale": {"domain": [bottom, top], "nice": False}}
    place = {
        "x": {"field": "seconds", "type": "quantitative", "title": title_x, "scale": scale},
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
    for row, (side, down) in zip(rows, place_labels(places, [row["method"] for row in rows]), strict=True):
        options = {"align": "left", "dx": GAP} if side else {"align": "right", "dx": -GAP}
        text = layer("text", coloured | {"text": {"field": "method"}}, options | {"dy": down, "fontSize": 10})
        layers.append({"data": {"values": [row]}} | text)
    return _save(rows, layers, (WIDE, HIGH), (title, subtitle), path)


def place_labels(points: Sequence[tuple[float, float]], texts: Sequence[str]) -> list[tuple[bool, float]]:
    """For each label one of `OFFSETS`: of those near its point the first that covers nothing.

    One after the other, greedily; where all cover something, the one that covers least. Labels in the picture are
    better than labels that leave it.

    Args:
        points: in pixels from the upper left corner.
        texts: one for each point.
    """
    taken: list[Box] = [(x - DOT, y - DOT, x + DOT, y + DOT) for x, y in points]
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


def _mean(summary: Summary) -> dict[str, Any]:
    """The mean and its interval as they are shown; a share's ends at its limits."""
    headline, reached = summary.headline, summary.test_accuracy
    mean, half = (headline.scale * value for value in (reached.mean, reached.half_width))
    low, high = (mean, mean) if math.isnan(half) else (mean - half, mean + half)
    low, high = (max(0.0, low), min(headline.scale, high)) if headline.share else (low, high)
    return {"method": summary.label, "mean": mean, "low": low, "high": high}


def _save(
    rows: list[Any], layers: list[Spec], size: tuple[int, int], heading: tuple[str, str], path: str | Path
) -> Path:
    """Written beside and renamed; PNGs at twice the size and packed well, which is lossless."""
    path = Path(path)
    if path.suffix not in (".png", ".svg"):
        raise ValueError(f"a picture's name must end in .png or .svg, got {path.name}")
    try:
        import vl_convert
    except ImportError as error:
        raise ValueError("pictures need vl-convert: pip install 'scratchcard[report]'") from error
    title = {"text": heading[0], "subtitle": heading[1], "anchor": "start"}
    axis = {"labelLimit": 320, "gridColor": "#eeeeee"}
    spec = json.dumps(
        {"data": {"values": rows}, "layer": layers, "width": size[0], "height": size[1], "title": title}
        | {"background": "white", "config": {"axis": axis}}
    )
    with written_beside(path) as beside:
        if path.suffix == ".svg":
            beside.write_text(vl_convert.vegalite_to_svg(spec))
            return path
        from PIL import Image

        beside.write_bytes(vl_convert.vegalite_to_png(spec, scale=2))
        with Image.open(beside) as picture:
            picture.load()
        picture.save(beside, format="PNG", optimize=True)
    return path
