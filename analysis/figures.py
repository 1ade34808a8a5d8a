"""Pictures of results, as PNG or SVG."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scratchcard.analysis.labels import GAP, place_labels
from scratchcard.analysis.statistics import Summary, pareto
from scratchcard.artefacts.files import written_beside

if TYPE_CHECKING:
    import altair as alt

FASTEST = 0.005
"""Seconds; what takes less is drawn there, since a logarithmic axis has no 0."""


def picture_path(path: str | Path) -> Path:
    """The path of a picture that can be drawn.

    Raises:
        ValueError: another ending than .png or .svg.
    """
    path = Path(path)
    if path.suffix not in (".png", ".svg"):
        raise ValueError(f"a picture's name must end in .png or .svg, got {path.name}")
    return path


def comparison(summaries: Sequence[Summary], path: str | Path, title: str, subtitle: str = "") -> Path:
    """Test accuracy of every method: mean with its 95 % interval, and each seed as a small dot.

    Args:
        summaries: one for each method.
        path: ends in .png or .svg.
        title: of the picture.
        subtitle: what was compared.

    Raises:
        ValueError: another ending, or altair and vl-convert are not installed.
    """
    path, alt = picture_path(path), _altair()
    headline = summaries[0].headline
    scale, digits = headline.scale, headline.digits - 1
    order = [s.label for s in sorted(summaries, key=lambda s: s.test_accuracy.mean, reverse=True)]
    means = [
        {
            "method": s.label,
            "accuracy": scale * s.test_accuracy.mean,
            "low": _low(s, scale),
            "high": _high(s, scale),
            "text": f"{scale * s.test_accuracy.mean:.{digits}f}",
        }
        for s in summaries
    ]
    seeds = [{"method": s.label, "accuracy": scale * value} for s in summaries for value in s.accuracies]
    y = alt.Y("method:N", sort=order, title=None)
    x = alt.X("accuracy:Q", title=headline.title, scale=alt.Scale(zero=False, nice=True))
    base = alt.Chart(alt.Data(values=means))
    low = alt.X("low:Q", title=headline.title)
    rule = base.mark_rule(strokeWidth=2, color="#4c78a8").encode(y=y, x=low, x2="high:Q")
    point = base.mark_point(filled=True, size=70, color="#1f3f66", opacity=1).encode(y=y, x=x)
    dots = alt.Chart(alt.Data(values=seeds)).mark_circle(size=22, color="#f58518", opacity=0.75).encode(y=y, x=x)
    label = base.mark_text(dy=-10, fontSize=10, color="#333333").encode(y=y, x=x, text="text:N")
    heading = alt.TitleParams(title, subtitle=subtitle, anchor="start")
    chart = (rule + dots + point + label).properties(width=520, height=32 * len(order), title=heading)
    chart = chart.configure(background="white").configure_axis(labelLimit=320, labelFontSize=11)
    return _save(chart, path)


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
        ValueError: another ending, nothing above the floor, or altair and vl-convert are not installed.
    """
    path, alt = picture_path(path), _altair()
    found = [s for s in summaries if 100 * s.test_accuracy.mean >= floor]
    if not found:
        raise ValueError(f"no method reaches {floor:g} %, so that there is nothing to draw")
    hidden = len(summaries) - len(found)
    if hidden:
        subtitle = f"{subtitle}; {hidden} left out, below {floor:g} %"
    shown, names = _without_doubles(found)
    spent = [max(s.pruning_seconds.mean, FASTEST) for s in shown]
    reached = [100 * s.test_accuracy.mean for s in shown]
    front = pareto([(s.pruning_seconds.mean, s.test_accuracy.mean) for s in shown])
    widths = [100 * _width(s) for s in shown]
    bottom = max(floor, math.floor(min(map(operator.sub, reached, widths))))
    top = max(bottom + 1, min(100, math.ceil(max(map(operator.add, reached, widths)))))
    left, right = min(spent) / 1.5, max(spent) * 12
    wide, high = 640, 460
    places = [
        (wide * math.log(seconds / left) / math.log(right / left), high * (top - accuracy) / (top - bottom))
        for seconds, accuracy in zip(spent, reached, strict=True)
    ]
    rows = [
        {
            "method": names[k],
            "seconds": spent[k],
            "accuracy": reached[k],
            "low": max(bottom, reached[k] - widths[k]),
            "high": min(100.0, reached[k] + widths[k]),
            "kind": "Pareto front" if k in front else "others",
        }
        for k in range(len(shown))
    ]
    x = alt.X(
        "seconds:Q",
        title="processor seconds to find the ticket (log)",
        scale=alt.Scale(type="log", domain=[left, right], nice=False),
    )
    y = alt.Y("accuracy:Q", title="test accuracy, %", scale=alt.Scale(domain=[bottom, top], nice=False))
    colour = alt.Color("kind:N", title=None, scale=alt.Scale(range=["#c8511b", "#4c78a8"]))
    base = alt.Chart(alt.Data(values=rows))
    rule = base.mark_rule(strokeWidth=1.5).encode(
        x=x, y=alt.Y("low:Q", title="test accuracy, %"), y2="high:Q", color=colour
    )
    point = base.mark_point(filled=True, size=60, opacity=1).encode(x=x, y=y, color=colour)
    label = alt.layer(
        *(
            alt.Chart(alt.Data(values=[row]))
            .mark_text(
                align="left" if offset.right else "right",
                dx=GAP if offset.right else -GAP,
                dy=offset.down,
                fontSize=10,
            )
            .encode(x=x, y=y, text="method:N", color=colour)
            for row, offset in zip(rows, place_labels(places, names, wide, high), strict=True)
        )
    )
    steps = alt.Chart(alt.Data(values=[row for row in rows if row["kind"] == "Pareto front"]))
    line = steps.mark_line(interpolate="step-after", color="#c8511b", strokeDash=[4, 3], strokeWidth=1).encode(x=x, y=y)
    heading = alt.TitleParams(title, subtitle=subtitle, anchor="start")
    chart = (line + rule + point + label).properties(width=wide, height=high, title=heading)
    chart = chart.configure(background="white").configure_axis(gridColor="#eeeeee")
    return _save(chart, path)


def _save(chart: alt.TopLevelMixin, path: Path) -> Path:
    """Written beside and renamed; PNGs at twice the size and packed well, which is lossless."""
    with written_beside(path) as beside:
        if path.suffix == ".png":
            from PIL import Image

            chart.save(str(beside), scale_factor=2)
            with Image.open(beside) as picture:
                picture.load()
            picture.save(beside, format="PNG", optimize=True)
        else:
            chart.save(str(beside))
    return path


def _without_doubles(summaries: Sequence[Summary]) -> tuple[list[Summary], list[str]]:
    """Methods with the same results in all runs as one point, the cheapest, under all their names."""
    groups: dict[tuple[float, ...], list[Summary]] = {}
    for summary in summaries:
        groups.setdefault((*summary.accuracies, summary.effective_density.mean), []).append(summary)
    cheapest = [min(group, key=lambda s: s.pruning_seconds.mean) for group in groups.values()]
    return cheapest, [" = ".join(s.label for s in group) for group in groups.values()]


def _altair() -> Any:
    """The module.

    Raises:
        ValueError: altair or vl-convert, through which it saves, is not installed.
    """
    try:
        import altair
        import vl_convert  # noqa: F401
    except ImportError as error:
        raise ValueError("pictures need altair and vl-convert: pip install 'scratchcard[report]'") from error
    return altair


def _low(summary: Summary, scale: float) -> float:
    value = scale * (summary.test_accuracy.mean - _width(summary))
    return max(0.0, value) if summary.headline.share else value


def _high(summary: Summary, scale: float) -> float:
    value = scale * (summary.test_accuracy.mean + _width(summary))
    return min(scale, value) if summary.headline.share else value


def _width(summary: Summary) -> float:
    return 0.0 if math.isnan(summary.test_accuracy.half_width) else summary.test_accuracy.half_width
