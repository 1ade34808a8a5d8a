"""Fitted: a predictor that a grid's file describes, built and fitted once from its description."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from dataset_builder.build import Recording, build
from meta.bundle import load_bundle, save_bundle
from meta.fit import fit
from pruning.files import written_beside
from pruning.ranges import whole_numbers
from pruning.store import Store
from pruning.table import TABLE_VERSION, ScoreTable
from pruning.version import RESULTS_VERSION
from workloads.workload import Workload

Seeds = Annotated[
    tuple[Annotated[int, Field(ge=0)], ...],
    BeforeValidator(lambda value: whole_numbers(value) if isinstance(value, str) else value),
]
SHARED = ".shared"
"""Of a folder of results: what runs share."""
Report = Callable[[str, int, int], None]
"""Called with (what is being done, steps done, steps in all)."""


class TableSpec(BaseModel):
    """`[predictors.NAME.table]`: the slow ticket that is learned from, see `Recording`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    regime: str = "IMS"
    scorer: str = "synflow"
    density: float = 0.005
    rounds: int | None = None
    shots: int = 10
    every_round: bool = False
    repeat: bool = False

    def recording(self) -> Recording:
        """The recording.

        Raises:
            ValueError: an unknown regime or scorer.
        """
        recording = Recording(**self.model_dump())
        recording.describe()
        return recording


class FittedSpec(BaseModel):
    """`[predictors.NAME]`: family, target, features and the seeds that are fitted on and held out.

    `features` is `thesis` (the four criteria's scores), `all`, or a list of names. `learning_curve` lists numbers of
    networks: for each the predictor is fitted on so many of the train seeds too, and its held-out metrics are kept.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    family: str
    objective: Literal["classification", "regression", "ranking"] = "classification"
    target: str = "kept"
    features: Literal["all", "thesis"] | tuple[str, ...] = "all"
    train_seeds: Seeds
    held_out_seeds: Seeds
    options: dict[str, Any] = {}
    learning_curve: tuple[Annotated[int, Field(ge=1)], ...] = ()
    table: TableSpec = TableSpec()

    def identity(self, workload: Workload) -> str:
        """sha256 of all that decides the fitted predictor: this description, the workload, the versions."""
        described = self.model_dump(exclude={"learning_curve"})
        described |= {"table": self.table.recording().describe(), "workload": workload.describe()}
        described |= {"table_version": TABLE_VERSION, "results_version": RESULTS_VERSION}
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()

    def make(
        self,
        name: str,
        workload: Workload,
        folder: Path,
        *,
        jobs: int = 1,
        device: torch.device | str = "cpu",
        report: Report | None = None,
    ) -> dict[str, Any]:
        """Build the table and fit, unless both are there; returns the predictor's record.

        Tables lie in `folder/tables`, shared by the predictors that learn from the same slow tickets; the bundle in
        `folder/predictors/<identity>` and its record, with its metrics, beside it.
        """
        identity = self.identity(workload)
        place = folder / "predictors" / identity
        record = place.with_suffix(".json")
        if record.is_file() and _is_whole(place):
            found: dict[str, Any] = json.loads(record.read_text())
            if set(map(str, self.learning_curve)) <= set(found["learning_curve"]):
                return found
        table = self._table(name, workload, folder, jobs, device, report)
        if report is not None:
            report(f"fitting {name}", 0, 1)
        begin = time.perf_counter()
        predictor = self._fit(table, self.train_seeds, jobs)
        seconds = time.perf_counter() - begin
        curve = {str(count): self._fit(table, self.train_seeds[:count], jobs).metrics for count in self.learning_curve}
        save_bundle(predictor, place)
        made = {
            "name": name,
            "identity": identity,
            "recipe": self.model_dump() | {"workload": workload.describe()},
            "metrics": predictor.metrics,
            "learning_curve": curve,
            "seconds": seconds,
        }
        with written_beside(record) as beside:
            beside.write_text(json.dumps(made, indent=1, sort_keys=True) + "\n")
        if report is not None:
            report(f"fitting {name}", 1, 1)
        return made

    def _table(
        self, name: str, workload: Workload, folder: Path, jobs: int, device: torch.device | str, report: Report | None
    ) -> ScoreTable:
        recording = self.table.recording()
        described = {"recording": recording.describe(), "workload": workload.describe(), "version": TABLE_VERSION}
        digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
        return build(
            workload,
            tuple(dict.fromkeys((*self.train_seeds, *self.held_out_seeds))),
            folder / "tables" / digest[:32],
            recording,
            jobs=jobs,
            device=device,
            store=Store(folder / SHARED),
            progress=None if report is None else lambda done, total: report(f"the score table of {name}", done, total),
        )

    def _fit(self, table: ScoreTable, train_seeds: tuple[int, ...], jobs: int) -> Any:
        return fit(
            table,
            self.family,
            objective=self.objective,
            target=self.target,
            features=None if self.features == "all" else self.features,
            train_seeds=train_seeds,
            held_out_seeds=self.held_out_seeds,
            threads=jobs,
            **self.options,
        )


def _is_whole(bundle: Path) -> bool:
    try:
        load_bundle(bundle)
    except (FileNotFoundError, ValueError):
        return False
    return True
