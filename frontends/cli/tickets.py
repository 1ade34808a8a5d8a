"""`scratchcard prune`, `train` and `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from frontends.cli.options import (
    device_option,
    emit,
    json_option,
    make_workload,
    progress_bar,
    recipe_options,
    workload_options,
)

if TYPE_CHECKING:
    from pruning.ticket import Ticket
    from workloads.workload import Workload

TICKET = click.Path(path_type=Path)


@click.command()
@workload_options
@click.option("--density", type=float, default=0.02, show_default=True, help="Share of weights to keep, in (0, 1].")
@click.option("--seed", type=int, default=0, show_default=True, help="Of initial weights, scoring batch and ties.")
@click.option("--scorer", help="Registered name; default synflow, or 'predicted' when a predictor is given.")
@click.option("--on", help="Stacked scoring: this scorer's scores stand in for the weights, e.g. predicted.")
@click.option("--predictor", type=click.Path(path_type=Path), help="A bundle's folder, e.g. predictor.")
@click.option("--regime", help="USS, UMS, ISS or IMS; default UMS for synflow, USS for the others.")
@click.option("--rounds", type=int, help="Pruning rounds; default 1, 100, 10, 10 for USS, UMS, ISS, IMS.")
@click.option("--shots", type=int, default=10, show_default=True, help="Scorings after each training (IMS).")
@click.option("--schedule", default="exponential", show_default=True, help="exponential, linear or cubic.")
@click.option("--scope", type=click.Choice(["global", "layer"]), default="global", show_default=True)
@click.option("--rewind-step", type=int, default=0, show_default=True, help="ISS, IMS: rewind to this early step.")
@click.option(
    "--initial",
    type=click.Choice(["given", "saw", "saw_variance", "bimodal"]),
    default="given",
    show_default=True,
    help="Initial weights: as built, a scorer's scores (scaled to [-1, 1], or keeping variance), or bi-modal.",
)
@click.option("--initial-scorer", help="For saw and saw_variance, e.g. snip.")
@click.option(
    "--rounds-dir", type=click.Path(path_type=Path), help="ISS, IMS: keep rounds here, so that a second call goes on."
)
@click.option("--out", type=TICKET, default="ticket.safetensors", show_default=True, help="The ticket's file.")
@device_option
@recipe_options
@json_option
def prune(**options: Any) -> None:
    """Find a ticket: the initial weights of a network and a mask of those to keep.

    \b
    scratchcard prune --task mnist --scorer snip --density 0.01
    scratchcard prune --predictor predictor --scorer synflow --on predicted --regime UMS --density 0.02
    scratchcard prune --network my_package.nets:small_cnn --weights init.safetensors --task mnist --scorer grasp
    """
    from apply.method import PREDICTED, Method
    from apply.prune import prune as find_ticket
    from pruning.connectivity import Connectivity
    from workloads.device import choose_device

    workload = make_workload(options)
    predictor = options["predictor"]
    scorer = options["scorer"] or (PREDICTED if predictor is not None and options["on"] is None else "synflow")
    method = Method(
        scorer,
        options["on"],
        None if predictor is None else str(predictor),
        options["regime"] or ("UMS" if scorer.startswith("synflow") else "USS"),
        options["rounds"],
        options["shots"],
        options["schedule"],
        options["scope"],
        options["rewind_step"],
        options["initial"],
        options["initial_scorer"],
    )
    with progress_bar(f"pruning with {method.label}") as progress:
        ticket = find_ticket(
            workload,
            method,
            options["density"],
            options["seed"],
            device=choose_device(options["device"]),
            directory=options["rounds_dir"],
            progress=progress,
        )
    ticket.save(options["out"])
    found = Connectivity.of(workload.build(options["seed"]), ticket.mask, workload.task.input_shape)
    result = {
        "ticket": str(options["out"]),
        "method": method.label,
        "kept": ticket.mask.kept,
        "prunable": ticket.mask.total,
        "density": ticket.mask.density,
        "effective_density": found.effective_density,
        "seconds": ticket.provenance["pruning_seconds"],
    }
    text = (
        f"{options['out']}: {method.label} keeps {ticket.mask.kept:,} of {ticket.mask.total:,} weights (density "
        f"{ticket.mask.density:.4g}, effective {found.effective_density:.4g}) after {result['seconds']:.2f} s"
    )
    emit(result, options["as_json"], text)


_ticket_workload = (
    click.option("--network", help="Only for a network of your own: package.module:factory."),
    click.option("--data-dir", type=click.Path(path_type=Path), help="Folder with the data files, e.g. ~/data."),
)


@click.command()
@click.argument("ticket", type=TICKET, default="ticket.safetensors")
@_ticket_workload[0]
@_ticket_workload[1]
@click.option("--seed", type=int, help="Of the data order; the ticket's own seed if not given.")
@click.option("--out", type=TICKET, help="Where to write the trained ticket; in place if not given.")
@device_option
@recipe_options
@json_option
def train(ticket: Path, **options: Any) -> None:
    """Train a ticket's kept weights on its own task and write the trained weights back into it.

    \b
    scratchcard train ticket.safetensors
    scratchcard train ticket.safetensors --learning-rate 0.05 --max-steps 5000 --out trained.safetensors
    """
    from apply.prune import train_ticket, training_summary
    from pruning.ticket import Ticket
    from workloads.device import choose_device

    loaded = Ticket.load(ticket)
    workload = _workload_of(loaded, ticket, options)
    seed = options["seed"] if options["seed"] is not None else int(loaded.provenance.get("seed", 0))
    with progress_bar(f"training {ticket}") as progress:
        trained, record = train_ticket(
            loaded, workload, seed, device=choose_device(options["device"]), progress=progress
        )
    out = options["out"] or ticket
    trained.save(out)
    result = {"ticket": str(out)} | training_summary(record)
    text = (
        f"{out}: {record.steps} steps in {record.seconds:.1f} s ({record.engine}), lowest validation loss "
        f"{record.best_validation_loss:.4f} at step {record.best_step}, where validation accuracy was "
        f"{100 * record.best_validation_accuracy:.2f} %"
    )
    emit(result, options["as_json"], text)


@click.command()
@click.argument("ticket", type=TICKET, default="ticket.safetensors")
@_ticket_workload[0]
@_ticket_workload[1]
@click.option("--split", type=click.Choice(["test", "validation"]), default="test", show_default=True)
@device_option
@json_option
def evaluate(ticket: Path, **options: Any) -> None:
    """Loss and accuracy of a trained ticket on its task's test set.

    \b
    scratchcard evaluate ticket.safetensors
    scratchcard evaluate ticket.safetensors --split validation --json
    """
    from apply.prune import evaluate_ticket
    from pruning.ticket import Ticket
    from workloads.device import choose_device

    loaded = Ticket.load(ticket)
    workload = _workload_of(loaded, ticket, options)
    found = evaluate_ticket(loaded, workload, options["split"], device=choose_device(options["device"]))
    result = {
        "ticket": str(ticket),
        "split": options["split"],
        "accuracy": found.accuracy,
        "loss": found.loss,
        "examples": found.examples,
    }
    text = (
        f"{ticket}: {options['split']} accuracy {100 * found.accuracy:.2f} %, loss {found.loss:.4f} over "
        f"{found.examples:,} examples"
    )
    emit(result, options["as_json"], text)


def _workload_of(ticket: Ticket, path: Path, options: dict[str, Any]) -> Workload:
    """The workload that a ticket says it is of. Code named inside a file is never imported."""
    described = ticket.provenance.get("workload")
    if not isinstance(described, dict) or not {"network", "task", "recipe"} <= set(described):
        raise ValueError(f"{path} does not say which workload it is of; make it with `scratchcard prune`")
    network = options.get("network") or str(described["network"])
    if ":" in network and not options.get("network"):
        raise ValueError(
            f"{path} is a ticket of the network {network!r}, which is code of your own: "
            f"name it with --network {network}"
        )
    return make_workload(options | {"network": network, "task": described["task"]}, described["recipe"])
