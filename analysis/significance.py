"""Tests of a declared family of comparisons: Welch's or paired, with Holm's correction."""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

from scratchcard.analysis.groups import DENSE, Group, Methods, Place, density_key, methods
from scratchcard.analysis.two_samples import holm, paired, welch

if TYPE_CHECKING:
    import pandas as pd

ALPHA = 0.05
"""Family-wise level of `significant`: p_adjusted <= ALPHA."""
COLUMNS = (
    *("family", "of", "against", "network", "task", "density", "metric", "n_of", "n_against", "mean_of"),
    *("mean_against", "difference", "low", "high", "p", "p_adjusted", "hedges_g", "significant"),
    *("degrees_of_freedom", "paired", "counted", "family_size", "note"),
)


class _Pair(NamedTuple):
    """One declared test: `of` against `against`; the place is None where nothing is known of it."""

    family: str
    of: str
    against: str
    network: str | None
    task: str | None
    density: float | None
    paired: bool


def compare(frame: pd.DataFrame, comparisons: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row a declared test, with p values corrected over its family.

    A family holds each (of, against, density, network, task) with of != against, over all `comparisons` of its name.
    Where no densities are declared they are all at which one of the two labels has runs; a label whose runs are all
    dense (a dense network, density 1) is compared at every density of the other. Where no network or no task is
    declared, it is every one that has runs of one of the two.

    What counts in a family is fixed before any result is known: every declared test whose two labels have two or more
    runs (paired: two or more common seeds). Those with fewer are rows with p = NaN and a note, and `counted` False. A
    test that counts but cannot be had because of what came out (diverged runs, no spread) shows p = NaN and enters the
    correction as p = 1. Values that are NaN or infinite are left out of means and tests, which the note says.

    Args:
        frame: runs, from `analysis.results.frame`.
        comparisons: declared in grids: name, of, against; densities, network, task, paired where they are told.

    Returns:
        Columns `COLUMNS`; accuracies are shares. The order of the comparisons changes the order of rows only.

    Raises:
        ValueError: see `analysis.groups.methods`; a comparison without its parts, or with a text where a list belongs.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task, sc.Recipe(max_steps=10, batch_size=32))
        >>> methods = sc.Method("random"), sc.Method("snip")
        >>> runs = [sc.Experiment(workload, method, 0.25, seed) for method in methods for seed in (0, 1)]
        >>> _ = sc.sweep(runs, "compared")
        >>> declared_first = [{"name": "against chance", "of": ["snip"], "against": ["random"]}]
        >>> compare(sc.frame("compared"), declared_first)[["of", "against", "family_size"]].values.tolist()
        [['snip', 'random', 1]]
    """
    import pandas as pd

    found = methods(frame)
    table = pd.DataFrame([_row(found, pair) for pair in _declared(found, comparisons)], columns=list(COLUMNS))
    for _, family in table.groupby("family", sort=False):
        counted = family[family["counted"]]
        adjusted = pd.Series(holm(counted["p"].fillna(1.0).to_list()), counted.index)
        table.loc[counted.index, "p_adjusted"] = adjusted.where(counted["p"].notna())
        table.loc[family.index, "family_size"] = len(counted)
    table["significant"] = table["p_adjusted"] <= ALPHA
    return table.astype({"density": float, "significant": bool, "counted": bool, "paired": bool})


def _declared(found: Methods, comparisons: Sequence[Mapping[str, Any]]) -> list[_Pair]:
    """Every test of every family, once, also those that have no runs yet; (b, a) is the hypothesis of (a, b)."""
    pairs: dict[tuple[object, ...], _Pair] = {}
    for comparison in comparisons:
        missing = [key for key in ("name", "of", "against") if key not in comparison]
        if missing:
            raise ValueError(f"a comparison needs a name, of and against; this one has no {', '.join(missing)}")
        name, of, against = (comparison[key] for key in ("name", "of", "against"))
        for key, labels in (("of", of), ("against", against)):
            if isinstance(labels, str):
                raise ValueError(f"{key!r} of the comparison {name!r} must be a list of labels, got {labels!r}")
        for one, other in itertools.product(of, against):
            for point in _points(found, one, other, comparison) if one != other else ():
                pair = _Pair(str(name), one, other, *point, bool(comparison.get("paired", False)))
                pairs.setdefault((pair.family, frozenset((one, other)), pair[3:]), pair)
    return list(pairs.values())


def _points(
    found: Methods, one: str, other: str, comparison: Mapping[str, Any]
) -> Iterator[tuple[str | None, str | None, float | None]]:
    wanted, network, task = (comparison.get(key) for key in ("densities", "network", "task"))
    known = False
    for place in found.places:
        mine, theirs = found.densities(one, place), found.densities(other, place)
        if network not in (None, place.network) or task not in (None, place.task) or not mine | theirs:
            continue
        known = True
        there = mine | theirs
        if mine and theirs and (mine == {DENSE}) != (theirs == {DENSE}):
            there = theirs if mine == {DENSE} else mine
        for density in sorted(there) if wanted is None else wanted:
            yield *place, density_key(density)
    if not known:
        for density in [None] if wanted is None else wanted:
            yield network, task, None if density is None else density_key(density)


def _row(found: Methods, pair: _Pair) -> dict[str, Any]:
    of, against, notes = _groups(found, pair)
    counted = min(len(of.every_seed), len(against.every_seed)) >= 2
    if pair.paired:
        common = frozenset(of.seeds) & frozenset(against.seeds)
        of, against = of.only(common), against.only(common)
    test = (paired if pair.paired else welch)(of.values, against.values)
    if test.note:
        notes.append(test.note + (" (counts in the family as p = 1)" if counted else " (not counted in the family)"))
    told = {"metric": of.metric if of.rows else against.metric, "p_adjusted": math.nan, "counted": counted}
    return pair._asdict() | asdict(test) | told | {"family_size": 0, "note": "; ".join(notes)}


def _groups(found: Methods, pair: _Pair) -> tuple[Group, Group, list[str]]:
    """The two groups (paired: their common seeds), and what a reader must know of them."""
    place = None if pair.network is None or pair.task is None else Place(pair.network, pair.task)
    both: dict[str, Group] = {}
    notes = []
    for label in (pair.of, pair.against):
        group = both[label] = Group()
        if place is not None and pair.density is not None:
            group = both[label] = found.get(label, place, pair.density)
            if found.is_dense(label, place) and pair.density != 1 and group.every_seed:
                notes.append(f"{label!r}: dense networks, density 1")
        if not group.every_seed:
            near = difflib.get_close_matches(label, found.labels, 1)
            nearest = f" (nearest label: {near[0]!r})" if near else ""
            notes.append(f"no runs of {label!r}" + (" here" if label in found.labels else nearest))
    if pair.paired:
        seeds = [group.every_seed for group in both.values()]
        common = seeds[0] & seeds[1]
        alone = len((seeds[0] | seeds[1]) - common)
        if alone and common:
            notes.append(f"{alone} runs without a partner of the same seed left out")
        both = {label: group.only(common) for label, group in both.items()}
    for label, group in both.items():
        if group.missing:
            missing, every = len(group.missing), len(group.every_seed)
            notes.append(f"{missing} of {every} runs of {label!r} have no finite value, left out")
        if group.diverged:
            notes.append(f"{len(group.diverged)} runs of {label!r} diverged, measured at their best before")
    return both[pair.of], both[pair.against], notes


def notes_of(table: pd.DataFrame) -> list[str]:
    """The notes of tests, each once.

    >>> import pandas as pd
    >>> notes_of(pd.DataFrame({"note": ["", "no runs of 'grasp'", "no runs of 'grasp'"]}))
    ["no runs of 'grasp'"]
    """
    return list(dict.fromkeys(note for note in table["note"] if note))


def verdict_of(row: Mapping[str, Any]) -> str:
    """Whether a test is significant, in a word.

    >>> verdict_of({"significant": False, "p": 0.3}), verdict_of({"significant": False, "p": math.nan})
    ('no', 'not tested')
    """
    return "yes" if row["significant"] else "not tested" if math.isnan(row["p"]) else "no"


def shown(value: float, form: str) -> str:
    """A number as a text; `–` where there is none.

    >>> shown(0.8123, ".2f"), shown(math.nan, ".2f")
    ('0.81', '–')
    """
    return "–" if math.isnan(value) else format(value, form)


def p_text(p: float) -> str:
    """`0.0312`, `< 0.0001`, or `–` where there is none.

    >>> p_text(0.81234), p_text(0.031234), p_text(1e-9)
    ('0.81', '0.0312', '< 0.0001')
    """
    return "< 0.0001" if p < 1e-4 else shown(p, ".4f" if p < 0.1 else ".2f")
