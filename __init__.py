"""The public face of scratchcard: find trainable sparse networks before training.

    import scratchcard as sc

    workload = sc.Workload("lenet_300_100", sc.load_task("digits"))
    table = sc.build(workload, seeds=range(4), out="table", recording=sc.Recording("ISS", "magnitude", 0.02))
    predictor = sc.fit(table, "gbm", objective="classification", train_seeds=[0, 1, 2], held_out_seeds=[3])
    sc.save_bundle(predictor, "predictor")
    method = sc.Method("synflow", on="predicted", predictor="predictor", regime="UMS")
    ticket = sc.prune(workload, method, density=0.02, seed=7)
    ticket, record = sc.train(ticket, workload, seed=7)
    print(sc.evaluate(ticket, workload).accuracy)

Everything is imported on first use, so that `import scratchcard` is instant.
"""

from __future__ import annotations

import importlib
from typing import Any

_FACE = {
    "pruning.connectivity": "Connectivity",
    "pruning.hold": "Hold hold verify",
    "pruning.cut": "keep_top",
    "pruning.mask": "Mask",
    "pruning.scores": "Scores",
    "score_tables.table": "ScoreTable",
    "pruning.ticket": "Ticket",
    "pruning.ticket_path": "TicketPath",
    "pruning.parameters": "prunable",
    "pruning.known_layers": "register_prunable",
    "pruning.compaction": "compact",
    "pruning.schedules": "SCHEDULES",
    "scorers": "SCORERS Scorer make_scorer",
    "workloads.networks": "NETWORKS",
    "workloads.objectives": "OBJECTIVES MultiLabel OwnObjective PerPosition Regression",
    "workloads.objective": "Classification Objective",
    "workloads.tasks": "TASKS load_task",
    "workloads.engines.training": "Recipe",
    "workloads.recipes": "RECIPES make_recipe",
    "workloads.task": "Split Task",
    "workloads.workload": "Workload",
    "regimes": "EMS ESS IMS ISS REGIMES RigL UMS USS Found",
    "workloads.session": "Session",
    "dataset_builder.build": "Recording build",
    "dataset_builder.features": "compute_features",
    "meta.predictors": "PREDICTORS",
    "meta.predictor": "Predictor",
    "meta.fit": "fit",
    "meta.bundle": "load_bundle save_bundle",
    "apply.density_path": "find_tickets",
    "apply.experiment": "Experiment",
    "apply.method": "Method",
    "sweeps.grid": "read_grid",
    "sweeps.run_grid": "run_grid",
    "sweeps.sweep": "sweep",
    "analysis.results": "frame",
    "analysis.significance": "compare",
    "analysis.report": "report",
    "apply.policy_search": "PolicySearch",
    "apply.predicted": "PredictedScorer",
    "apply.stacked": "StackedScorer",
    "apply.ticket_library": "TicketLibrary",
    "apply.prune": "evaluate export prune train",
    "frontends.client": "Client",
    "apply.saw": "scores_as_weights bimodal",
}
"""The names of the face by the module that has them."""

_HOMES = {name: home for home, names in _FACE.items() for name in names.split()}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'scratchcard' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
