"""Tests of a declared family of comparisons: Welch's or paired, with Holm's correction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scratchcard.analysis.declared import Pair, absent, declared
from scratchcard.analysis.groups import MEASURE, Group, Methods, methods
from scratchcard.analysis.headline import Headline
from scratchcard.analysis.two_samples import holm, paired, welch

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    *("family", "of", "against", "network", "task", "density", "metric", "n_of", "n_against", "mean_of"),
    *("mean_against", "difference", "low", "high", "p", "p_adjusted", "hedges_g", "significant"),
    *("degrees_of_freedom", "paired", "counted", "family_size", "note"),
)


def compare(
    frame: pd.DataFrame,
    comparisons: Sequence[Mapping[str, Any]],
    *,
    measure: str = MEASURE,
    alpha: float = 0.05,
) -> pd.DataFrame:
    """One row a declared test, with p values corrected over its family.

    What counts in a family is fixed before any result is known: every declared test whose two labels have two or more
    runs (paired: two or more common seeds). Those with fewer are rows with p = NaN and a note, and `counted` False. A
    test that counts but cannot be had because of what came out (diverged runs, no spread) shows p = NaN and enters the
    correction as p = 1. Values that are NaN or infinite are left out of means and tests, which the note says.

    Args:
        frame: runs, from `analysis.results.frame`.
        comparisons: declared in grids; see `analysis.declared.declared`.
        measure: the column that is compared.
        alpha: family-wise level of `significant`: p_adjusted <= alpha.

    Returns:
        Columns `COLUMNS`; accuracies are shares. The order of the comparisons changes the order of rows only.

    Raises:
        ValueError: see `analysis.groups.methods` and `analysis.declared.declared`.
    """
    import pandas as pd

    found = methods(frame, measure)
    rows = [_row(found, pair) for pair in declared(found, comparisons)]
    for family in dict.fromkeys(row["family"] for row in rows):
        counted = [row for row in rows if row["family"] == family and row["counted"]]
        adjusted = holm([1.0 if math.isnan(row["p"]) else row["p"] for row in counted])
        for row, value in zip(counted, adjusted, strict=True):
            row["p_adjusted"] = math.nan if math.isnan(row["p"]) else value
            row["significant"] = row["p_adjusted"] <= alpha
        for row in rows:
            if row["family"] == family:
                row["family_size"] = len(counted)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype({"density": float, "significant": bool, "counted": bool, "paired": bool})


def _row(found: Methods, pair: Pair) -> dict[str, Any]:
    of, against, notes = _groups(found, pair)
    counted = min(len(of.every_seed), len(against.every_seed)) >= 2
    if pair.paired:
        common = frozenset(of.seeds) & frozenset(against.seeds)
        of, against = of.only(common), against.only(common)
    test = (paired if pair.paired else welch)(of.values, against.values)
    if test.note:
        notes.append(test.note + (" (counts in the family as p = 1)" if counted else " (not counted in the family)"))
    return {
        **{"family": pair.family, "of": pair.of, "against": pair.against},
        **{"network": pair.network, "task": pair.task, "metric": of.metric if of.rows else against.metric},
        "density": math.nan if pair.density is None else pair.density,
        **{"n_of": test.n_a, "n_against": test.n_b, "mean_of": test.mean_a, "mean_against": test.mean_b},
        **{name: getattr(test, name) for name in ("difference", "low", "high", "p", "hedges_g", "degrees_of_freedom")},
        **{"p_adjusted": math.nan, "significant": False, "paired": pair.paired, "counted": counted},
        **{"family_size": 0, "note": "; ".join(notes)},
    }


def _groups(found: Methods, pair: Pair) -> tuple[Group, Group, list[str]]:
    """The two groups (paired: their common seeds), and what a reader must know of them."""
    groups, notes = [], []
    for label in (pair.of, pair.against):
        group = Group()
        if pair.place is not None and pair.density is not None:
            group = found.get(label, pair.place, pair.density)
            if found.is_dense(label, pair.place) and pair.density != 1 and group.every_seed:
                notes.append(f"{label!r}: dense networks, density 1")
        if not group.every_seed:
            notes.append(absent(found, label))
        groups.append((label, group))
    if pair.paired:
        common = groups[0][1].every_seed & groups[1][1].every_seed
        alone = len((groups[0][1].every_seed | groups[1][1].every_seed) - common)
        if alone and common:
            notes.append(f"{alone} runs without a partner of the same seed left out")
        groups = [(label, group.only(common)) for label, group in groups]
    for label, group in groups:
        if group.missing:
            notes.append(
                f"{len(group.missing)} of {len(group.every_seed)} runs of {label!r} have no finite value, left out"
            )
        if group.diverged:
            notes.append(f"{len(group.diverged)} runs of {label!r} diverged, measured at their best before")
    return groups[0][1], groups[1][1], notes


def comparison_table(table: pd.DataFrame) -> str:
    """Markdown of what `compare` returns: one table a family, its size, and the notes below; accuracies in per cent."""
    return "\n\n".join(_family_table(str(name), part) for name, part in table.groupby("family", sort=False))


def _family_table(name: str, table: pd.DataFrame) -> str:
    networks = table["network"].nunique(dropna=False) > 1

    def one(row: Any, mark: str) -> str:
        headline = Headline(row.metric)

        def number(value: float, sign: str = "") -> str:
            return "–" if math.isnan(value) else headline.text(value, sign)

        density = "–" if math.isnan(row.density) else f"{row.density:g}"
        interval = "" if math.isnan(row.low) else f" [{number(row.low, '+')}, {number(row.high, '+')}]"
        verdict = "yes" if row.significant else "no" if not math.isnan(row.p) else "not tested"
        parts = [
            f"{row.of}{' (paired)' if row.paired else ''}",
            row.against,
            *([_text(row.network)] if networks else []),
            _text(row.task),
            density,
            f"{row.n_of}, {row.n_against}",
            f"{number(row.mean_of)}, {number(row.mean_against)}",
            number(row.difference, "+") + interval,
            "–" if math.isnan(row.hedges_g) else f"{row.hedges_g:+.2f}",
            p_text(row.p),
            p_text(row.p_adjusted),
            verdict + mark,
        ]
        return "| " + " | ".join(str(part).replace("|", "\\|") for part in parts) + " |"

    notes = list(dict.fromkeys(note for note in table["note"] if note))
    rows = [one(row, f" ({notes.index(row.note) + 1})" if row.note else "") for row in table.itertuples(index=False)]
    size, left_out = int(table["family_size"].iloc[0]), int((~table["counted"]).sum())
    heading = f"**{name}**: {size} tests, p corrected by Holm over all of them"
    heading += f"; {left_out} declared without enough runs, not counted." if left_out else "."
    lines = [
        heading,
        "",
        f"| of | against |{' network |' * networks} task | density | runs | means | difference [95 %] | g | p "
        "| p, Holm | significant |",
        "|---" * (11 + networks) + "|",
        *rows,
    ]
    return "\n".join(lines + [line for i, note in enumerate(notes, 1) for line in ("", f"({i}) {note}")])


def _text(name: object) -> str:
    return name if isinstance(name, str) else "–"


def p_text(p: float) -> str:
    """`0.0312`, `< 0.0001`, or `–` where there is none."""
    return "–" if math.isnan(p) else "< 0.0001" if p < 1e-4 else f"{p:.4f}" if p < 0.1 else f"{p:.2f}"
