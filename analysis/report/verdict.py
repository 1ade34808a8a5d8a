"""The verdict: which method is first, by how much, and how sure that is; from declared tests where there are any."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scratchcard.analysis.equal_tickets import identical, others
from scratchcard.analysis.headline import Headline
from scratchcard.analysis.report.density_rows import means, pruned, short, usual_seeds, workloads
from scratchcard.analysis.significance import p_text
from scratchcard.words import counted

if TYPE_CHECKING:
    import pandas as pd

BEFORE, WITH = "prunes before training", "trains while it prunes"
"""The two kinds of methods: they cost so differently that each has a verdict of its own."""


@dataclass(frozen=True)
class Lead:
    """The method with the highest mean of its kind, at one network, task and density.

    Attributes:
        network: that was pruned.
        task: that it was trained on.
        headline: metric.
        kind: `BEFORE` or `WITH`.
        density: of the tickets.
        best: its row of means.
        behind: the row of the next method whose tickets are others; None where there is none.
        test: the declared test of the two, a row of `compare`; None where none was declared.
    """

    network: str
    task: str
    headline: Headline
    kind: str
    density: float
    best: Mapping[str, Any]
    behind: Mapping[str, Any] | None
    test: Mapping[str, Any] | None

    @property
    def points(self) -> float:
        """The lead, as it is shown."""
        return math.nan if self.behind is None else float(self.best["mean"]) - float(self.behind["mean"])

    @property
    def sure(self) -> bool:
        """Whether a declared test shows the lead."""
        return self.test is not None and bool(self.test["significant"])

    @property
    def certainty(self) -> str:
        """How sure the lead is, in words."""
        if self.behind is None:
            return "the only method"
        if self.test is not None:
            p = p_text(float(self.test["p_adjusted"]))
            return f"{'shown' if self.sure else 'not shown'} by the declared test, p {p if '<' in p else '= ' + p}"
        apart = self.best["low"] > self.behind["high"] and min(self.best["n"], self.behind["n"]) > 1
        return f"no test declared; the intervals {'are apart' if apart else 'overlap'}"


def leads(runs: pd.DataFrame, tests: Sequence[Mapping[str, Any]]) -> list[Lead]:
    """The lead of each network, task, kind and density.

    A declared test counts where it is of these very runs: other grids may have more seeds of the same two methods.
    Methods with fewer than half the seeds that are usual at a density cannot be first: one lucky seed is no result.

    Args:
        runs: with the column `method`.
        tests: rows of `compare`, of all families.
    """
    declared: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in tests:
        if row["counted"]:
            declared.setdefault(_pair(row["of"], row["against"], row), []).append(row)
    found = []
    for network, task, headline, group in workloads(pruned(runs)):
        again = others(identical(group))
        kinds = {True: BEFORE, False: WITH}
        regimes = dict(zip(group["method"], group["regime"].isin(["USS", "UMS"]), strict=True))
        labels = dict(zip(group["method"], group["label"], strict=True))
        rows = [row for row in means(group) if row["method"] not in again]
        usual = usual_seeds(rows)
        for before, kind in kinds.items():
            for density, seeds in usual.items():
                here = [r for r in rows if r["density"] == density and regimes[r["method"]] == before]
                ranked = sorted((r for r in here if 2 * r["n"] >= seeds), key=lambda r: -r["mean"])
                if not ranked:
                    continue
                best, behind = ranked[0], ranked[1] if len(ranked) > 1 else None
                test = None
                if behind is not None:
                    where = {"network": network, "task": task, "density": density}
                    there = declared.get(_pair(labels[best["method"]], labels[behind["method"]], where), ())
                    size = (best["mean"] - behind["mean"]) / headline.scale
                    test = next((row for row in there if abs(abs(row["difference"]) - size) < 1e-9), None)
                found.append(Lead(network, task, headline, kind, density, best, behind, test))
    return found


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A frame's rows by the names of its columns."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _pair(one: str, other: str, where: Mapping[str, Any]) -> tuple[Any, ...]:
    return frozenset((one, other)), short(str(where["network"])), where["task"], f"{where['density']:.6g}"


def sentences(found: Sequence[Lead]) -> Iterator[tuple[str, str]]:
    """For each network and task its name, and a sentence or two for each kind of method."""
    for place in dict.fromkeys((lead.network, lead.task, lead.headline) for lead in found):
        told = []
        for kind in (BEFORE, WITH):
            mine = [lead for lead in found if (lead.network, lead.task, lead.headline, lead.kind) == (*place, kind)]
            told += [f"Of what {kind}, {_best(mine, place[2])} {_how_sure(mine)}"] if mine else []
        yield f"{place[0]} on {place[1]}", " ".join(told)


def _best(mine: Sequence[Lead], headline: Headline) -> str:
    first: dict[str, list[Lead]] = {}
    for lead in mine:
        first.setdefault(str(lead.best["method"]), []).append(lead)
    ordered = sorted(first.items(), key=lambda item: -len(item[1]))
    shown = ordered if len(ordered) < 3 else ordered[:1]
    told = [
        f"'{method}' has the best mean {headline.words} at {_densities([lead.density for lead in own])} "
        f"({_value(own, headline)}{_ahead(own)})"
        for method, own in shown
    ]
    if len(ordered) > len(shown):
        rest = counted(sum(len(own) for _, own in ordered[1:]), "density")
        told.append(f"{counted(len(ordered) - 1, 'other method')} at the {rest} that are left")
    return f"{_listed(told)}."


def _value(own: Sequence[Lead], headline: Headline) -> str:
    values = [float(lead.best["mean"]) for lead in own]
    unit = " %" if headline.share else ""
    low, high = min(values), max(values)
    return f"{low:.{headline.digits}f}{unit}" if low == high else f"{low:.1f} to {high:.1f}{unit}"


def _ahead(own: Sequence[Lead]) -> str:
    points = [lead.points for lead in own if lead.behind is not None]
    if not points:
        return ""
    unit, digits = own[0].headline.points, own[0].headline.digits
    if len(own) == 1 and own[0].behind is not None:
        return f", {points[0]:.{digits}f}{unit} above '{own[0].behind['method']}'"
    return f", {min(points):.{digits}f} to {max(points):.{digits}f}{unit} above the next"


def _how_sure(mine: Sequence[Lead]) -> str:
    tested, sure = sum(lead.test is not None for lead in mine), sum(lead.sure for lead in mine)
    if all(lead.behind is None for lead in mine):
        return "There is no other of its kind."
    if not tested:
        return "No declared test compares first and second."
    if len(mine) == 1:
        return f"The lead is {mine[0].certainty}."
    shown = "all" if sure == len(mine) else "none" if sure == 0 else str(sure)
    left = f", {len(mine) - tested} not tested" if tested < len(mine) else ""
    return f"Declared tests show {shown} of these {len(mine)} leads{left}."


def outcomes(tested: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """What each declared family found on each network and task (rows of `compare`): its name, and a sentence."""
    for (family, network, task), rows in tested.groupby(["family", "network", "task"], sort=False, dropna=False):
        where = f"{short(network)} on {task}" if isinstance(network, str) and isinstance(task, str) else "any network"
        text = outcome(rows)
        yield f"{family}, {where}", text[0].upper() + text[1:]


def outcome(tested: pd.DataFrame) -> str:
    """What tests found, in one sentence."""
    rows = [row for row in rows_of(tested) if row["counted"]]
    if not rows:
        return "no test can be made yet, since the runs are missing."
    headline = Headline(rows[0]["metric"])
    of, against = (list(dict.fromkeys(row[side] for row in rows)) for side in ("of", "against"))
    names = [side[0] if len(side) == 1 else counted(len(side), "method") for side in (of, against)]
    where = _densities(sorted({row["density"] for row in rows}))
    if len(rows) == 1:
        return f"{_one(rows[0], headline)}, at {where}."
    names = [f"'{name}'" if len(side) == 1 else name for name, side in zip(names, (of, against), strict=True)]
    better = sorted((r for r in rows if r["significant"] and r["difference"] > 0), key=lambda r: -r["difference"])
    worse = sorted((r for r in rows if r["significant"] and r["difference"] < 0), key=lambda r: r["difference"])
    text = f"{names[0]} against {names[1]}, at {where}: better in {len(better)} of {len(rows)} tests"
    text += f" ({_span(better, headline)})" if better else ""
    text += f", worse in {len(worse)}" + (f" ({_span(worse, headline)})" if worse else "")
    return f"{text}, no difference shown in {len(rows) - len(better) - len(worse)}."


def _one(row: Mapping[str, Any], headline: Headline) -> str:
    size = f"{headline.text(abs(row['difference']))}{headline.points}"
    p = p_text(row["p_adjusted"])
    sure = f"p {p if '<' in p else '= ' + p} after Holm"
    if not row["significant"]:
        return f"'{row['of']}' and '{row['against']}' are not shown to differ ({size} apart, {sure})"
    return (
        f"'{row['of']}' is {'better' if row['difference'] > 0 else 'worse'} than '{row['against']}' by {size} ({sure})"
    )


def _span(rows: Sequence[Mapping[str, Any]], headline: Headline) -> str:
    """The sizes of differences, the largest with its methods."""
    first = rows[0]
    sizes = [abs(row["difference"]) for row in rows]
    most = f"{headline.text(max(sizes))}{headline.points}, '{first['of']}' against '{first['against']}'"
    if len(rows) == 1:
        return f"by {most} at {first['density']:g}"
    return f"by {headline.text(min(sizes))} to {most} at {first['density']:g}"


def _densities(values: Sequence[float]) -> str:
    if len(values) < 4:
        return _listed([f"{value:g}" for value in values])
    return f"{len(values)} densities from {min(values):g} to {max(values):g}"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
