"""`scratchcard export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from scratchcard.frontends.cli import options as opt
from scratchcard.frontends.cli.ticket_workload import (
    check_has_weights,
    ticket_workload_options,
    weights_options,
    workload_of,
)
from scratchcard.words import counted


@click.command()
@click.argument("ticket", type=opt.PATH, default="ticket.safetensors")
@click.option(
    "--as",
    "format_",
    required=True,
    shell_complete=opt.completed(opt.names_of("formats")),
    help="One of safetensors, pt, torch-prune, torch-export and onnx, e.g. onnx; see `scratchcard list formats`. "
    "[default: none, it must be named]",
)
@click.option(
    "--out",
    type=opt.PATH,
    help="The file to write, e.g. network.onnx. [default: the ticket's name with the format's ending]",
)
@opt.overwrite_option
@weights_options("--initial", "Write")
@ticket_workload_options
@opt.json_option
def export(ticket: Path, format_: str, out: Path | None, overwrite: bool, initial: bool, **options: Any) -> None:
    """Write a ticket's network for other tools: its trained weights, pruned ones zero.

    Safetensors, pt and torch-prune are states for the same network; torch-export and onnx are programs of the network
    without what its mask makes useless.

    \b
    scratchcard export ticket.safetensors --as onnx
    scratchcard export ticket.safetensors --as pt --initial --out init.pt
    scratchcard export ticket.safetensors --as torch-prune --network my_package.nets:small_cnn
    """
    from scratchcard.apply.pipeline import export_ticket
    from scratchcard.pruning.export import FORMATS
    from scratchcard.pruning.ticket import Ticket
    from scratchcard.registry import lookup

    ending = lookup(FORMATS, "formats", format_).ending
    loaded = Ticket.load(ticket)
    check_has_weights(loaded, ticket, "--initial", initial)
    out = out or _beside(ticket, ending)
    if out.exists() and out.samefile(ticket):
        raise ValueError(f"--out {out} is the ticket itself, which would be lost; name another file")
    opt.check_new(out, overwrite)
    recalibrate = options["recalibrate"]
    workload = workload_of(loaded, ticket, options)
    how = {"recalibrate": recalibrate, "network_changed": options["network_changed"]}
    shrunk = export_ticket(loaded, workload, format_, out, trained=not initial, **how)
    weights = "initial" if initial else "trained"
    result = {
        "ticket": str(ticket),
        "exported": str(out),
        "format": format_,
        "weights": weights,
        "recalibrate": recalibrate,
        "bytes": out.stat().st_size,
        "compacted": shrunk._asdict() if shrunk else None,
        "encoding": workload.task.encoding.to_json(),
    }
    size = str(shrunk or "not compacted: a state of the whole network")
    text = (
        f"{out}: the {weights} weights of {ticket} as {format_}, {size}, {counted(result['bytes'], 'byte')}{opt.took()}"
    )
    opt.emit(result, options["as_json"], text)


def _beside(ticket: Path, ending: str) -> Path:
    """The ticket's name with another ending, and with another stem where that is the ticket's own."""
    out = ticket.with_suffix(ending)
    return ticket.with_name(f"{ticket.stem}-network{ending}") if out == ticket else out
