"""Prune, train and evaluate one ticket."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

from torch import nn

from scratchcard.apply.method import Method
from scratchcard.artefacts.version import versions
from scratchcard.clock import spent
from scratchcard.pruning.network_code import network_code
from scratchcard.pruning.ticket import Ticket, copy_state
from scratchcard.scorers.stored_scores import Shared
from scratchcard.settings import SettingError
from scratchcard.workloads.engines.training import Evaluated, TrainingRecord, evaluate
from scratchcard.workloads.session import Session
from scratchcard.workloads.stored_training import train_once
from scratchcard.workloads.workload import Workload


def find_ticket(
    workload: Workload,
    method: Method,
    density: float,
    seed: int = 0,
    session: Session | None = None,
    *,
    data_seed: int | None = None,
) -> Ticket:
    """Find a ticket of `workload`'s network at initialisation `seed`.

    Args:
        workload: network, task, recipe.
        method: scorer, regime, initial weights.
        density: kept weights / prunable weights, in (0, 1].
        seed: of the initial weights, the scoring batch, ties, and the data order unless `data_seed` is given.
        session: where and how; with a store, finished trainings and scores of whole networks are kept there, so that a
            second call goes on and other searches share them, and the seconds that they once took count as this one's.
        data_seed: of the data order in regimes that train.

    Returns:
        The ticket: initial weights, mask and provenance; not yet trained.

    Raises:
        ValueError: a density outside (0, 1] or one that keeps no weight, a rewind step that the training does not
            reach, or anything that does not fit together; one sentence.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task, sc.Recipe(max_steps=10, batch_size=32))
        >>> find_ticket(workload, Method("magnitude"), density=0.25)
        Ticket(2 of 8 weights, density 0.25, magnitude, untrained)
    """
    session = session or Session()
    device = session.device
    regime = method.make_regime()
    regime.check(workload.recipe, density)
    begin = spent(device)
    described = workload.describe()
    known: dict[str, Any] = {name: described[name] for name in ("network_code", "objective") if name in described}
    shared = None if session.store is None else Shared(session.store, known)
    network = method.start(workload, density, seed, shared=shared, **session.placement)
    code = network_code(network)
    # Weights as built cost the method nothing; weights made from scores are part of it.
    begin = spent(device) if method.initial == "given" else begin
    scorer = method.make_scorer(density, seed, shared)
    preparation = spent(device) - begin
    found = regime.find(workload, scorer, density, seed, session, network=network, data_seed=data_seed)
    provenance = {
        "workload": described,
        "network_code": code,
        "method": method.describe(),
        "label": method.label,
        "scorer": found.scores.criterion,
        "density": density,
        "kept": found.mask.kept,
        "prunable": found.mask.total,
        "seed": seed,
        "data_seed": seed if data_seed is None else data_seed,
        "scoring_batch": workload.scoring(seed),
        "pruning_seconds": preparation + found.seconds + (0.0 if shared is None else shared.saved),
        "versions": versions(),
    }
    if found.training:
        provenance["rounds"] = [
            {name: finite(value) if isinstance(value, float) else value for name, value in entry.items()}
            for entry in found.training
        ]
    return Ticket(dict(found.start), found.mask, provenance)


def check_belongs(ticket: Ticket, workload: Workload) -> None:
    """Refuse a workload with another network or other data than the ticket was found with, as far as it says so.

    `train_ticket` and `evaluate_ticket` don't ask, so that a ticket can be moved to another task on purpose.

    A module has no name that says all of it: where one is in play, its layout alone must be the ticket's.

    Raises:
        ValueError: names both.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task, sc.Recipe(max_steps=10, batch_size=32))
        >>> ticket = find_ticket(workload, Method("magnitude"), density=0.25)
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
        >>> ticket = find_ticket(workload, Method("magnitude"), density=0.25)
        >>> check_unchanged(ticket, workload.build(0), "mine")
        >>> check_unchanged(ticket, nn.Sequential(nn.Linear(4, 2), nn.Tanh()), "mine")
        Traceback (most recent call last):
            ...
        scratchcard.settings.SettingError: the network mine is not the one that the ticket was found in: ...
    """
    recorded = ticket.provenance.get("network_code")
    if recorded is not None and recorded != network_code(network):
        raise SettingError(
            f"the network {name} is not the one that the ticket was found in: the code of its layers, or what they "
            "hold beside their weights, has changed since; prune it anew, or say network_changed if that is meant",
            "network_changed",
        )


def train_ticket(
    ticket: Ticket, workload: Workload, seed: int, session: Session | None = None, *, network_changed: bool = False
) -> tuple[Ticket, TrainingRecord]:
    """Train a ticket's kept weights; returns it with its trained weights, and the record.

    `seed` is that of the data order. With a store in the session, a training that it holds is not done again:
    methods that find the same ticket share it. The ticket's provenance says under `training` what was done:
    the record in short, the recipe, the data's digest, and the history as `[step, train loss, validation loss,
    validation metric]`; a metric that is no accuracy is named. A network whose code has changed since the ticket was
    found is refused unless `network_changed` says that this is meant; the ticket is then one of the changed network.

    Raises:
        ValueError: the ticket is one of another network.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task, sc.Recipe(max_steps=10, batch_size=32))
        >>> ticket = find_ticket(workload, Method("magnitude"), density=0.25)
        >>> trained, record = train_ticket(ticket, workload, seed=0)
        >>> trained, record.steps
        (Ticket(2 of 8 weights, density 0.25, magnitude, trained), 10)
    """
    session = session or Session()
    network = workload.build(0, **session.placement)
    if network_changed:
        changed = {"network_code": network_code(network), "network_changed": True}
        ticket = dataclasses.replace(ticket, provenance=dict(ticket.provenance) | changed)
    check_unchanged(ticket, network, workload.network_name)
    ticket.apply_to(network)
    record = train_once(network, workload, session, mask=ticket.mask, seed=seed)
    return with_training(ticket, network, record, workload, seed), record


def with_training(ticket: Ticket, network: nn.Module, record: TrainingRecord, workload: Workload, seed: int) -> Ticket:
    """The ticket with the weights of `network`, its network after training, and what was done in its provenance.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task, sc.Recipe(max_steps=10, batch_size=32))
        >>> from scratchcard.workloads.engines.training import train
        >>> ticket, network = find_ticket(workload, Method("magnitude"), density=0.25), workload.build(0)
        >>> record = train(network, task, workload.recipe, mask=ticket.mask)
        >>> with_training(ticket, network, record, workload, seed=0).provenance["training"]["steps"]
        10
    """
    training = training_summary(record) | {
        "data_seed": seed,
        "data_digest": workload.task.digest,
        "recipe": dataclasses.asdict(workload.recipe),
        "history": history(record),
    }
    headline = workload.task.objective.metric_names[0]
    training |= {} if headline == "accuracy" else {"metric": headline}
    provenance = dict(ticket.provenance) | {"training": training}
    return dataclasses.replace(ticket, trained=copy_state(network), provenance=provenance)


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


def evaluate_ticket(
    ticket: Ticket,
    workload: Workload,
    split: Literal["train", "validation", "test"] = "test",
    session: Session | None = None,
    *,
    network_changed: bool = False,
) -> Evaluated:
    """Loss and metrics of a trained ticket.

    Raises:
        ValueError: the ticket was not trained, or is one of another network; or the network's code has changed since
            and `network_changed` does not say that this is meant.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task, sc.Recipe(max_steps=10, batch_size=32))
        >>> trained, _ = train_ticket(find_ticket(workload, Method("magnitude"), density=0.25), workload, seed=0)
        >>> evaluate_ticket(trained, workload).examples
        12
    """
    session = session or Session()
    network = workload.build(0, **session.placement)
    if not network_changed:
        check_unchanged(ticket, network, workload.network_name)
    ticket.apply_to(network, trained=True)
    return evaluate(network, workload.task, split, device=session.device)
