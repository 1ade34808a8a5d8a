"""The record of a training as plain JSON, as tickets and runs keep it."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from scratchcard.workloads.engines.training import TrainingRecord


def training_summary(record: TrainingRecord) -> dict[str, Any]:
    """The record's numbers as plain JSON, without its history; what is NaN or infinite is None.

    Examples:
        >>> summary = training_summary(TrainingRecord(200, 150, 0.31, 0.9, (), 1.5, "fused", early_stopped=True))
        >>> summary["best_step"], summary["validation_accuracy"]
        (150, 0.9)
    """
    return {
        "steps": record.steps,
        "best_step": record.best_step,
        "validation_loss": finite(record.best_validation_loss),
        "validation_accuracy": finite(record.best_validation_metric),
        "early_stopped": record.early_stopped,
        "diverged": record.diverged,
        "engine": record.engine,
        "seconds": record.seconds,
    }


def history(record: TrainingRecord) -> list[list[float | None]]:
    """The evaluations of a training as `[step, train loss, validation loss, validation metric]`, six digits each.

    Examples:
        >>> from scratchcard.workloads.engines.training import Evaluation
        >>> looks = (Evaluation(100, 0.123456789, 0.2, 0.9), Evaluation(200, math.nan, math.inf, 0.1))
        >>> history(TrainingRecord(200, 100, 0.2, 0.9, looks, 1.5, "fused", early_stopped=True))
        [[100, 0.123457, 0.2, 0.9], [200, None, None, 0.1]]
    """
    # Six digits tell all that a curve shows, and keep the ticket's header small.
    return [
        [value if isinstance(value, int) else finite(float(f"{value:.6g}")) for value in dataclasses.astuple(entry)]
        for entry in record.history
    ]


def finite(value: float) -> float | None:
    """The number, or None for NaN and infinity, which JSON does not know.

    Examples:
        >>> finite(0.5), finite(math.nan)
        (0.5, None)
    """
    return value if math.isfinite(value) else None
