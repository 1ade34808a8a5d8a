"""Vega-Lite specification of heat maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scratchcard.analysis.report.specs import Spec, tooltips, top_level


def heatmap(
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
    place = {
        "x": {
            "field": "column",
            "type": "nominal",
            "scale": {"domain": list(columns)},
            "title": titles[0],
            "axis": {"labelAngle": -35 if max(map(len, columns), default=0) > 6 else 0, "labelLimit": 150},
        },
        "y": {
            "field": "row",
            "type": "nominal",
            "scale": {"domain": list(rows)},
            "title": titles[1],
            "axis": {"labelLimit": 150},
        },
    }
    colour = {
        "field": "value",
        "type": "quantitative",
        "scale": {"scheme": "viridis", "domain": [low, high]},
        "legend": None,
    }
    cell: Spec = {
        "mark": {"type": "rect", "stroke": "var(--paper)", "strokeWidth": 1},
        "encoding": place | {"color": colour, "tooltip": tooltips(tooltip)},
    }
    dark = {
        "condition": {"test": f"datum.value > {low + 0.55 * (high - low):.9g}", "value": "#111418"},
        "value": "#ffffff",
    }
    text: Spec = {
        "mark": {"type": "text", "fontSize": 11},
        "encoding": place | {"text": {"field": "text", "type": "nominal"}, "color": dark},
    }
    spec = top_level(data, [cell, text] if texts else [cell], None)
    spec["transform"] = [{"filter": {"field": "panel", "equal": panel}}]
    spec["height"] = (34 if texts else 17) * len(rows)
    return spec
