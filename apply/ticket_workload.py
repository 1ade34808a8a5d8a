"""Whether a workload is the one that a ticket was found with."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from scratchcard.pruning.network_code import network_code
from scratchcard.pruning.ticket import Ticket
from scratchcard.setting import SettingError
from scratchcard.workloads.workload import Workload


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
