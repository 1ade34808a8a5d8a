"""The demo: the main job, whole and real, on the embedded digits task."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from scratchcard.apply.experiment import Experiment
from scratchcard.apply.method import Method
from scratchcard.apply.predicted import OutsideWarning
from scratchcard.artefacts.folders import claim_folder
from scratchcard.dataset_builder.build import Recording, build
from scratchcard.meta.bundle import save_bundle
from scratchcard.meta.fit import fit
from scratchcard.score_tables.manifest import MANIFEST
from scratchcard.sweeps.fitted import Report
from scratchcard.sweeps.sweep import run_all
from scratchcard.workloads.engines.training import Recipe
from scratchcard.workloads.session import Session
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload

SHIPPED = "shipped predictor (default)"
FIXED = "SynFlow-L2 with data, 100 rounds"
SLOW = "iterative pruning, 10 trainings"
"""The names of what the demo is about: the shipped predictor, the best criterion that needs no fitting, and iterative
magnitude pruning."""


@dataclass(frozen=True)
class Demo:
    """Its settings.

    Attributes:
        density: of all tickets.
        train_seeds: initialisations that the predictor learns from.
        new_seeds: initialisations that it never saw, pruned and trained with every method.
        recipe: training recipe.

    Examples:
        >>> demo = Demo(density=0.02, train_seeds=(0, 1), new_seeds=(100,))
        >>> demo.methods(Path("predictor"))["SynFlow, 100 rounds"].label
        'synflow, UMS 100'
    """

    density: float = 0.005
    train_seeds: tuple[int, ...] = (0, 1, 2, 3)
    new_seeds: tuple[int, ...] = (100, 101, 102, 103, 104)
    recipe: Recipe = field(
        default_factory=lambda: Recipe(max_steps=3_000, evaluation_interval=100, scoring_examples=1_000)
    )

    def methods(self, predictor: Path) -> dict[str, Method]:
        """The methods of the comparison, by names for people who see them for the first time.

        Fixed criteria come first, then learned ones, at last the slow search that those learn from.
        """
        own = str(predictor)
        return {
            "random choice": Method("random", regime="USS"),
            "largest initial weights": Method("magnitude", regime="USS"),
            "SNIP, in one go": Method("snip", regime="USS"),
            "GraSP, in one go": Method("grasp", regime="USS"),
            "SynFlow, 100 rounds": Method("synflow", regime="UMS"),
            FIXED: Method("synflow_l2_data", regime="UMS"),
            "predictor fitted here, alone": Method("predicted", predictor=own, regime="USS"),
            "predictor fitted here, under SynFlow": Method("synflow", on="predicted", predictor=own, regime="UMS"),
            SHIPPED: Method("predicted", predictor="default"),
            SLOW: Method("magnitude", regime="ISS"),
        }

    def run(
        self, out: Path, *, jobs: int = 1, device: torch.device | str = "cpu", stage: Report | None = None
    ) -> list[dict[str, Any]]:
        """Build, fit, prune, train, evaluate; returns the result records. A second call reuses what is there.

        Raises:
            OSError: `out` holds something other than a demo.
        """
        claim_demo(out)
        workload = Workload("lenet_300_100", load_task("digits"), self.recipe)

        def report(text: str) -> Callable[[int, int], None]:
            return lambda done, total: None if stage is None else stage(text, done, total)

        session = Session(device, jobs=jobs, progress=report("building the score table"))
        table = build(workload, self.train_seeds, out / "table", Recording("ISS", "magnitude", self.density), session)
        if stage is not None:
            stage("fitting the predictor", 0, 1)
        predictor = fit(
            table,
            "gbm",
            objective="classification",
            train_seeds=self.train_seeds[:-1],
            held_out_seeds=self.train_seeds[-1:],
        )
        bundle = out / "predictor"
        save_bundle(predictor, bundle)
        experiments = [
            Experiment(workload, method, self.density, seed)
            for method in self.methods(bundle).values()
            for seed in self.new_seeds
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OutsideWarning)  # of digits, which the command says
            progress = report("pruning, training and evaluating tickets")
            return run_all(experiments, out / "results", session, progress=progress)


def claim_demo(out: Path) -> None:
    """Make the demo's folder, or go on with one.

    Raises:
        OSError: it holds something else.

    Examples:
        >>> claim_demo(Path("a_demo"))
        >>> Path("a_demo").is_dir()
        True
    """
    claim_folder(out, "demo", "a demo's folder", lambda place: (place / "table" / MANIFEST).is_file())
