"""What finding the tickets of recorded runs read, in passes over the training split."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from scratchcard.apply import bill
from scratchcard.apply.experiment import Experiment
from scratchcard.apply.pipeline import find_ticket
from scratchcard.regimes import UMS, Early, Iterative
from scratchcard.workloads.session import Session


def passes(experiment: Experiment, record: Mapping[str, Any]) -> float:
    """As the record has it; of an earlier release's record, whose scoring is done once more for it.

    Args:
        experiment: the run.
        record: its result.
    """
    known = record.get("passes")
    if known is not None:
        return float(known)
    method, workload = experiment.method, experiment.workload
    if record["rounds"]:  # scored as often at the initial weights: so much is read either way
        regime = method.make_regime()
        assert isinstance(regime, Iterative | Early)  # noqa: S101
        rounds, schedule = len(record["rounds"]) * regime.scorings, getattr(regime, "schedule", "exponential")
        method = dataclasses.replace(method, regime=UMS(rounds=rounds, schedule=schedule, scope=regime.scope))
    session = Session(dtype=experiment.dtype)
    scored = find_ticket(workload, method, experiment.density, experiment.seed, session, check=False)
    return bill.passes(scored.provenance["passes"] * len(workload.task.train), record["rounds"], workload)
