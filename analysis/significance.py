"""Tests of a declared family of comparisons: Welch's or paired, with Holm's correction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scratchcard.analysis.cells import Cell, Cells, cells
from scratchcard.analysis.comparison import Comparison, paired, welch
from scratchcard.analysis.effect import RESAMPLES, bootstrap_interval, hedges_g
from scratchcard.analysis.family import Pair, absent, declared

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "COLUMNS",
    "Comparison",
    "bootstrap_interval",
    "compare",
    "comparison_table",
    "hedges_g",
    "holm",
    "paired",
    "welch",
]

COLUMNS = (
    *("family", "of", "against", "network", "task", "density", "n_of", "n_against", "mean_of", "mean_against"),
    *("difference", "low", "high", "p", "p_adjusted", "hedges_g", "significant"),
    *("bootstrap_low", "bootstrap_high", "hedges_g_low", "hedges_g_high", "degrees_of_freedom"),
    *("paired", "counted", "family_size", "note"),
)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: `p_adjusted_(i) = max_{j <= i} min(1, (m - j + 1) p_(j))` over the ascending p.

    Holds the probability of one or more false discoveries in the family, whatever the tests' dependence. NaN are no
    tests: they stay NaN and do not count in m. Holm (1979), Scandinavian Journal of Statistics 6(2).

    Raises:
        ValueError: a p below 0 or above 1.
    """
    values = np.asarray(p_values, dtype=np.float64)
    tested = ~np.isnan(values)
    if not np.all((values[tested] >= 0) & (values[tested] <= 1)):
        raise ValueError("p values must lie in [0, 1]")
    count = int(tested.sum())
    order = np.argsort(np.where(tested, values, np.inf), kind="stable")[:count]
    adjusted = np.full(values.shape, math.nan)
    # statsmodels' multipletests gives the same, and runs the garbage collector at every call (0.1 s)
    adjusted[order] = np.maximum.accumulate(np.minimum(1.0, np.arange(count, 0, -1) * values[order]))
    return [float(value) for value in adjusted]


def compare(
    frame: pd.DataFrame,
    comparisons: Sequence[Mapping[str, Any]],
    *,
    metric: str = "test_accuracy",
    alpha: float = 0.05,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """One row a declared test, with p values corrected over its family.

    What counts in a family is fixed before any result is known: every declared test whose two labels have two or more
    runs (paired: two or more common seeds). Those with fewer are rows with p = NaN and a note, and `counted` False. A
    test that counts but cannot be had because of what came out (diverged runs, no spread) shows p = NaN and enters the
    correction as p = 1. Values that are NaN or infinite are left out of means and tests, which the note says.

    Args:
        frame: runs, from `analysis.results.frame`.
        comparisons: declared in grids; see `analysis.family.declared`.
        metric: the column that is compared.
        alpha: family-wise level of `significant`: p_adjusted <= alpha.
        resamples: of the bootstrap intervals; 0 leaves them NaN.

    Returns:
        Columns `COLUMNS`; accuracies are shares. The order of the comparisons changes the order of rows only.

    Raises:
        ValueError: see `analysis.cells.cells` and `analysis.family.declared`.
    """
    import pandas as pd

    found = cells(frame, metric)
    rows = [_row(found, pair, resamples) for pair in declared(found, comparisons)]
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


def _row(found: Cells, pair: Pair, resamples: int) -> dict[str, Any]:
    of, against, notes = _groups(found, pair)
    counted = min(len(of.seeds), len(against.seeds)) >= 2
    if pair.paired:
        common = frozenset(of.values) & frozenset(against.values)
        of, against = of.only(common), against.only(common)
    test = (paired if pair.paired else welch)(
        list(of.values.values()), list(against.values.values()), resamples=resamples
    )
    if test.note:
        notes.append(test.note + (" (counts in the family as p = 1)" if counted else " (not counted in the family)"))
    return {
        **{"family": pair.family, "of": pair.of, "against": pair.against},
        **{"network": pair.network, "task": pair.task},
        "density": math.nan if pair.density is None else pair.density,
        **{"n_of": test.n_a, "n_against": test.n_b, "mean_of": test.mean_a, "mean_against": test.mean_b},
        **{name: getattr(test, name) for name in ("difference", "low", "high", "p", "hedges_g")},
        **{name: getattr(test, name) for name in ("bootstrap_low", "bootstrap_high", "degrees_of_freedom")},
        **{name: getattr(test, name) for name in ("hedges_g_low", "hedges_g_high")},
        **{"p_adjusted": math.nan, "significant": False, "paired": pair.paired, "counted": counted},
        **{"family_size": 0, "note": "; ".join(notes)},
    }


def _groups(found: Cells, pair: Pair) -> tuple[Cell, Cell, list[str]]:
    """The two cells (paired: their common seeds), and what a reader must know of them."""
    groups, notes = [], []
    for label in (pair.of, pair.against):
        group = Cell()
        if pair.place is not None and pair.density is not None:
            group = found.get(label, pair.place, pair.density)
            if found.is_dense(label, pair.place) and pair.density != 1 and group.seeds:
                notes.append(f"{label!r}: dense networks, density 1")
        if not group.seeds:
            notes.append(absent(found, label))
        groups.append((label, group))
    if pair.paired:
        common = groups[0][1].seeds & groups[1][1].seeds
        alone = len((groups[0][1].seeds | groups[1][1].seeds) - common)
        if alone and common:
            notes.append(f"{alone} runs without a partner of the same seed left out")
        groups = [(label, group.only(common)) for label, group in groups]
    for label, group in groups:
        if group.missing:
            notes.append(f"{len(group.missing)} of {len(group.seeds)} runs of {label!r} have no finite value, left out")
        if group.diverged:
            notes.append(f"{len(group.diverged)} runs of {label!r} diverged, measured at their best before")
    return groups[0][1], groups[1][1], notes


def comparison_table(table: pd.DataFrame, *, scale: float = 100.0, digits: int = 2) -> str:
    """Markdown of what `compare` returns: one table a family, its size, and the notes below.

    Args:
        table: rows of `compare`.
        scale: of means and differences; 100 shows shares as percent and their differences in points.
        digits: after the point.
    """
    return "\n\n".join(
        _family_table(str(name), part, scale, digits) for name, part in table.groupby("family", sort=False)
    )


def _family_table(name: str, table: pd.DataFrame, scale: float, digits: int) -> str:
    def number(value: float, sign: str = "") -> str:
        return "–" if math.isnan(value) else f"{value:{sign}.{digits}f}"

    networks = table["network"].nunique(dropna=False) > 1

    def one(row: Any, mark: str) -> str:
        density = "–" if math.isnan(row.density) else f"{row.density:g}"
        interval = "" if math.isnan(row.low) else f" [{number(scale * row.low, '+')}, {number(scale * row.high, '+')}]"
        verdict = "yes" if row.significant else "no" if not math.isnan(row.p) else "not tested"
        parts = [
            f"{row.of}{' (paired)' if row.paired else ''}",
            row.against,
            *([_text(row.network)] if networks else []),
            _text(row.task),
            density,
            f"{row.n_of}, {row.n_against}",
            f"{number(scale * row.mean_of)}, {number(scale * row.mean_against)}",
            number(scale * row.difference, "+") + interval,
            number(row.hedges_g, "+"),
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
