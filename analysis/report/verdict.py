"""The verdict: which method is first, by how much, and how sure that is; from declared tests where there are any."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scratchcard.analysis.equal_tickets import identical, others
from scratchcard.analysis.groups import rows_of
from scratchcard.analysis.report.density_rows import means, pruned, short, usual_seeds, workloads
from scratchcard.analysis.significance import p_text
from scratchcard.analysis.statistics import Headline
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

    Examples:
        >>> snip = {"method": "snip", "mean": 92.0, "low": 91.0, "high": 93.0, "n": 5}
        >>> random = {"method": "random", "mean": 30.0, "low": 25.0, "high": 35.0, "n": 5}
        >>> lead = Lead("lenet", "digits", Headline("accuracy"), BEFORE, 0.1, snip, random, test=None)
        >>> lead.points, lead.certainty
        (62.0, 'no test declared; the intervals are apart')
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
    def place(self) -> tuple[str, str, Headline]:
        """Where it leads, and by which metric."""
        return self.network, self.task, self.headline

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
            return f"{'shown' if self.sure else 'not shown'} by the declared test, {_p(self.test)}"
        apart = self.best["low"] > self.behind["high"] and min(self.best["n"], self.behind["n"]) > 1
        return f"no test declared; the intervals {'are apart' if apart else 'overlap'}"


def leads(runs: pd.DataFrame, tests: Sequence[Mapping[str, Any]]) -> list[Lead]:
    """The lead of each network, task, kind and density.

    A declared test counts where it is of these very runs: other grids may have more seeds of the same two methods.
    Methods with fewer than half the seeds that are usual at a density cannot be first: one lucky seed is no result.

    Args:
        runs: with the column `method`.
        tests: rows of `compare`, of all families.

    Examples:
        >>> import pandas as pd
        >>> runs = pd.DataFrame({"label": ["snip", "snip", "random", "random"], "seed": [0, 1, 0, 1], "regime": "USS"})
        >>> runs = runs.assign(test_accuracy=[0.90, 0.94, 0.30, 0.40], validation_loss=[0.3, 0.2, 1.7, 1.6], kept=100)
        >>> runs = runs.assign(network="lenet", task="digits", density=0.1, effective_density=0.1, metric="accuracy")
        >>> lead = leads(runs.assign(method=runs["label"]), tests=[])[0]
        >>> lead.best["method"], lead.best["text"], lead.certainty
        ('snip', '92.00 ± 25.41', 'no test declared; the intervals overlap')
    """
    declared: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in tests:
        if row["counted"]:
            key = _pair(row["of"], row["against"], short(str(row["network"])), row["task"], row["density"])
            declared.setdefault(key, []).append(row)
    found = []
    for network, task, headline, group in workloads(pruned(runs)):
        again = others(identical(group))
        kinds = dict(
            zip(group["method"], group["regime"].isin(["USS", "UMS"]).map({True: BEFORE, False: WITH}), strict=True)
        )
        labels = dict(zip(group["method"], group["label"], strict=True))
        rows = [row for row in means(group) if row["method"] not in again]
        usual = usual_seeds(rows)
        for kind, density in ((kind, density) for kind in (BEFORE, WITH) for density in usual):
            here = [r for r in rows if r["density"] == density and kinds[r["method"]] == kind]
            ranked = sorted((r for r in here if 2 * r["n"] >= usual[density]), key=lambda r: -r["mean"])
            if not ranked:
                continue
            best, behind, *_ = *ranked, None
            test = None
            if behind is not None:
                pair = _pair(labels[best["method"]], labels[behind["method"]], network, task, density)
                size = (best["mean"] - behind["mean"]) / headline.scale
                there = (row for row in declared.get(pair, ()) if abs(abs(row["difference"]) - size) < 1e-9)
                test = next(there, None)
            found.append(Lead(network, task, headline, kind, density, best, behind, test))
    return found


def _pair(one: str, other: str, network: str, task: str, density: float) -> tuple[Any, ...]:
    return frozenset((one, other)), network, task, f"{density:.6g}"


def _p(row: Mapping[str, Any]) -> str:
    p = p_text(float(row["p_adjusted"]))
    return f"p {p}" if "<" in p else f"p = {p}"


def sentences(found: Sequence[Lead]) -> Iterator[tuple[str, str]]:
    """For each network and task its name, and a sentence or two for each kind of method.

    >>> snip, random = {"method": "snip", "mean": 92.0}, {"method": "random", "mean": 30.0}
    >>> lead = Lead("lenet", "digits", Headline("accuracy"), BEFORE, 0.1, snip, random, test=None)
    >>> place, text = next(sentences([lead]))
    >>> place, text.partition(" (")[0]
    ('lenet on digits', "Of what prunes before training, 'snip' has the best mean accuracy at 0.1")
    """
    for place in dict.fromkeys(lead.place for lead in found):
        told = []
        for kind in (BEFORE, WITH):
            mine = [lead for lead in found if (lead.place, lead.kind) == (place, kind)]
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
        f"({_value(own, headline)})"
        for method, own in shown
    ]
    if len(ordered) > len(shown):
        rest = counted(sum(len(own) for _, own in ordered[1:]), "density")
        told.append(f"{counted(len(ordered) - 1, 'other method')} at the {rest} that are left")
    return f"{_listed(told)}."


def _value(own: Sequence[Lead], headline: Headline) -> str:
    """`91.00 %, 10.00 points above 'random'`, or ranges over several densities."""
    values, unit = [float(lead.best["mean"]) for lead in own], " %" if headline.share else ""
    low, high, digits = min(values), max(values), headline.digits
    told = f"{low:.{digits}f}{unit}" if low == high else f"{low:.1f} to {high:.1f}{unit}"
    points = [lead.points for lead in own if lead.behind is not None]
    if len(own) == 1 and own[0].behind is not None:
        return f"{told}, {points[0]:.{digits}f}{headline.points} above '{own[0].behind['method']}'"
    ahead = f", {min(points):.{digits}f} to {max(points):.{digits}f}{headline.points} above the next" if points else ""
    return told + ahead


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
    """What each declared family found on each network and task (rows of `compare`): its name, and a sentence.

    >>> import pandas as pd
    >>> test = {"family": "against chance", "of": "snip", "against": "random", "network": "lenet", "task": "digits"}
    >>> test |= {"density": 0.1, "metric": "accuracy", "counted": True, "significant": True}
    >>> test |= {"difference": 0.6, "p_adjusted": 0.001}
    >>> next(outcomes(pd.DataFrame([test])))
    ('against chance, lenet on digits',
     "'snip' is better than 'random' by 60.00 points (p = 0.0010 after Holm), at 0.1.")
    """
    for (family, network, task), rows in tested.groupby(["family", "network", "task"], sort=False, dropna=False):
        where = f"{short(network)} on {task}" if isinstance(network, str) and isinstance(task, str) else "any network"
        text = outcome(rows)
        yield f"{family}, {where}", text[0].upper() + text[1:]


def outcome(tested: pd.DataFrame) -> str:
    """What tests found, in one sentence.

    >>> import pandas as pd
    >>> test = {"of": "snip", "against": "random", "density": 0.1, "metric": "accuracy", "counted": True}
    >>> outcome(pd.DataFrame([test | {"difference": 0.6, "p_adjusted": 0.001, "significant": True}]))
    "'snip' is better than 'random' by 60.00 points (p = 0.0010 after Holm), at 0.1."
    >>> outcome(pd.DataFrame([test | {"counted": False}]))
    'no test can be made yet, since the runs are missing.'
    """
    rows = [row for row in rows_of(tested) if row["counted"]]
    if not rows:
        return "no test can be made yet, since the runs are missing."
    headline = Headline(rows[0]["metric"])
    where = _densities(sorted({row["density"] for row in rows}))
    if len(rows) == 1:
        return f"{_one(rows[0], headline)}, at {where}."
    sides = [list(dict.fromkeys(row[side] for row in rows)) for side in ("of", "against")]
    names = [f"'{side[0]}'" if len(side) == 1 else counted(len(side), "method") for side in sides]
    ordered = sorted((row for row in rows if row["significant"]), key=lambda row: -abs(row["difference"]))
    better = [row for row in ordered if row["difference"] > 0]
    worse = [row for row in ordered if row["difference"] < 0]
    return (
        f"{names[0]} against {names[1]}, at {where}: better in {len(better)} of {len(rows)} tests"
        f"{_span(better, headline)}, worse in {len(worse)}{_span(worse, headline)}, no difference shown in "
        f"{len(rows) - len(better) - len(worse)}."
    )


def _one(row: Mapping[str, Any], headline: Headline) -> str:
    size, sure = f"{headline.text(abs(row['difference']))}{headline.points}", f"{_p(row)} after Holm"
    if not row["significant"]:
        return f"'{row['of']}' and '{row['against']}' are not shown to differ ({size} apart, {sure})"
    than = "better" if row["difference"] > 0 else "worse"
    return f"'{row['of']}' is {than} than '{row['against']}' by {size} ({sure})"


def _span(rows: Sequence[Mapping[str, Any]], headline: Headline) -> str:
    """The sizes of differences, the largest, which is the first, with its methods."""
    if not rows:
        return ""
    first, sizes = rows[0], [headline.text(abs(row["difference"])) for row in (rows[-1], rows[0])]
    span = f"{sizes[0]} to {sizes[1]}" if len(rows) > 1 else sizes[1]
    return f" (by {span}{headline.points}, '{first['of']}' against '{first['against']}' at {first['density']:g})"


def _densities(values: Sequence[float]) -> str:
    if len(values) < 4:
        return _listed([f"{value:g}" for value in values])
    return f"{len(values)} densities from {min(values):g} to {max(values):g}"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
