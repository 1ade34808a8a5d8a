"""What a report is made from: runs, grids, failed runs, predictors, ticket anatomy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scratchcard.analysis.groups import rows_of

if TYPE_CHECKING:
    import pandas as pd

SETTINGS = {
    **{"predictor": "{}", "scoring_examples": "{} scoring examples", "max_steps": "{} steps"},
    **{"rewind_step": "rewind step {}", "data_digest": "data {:.8}", "metric": "by {}"},
    **{"results_version": "results version {}", "engine": "engine {}", "device": "device {}"},
}
"""What tells two methods of one label apart, the most telling first, and how it is said."""


@dataclass(frozen=True)
class Inputs:
    """All that the sections read.

    Attributes:
        source: names of the folders or files they came from.
        runs: `analysis.results.frame`, with the column `method`: what a report calls a run's method.
        grids: the grids' manifests, the one of most runs first.
        failures: `analysis.results.failures`.
        predictors: records of fitted predictors.
        published: published accuracies that the runs can stand beside, `analysis.published.beside`.
        metrics: published metrics of predictors.
        anatomy: `anatomy.parquet`, or None.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task, sc.Recipe(max_steps=10, batch_size=32))
        >>> _ = sc.sweep([sc.Experiment(workload, sc.Method("snip"), 0.25, seed) for seed in (0, 1)], "inputs")
        >>> inputs = gather(["inputs"])
        >>> grid = {"name": "toy", "digests": [inputs.runs["digest"][0]]}
        >>> len(inputs.runs), len(inputs.part(grid).runs)
        (2, 1)
    """

    source: str
    runs: pd.DataFrame
    grids: tuple[Mapping[str, Any], ...]
    failures: pd.DataFrame
    predictors: tuple[Mapping[str, Any], ...]
    published: pd.DataFrame
    metrics: tuple[Mapping[str, Any], ...]
    anatomy: pd.DataFrame | None

    def part(self, grid: Mapping[str, Any]) -> Inputs:
        """The same with one grid's runs alone."""
        wanted = set(grid.get("digests") or ())
        runs, failed = (rows[rows["digest"].isin(wanted)] for rows in (self.runs, self.failures))
        return dataclasses.replace(self, runs=runs, grids=(grid,), failures=failed)

    def figures(self, grid: Mapping[str, Any]) -> dict[tuple[str, str], list[dict[str, Any]]]:
        """Published accuracies (%) by (network, task): method, density, accuracy, source, starred, steps, runs.

        Where two tables of a source give one method's figure, that of the table which the grid names counts.
        """
        place = ["network", "task", "label"]
        named = ~self.published["table"].isin(grid.get("references") or ())
        known = self.published.assign(other=named).sort_values("other", kind="stable")
        methods = self.runs[[*place, "method"]].drop_duplicates()
        rows = known.merge(methods, on=place).drop_duplicates([*place, "method", "density"])
        rows = rows.assign(
            accuracy=100 * rows["test_accuracy"].astype(float),
            source=rows["citation"],
            starred=rows["starred"].fillna(value=False).astype(bool),
            runs=rows["runs"].astype(object).where(rows["runs"].notna(), None),
        )
        shown = ["method", "density", "accuracy", "source", "starred", "steps", "runs"]
        ordered = rows.sort_values(["method", "density"], kind="stable")
        parts = ordered.groupby(place[:2])
        return {(str(network), str(task)): rows_of(part[shown]) for (network, task), part in parts}


def gather(sources: Sequence[str | Path], anatomy: str | Path | None = None) -> Inputs:
    """Read folders of results, or what was exported from them; a run that is in several counts once.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: there is no run in one of them, or a file is not ours.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task, sc.Recipe(max_steps=10, batch_size=32))
        >>> _ = sc.sweep([sc.Experiment(workload, sc.Method("snip"), 0.25, 0)], "gathered")
        >>> inputs = gather(["gathered", "gathered"])
        >>> inputs.source, inputs.runs["method"].tolist()
        ('gathered and gathered', ['snip'])
    """
    import pandas as pd

    from scratchcard.analysis import results
    from scratchcard.analysis.anatomy import read_anatomy
    from scratchcard.analysis.published import beside, published

    paths = [Path(source) for source in sources]
    frames = [results.frame(path) for path in paths]
    runs = pd.concat(frames, ignore_index=True).drop_duplicates("digest", ignore_index=True)
    failures = pd.concat([results.failures(path) for path in paths], ignore_index=True)
    failures = failures[~failures["digest"].isin(set(runs["digest"]))].drop_duplicates("digest", ignore_index=True)
    grids = {(g["name"], g.get("title")): g for path in paths for g in results.grids(path)}
    fitted = {p["identity"]: p for path in paths for p in results.predictors(path)}
    measured = tuple(record for record in fitted.values() if isinstance(record.get("metrics"), dict))
    places = [path / "anatomy.parquet" for path in paths] if anatomy is None else []
    place = next((path for path in places if path.is_file()), anatomy)
    return Inputs(
        " and ".join(path.name for path in paths),
        named(runs),
        tuple(sorted(grids.values(), key=lambda grid: -len(set(grid["digests"])))),
        failures,
        measured,
        beside(runs),
        tuple(rows_of(published("meta_model_metrics"))) if measured else (),
        None if place is None else read_anatomy(place),
    )


def named(runs: pd.DataFrame) -> pd.DataFrame:
    """The frame with the column `method`: the label, and what else tells runs of one label apart.

    Two runs of one network, task, label, density and seed differ in some setting; the settings that differ
    among runs of that label join its name.

    >>> import pandas as pd
    >>> runs = pd.DataFrame(dict.fromkeys(SETTINGS), index=[0, 1]).assign(max_steps=[100, 500])
    >>> named(runs.assign(network="lenet", task="digits", label="snip", density=0.1, seed=0))["method"].tolist()
    ['snip [100 steps]', 'snip [500 steps]']
    """
    runs = runs.assign(method=runs["label"].astype(str))
    for setting, form in SETTINGS.items():
        twice = runs.loc[runs.duplicated(["network", "task", "method", "density", "seed"], keep=False), "method"]
        for label, group in runs[runs["method"].isin(set(twice))].groupby("method", sort=False):
            if group[setting].nunique(dropna=False) > 1:
                names = [f"{label} [{form.format(word(value))}]" for value in group[setting]]
                runs.loc[group.index, "method"] = names
    return runs


def word(value: Any) -> str:
    """A setting's value as it is read: `none` where it is missing, whole numbers without a point.

    >>> word(500.0), word("cpu"), word(None), word(float("nan"))
    ('500', 'cpu', 'none', 'none')
    """
    if value is None or value != value:  # NaN is not itself
        return "none"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
