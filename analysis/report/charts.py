"""Vega-Lite specifications: curves, dots, heat maps; colours are style sheet variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scratchcard.analysis.report.legend import Entry
from scratchcard.analysis.report.page import plain

Spec = dict[str, Any]
Tip = Mapping[str, str]

_SHOWN = "!length(chosen) || indexof(chosen, datum.entry) >= 0"
_FAINT: Spec = {"condition": {"test": _SHOWN, "value": 1}, "value": 0.07}
_DENSE: Spec = {"stroke": "var(--ink)", "strokeDash": [6, 4]}
HEIGHT = 260
LONGEST = 200
"""Pixels of a method's name beside a line of dots."""
CONTEXT: Spec = {"stroke": "var(--context)", "strokeWidth": 1.2}
MEANS: Mapping[str, Spec] = {
    "rule": {"strokeWidth": 1.6},
    "line": {"strokeWidth": 1.8},
    "point": {"filled": True, "size": 42},
}
"""Intervals, lines and points of means over seeds."""


def curves(
    data: str,
    entries: Sequence[Entry],
    x: Spec,
    y: Spec,
    tip: Tip,
    *,
    draw: Mapping[str, Spec] = MEANS,
    panel: str | None = None,
    front: bool = False,
    context: Sequence[str] = (),
    reference: float | None = None,
    published: str | None = None,
    floor: float | None = None,
) -> Spec:
    """Lines, points and intervals (`x`, `mean`, `low`, `high`, `entry`).

    Args:
        data: name of the data set.
        entries: drawn in colour, in the legend's order.
        x: encoding of the horizontal axis, without its field.
        y: encoding of the vertical axis, without its field.
        tip: what a mark shows that is pointed at, field to title.
        draw: the marks (`rule` for intervals, `line`, `point`), with their options.
        panel: only the rows with this `panel`.
        front: a step line through the rows that are on the Pareto `front`; the shape is then a field, `shape`.
        context: other entries of the data set, drawn as grey lines.
        reference: y of the dense network.
        published: name of a data set with published figures (`x`, `y`, `entry`): open marks, dotted lines.
        floor: lowest y shown, which the page's switch moves; None shows everything.

    Examples:
        >>> from scratchcard.analysis.report.legend import entries_of
        >>> y = {"title": "test accuracy, %"}
        >>> x, tip = log_density([0.01, 0.1]), {"entry": "method"}
        >>> spec = curves("accuracy", entries_of(["snip"]), x, y, tip, reference=97.0)
        >>> spec["data"], [layer["mark"]["type"] for layer in spec["layer"]]
        ({'name': 'accuracy'}, ['rule', 'text', 'rule', 'line', 'point'])
    """
    names = [entry.name for entry in entries]
    given: Spec = y.get("scale", {})
    scale = given if given.get("type") == "log" else {"zero": False, **given}
    if floor is not None:
        scale = scale | {"nice": False, "domainMin": {"expr": "floor"}}
    up = {**y, "type": "quantitative", "scale": scale}
    place: Spec = {"x": {**x, "field": "x", "type": "quantitative"}, "y": {**up, "field": "mean"}}
    common: Spec = {"field": "entry", "type": "nominal", "legend": None}
    dashes = [[float(n) for n in entry.dash.split(",")] if entry.dash else [1, 0] for entry in entries]
    ranges: list[list[Any]] = [[entry.colour for entry in entries], [entry.shape for entry in entries], dashes]
    colour, shape, dash = (common | {"scale": {"domain": names, "range": values}} for values in ranges)
    base: Spec = {"color": colour, "opacity": _FAINT}
    layers: list[Spec] = []
    if context:
        others = {"transform": [{"filter": {"field": "entry", "oneOf": list(context)}}]}
        layers.append(others | layer("line", place | {"detail": {"field": "entry"}}, CONTEXT))
    if front:
        shape = {"field": "shape", "type": "nominal", "scale": None, "legend": None}
        step = CONTEXT | {"interpolate": "step-after"}
        layers.append({"transform": [{"filter": "datum.front"}]} | layer("line", place, step))
    if reference is not None:
        there = {"y": {"datum": reference}, "x": {"value": 0}, "text": {"value": f"dense {reference:.2f}"}}
        words = {"align": "left", "dx": 4, "dy": 9, "fill": "var(--ink)", "fontSize": 10.5}
        layers += [_once("rule", {"y": {"datum": reference}}, _DENSE), _once("text", there, words)]
    mine = {"transform": [{"filter": {"field": "entry", "oneOf": names}}]}
    if published is not None:
        there = place | {"y": {**up, "field": "y"}} | base
        shown = _tooltips({"entry": "method", "y": "published", "source": "source"})
        open_mark = {"filled": False, "size": 75, "strokeWidth": 1.4}
        figures = [layer("line", there, {"strokeDash": [1, 3], "strokeWidth": 1.2})]
        figures.append(layer("point", there | {"shape": shape, "tooltip": shown}, open_mark))
        layers += [{"data": {"name": published}} | mine | part for part in figures]
    about = {"tooltip": _tooltips(tip)}
    channels: dict[str, Spec] = {
        "rule": {"y": {**up, "field": "low"}, "y2": {"field": "high"}},
        "line": {"strokeDash": dash} | ({} if "point" in draw else about),
        "point": {"shape": shape} | about,
    }
    layers += [mine | layer(mark, place | base | channels[mark], options) for mark, options in draw.items()]
    return _chart(data, layers, floor, panel)


def dots(
    data: str, names: Sequence[str], x: Spec, tip: Tip, *, reference: float | None = None, published: bool = False
) -> Spec:
    """One line a name, in their order: the mean with its interval, and a figure (`published`) as a ring where told.

    >>> spec = dots("ranks", ["snip", "random"], {"title": "mean rank"}, {"entry": "method"})
    >>> spec["height"], [layer["mark"]["type"] for layer in spec["layer"]]
    (44, ['rule', 'point'])
    """
    across = {**x, "type": "quantitative"}
    place = {"y": _names("entry", names, None, {"labelLimit": LONGEST, "grid": True})}
    low = place | {"x": {**across, "field": "low"}, "x2": {"field": "high"}}
    mean = place | {"x": {**across, "field": "mean"}, "tooltip": _tooltips(tip)}
    layers = [
        layer("rule", low, {"stroke": "var(--c0)", "strokeWidth": 2}),
        layer("point", mean, {"filled": True, "fill": "var(--c0)", "size": 60, "opacity": 1}),
    ]
    if published:
        about = _tooltips({"entry": "method", "published": "published"})
        other = place | {"x": {**across, "field": "published"}, "tooltip": about}
        ring = {"filled": False, "stroke": "var(--c1)", "size": 80, "shape": "diamond"}
        layers.append({"transform": [{"filter": "isValid(datum.published)"}]} | layer("point", other, ring))
    if reference is not None:
        layers.append(_once("rule", {"x": {"datum": reference}}, _DENSE))
    return _chart(data, layers) | {"height": 22 * len(names)}


def heat_map(
    data: str,
    panel: str,
    columns: Sequence[str],
    rows: Sequence[str],
    values: Sequence[float],
    tip: Tip,
    *,
    titles: tuple[str, str],
    texts: bool = True,
    zero: bool = False,
) -> Spec:
    """Coloured cells (`column`, `row`, `value`, `text`, `panel`), by the least and largest value, or from `zero` on.

    >>> titles, tip = ("second scorer", "first scorer"), {"row": "first scorer"}
    >>> spec = heat_map("stacks", "density 0.1", ["snip"], ["none", "grasp"], [90.5, 96.0], tip, titles=titles)
    >>> spec["layer"][0]["encoding"]["color"]["scale"], spec["height"]
    ({'scheme': 'viridis', 'domain': [90.5, 96]}, 68)
    """
    low, high = plain(min(values)), plain(max(values))
    if zero:
        low, high = min(0.0, low), max(high, 0.01)
    angle = -35 if max(map(len, columns), default=0) > 6 else 0
    place = {
        "x": _names("column", columns, titles[0], {"labelAngle": angle, "labelLimit": 150}),
        "y": _names("row", rows, titles[1], {"labelLimit": 150}),
    }
    colour: Spec = {"field": "value", "type": "quantitative", "legend": None}
    colour["scale"] = {"scheme": "viridis", "domain": [low, high]}
    dark = {"test": f"datum.value > {low + 0.55 * (high - low):.9g}", "value": "#111418"}
    written = place | {"text": {"field": "text", "type": "nominal"}, "color": {"condition": dark, "value": "#ffffff"}}
    cell = place | {"color": colour, "tooltip": _tooltips(tip)}
    layers = [layer("rect", cell, {"stroke": "var(--paper)", "strokeWidth": 1})]
    layers += [layer("text", written, {"fontSize": 11})] if texts else []
    return _chart(data, layers, panel=panel) | {"height": (34 if texts else 17) * len(rows)}


def log_axis(title: str, over: Sequence[float], room: float = 1.12, **axis: Any) -> Spec:
    """A logarithmic axis from the least to the largest value, with some room.

    >>> log_axis("seconds (log axis)", [1.0, 100.0], room=2.0)["scale"]
    {'type': 'log', 'domain': [0.5, 200], 'nice': False}
    """
    domain = [plain(min(over) / room), plain(max(over) * room)]
    return {"title": title, "scale": {"type": "log", "domain": domain, "nice": False}, "axis": {"format": "~g"} | axis}


def log_density(densities: Sequence[float]) -> Spec:
    """The axis of densities: logarithmic, a tick at every density that was run.

    >>> log_density([0.1, 0.01, 0.1])["axis"]["values"]
    [0.01, 0.1]
    """
    ticks = sorted(set(densities))
    shown = ticks if len(ticks) <= 12 else None
    return log_axis("density (log axis)", ticks, values=shown, labelOverlap="greedy")


def _tooltips(fields: Tip) -> list[Spec]:
    """What is shown of a mark that is pointed at: field to title."""
    return [{"field": name, "title": title} for name, title in fields.items()]


def layer(mark: str, encoding: Spec, options: Spec) -> Spec:
    """Marks end at the plot's border, so that what lies below a floor does not stretch the page.

    >>> layer("point", {"x": {"field": "mean", "type": "quantitative"}}, {"size": 42})["mark"]
    {'type': 'point', 'clip': True, 'size': 42}
    """
    return {"mark": {"type": mark, "clip": True, **options}, "encoding": encoding}


def _once(mark: str, encoding: Spec, options: Spec) -> Spec:
    """A mark of its own, of no data."""
    return {"data": {"values": [{}]}} | layer(mark, encoding, options)


def _names(field: str, names: Sequence[str], title: str | None, axis: Spec) -> Spec:
    return {"field": field, "type": "nominal", "scale": {"domain": list(names)}, "title": title, "axis": axis}


def _chart(data: str, layers: list[Spec], floor: float | None = None, panel: str | None = None) -> Spec:
    """A chart as wide as its place, with what the legend chooses and, where there is one, the floor of y."""
    parameters = [{"name": "chosen", "value": []}] + [{"name": "floor", "value": floor}] * (floor is not None)
    spec = {"data": {"name": data}, "params": parameters, "width": "container", "height": HEIGHT, "layer": layers}
    return spec if panel is None else spec | {"transform": [{"filter": {"field": "panel", "equal": panel}}]}
