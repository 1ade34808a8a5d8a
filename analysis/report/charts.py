"""Vega-Lite specifications: curves, dots, scatter plots, histograms, heat maps; colours are style sheet variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scratchcard.analysis.report.page import Entry

Spec = dict[str, Any]

_SHOWN = "!length(chosen) || indexof(chosen, datum.entry) >= 0"
_FAINT: Spec = {"condition": {"test": _SHOWN, "value": 1}, "value": 0.07}
HEIGHT = 260
LONGEST = 200
"""Pixels of a method's name beside a line of dots."""


def curves(
    data: str,
    entries: Sequence[Entry],
    x: Spec,
    y: Spec,
    tooltip: Mapping[str, str],
    *,
    context: Sequence[str] = (),
    reference: float | None = None,
    published: str | None = None,
    floor: float | None = None,
) -> Spec:
    """Lines with points and intervals (`x`, `mean`, `low`, `high`, `entry`).

    Args:
        data: name of the data set.
        entries: drawn in colour, in the legend's order.
        x: encoding of the horizontal axis, without its field.
        y: encoding of the vertical axis, without its field.
        tooltip: field to title.
        context: other entries of the data set, drawn as grey lines.
        reference: y of the dense network.
        published: name of a data set with published figures (`x`, `y`, `entry`): open marks, dotted lines.
        floor: lowest y shown, which the page's switch moves; None shows everything.
    """
    mine = [{"filter": {"field": "entry", "oneOf": [entry.name for entry in entries]}}]
    across, up, marks = _x(x), _floored(y, floor), _marks(entries)
    colour, shape = marks["color"], marks["shape"]
    layers: list[Spec] = []
    if context:
        grey = _layer("line", {"x": across, "y": {**up, "field": "mean"}, "detail": {"field": "entry"}}, CONTEXT)
        layers.append({"transform": [{"filter": {"field": "entry", "oneOf": list(context)}}]} | grey)
    if reference is not None:
        place = {"y": {"datum": reference}}
        words = place | {"x": {"value": 0}, "text": {"value": f"dense {reference:.2f}"}}
        layers.append(_once("rule", place, {"stroke": "var(--ink)", "strokeDash": [6, 4]}))
        layers.append(_once("text", words, {"align": "left", "dx": 4, "dy": 9, "fill": "var(--ink)", "fontSize": 10.5}))
    if published is not None:
        there = {"x": across, "y": {**up, "field": "y"}, "color": colour, "opacity": _FAINT}
        about = tooltips({"entry": "method", "y": "published", "source": "source"})
        open_mark = {"filled": False, "size": 75, "strokeWidth": 1.4}
        figures = [
            _layer("line", there, {"strokeDash": [1, 3], "strokeWidth": 1.2}),
            _layer("point", there | {"shape": shape, "tooltip": about}, open_mark),
        ]
        layers += [{"data": {"name": published}, "transform": mine} | layer for layer in figures]
    point = {"shape": shape, "tooltip": tooltips(tooltip)}
    own = [
        _layer("rule", _interval(across, up, colour), {"strokeWidth": 1.6}),
        _layer("line", _mean(across, up, colour) | {"strokeDash": marks["strokeDash"]}, {"strokeWidth": 1.8}),
        _layer("point", _mean(across, up, colour) | point, {"filled": True, "size": 42}),
    ]
    layers += [{"transform": mine} | layer for layer in own]
    return _chart(data, layers, floor)


def dots(
    data: str,
    names: Sequence[str],
    x: Spec,
    tooltip: Mapping[str, str],
    *,
    reference: float | None = None,
    published: bool = False,
) -> Spec:
    """One line a name, in their order: the mean with its interval, and a figure (`published`) as a ring where told."""
    across = {**x, "type": "quantitative"}
    place = _names("entry", names, None, {"labelLimit": LONGEST, "grid": True})
    ring = {"filled": False, "stroke": "var(--c1)", "size": 80, "shape": "diamond"}
    about = tooltips({"entry": "method", "published": "published"})
    low = {"y": place, "x": {**across, "field": "low"}, "x2": {"field": "high"}}
    mean = {"y": place, "x": {**across, "field": "mean"}, "tooltip": tooltips(tooltip)}
    other = {"y": place, "x": {**across, "field": "published"}, "tooltip": about}
    layers = [
        _layer("rule", low, {"stroke": "var(--c0)", "strokeWidth": 2}),
        _layer("point", mean, {"filled": True, "fill": "var(--c0)", "size": 60, "opacity": 1}),
    ]
    if published:
        layers.append({"transform": [{"filter": "isValid(datum.published)"}]} | _layer("point", other, ring))
    if reference is not None:
        line = {"stroke": "var(--ink)", "strokeDash": [6, 4]}
        layers.append(_once("rule", {"x": {"datum": reference}}, line))
    return _chart(data, layers) | {"height": 22 * len(names)}


def lines(data: str, panel: str, entries: Sequence[Entry], x: Spec, y: Spec, tooltip: Mapping[str, str]) -> Spec:
    """Thin lines (`x`, `y`, `entry`, `method`, `panel`), one for each method."""
    encoding = {
        "x": _x(x),
        "y": {**y, "field": "y", "type": "quantitative"},
        "color": _marks(entries)["color"],
        "detail": {"field": "method"},
        "opacity": {"condition": {"test": _SHOWN, "value": 0.85}, "value": 0.05},
        "tooltip": tooltips(tooltip),
    }
    return _chart(data, [_layer("line", encoding, {"strokeWidth": 1.3})], panel=panel)


def scatter(
    data: str,
    panel: str,
    entries: Sequence[Entry],
    x: Spec,
    y: Spec,
    tooltip: Mapping[str, str],
    *,
    floor: float | None,
) -> Spec:
    """Points with intervals (`x`, `mean`, `low`, `high`, `entry`, `shape`, `panel`), a step line for the `front`."""
    across, up, colour = _x(x), _floored(y, floor), _marks(entries)["color"]
    kept = {"field": "shape", "type": "nominal", "scale": None, "legend": None}
    steps = _layer("line", {"x": across, "y": {**up, "field": "mean"}}, CONTEXT | {"interpolate": "step-after"})
    point = {"shape": kept, "tooltip": tooltips(tooltip)}
    layers = [
        {"transform": [{"filter": "datum.front"}]} | steps,
        _layer("rule", _interval(across, up, colour), {"strokeWidth": 1.4}),
        _layer("point", _mean(across, up, colour) | point, {"filled": True, "size": 60}),
    ]
    return _chart(data, layers, floor, panel)


def stepped(data: str, panel: str, x: Spec, y: Spec, entries: Sequence[Entry]) -> Spec:
    """Histograms as stepped lines (`x`, `y`, `entry`, `panel`), so that several can lie over each other."""
    encoding = {
        "x": _x(x),
        "y": {**y, "field": "y", "type": "quantitative"},
        "color": _marks(entries)["color"],
        "opacity": _FAINT,
        "tooltip": tooltips({"entry": "ticket", "x": "bin", "y": "share"}),
    }
    return _chart(data, [_layer("line", encoding, {"interpolate": "step", "strokeWidth": 1.5})], panel=panel)


def heat_map(
    data: str,
    panel: str,
    columns: Sequence[str],
    rows: Sequence[str],
    domain: tuple[float, float],
    tooltip: Mapping[str, str],
    *,
    titles: tuple[str, str],
    texts: bool = True,
) -> Spec:
    """Coloured cells (`column`, `row`, `value`, `text`, `panel`); the text is dark where the colour is light."""
    low, high = domain
    angle = -35 if max(map(len, columns), default=0) > 6 else 0
    place = {
        "x": _names("column", columns, titles[0], {"labelAngle": angle, "labelLimit": 150}),
        "y": _names("row", rows, titles[1], {"labelLimit": 150}),
    }
    colour: Spec = {"field": "value", "type": "quantitative", "legend": None}
    colour["scale"] = {"scheme": "viridis", "domain": [low, high]}
    dark = {"test": f"datum.value > {low + 0.55 * (high - low):.9g}", "value": "#111418"}
    written = place | {"text": {"field": "text", "type": "nominal"}, "color": {"condition": dark, "value": "#ffffff"}}
    cell = place | {"color": colour, "tooltip": tooltips(tooltip)}
    layers = [_layer("rect", cell, {"stroke": "var(--paper)", "strokeWidth": 1})]
    layers += [_layer("text", written, {"fontSize": 11})] if texts else []
    return _chart(data, layers, panel=panel) | {"height": (34 if texts else 17) * len(rows)}


CONTEXT = {"stroke": "var(--context)", "strokeWidth": 1.2}


def log_density(densities: Sequence[float]) -> Spec:
    """The axis of densities: logarithmic, a tick at every density that was run."""
    ticks = sorted(set(densities))
    return {
        "title": "density (log axis)",
        "scale": {"type": "log", "domain": [ticks[0] / 1.12, ticks[-1] * 1.12], "nice": False},
        "axis": {"values": ticks if len(ticks) <= 12 else None, "format": "~g", "labelOverlap": "greedy"},
    }


def tooltips(fields: Mapping[str, str]) -> list[Spec]:
    """What is shown of a mark that is pointed at: field to title."""
    return [{"field": name, "title": title} for name, title in fields.items()]


def _x(x: Spec) -> Spec:
    return {**x, "field": "x", "type": "quantitative"}


def _mean(across: Spec, up: Spec, colour: Spec) -> Spec:
    return {"x": across, "y": {**up, "field": "mean"}, "color": colour, "opacity": _FAINT}


def _interval(across: Spec, up: Spec, colour: Spec) -> Spec:
    ends = {"y": {**up, "field": "low"}, "y2": {"field": "high"}}
    return {"x": across, **ends, "color": colour, "opacity": _FAINT}


def _names(field: str, names: Sequence[str], title: str | None, axis: Spec) -> Spec:
    return {"field": field, "type": "nominal", "scale": {"domain": list(names)}, "title": title, "axis": axis}


def _layer(mark: str, encoding: Spec, options: Spec) -> Spec:
    """Marks end at the plot's border, so that what lies below a floor does not stretch the page."""
    return {"mark": {"type": mark, "clip": True, **options}, "encoding": encoding}


def _once(mark: str, encoding: Spec, options: Spec) -> Spec:
    return {"data": {"values": [{}]}} | _layer(mark, encoding, options)


def _floored(y: Spec, floor: float | None) -> Spec:
    given = y.get("scale", {})
    scale = given if given.get("type") == "log" else {"zero": False, **given}
    if floor is not None:
        scale = scale | {"nice": False, "domainMin": {"expr": "floor"}}
    return {**y, "type": "quantitative", "scale": scale}


def _marks(entries: Sequence[Entry]) -> dict[str, Spec]:
    names = [entry.name for entry in entries]
    dashes = [[float(n) for n in entry.style.dash.split(",")] if entry.style.dash else [1, 0] for entry in entries]
    ranges: dict[str, list[Any]] = {
        "color": [entry.style.colour for entry in entries],
        "shape": [entry.style.shape for entry in entries],
        "strokeDash": dashes,
    }
    common = {"field": "entry", "type": "nominal", "legend": None}
    return {channel: common | {"scale": {"domain": names, "range": range_}} for channel, range_ in ranges.items()}


def _chart(data: str, layers: list[Spec], floor: float | None = None, panel: str | None = None) -> Spec:
    """A chart as wide as its place, with what the legend chooses and, where there is one, the floor of y."""
    parameters: list[Spec] = [{"name": "chosen", "value": []}]
    parameters += [{"name": "floor", "value": floor}] if floor is not None else []
    spec = {"data": {"name": data}, "params": parameters, "width": "container", "height": HEIGHT, "layer": layers}
    return spec if panel is None else spec | {"transform": [{"filter": {"field": "panel", "equal": panel}}]}
