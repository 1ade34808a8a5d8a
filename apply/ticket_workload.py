"""The workload that a ticket was found with, and whether another is the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from scratchcard.pruning.network_code import network_code
from scratchcard.pruning.ticket import Ticket
from scratchcard.setting import SettingError
from scratchcard.workloads.named_workload import named_workload
from scratchcard.workloads.networks.of_package import is_of_package
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.tasks import check_task_name, is_of_files
from scratchcard.workloads.workload import Workload


def workload_of(
    ticket: Ticket,
    network: str | None = None,
    task: str | None = None,
    *,
    recipe: str | None = None,
    settings: Mapping[str, Any] | None = None,
    data_dir: Path | None = None,
    called: str = "the ticket",
) -> Workload:
    """The workload that a ticket says it is of. Code named inside a file is never imported.

    Args:
        ticket: that was found for a workload.
        network, task: where it is of code or data of the user's own, their names.
        recipe: a name, in place of the ticket's own recipe.
        settings: of the recipe, in place of its own.
        data_dir: see `load_task`.
        called: what sentences call the ticket, such as its file.

    Raises:
        ValueError: the ticket does not say, its network or task is code that must be named, or it is of another.

    Examples:
        >>> ticket = sc.prune("lenet_300_100", "digits", density=0.1, method="magnitude")
        >>> workload_of(ticket)
        Workload(lenet_300_100 on digits)
    """
    described = ticket.provenance.get("workload")
    if not isinstance(described, dict) or not all(isinstance(described.get(name), str) for name in ("network", "task")):
        raise ValueError(
            f"{called} does not say which workload it is of (the names of its network and task); make it with "
            "`scratchcard prune`"
        )
    try:
        recorded = Recipe.from_json(described.get("recipe"))
    except ValueError as error:
        raise ValueError(f"{called} holds a recipe that cannot be read: {error}") from error
    given = {"network": network, "task": task}
    named: dict[str, str] = {}
    for what in ("network", "task"):
        name = named[what] = given[what] or described[what]
        theirs = is_of_files(name) if what == "task" else is_of_package(name)
        if given[what] is not None or theirs:
            continue
        if ":" in name or f"{what}_state" in described:
            own = name if ":" in name else "package.module:factory"
            raise ValueError(
                f"{called} is a ticket of the {what} {name!r}, which is code of your own: name it with --{what} {own}"
            )
        if what == "task":
            try:
                check_task_name(name)
            except ValueError as error:
                raise ValueError(f"{called}: {error}; data of your own is named with --task") from error
    workload = named_workload(
        named["network"], named["task"], recipe=recipe or recorded, settings=settings, data_dir=data_dir
    )
    check_belongs(ticket, workload)
    return workload


def check_belongs(ticket: Ticket, workload: Workload) -> None:
    """Refuse a workload with another network or other data than the ticket was found with, as far as it says so.

    `train_ticket` and `evaluate_ticket` don't ask, so that a ticket can be moved to another task on purpose.

    A module has no name that says all of it: where one is in play, its layout alone must be the ticket's.

    Raises:
        ValueError: names both.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task, sc.Recipe(max_steps=10, batch_size=32))
        >>> ticket = sc.prune(workload, sc.Method("magnitude"), density=0.25)
        >>> check_belongs(ticket, workload)
    """
    recorded = ticket.provenance.get("workload")
    described = recorded if isinstance(recorded, Mapping) else {}
    name = workload.network_name
    network, digest = described.get("network", name), described.get("data_digest", workload.task.digest)
    of_module = "network_state" in described or not isinstance(workload.network, str)
    if network != name and not of_module:
        raise ValueError(f"the ticket is one of the network {network!r}, not of {name!r}")
    if digest != workload.task.digest:
        raise ValueError(
            f"the data of {workload.task.name} here is not the data that the ticket was found with "
            f"(digest {workload.task.digest[:12]}, expected {str(digest)[:12]}); name the folder it came from"
        )


def check_unchanged(ticket: Ticket, network: nn.Module, name: str) -> None:
    """Refuse a network that computes something else than the one that the ticket was found in, as far as it says so.

    Its state is not compared: `Ticket.apply_to` puts the ticket's in its place.

    Raises:
        ValueError: another code (`pruning.network_code`).

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Sequential(nn.Linear(4, 2), nn.ReLU()), task, sc.Recipe(max_steps=10))
        >>> ticket = sc.prune(workload, sc.Method("magnitude"), density=0.25)
        >>> check_unchanged(ticket, workload.build(0), "mine")
        >>> check_unchanged(ticket, nn.Sequential(nn.Linear(4, 2), nn.Tanh()), "mine")
        Traceback (most recent call last):
            ...
        scratchcard.setting.SettingError: the network mine is not the one that the ticket was found in: ...
    """
    recorded = ticket.provenance.get("network_code")
    if recorded is not None and recorded != network_code(network):
        raise SettingError(
            f"the network {name} is not the one that the ticket was found in: the code of its layers, or what they "
            "hold beside their weights, has changed since; prune it anew, or say network_changed if that is meant",
            "network_changed",
        )
