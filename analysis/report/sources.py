"""What a report is made from: runs, grids, failed runs, predictors, ticket anatomy, histories."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

SETTINGS = (
    *("predictor", "scoring_examples", "max_steps", "rewind_step", "data_digest", "metric"),
    *("results_version", "engine", "device"),
)
"""What tells two methods of one label apart, the most telling first."""
NAMES = {
    **{"predictor": "{}", "scoring_examples": "{} scoring examples", "max_steps": "{} steps"},
    **{"data_digest": "data {:.8}", "metric": "by {}"},
}


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
        histories: digest to (step, train loss, validation loss, validation accuracy).
    """

    source: str
    runs: pd.DataFrame
    grids: tuple[Mapping[str, Any], ...] = ()
    failures: pd.DataFrame | None = None
    predictors: tuple[Mapping[str, Any], ...] = ()
    published: pd.DataFrame | None = None
    metrics: tuple[Mapping[str, Any], ...] = ()
    anatomy: pd.DataFrame | None = None
    histories: Mapping[str, list[list[float]]] = field(default_factory=dict)

    def part(self, grid: Mapping[str, Any]) -> Inputs:
        """The same with one grid's runs alone."""
        wanted = set(grid.get("digests") or ())
        runs = self.runs[self.runs["digest"].isin(wanted)]
        failed = self.failures[self.failures["digest"].isin(wanted)] if self.failures is not None else None
        return dataclasses.replace(self, runs=runs, grids=(grid,), failures=failed)

    def figures(self, grid: Mapping[str, Any]) -> dict[tuple[str, str], list[dict[str, Any]]]:
        """Published accuracies (%) by (network, task): method, density, accuracy, source, starred, steps, runs.

        Where two tables of a source give one method's figure, that of the table which the grid names counts.
        """
        import pandas as pd

        if self.published is None:
            return {}
        named = set(grid.get("references") or ())
        rows = self.published.to_dict("records")
        found: dict[tuple[str, str], list[dict[str, Any]]] = {}
        methods = self.runs.drop_duplicates(["network", "task", "label", "method"])
        places = methods.groupby(["network", "task", "label"])["method"].agg(list).to_dict()
        seen = set()
        for row in sorted(rows, key=lambda row: row["table"] not in named):
            key = (row["network"], row["task"], row["label"])
            for method in places.get(key, ()):
                if (key, method, row["density"]) in seen:
                    continue
                seen.add((key, method, row["density"]))
                found.setdefault(key[:2], []).append(
                    {
                        "method": method,
                        "density": float(row["density"]),
                        "accuracy": 100 * float(row["test_accuracy"]),
                        "source": str(row["citation"]),
                        "starred": row["starred"] is True,
                        "steps": float(row["steps"]),
                        "runs": None if pd.isna(row["runs"]) else int(row["runs"]),
                    }
                )
        for figures in found.values():
            figures.sort(key=lambda figure: (figure["method"], figure["density"]))
        return found


def gather(sources: Sequence[str | Path], anatomy: str | Path | None = None) -> Inputs:
    """Read folders of results, or what was exported from them; a run that is in several counts once.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: there is no run in one of them, or a file is not ours.
    """
    import pandas as pd

    from scratchcard.analysis import results
    from scratchcard.analysis.published import beside

    frames = [results.frame(source) for source in sources]
    runs = pd.concat(frames, ignore_index=True).drop_duplicates("digest", ignore_index=True)
    failures = pd.concat([results.failures(source) for source in sources], ignore_index=True)
    failures = failures[~failures["digest"].isin(set(runs["digest"]))].drop_duplicates("digest", ignore_index=True)
    grids = {(g["name"], g.get("title")): g for source in sources for g in results.grids(source)}
    fitted = {p["identity"]: p for source in sources for p in results.predictors(source)}
    measured = tuple(record for record in fitted.values() if isinstance(record.get("metrics"), dict))
    histories: dict[str, list[list[float]]] = {}
    for source, frame in zip(sources, frames, strict=True):
        histories |= _histories(Path(source), frame)
    return Inputs(
        " and ".join(Path(source).name for source in sources),
        named(runs),
        tuple(sorted(grids.values(), key=lambda grid: -len(set(grid["digests"])))),
        failures,
        measured,
        beside(runs),
        _metrics() if measured else (),
        _anatomy([Path(source) for source in sources], anatomy),
        histories,
    )


def named(runs: pd.DataFrame) -> pd.DataFrame:
    """The frame with the column `method`: the label, and what else tells runs of one label apart.

    Two runs of one network, task, label, density and seed differ in some setting; the settings that differ
    among runs of that label join its name.
    """
    runs = runs.copy()
    runs["method"] = runs["label"].astype(str)
    for setting in SETTINGS:
        key = ["network", "task", "method", "density", "seed"]
        twice = runs[runs.duplicated(key, keep=False)]
        if twice.empty:
            break
        clashing = set(twice["method"])
        for label, group in runs[runs["method"].isin(clashing)].groupby("method", sort=False):
            values = group[setting]
            if values.nunique(dropna=False) < 2:
                continue
            form = NAMES.get(setting, setting.replace("_", " ") + " {}")
            runs.loc[values.index, "method"] = [f"{label} [{form.format(_word(v))}]" for v in values]
    return runs


def _word(value: Any) -> str:
    if value is None or value != value:  # NaN is not itself
        return "none"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _metrics() -> tuple[Mapping[str, Any], ...]:
    from scratchcard.analysis.published import published

    rows = published("meta_model_metrics").to_dict("records")
    return tuple({str(name): value for name, value in row.items()} for row in rows)


def _anatomy(sources: Sequence[Path], given: str | Path | None) -> pd.DataFrame | None:
    beside = [path for source in sources if source.is_dir() and (path := source / "anatomy.parquet").is_file()]
    if given is None and not beside:
        return None
    from scratchcard.analysis.anatomy import read_anatomy

    return read_anatomy(given if given is not None else beside[0])


def _histories(source: Path, runs: pd.DataFrame) -> dict[str, list[list[float]]]:
    histories = {}
    for digest in runs["digest"] if source.is_dir() else ():
        try:
            record = json.loads((source / f"{digest}.json").read_text())
        except (OSError, UnicodeDecodeError, json.JSONDecodeError):
            continue
        if record.get("history"):
            histories[str(digest)] = record["history"]
    return histories
