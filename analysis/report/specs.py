"""Vega-Lite specifications: curves, dots, scatter plots, histograms; colours are the style sheet's variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scratchcard.analysis.report.page import Entry

Spec = dict[str, Any]

_SHOWN = "!length(chosen) || indexof(chosen, datum.entry) >= 0"
_FAINT: Spec = {"condition": {"test": _SHOWN, "value": 1}, "value": 0.07}
HEIGHT = 260


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
    names = [entry.name for entry in entries]
    mine = [{"filter": {"field": "entry", "oneOf": names}}]
    across = {**x, "field": "x", "type": "quantitative"}
    up = _floored(y, floor)
    marks = _marks(entries)
    layers: list[Spec] = []
    if context:
        layers.append(
            {
                "transform": [{"filter": {"field": "entry", "oneOf": list(context)}}],
                "mark": {"type": "line", "clip": True, "stroke": "var(--context)", "strokeWidth": 1},
                "encoding": {"x": across, "y": {**up, "field": "mean"}, "detail": {"field": "entry"}},
            }
        )
    if reference is not None:
        layers += _reference(reference)
    if published is not None:
        there = {"x": across, "y": {**up, "field": "y"}, "color": marks["color"], "opacity": _FAINT}
        about = [{"field": "entry", "title": "method"}, {"field": "y", "title": "published"}, {"field": "source"}]
        layers += [
            {
                "data": {"name": published},
                "transform": mine,
                "mark": {"type": "line", "clip": True, "strokeDash": [1, 3], "strokeWidth": 1.2},
                "encoding": there,
            },
            {
                "data": {"name": published},
                "transform": mine,
                "mark": {"type": "point", "clip": True, "filled": False, "size": 75, "strokeWidth": 1.4},
                "encoding": there | {"shape": marks["shape"], "tooltip": about},
            },
        ]
    layers += [
        {
            "transform": mine,
            "mark": {"type": "rule", "clip": True, "strokeWidth": 1.6},
            "encoding": {
                "x": across,
                "y": {**up, "field": "low"},
                "y2": {"field": "high"},
                "color": marks["color"],
                "opacity": _FAINT,
            },
        },
        {
            "transform": mine,
            "mark": {"type": "line", "clip": True, "strokeWidth": 1.8},
            "encoding": {
                "x": across,
                "y": {**up, "field": "mean"},
                "color": marks["color"],
                "strokeDash": marks["strokeDash"],
                "opacity": _FAINT,
            },
        },
        {
            "transform": mine,
            "mark": {"type": "point", "clip": True, "filled": True, "size": 42},
            "encoding": {
                "x": across,
                "y": {**up, "field": "mean"},
                "color": marks["color"],
                "shape": marks["shape"],
                "opacity": _FAINT,
                "tooltip": tooltips(tooltip),
            },
        },
    ]
    return top_level(data, layers, floor)


def dots(data: str, names: Sequence[str], x: Spec, tooltip: Mapping[str, str], *, reference: float | None) -> Spec:
    """One line a name, in their order: the mean with its interval, and a published figure (`published`) as a ring."""
    across = {**x, "type": "quantitative"}
    place = {
        "field": "entry",
        "type": "nominal",
        "scale": {"domain": list(names)},
        "title": None,
        "axis": {"labelLimit": 160, "grid": True},
    }
    colour = "var(--c0)"
    layers: list[Spec] = [
        {
            "mark": {"type": "rule", "stroke": colour, "strokeWidth": 2},
            "encoding": {"y": place, "x": {**across, "field": "low"}, "x2": {"field": "high"}},
        },
        {
            "mark": {"type": "point", "filled": True, "fill": colour, "size": 60, "opacity": 1},
            "encoding": {"y": place, "x": {**across, "field": "mean"}, "tooltip": tooltips(tooltip)},
        },
        {
            "transform": [{"filter": "isValid(datum.published)"}],
            "mark": {"type": "point", "filled": False, "stroke": "var(--c1)", "size": 80, "shape": "diamond"},
            "encoding": {
                "y": place,
                "x": {**across, "field": "published"},
                "tooltip": tooltips({"entry": "method", "published": "published"}),
            },
        },
    ]
    if reference is not None:
        line = {"type": "rule", "stroke": "var(--ink)", "strokeDash": [6, 4]}
        layers.append({"data": {"values": [{}]}, "mark": line, "encoding": {"x": {"datum": reference}}})
    spec = top_level(data, layers, None)
    spec["height"] = 24 * len(names)
    return spec


def lines(data: str, entries: Sequence[Entry], x: Spec, y: Spec, detail: str, tooltip: Mapping[str, str]) -> Spec:
    """Thin lines (`x`, `y`, `entry`, `panel`), one for each value of `detail`."""
    encoding = {
        "x": {**x, "field": "x", "type": "quantitative"},
        "y": {**y, "field": "y", "type": "quantitative"},
        "color": _marks(entries)["color"],
        "detail": {"field": detail},
        "opacity": {"condition": {"test": _SHOWN, "value": 0.85}, "value": 0.05},
        "tooltip": tooltips(tooltip),
    }
    return top_level(data, [{"mark": {"type": "line", "strokeWidth": 1.3, "clip": True}, "encoding": encoding}], None)


def scatter(
    data: str, entries: Sequence[Entry], x: Spec, y: Spec, tooltip: Mapping[str, str], *, floor: float | None
) -> Spec:
    """Points with intervals (`x`, `mean`, `low`, `high`, `entry`, `shape`), and a step line through the `front`."""
    across = {**x, "field": "x", "type": "quantitative"}
    up = _floored(y, floor)
    colour = _marks(entries)["color"]
    kept = {"field": "shape", "type": "nominal", "scale": None, "legend": None}
    layers: list[Spec] = [
        {
            "transform": [{"filter": "datum.front"}],
            "mark": {
                **{"type": "line", "clip": True, "interpolate": "step-after"},
                **{"stroke": "var(--context)", "strokeWidth": 1.5},
            },
            "encoding": {"x": across, "y": {**up, "field": "mean"}},
        },
        {
            "mark": {"type": "rule", "clip": True, "strokeWidth": 1.4},
            "encoding": {
                "x": across,
                "y": {**up, "field": "low"},
                "y2": {"field": "high"},
                "color": colour,
                "opacity": _FAINT,
            },
        },
        {
            "mark": {"type": "point", "clip": True, "filled": True, "size": 60},
            "encoding": {
                "x": across,
                "y": {**up, "field": "mean"},
                "color": colour,
                "shape": kept,
                "opacity": _FAINT,
                "tooltip": tooltips(tooltip),
            },
        },
    ]
    return top_level(data, layers, floor)


def stepped(data: str, panel: str, x: Spec, y: Spec, entries: Sequence[Entry]) -> Spec:
    """Histograms as stepped lines (`x`, `y`, `entry`, `panel`), so that several can lie over each other."""
    encoding = {
        "x": {**x, "field": "x", "type": "quantitative"},
        "y": {**y, "field": "y", "type": "quantitative"},
        "color": _marks(entries)["color"],
        "opacity": _FAINT,
        "tooltip": tooltips({"entry": "ticket", "x": "bin", "y": "share"}),
    }
    mark = {"type": "line", "interpolate": "step", "strokeWidth": 1.5}
    spec = top_level(data, [{"mark": mark, "encoding": encoding}], None)
    spec["transform"] = [{"filter": {"field": "panel", "equal": panel}}]
    return spec


def log_density(densities: Sequence[float]) -> Spec:
    """The axis of densities: logarithmic, a tick at every density that was run."""
    ticks = sorted(set(densities))
    low, high = ticks[0], ticks[-1]
    wide = [low / 1.12, high * 1.12]
    return {
        "title": "density (log axis)",
        "scale": {"type": "log", "domain": wide, "nice": False},
        "axis": {"values": ticks if len(ticks) <= 12 else None, "format": "~g", "labelOverlap": "greedy"},
    }


def _floored(y: Spec, floor: float | None) -> Spec:
    given = y.get("scale", {})
    scale = given if given.get("type") == "log" else {"zero": False, **given}
    if floor is not None:
        scale = scale | {"nice": False, "domainMin": {"expr": "floor"}}
    return {**y, "type": "quantitative", "scale": scale}


def _reference(y: float) -> list[Spec]:
    value = {"y": {"datum": y}}
    once: Spec = {"data": {"values": [{}]}}
    return [
        once
        | {"mark": {"type": "rule", "clip": True, "stroke": "var(--ink)", "strokeDash": [6, 4]}, "encoding": value},
        once
        | {
            "mark": {"type": "text", "align": "left", "dx": 4, "dy": 9, "fill": "var(--ink)", "fontSize": 10.5},
            "encoding": value | {"x": {"value": 0}, "text": {"value": f"dense {y:.2f}"}},
        },
    ]


def _marks(entries: Sequence[Entry]) -> dict[str, Spec]:
    names = [entry.name for entry in entries]
    dashes = [[float(n) for n in entry.style.dash.split(",")] if entry.style.dash else [1, 0] for entry in entries]
    common = {"field": "entry", "type": "nominal", "legend": None}
    return {
        "color": common | {"scale": {"domain": names, "range": [entry.style.colour for entry in entries]}},
        "shape": common | {"scale": {"domain": names, "range": [entry.style.shape for entry in entries]}},
        "strokeDash": common | {"scale": {"domain": names, "range": dashes}},
    }


def tooltips(fields: Mapping[str, str]) -> list[Spec]:
    """What is shown of a mark that is pointed at: field to title."""
    return [{"field": name, "title": title} for name, title in fields.items()]


def top_level(data: str, layers: list[Spec], floor: float | None) -> Spec:
    """A chart as wide as its place, with what the legend chooses and, where there is one, the floor of y."""
    parameters: list[Spec] = [{"name": "chosen", "value": []}]
    if floor is not None:
        parameters.append({"name": "floor", "value": floor})
    return {
        "data": {"name": data},
        "params": parameters,
        "width": "container",
        "height": HEIGHT,
        "layer": layers,
    }
