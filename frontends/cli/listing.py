"""`scratchcard list`."""

from __future__ import annotations

import inspect
from typing import Any

import click

from scratchcard.frontends.cli.options import emit, json_option

FAMILIES = ("scorers", "regimes", "schedules", "networks", "tasks", "predictors", "features", "targets")


@click.command("list")
@click.argument("family", required=False, type=click.Choice(FAMILIES))
@json_option
def list_(family: str | None, as_json: bool) -> None:
    """Everything that can be named on this command line, with one line each.

    \b
    scratchcard list
    scratchcard list features
    """
    found = {name: _members(name) for name in ([family] if family else FAMILIES)}
    lines = []
    for name, entries in found.items():
        width = max(map(len, entries), default=0)
        lines += [f"{name}:", *(f"  {entry:<{width}}  {text}" for entry, text in entries.items())]
    emit(found, as_json, "\n".join(lines))


def _members(family: str) -> dict[str, str]:
    from scratchcard.registry import members

    if family in ("features", "targets"):
        from scratchcard.dataset_builder.features import FEATURES, PAIR_FEATURES
        from scratchcard.dataset_builder.targets import TARGETS

        columns = (*FEATURES, *PAIR_FEATURES) if family == "features" else TARGETS
        return {column.name: f"{column.description} [{column.transform}]" for column in columns}
    if family == "scorers":
        from scratchcard.scorers import SCORERS

        known: dict[str, Any] = dict(members(SCORERS, family))
    elif family == "regimes":
        from scratchcard.regimes import REGIMES

        return {name: repr(regime) for name, regime in members(REGIMES, family).items()}
    elif family == "schedules":
        from scratchcard.pruning.schedules import SCHEDULES

        known = dict(members(SCHEDULES, family))
    elif family == "networks":
        from scratchcard.workloads.networks import NETWORKS

        known = dict(members(NETWORKS, family))
    elif family == "tasks":
        from scratchcard.workloads.tasks import TASKS

        known = dict(members(TASKS, family))
    else:
        from scratchcard.meta.predictors import PREDICTORS

        known = dict(members(PREDICTORS, family))
    return {name: (inspect.getdoc(member) or "").partition("\n")[0] for name, member in known.items()}
