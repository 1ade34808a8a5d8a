"""`scratchcard train` and `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scratchcard.frontends.cli import options as opt
from scratchcard.frontends.cli.recipe_options import ticket_recipe_options
from scratchcard.frontends.cli.ticket_workload import (
    check_has_weights,
    ticket_workload_options,
    weights_options,
    workload_of,
)

if TYPE_CHECKING:
    from scratchcard.pruning.ticket import Ticket


@click.command()
@click.argument("ticket", type=opt.PATH, default="ticket.safetensors")
@ticket_workload_options
@click.option("--seed", type=opt.SEED, help="Of the data order, e.g. 7. [default: the ticket's]")
@click.option(
    "--out", type=opt.PATH, help="Where to write the trained ticket, e.g. trained.safetensors. [default: in place]"
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with this ticket's training where it was broken off, e.g. by Ctrl-C. [default: begin anew]",
)
@opt.overwrite_option
@opt.device_option
@ticket_recipe_options
@opt.json_option
def train(ticket: Path, overwrite: bool, resume: bool, **options: Any) -> None:
    """Train a ticket's kept weights on its own task and write the trained weights back into it.

    A training that the ticket holds already is kept, unless --overwrite says otherwise or --out names another file.
    While it goes on, the training lies in a hidden file beside the ticket, every minute anew and when it is broken off:
    the same command with --resume ends where it would have ended at once, to the bit.

    \b
    scratchcard train ticket.safetensors
    scratchcard train ticket.safetensors --resume
    scratchcard train ticket.safetensors --learning-rate 0.05 --max-steps 5000 --out trained.safetensors
    """
    from scratchcard.apply.pipeline import train_ticket
    from scratchcard.apply.training_summary import training_summary
    from scratchcard.pruning.ticket import Ticket
    from scratchcard.workloads.device import choose_device
    from scratchcard.workloads.engines.checkpoint import Checkpoint
    from scratchcard.workloads.session import Session

    loaded = Ticket.load(ticket)
    device = choose_device(options["device"])
    out = options["out"] or ticket
    in_place = out.exists() and out.samefile(ticket)
    opt.check_new(out, overwrite or in_place)
    workload = workload_of(loaded, ticket, options)
    seed = _seed_of(loaded, ticket) if options["seed"] is None else options["seed"]
    if in_place and loaded.trained is not None and not overwrite:
        raise FileExistsError(
            f"{ticket} holds a training already; choose another --out, or add --overwrite to replace it"
        )
    checkpoint = Checkpoint(out.with_name(f".{out.name}.training"), resume=resume)
    if checkpoint.path.exists() and not resume and not overwrite:
        raise FileExistsError(
            f"{checkpoint.path} holds a training that was broken off: --resume goes on with it, --overwrite begins anew"
        )
    if resume and not checkpoint.path.exists():
        opt.warn(f"there is no {checkpoint.path}, where a training that was broken off would be: it begins anew")
    with opt.progress_bar(f"training {ticket}") as progress:
        how: dict[str, Any] = {"network_changed": options["network_changed"], "checkpoint": checkpoint}
        try:
            trained, record = train_ticket(loaded, workload, seed, Session(device, progress=progress), **how)
        except KeyboardInterrupt:
            if checkpoint.path.exists():
                again = "" if resume else " with --resume"
                opt.when_interrupted(f"{checkpoint.path} holds the training, the same command{again} goes on")
            raise
    opt.check_new(out, overwrite or in_place)  # it may have come there meanwhile
    trained.save(out)
    checkpoint.remove()
    went_on = f", resumed at step {checkpoint.resumed}" if checkpoint.resumed else ""
    text = f"{out}: {record.steps} steps in {record.seconds:.1f} s ({record.engine}{went_on})"
    if record.history and record.best_step:
        text += (
            f", lowest validation loss {record.best_validation_loss:.4f} at step {record.best_step}, where validation "
            + _measured(workload.task.objective.metric_names[0], "was", record.best_validation_metric)
        )
    text += f"; {record.compacted or 'not compacted: trained at its full size'}"
    if record.diverged:
        kept = f"those of step {record.best_step}" if record.best_step else "those before training"
        opt.warn(
            f"the training diverged (a loss became NaN or infinite by step {record.steps}): the weights saved are "
            f"{kept}; try a lower --learning-rate"
        )
    result = {"ticket": str(out)} | training_summary(record)
    result["compacted"] = None if record.compacted is None else record.compacted._asdict()
    opt.emit(result, options["as_json"], text + opt.took())


@click.command()
@click.argument("ticket", type=opt.PATH, default="ticket.safetensors")
@ticket_workload_options
@click.option(
    "--split",
    type=click.Choice(["test", "validation"]),
    default="test",
    show_default=True,
    help="Which part of the data, e.g. validation while you still choose.",
)
@weights_options("--untrained", "Evaluate")
@opt.device_option
@opt.json_option
def evaluate(ticket: Path, untrained: bool, **options: Any) -> None:
    """Loss and accuracy, or the task's own metrics, of a trained ticket on its task's test set.

    \b
    scratchcard evaluate ticket.safetensors
    scratchcard evaluate ticket.safetensors --split validation --json
    scratchcard evaluate ticket.safetensors --untrained --recalibrate
    """
    from scratchcard.apply.pipeline import evaluate_ticket
    from scratchcard.pruning.ticket import Ticket
    from scratchcard.workloads.device import choose_device
    from scratchcard.workloads.session import Session

    loaded = Ticket.load(ticket)
    check_has_weights(loaded, ticket, "--untrained", untrained)
    device = choose_device(options["device"])
    workload = workload_of(loaded, ticket, options)
    recalibrate = options["recalibrate"]
    which = {"trained": not untrained, "recalibrate": recalibrate, "network_changed": options["network_changed"]}
    found = evaluate_ticket(loaded, workload, options["split"], Session(device), **which)
    training = loaded.provenance.get("training")
    diverged = not untrained and isinstance(training, dict) and training.get("diverged") is True
    if diverged:
        opt.warn(f"the training of {ticket} diverged: these are the weights before it did")
    weights = "initial" if untrained else "trained"
    result = {
        "ticket": str(ticket),
        "weights": weights,
        "recalibrate": recalibrate,
        "split": options["split"],
        "accuracy": found.metric,
        "loss": found.loss,
        "examples": found.examples,
        "diverged": diverged,
    }
    headline = next(iter(found.metrics))
    if headline != "accuracy":
        result |= {"metric": headline, "metrics": dict(found.metrics)}
    text = (
        f"{ticket}, {weights} weights: {options['split']} {_measured(headline, '', found.metric)}, loss "
        f"{found.loss:.4f} over {found.examples:,} examples"
    )
    opt.emit(result, options["as_json"], text)


def _measured(metric: str, verb: str, value: float) -> str:
    """`accuracy was 93.10 %`, or `r2 was 0.8120`."""
    number = f"{100 * value:.2f} %" if metric == "accuracy" else f"{value:.4f}"
    return " ".join(filter(None, (metric, verb, number)))


def _seed_of(ticket: Ticket, path: Path) -> int:
    seed = ticket.provenance.get("seed")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise ValueError(f"{path} does not say its seed (it says {seed!r}); name one with --seed")
    return seed
