"""Fitted: a predictor that a grid's file describes, built and fitted once from its description."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from scratchcard.artefacts.digest import json_digest
from scratchcard.artefacts.json_file import find_json, write_json
from scratchcard.artefacts.store import Store
from scratchcard.artefacts.version import RESULTS_VERSION
from scratchcard.dataset_builder.build import Recording, build
from scratchcard.dataset_builder.table_folder import schema_of
from scratchcard.meta.arrays import plain
from scratchcard.meta.bundle import load_bundle, save_bundle
from scratchcard.meta.fit import fit, make_family
from scratchcard.meta.predictor import check_objective
from scratchcard.regimes import regime_settings
from scratchcard.registry import lookup
from scratchcard.score_tables.schema import TABLE_VERSION
from scratchcard.score_tables.table import ScoreTable
from scratchcard.setting import Setting
from scratchcard.settings import settings_of
from scratchcard.sweeps.grid_values import OPEN, STRICT, AsTuple, SeedList, Seeds, check_key
from scratchcard.workers.worker import torch_threads
from scratchcard.workloads.recipes import make_recipe
from scratchcard.workloads.session import Session
from scratchcard.workloads.tasks import is_of_files, load_task, takes_data_dir
from scratchcard.workloads.workload import Workload

SHARED = ".shared"
"""Of a folder of results: what runs share."""
Report = Callable[[str, int, int], None]
"""Called with (what is being done, steps done, steps in all)."""


class TableSpec(BaseModel):
    """`[predictors.NAME.table]`: the slow ticket that is learned from: settings of `Recording` and of its regime.

    Examples:
        >>> TableSpec(regime="ISS", scorer="magnitude", rounds=5).recording().make_regime().label
        'ISS 5'
    """

    model_config = OPEN

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, value in (self.model_extra or {}).items():
            check_key(name, value, table_keys(), "the table")
        self.recording()
        return self

    def recording(self) -> Recording:
        """The recording.

        Raises:
            ValueError: an unknown regime or scorer, or settings that they do not have.
        """
        recording = Recording.of(**(self.model_extra or {}))
        recording.describe()
        return recording


def table_keys() -> dict[str, Setting]:
    """The keys of a table: settings of `Recording`, then of the regimes.

    Examples:
        >>> list(table_keys())[:3], table_keys()["rounds"].help
        (['regime', 'scorer', 'density'], 'Pruning rounds')
    """
    return settings_of(Recording) | {name: next(iter(found.values())) for name, found in regime_settings().items()}


class LearnedOn(BaseModel):
    """`[predictors.NAME.workload]`: what a predictor learns from that is carried over to the grid's workloads.

    Examples:
        >>> LearnedOn(task="digits").make(None).task
        Task('digits', classification, ...)
    """

    model_config = STRICT

    network: str = "lenet_300_100"
    task: str
    recipe: str | dict[str, Any] = {}

    def make(self, data_dir: Path | None) -> Workload:
        """The workload; its data are looked for in `data_dir` where the task looks in a folder.

        Raises:
            ValueError: a task of own code, whose data nobody knows who may not import it; or see `load_task`.
        """
        if ":" in self.task and not is_of_files(self.task):
            raise ValueError(f"the task {self.task!r} is code, expected a registered task, or one of files")
        task = load_task(self.task, data_dir if takes_data_dir(self.task) else None)
        return Workload(self.network, task, make_recipe(self.recipe))


class FittedSpec(BaseModel):
    """`[predictors.NAME]`: family, target, features and the seeds that are fitted on and held out.

    It learns from the workload of the run that it prunes, or from one of its own (`workload`). `features` is `thesis`
    (the four criteria's scores), `all`, or a list of names. `learning_curve` lists numbers of networks: for each the
    predictor is fitted on so many of the train seeds too, and its held-out metrics are kept.
    What cannot be fitted is refused here, not hours later when the table is built.

    Examples:
        >>> spec = FittedSpec(family="gbm", train_seeds="0-3", held_out_seeds=[4])
        >>> spec.train_seeds, spec.target, spec.table.recording().density
        ((0, 1, 2, 3), 'kept', 0.005)
    """

    model_config = STRICT

    family: str
    objective: Literal["classification", "regression", "ranking"] = "classification"
    target: str = "kept"
    features: Annotated[Literal["all", "thesis"] | tuple[str, ...], AsTuple] = "all"
    train_seeds: Seeds
    held_out_seeds: SeedList
    options: dict[str, Any] = {}
    learning_curve: Annotated[tuple[Annotated[int, Field(ge=1)], ...], AsTuple] = ()
    table: TableSpec = TableSpec()
    workload: LearnedOn | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        make_family(self.family, **self.options)
        check_objective(self.family, self.objective)
        recording = self.table.recording()
        schema = schema_of(recording)
        lookup(dict.fromkeys(schema.targets), "targets", self.target)
        if self.objective == "classification" and self.target == "kept" and recording.tickets > 1:
            raise ValueError(
                f"`kept` is a share of {recording.tickets} slow tickets, no class; take the objective regression, or "
                "one ticket"
            )
        if isinstance(self.features, tuple):
            for name in self.features:
                lookup(dict.fromkeys(schema.features), "features", name)
            if not self.features or len(set(self.features)) < len(self.features):
                raise ValueError(f"features must be at least one name and each only once, got {list(self.features)}")
        both = sorted(set(self.train_seeds) & set(self.held_out_seeds))
        if both:
            raise ValueError(f"seed {both[0]} is both trained on and held out; give each seed to one side")
        if len(set(self.train_seeds)) < len(self.train_seeds):
            raise ValueError(f"train_seeds names a seed twice: {list(self.train_seeds)}")
        if max(self.learning_curve, default=0) > len(self.train_seeds):
            raise ValueError(
                f"learning_curve asks for {max(self.learning_curve)} networks, train_seeds has {len(self.train_seeds)}"
            )
        return self

    def identity(self, workload: Workload) -> str:
        """sha256 of all that decides the fitted predictor: this description, what is learned from, the versions."""
        described = self.model_dump(exclude={"learning_curve", "workload"})
        described |= {"table": self.table.recording().describe(), "workload": workload.describe()}
        described |= {"table_version": TABLE_VERSION, "results_version": RESULTS_VERSION}
        return json_digest(described)

    def make(
        self, name: str, workload: Workload, folder: Path, session: Session, report: Report = lambda *_: None
    ) -> dict[str, Any]:
        """Build the table and fit, unless both are there; returns the predictor's record.

        Tables lie in `folder/tables`, shared by the predictors that learn from the same slow tickets; the bundle in
        `folder/predictors/<identity>` and its record, with its metrics, beside it.
        """
        identity = self.identity(workload)
        place = folder / "predictors" / identity
        found = self._read(place)
        if found is not None:
            return found
        with Store(folder / SHARED).claim(identity):  # another sweep of the folder that needs it too waits
            found = self._read(place)
            return self._make(name, workload, folder, place, session, report) if found is None else found

    def _read(self, place: Path) -> dict[str, Any] | None:
        """The record of a bundle that is whole, with its learning curve; None if there is none."""
        found = find_json(_record(place)) or {}
        known = found.get("learning_curve")
        wanted = {str(count) for count in self.learning_curve}
        return found if isinstance(known, dict) and wanted <= known.keys() and _is_whole(place) else None

    def _make(
        self, name: str, workload: Workload, folder: Path, place: Path, session: Session, report: Report
    ) -> dict[str, Any]:
        table = self._table(
            workload,
            folder,
            replace(session, progress=lambda done, total: report(f"the score table of {name}", done, total)),
        )
        report(f"fitting {name}", 0, 1)
        begin = time.perf_counter()
        predictor = self._fit(table, self.train_seeds, session.jobs)
        seconds = time.perf_counter() - begin
        curve = {str(len(self.train_seeds)): predictor.metrics}
        for count in self.learning_curve:
            if str(count) not in curve:
                curve[str(count)] = self._fit(table, self.train_seeds[:count], session.jobs).metrics
        save_bundle(predictor, place)
        made = {
            "name": name,
            "identity": place.name,
            "recipe": self.model_dump() | {"workload": workload.describe()},
            "metrics": predictor.metrics,
            "learning_curve": {str(count): curve[str(count)] for count in self.learning_curve},
            "seconds": seconds,
        }
        write_json(_record(place), plain(made))
        report(f"fitting {name}", 1, 1)
        return made

    def _table(self, workload: Workload, folder: Path, session: Session) -> ScoreTable:
        recording = self.table.recording()
        described = {"recording": recording.describe(), "workload": workload.describe(), "version": TABLE_VERSION}
        digest = json_digest(described)
        store, seeds = Store(folder / SHARED), dict.fromkeys((*self.train_seeds, *self.held_out_seeds))
        with store.claim(digest), torch_threads(1):
            return build(workload, tuple(seeds), folder / "tables" / digest[:32], recording, session, store=store)

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


def _record(place: Path) -> Path:
    return place.with_suffix(".json")


def _is_whole(bundle: Path) -> bool:
    try:
        load_bundle(bundle)
    except (FileNotFoundError, ValueError):
        return False
    return True
