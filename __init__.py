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

_HOMES = {
    "Connectivity": "pruning.connectivity",
    "Hold": "pruning.hold",
    "Mask": "pruning.mask",
    "Scores": "pruning.scores",
    "ScoreTable": "score_tables.table",
    "Ticket": "pruning.ticket",
    "TicketPath": "pruning.ticket_path",
    "hold": "pruning.hold",
    "keep_top": "pruning.mask",
    "prunable": "pruning.parameters",
    "register_prunable": "pruning.known_layers",
    "compact": "pruning.compaction",
    "SCHEDULES": "pruning.schedules",
    "SCORERS": "scorers",
    "Scorer": "scorers",
    "make_scorer": "scorers",
    "NETWORKS": "workloads.networks",
    "OBJECTIVES": "workloads.objectives",
    "Classification": "workloads.objective",
    "MultiLabel": "workloads.objectives",
    "Objective": "workloads.objective",
    "OwnObjective": "workloads.objectives",
    "PerPosition": "workloads.objectives",
    "Regression": "workloads.objectives",
    "TASKS": "workloads.tasks",
    "Recipe": "workloads.engines.training",
    "Split": "workloads.task",
    "Task": "workloads.task",
    "Workload": "workloads.workload",
    "load_task": "workloads.tasks",
    "IMS": "regimes",
    "ISS": "regimes",
    "REGIMES": "regimes",
    "UMS": "regimes",
    "USS": "regimes",
    "Session": "workloads.session",
    "Found": "regimes",
    "Recording": "dataset_builder.build",
    "build": "dataset_builder.build",
    "compute_features": "dataset_builder.features",
    "PREDICTORS": "meta.predictors",
    "Predictor": "meta.predictor",
    "fit": "meta.fit",
    "load_bundle": "meta.bundle",
    "save_bundle": "meta.bundle",
    "Experiment": "apply.experiment",
    "Method": "apply.method",
    "read_grid": "sweeps.grid",
    "run_grid": "sweeps.run_grid",
    "sweep": "sweeps.sweep",
    "frame": "analysis.results",
    "compare": "analysis.significance",
    "report": "analysis.report",
    "PolicySearch": "apply.policy_search",
    "PredictedScorer": "apply.predicted",
    "StackedScorer": "apply.stacked",
    "TicketLibrary": "apply.ticket_library",
    "evaluate": "apply.prune",
    "prune": "apply.prune",
    "scores_as_weights": "apply.saw",
    "bimodal": "apply.saw",
    "train": "apply.prune",
    "verify": "pruning.hold",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'scratchcard' has no attribute {name!r}")
    home, _, attribute = _HOMES[name].partition(":")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), attribute or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
