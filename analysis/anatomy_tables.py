"""What is read off an anatomy: matrices of overlap, sizes of cores, means over seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

MEASURES = ("jaccard", "spread", "chance", "chance_by_layer", "seeds")
_PLACE = ["workload", "density"]


def places(frame: pd.DataFrame) -> list[tuple[str, float]]:
    """The workloads and densities of an anatomy, sorted."""
    found = frame[_PLACE].drop_duplicates().sort_values(_PLACE)
    return [(str(workload), float(density)) for workload, density in found.itertuples(index=False)]


def overlap_matrix(frame: pd.DataFrame, workload: str, density: float, measure: str = "jaccard") -> pd.DataFrame:
    """Means over seeds of every two methods, labels along both sides; empty without two methods.

    The diagonal is NaN except where one initialisation has several tickets of a method. Pairs that never had the same
    seed are NaN too.

    Raises:
        ValueError: an unknown measure, or a workload and density that the anatomy lacks.
    """
    import pandas as pd

    if measure not in MEASURES:
        raise ValueError(f"unknown measure {measure!r}, expected one of {', '.join(MEASURES)}")
    rows = _at(frame, workload, density, "overlap")
    rows = rows[rows["name"] == measure]
    labels = sorted({*rows["label"], *rows["other"]})
    values = pd.DataFrame(np.nan, index=labels, columns=labels)
    for label, other, value in rows[["label", "other", "value"]].itertuples(index=False):
        values.loc[label, other] = values.loc[other, label] = value
    return values


def core_sizes(frame: pd.DataFrame) -> pd.DataFrame:
    """How many weights the tickets of one initialisation have in common, as means over seeds.

    Columns: workload, density, tickets (n of one seed), at_least (k), seeds, weights, expected, expected_by_layer: for
    every k from 1 to n. The core is the row with k = n. Seeds with other numbers of tickets have rows of their own.
    """
    rows = frame[frame["kind"] == "core"].copy()
    rows["tickets"] = rows.groupby([*_PLACE, "seed"])["at"].transform("max").astype("int64")
    rows["at_least"] = rows["at"].astype("int64")
    keys = [*_PLACE, "tickets", "at_least"]
    means = rows.pivot_table(index=keys, columns="name", values="value", aggfunc="mean")
    means = means.reindex(columns=["weights", "expected", "expected_by_layer"])
    means.insert(0, "seeds", rows[rows["name"] == "weights"].groupby(keys)["seed"].nunique())
    means.columns.name = None
    return means.reset_index()


def means(frame: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Means over seeds of the numbers of a kind (`ticket`, `layer` or `weights`), a column a name.

    Columns: workload, density, label, layer (`""`: all), seeds, then the names; NaN where no seed has the number.

    Raises:
        ValueError: another kind.
    """
    if kind not in ("ticket", "layer", "weights"):
        raise ValueError(f"no means of {kind!r}, expected ticket, layer or weights")
    rows = frame[frame["kind"] == kind]
    keys = [*_PLACE, "label", "layer"]
    order = list(dict.fromkeys(rows["name"]))
    table = rows.pivot_table(index=keys, columns="name", values="value", aggfunc="mean", sort=False)
    table = table.reindex(columns=order)
    # `density` is what was asked for; the share that was really kept has the name of its own.
    table = table.rename(columns={"density": "kept_density"})
    table.insert(0, "seeds", rows.groupby(keys)["seed"].nunique())
    table.columns.name = None
    return table.reset_index().sort_values([*_PLACE, "label"], kind="stable", ignore_index=True)


def _at(frame: pd.DataFrame, workload: str, density: float, kind: str) -> pd.DataFrame:
    there = frame[(frame["workload"] == workload) & (frame["density"] == density)]
    if there.empty:
        known = "; ".join(f"{name} at {value:g}" for name, value in places(frame)) or "nothing"
        raise ValueError(f"the anatomy holds no tickets of {workload} at density {density:g}; it has {known}")
    return there[there["kind"] == kind]
