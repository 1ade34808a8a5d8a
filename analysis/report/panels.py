"""How methods are shared out to panels, and the ranges of their axes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from scratchcard.analysis.report.page import Entry, Style

if TYPE_CHECKING:
    import pandas as pd

MOST = 8
"""Methods that one panel shows in colour."""


def entries_of(names: Sequence[str], swatch: Literal["both", "line", "chip"] = "both") -> tuple[Entry, ...]:
    """Legend entries in their order."""
    return tuple(Entry(name, Style(k), swatch) for k, name in enumerate(names))


def limits(
    rows: Sequence[Mapping[str, Any]], more: Sequence[float] = ()
) -> tuple[tuple[float, float], tuple[float, float] | None]:
    """The range of y of all panels, and, when a few values lie far below the rest, a floor and the lowest value.

    The floor lies two interquartile ranges below the lower quartile of the means and of `more`.
    """
    import numpy as np

    values = [float(row["mean"]) for row in rows] + list(more)
    lowest = min([float(row["low"]) for row in rows] + list(more))
    highest = max([float(row["high"]) for row in rows] + list(more))
    first, third = np.quantile(values, [0.25, 0.75])
    start = float(np.floor(first - 2 * max(third - first, 0.5)))
    cut = start > lowest and len(values) > 3
    room = 0.04 * ((highest - (start if cut else lowest)) or 1.0)
    bottom = start if cut else lowest - room
    return (bottom, highest + room), ((start, lowest - room) if cut else None)


def split(runs: pd.DataFrame) -> list[tuple[str, list[Entry]]]:
    """Methods shared out to panels of at most eight: by scorer, then by what else tells them apart.

    A variant (the method without its scorer) keeps its colour and shape across panels where all variants together
    are few enough.
    """
    methods = runs.drop_duplicates("method")
    if len(methods) <= MOST:
        return [("", [Entry(m, Style(k)) for k, m in enumerate(methods["method"])])]
    variants = {m: _variant(m, s) for m, s in zip(methods["method"], methods["scorer"], strict=True)}
    order = {variant: k for k, variant in enumerate(dict.fromkeys(variants.values()))}
    panels = []
    for title, names in _joined(_shares(methods, ("scorer", "regime", "on", "initial", "initial_scorer", "predictor"))):
        common = len(order) <= MOST and len({variants[m] for m in names}) == len(names)
        styles = [Style(order[variants[m]] if common else k) for k, m in enumerate(names)]
        panels.append((title, [Entry(m, s) for m, s in zip(names, styles, strict=True)]))
    return panels


def _shares(methods: pd.DataFrame, keys: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    if len(methods) <= MOST or not keys:
        names = list(methods["method"])
        count = -(-len(names) // MOST)
        for k in range(count):
            part = names[k * MOST : (k + 1) * MOST]
            yield ("" if count == 1 else f"part {k + 1}"), part
        return
    key, rest = keys[0], keys[1:]
    if methods[key].nunique(dropna=False) < 2:
        yield from _shares(methods, rest)
        return
    for value, group in methods.groupby(key, sort=False, dropna=False):
        name = str(value) if value == value and value is not None else _none(key)
        for title, names in _shares(group, rest):
            yield (f"{name}, {title}" if title else name), names


def _joined(shares: Iterator[tuple[str, list[str]]]) -> Iterator[tuple[str, list[str]]]:
    """Small shares that follow each other, together."""
    titles: list[str] = []
    names: list[str] = []
    for title, some in shares:
        if len(names) + len(some) > MOST:
            yield ", ".join(titles), names
            titles, names = [], []
        titles, names = [*titles, title], names + some
    yield ", ".join(titles), names


def _none(key: str) -> str:
    return {"on": "not stacked", "initial_scorer": "no initial scorer", "predictor": "no predictor"}.get(key, key)


def _variant(method: str, scorer: str) -> str:
    return method.removeprefix(scorer).lstrip(", ")
