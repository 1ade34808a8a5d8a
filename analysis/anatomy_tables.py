"""Tables of an anatomy (`analysis.anatomy`): its overlaps, cores and means, out of the long form."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

PLACE = ["workload", "density"]
MEASURES = ("jaccard", "spread", "chance", "chance_by_layer", "seeds")


def places(frame: pd.DataFrame) -> list[tuple[str, float]]:
    """The workloads and densities of an anatomy, sorted."""
    found = frame[PLACE].drop_duplicates().sort_values(PLACE)
    return [(str(workload), float(density)) for workload, density in found.itertuples(index=False)]


def overlap_matrix(frame: pd.DataFrame, measure: str = "jaccard") -> pd.DataFrame:
    """Means over seeds of every two methods, labels along both sides; empty without two methods.

    The diagonal is NaN except where one initialisation has several tickets of a method. Pairs that never had the same
    seed are NaN too.

    Args:
        frame: rows of one workload and density.
        measure: one of `MEASURES`.
    """
    import pandas as pd

    rows = frame.loc[(frame["kind"] == "overlap") & (frame["name"] == measure), ["label", "other", "value"]]
    both = pd.concat([rows, rows.rename(columns={"label": "other", "other": "label"})]).drop_duplicates()
    return both.pivot(index="label", columns="other", values="value")


def core_sizes(frame: pd.DataFrame) -> pd.DataFrame:
    """How many weights the tickets of one initialisation have in common, as means over seeds.

    Columns: workload, density, tickets (n of one seed), at_least (k), seeds, weights, expected, expected_by_layer: for
    every k from 1 to n. The core is the row with k = n. Seeds with other numbers of tickets have rows of their own.
    """
    rows = frame[frame["kind"] == "core"].copy()
    rows["tickets"] = rows.groupby([*PLACE, "seed"])["at"].transform("max").astype("int64")
    rows["at_least"] = rows["at"].astype("int64")
    keys = [*PLACE, "tickets", "at_least"]
    means = rows.pivot_table(index=keys, columns="name", values="value", aggfunc="mean")
    means = means.reindex(columns=["weights", "expected", "expected_by_layer"])
    means.insert(0, "seeds", rows[rows["name"] == "weights"].groupby(keys)["seed"].nunique())
    means.columns.name = None
    return means.reset_index()


def means(frame: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Means over seeds of the numbers of a kind (`ticket`, `layer` or `weights`), a column a name.

    Columns: workload, density, label, layer (`""`: all), seeds, then the names; NaN where no seed has the number.
    """
    rows = frame[frame["kind"] == kind]
    keys = [*PLACE, "label", "layer"]
    table = rows.pivot_table(index=keys, columns="name", values="value", aggfunc="mean", sort=False)
    # `density` is what was asked for; the share that was really kept has the name of its own.
    table = table[list(dict.fromkeys(rows["name"]))].rename(columns={"density": "kept_density"})
    table.insert(0, "seeds", rows.groupby(keys)["seed"].nunique())
    table.columns.name = None
    return table.reset_index().sort_values([*PLACE, "label"], kind="stable", ignore_index=True)
