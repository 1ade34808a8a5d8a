"""What a stored ticket is of: the workload that it names, and which of its weights a command takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scratchcard.frontends.cli import options as opt
from scratchcard.settings import settings_of
from scratchcard.workloads.recipe import Recipe

if TYPE_CHECKING:
    from scratchcard.pruning.ticket import Ticket
    from scratchcard.workloads.workload import Workload

ticket_workload_options = opt.all_of(
    click.option(
        "--network",
        help="Only for a network of your own, the same as when it was pruned, e.g. package.module:factory. "
        "[default: the ticket's]",
    ),
    click.option(
        "--task",
        help="Only for data of your own, the same as when it was pruned, e.g. package.module:factory or tensors:FILE. "
        "[default: the ticket's]",
    ),
    opt.data_dir_option,
    click.option(
        "--network-changed",
        is_flag=True,
        help="Go on although the network's code has changed since it was pruned, e.g. after a change that alters "
        "nothing. [default: refuse]",
    ),
)


changed_option = click.option(
    "--network-changed",
    is_flag=True,
    help="Go on although the network's code has changed since it was pruned, e.g. after a change that alters nothing. "
    "[default: refuse]",
)


def weights_options(initial: str, does: str) -> Callable[[Any], Any]:
    """The option for the initial weights, whatever the command calls it, and `--recalibrate`.

    >>> @click.command()
    ... @weights_options("--untrained", "Evaluate")
    ... def look(**options): click.echo(options)
    >>> [option.name for option in look.params]
    ['untrained', 'recalibrate']
    """
    return opt.all_of(
        click.option(
            initial,
            is_flag=True,
            help=f"{does} the initial weights under the mask, e.g. of a pre-trained network. "
            "[default: the trained weights]",
        ),
        click.option(
            "--recalibrate",
            is_flag=True,
            help="First estimate the statistics of batch norms again on the training split, e.g. after pruning a "
            "pre-trained network. [default: as they are]",
        ),
    )


def check_has_weights(ticket: Ticket, path: Path, option: str, initial: bool) -> None:
    """Refuse a ticket that was not trained where its trained weights are wanted; names the option for the others.

    Raises:
        ValueError: it has none.

    >>> ticket = sc.Ticket.of(nn.Linear(2, 1), sc.Mask({"weight": torch.tensor([[True, False]])}))
    >>> check_has_weights(ticket, Path("ticket.safetensors"), "--untrained", initial=True)
    """
    if ticket.trained is None and not initial:
        raise ValueError(
            f"{path} holds no trained weights: train it first (scratchcard train {path}), or take its initial weights "
            f"({option})"
        )


def workload_of(ticket: Ticket, path: Path, options: dict[str, Any]) -> Workload:
    """The workload that a ticket says it is of; see `apply.ticket_workload`.

    >>> ticket = sc.prune("lenet_300_100", "digits", density=0.1, method="magnitude")
    >>> workload_of(ticket, Path("ticket.safetensors"), {"network": None, "task": None})
    Workload(lenet_300_100 on digits)
    """
    from scratchcard.apply import ticket_workload

    return ticket_workload.workload_of(
        ticket,
        options["network"],
        options["task"],
        recipe=options.get("recipe"),
        settings=opt.given_of(options, settings_of(Recipe)),
        data_dir=options.get("data_dir"),
        called=str(path),
    )
