"""Tables of an anatomy (`analysis.anatomy`): its overlaps, cores and means, out of the long form."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

PLACE = ["workload", "density"]
MEASURES = ("jaccard", "spread", "chance", "chance_by_layer", "seeds")


def places(frame: pd.DataFrame) -> list[tuple[str, float]]:
    """The workloads and densities of an anatomy, sorted.

    >>> import pandas as pd
    >>> places(pd.DataFrame({"workload": ["lenet-digits"] * 3, "density": [0.1, 0.02, 0.1]}))
    [('lenet-digits', 0.02), ('lenet-digits', 0.1)]
    """
    found = frame[PLACE].drop_duplicates().sort_values(PLACE)
    return [(str(workload), float(density)) for workload, density in found.itertuples(index=False)]


def overlap_matrix(frame: pd.DataFrame, measure: str = "jaccard") -> pd.DataFrame:
    """Means over seeds of every two methods, labels along both sides; empty without two methods.

    The diagonal is NaN except where one initialisation has several tickets of a method. Pairs that never had the same
    seed are NaN too.

    Args:
        frame: rows of one workload and density.
        measure: one of `MEASURES`.

    Examples:
        >>> import pandas as pd
        >>> pair = {"kind": "overlap", "name": "jaccard", "label": "grasp", "other": "snip", "value": 0.25}
        >>> overlap_matrix(pd.DataFrame([pair])).to_numpy().tolist()
        [[nan, 0.25], [0.25, nan]]
    """
    import pandas as pd

    rows = frame.loc[(frame["kind"] == "overlap") & (frame["name"] == measure), ["label", "other", "value"]]
    both = pd.concat([rows, rows.rename(columns={"label": "other", "other": "label"})]).drop_duplicates()
    return both.pivot(index="label", columns="other", values="value")


def core_sizes(frame: pd.DataFrame) -> pd.DataFrame:
    """How many weights the tickets of one initialisation have in common, as means over seeds.

    Columns: workload, density, tickets (n of one seed), at_least (k), seeds, weights, expected, expected_by_layer: for
    every k from 1 to n. The core is the row with k = n. Seeds with other numbers of tickets have rows of their own.

    >>> import pandas as pd
    >>> names, at, counts = ["weights", "expected"] * 2, [1, 1, 2, 2], [900, 950, 100, 50]
    >>> frame = pd.DataFrame({"kind": "core", "name": names, "at": at, "value": counts})
    >>> core_sizes(frame.assign(workload="lenet-digits", density=0.1, seed=0))[["at_least", "weights", "expected"]]
       at_least  weights  expected
    0         1    900.0     950.0
    1         2    100.0      50.0
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

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"kind": "ticket", "name": "kept", "seed": [0, 1], "value": [100.0, 102.0]})
    >>> frame = frame.assign(workload="lenet-digits", density=0.1, label="snip", layer="")
    >>> means(frame, "ticket")[["label", "seeds", "kept"]].values.tolist()
    [['snip', 2, 101.0]]
    """
    rows = frame[frame["kind"] == kind]
    keys = [*PLACE, "label", "layer"]
    table = rows.pivot_table(index=keys, columns="name", values="value", aggfunc="mean", sort=False)
    # `density` is what was asked for; the share that was really kept has the name of its own.
    table = table[list(dict.fromkeys(rows["name"]))].rename(columns={"density": "kept_density"})
    table.insert(0, "seeds", rows.groupby(keys)["seed"].nunique())
    table.columns.name = None
    return table.reset_index().sort_values([*PLACE, "label"], kind="stable", ignore_index=True)
