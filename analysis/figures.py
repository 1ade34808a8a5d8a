"""Pictures: the comparison of methods, drawn by the library that draws the report."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scratchcard.analysis.report.charts import Spec, layer
from scratchcard.analysis.statistics import Summary
from scratchcard.artefacts.files import written_beside


def comparison(summaries: Sequence[Summary], path: str | Path, title: str, subtitle: str = "") -> Path:
    """Test accuracy of every method: mean with its 95 % interval, and each seed as a small dot.

    Args:
        summaries: one for each method.
        path: ends in .png or .svg.
        title: of the picture.
        subtitle: what was compared.

    Raises:
        ValueError: another ending, or vl-convert is not installed.

    Examples:
        >>> from scratchcard.analysis.statistics import summarise
        >>> configuration = {"density": 0.1, "seed": 0}
        >>> training = {"best_step": 430}
        >>> result = {"label": "snip", "test_accuracy": 0.91, "pruning_seconds": 1.5, "effective_density": 0.09}
        >>> summaries = summarise([result | {"configuration": configuration, "training": training}])
        >>> comparison(summaries, "comparison.svg", "SNIP on digits").name
        'comparison.svg'
    """
    headline = summaries[0].headline
    ordered = sorted(summaries, key=lambda s: s.test_accuracy.mean, reverse=True)
    means = [
        mean_row(s) | {"text": f"{headline.scale * s.test_accuracy.mean:.{headline.digits - 1}f}"} for s in ordered
    ]
    seeds = [{"method": s.label, "mean": headline.scale * value} for s in ordered for value in s.accuracies]
    place: Spec = {
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
    return save(means, layers, (520, 32 * len(ordered)), (title, subtitle), path)


def mean_row(summary: Summary) -> dict[str, Any]:
    """The mean and its interval as they are shown; a share's ends at its limits.

    >>> from scratchcard.analysis.statistics import interval
    >>> steps, seconds, density = interval([430.0]), interval([1.5]), interval([0.09])
    >>> mean_row(Summary("snip", 0.1, interval([0.98, 0.99]), steps, seconds, density, (0.98, 0.99)))
    {'method': 'snip', 'mean': 98.5, 'low': 92.14689763191265, 'high': 100.0}
    """
    headline, reached = summary.headline, summary.test_accuracy
    mean, half = (headline.scale * value for value in (reached.mean, reached.half_width))
    low, high = (mean, mean) if math.isnan(half) else (mean - half, mean + half)
    low, high = (max(0.0, low), min(headline.scale, high)) if headline.share else (low, high)
    return {"method": summary.label, "mean": mean, "low": low, "high": high}


def save(
    rows: list[Any], layers: list[Spec], size: tuple[int, int], heading: tuple[str, str], path: str | Path
) -> Path:
    """Written beside and renamed; PNGs at twice the size and packed well, which is lossless.

    >>> point = {"x": {"field": "mean", "type": "quantitative"}}
    >>> rows, layers = [{"mean": 91.0}, {"mean": 93.0}], [layer("point", point, {})]
    >>> save(rows, layers, (200, 40), ("Test accuracy", "two seeds"), "points.svg").read_text()[:4]
    '<svg'
    """
    path = Path(path)
    if path.suffix not in (".png", ".svg"):
        raise ValueError(f"a picture's name must end in .png or .svg, got {path.name}")
    try:
        import vl_convert
    except ImportError as error:
        raise ValueError("pictures need vl-convert: pip install 'scratchcard[report]'") from error
    title = {"text": heading[0], "subtitle": heading[1], "anchor": "start"}
    spec = json.dumps(
        {"data": {"values": rows}, "layer": layers, "width": size[0], "height": size[1], "title": title}
        | {"background": "white", "config": {"axis": {"labelLimit": 320, "gridColor": "#eeeeee"}}}
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
