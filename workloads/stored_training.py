"""A training that is done once for all who ask for it: the same weights, mask, data order and recipe."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from scratchcard.artefacts.store import Store, Stored, content_key
from scratchcard.clock import spent
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.network_code import network_code
from scratchcard.pruning.shrunk import Shrunk
from scratchcard.pruning.state import copy_state, load_state
from scratchcard.workloads.device import choose_device
from scratchcard.workloads.engines.checkpoint import Checkpoint
from scratchcard.workloads.engines.loop import Evaluation
from scratchcard.workloads.engines.training import TrainingRecord, train
from scratchcard.workloads.engines.trajectory import Trajectory
from scratchcard.workloads.session import Session
from scratchcard.workloads.workload import Workload


def train_once(
    network: nn.Module,
    workload: Workload,
    session: Session | None = None,
    *,
    mask: Mask | None = None,
    seed: int = 0,
    snapshot_steps: Collection[int] = (),
    checkpoint: Checkpoint | None = None,
    **how: Any,
) -> TrainingRecord:
    """`train`, unless the store holds this very training: then `network` gets its outcome, equal to the bit.

    The record is the one of the training that was done, its seconds too: a method's cost is what it would have spent
    alone. Slow regimes share the dense network's training, and their rounds where their masks are the same.

    Args:
        network: trained in place.
        workload: the task and the recipe; its description is part of the key.
        session: where to train, and the store where finished trainings lie; without one it trains. Trainings of the
            CPU and of a GPU are kept apart: their seconds are of different clocks, and sums are rounded otherwise.
        mask: the kept weights; only they are stored.
        seed: of the data order.
        snapshot_steps, checkpoint: as for `train`.
        how: changes to the session, such as `device="cuda"`.

    Examples:
        >>> from pathlib import Path
        >>> from scratchcard.artefacts.store import Store
        >>> workload = Workload("lenet_300_100", sc.load_task("digits"), sc.Recipe(max_steps=20))
        >>> store = Store(Path("store"))
        >>> first = train_once(workload.build(0), workload, store=store)
        >>> again = train_once(workload.build(0), workload, store=store)
        >>> again.seconds == first.seconds  # it was read, not trained
        True
    """
    session = Session.of(session, **how)
    order: dict[str, Any] = {"seed": seed, "snapshot_steps": snapshot_steps, "checkpoint": checkpoint}
    placed: dict[str, Any] = {"device": session.device, "progress": session.progress}
    compute = partial(train, network, workload.task, workload.recipe, mask=mask, **order, **placed)
    store = session.store
    if store is None:
        return compute()
    mask = None if mask is not None and mask.kept == mask.total else mask
    described: dict[str, Any] = {
        "workload": workload.describe(),
        "network": network_code(network, learning=True),  # a user's own factory may have been changed
        "seed": seed,
        "snapshot_steps": sorted(snapshot_steps),
    }
    kind = choose_device(str(session.device)).type
    if kind != "cpu":
        described["device"] = kind
    kept = {} if mask is None else dict(mask.tensors)
    before = copy_state(network)
    key = content_key("training", described, state=before, mask=kept)

    def look() -> TrainingRecord | None:
        found = store.get(key)
        try:
            return None if found is None else _unpack(network, mask, found)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError):
            load_state(network, before)  # a whole file that holds something else: as good as none
            return None

    record = look()
    if record is None:
        with store.claim(key):
            record = look()
            if record is None:
                record = compute()
                store.put(key, _pack(network, mask, record))
    return record


WORTH_KEEPING = 1.0
"""Seconds; a shorter stretch of a trajectory is trained again sooner than it is looked for, and is not kept."""


def advance_once(
    trajectory: Trajectory, steps: int, mask: Mask | None, store: Store | None, described: Mapping[str, Any]
) -> float:
    """`Trajectory.advance`, unless the store holds this very stretch: the same weights, equal to the bit.

    A stretch whose optimiser's moments go on into the next one (`Trajectory.carries`) is never kept: what is stored are
    weights.

    Args:
        trajectory: from where it stands.
        steps: to train.
        mask: the kept weights.
        store: where stretches of more than `WORTH_KEEPING` seconds are kept, or all; None keeps nothing.
        described: the workload's description, which decides the data.

    Returns:
        The seconds that the stretch took when it was trained, if it was read; else 0.

    Examples:
        >>> from pathlib import Path
        >>> from scratchcard.artefacts.store import Store
        >>> task, store = sc.load_task("digits"), Store(Path("stretches"))
        >>> network = Workload("lenet_300_100", task).build(0)
        >>> advance_once(Trajectory(network, task, sc.Recipe(), seed=0), 10, None, store, {})
        0.0
    """
    if store is None or trajectory.carries:
        trajectory.advance(steps, mask)
        return 0.0
    network, device = trajectory.network, trajectory.device
    decided = {
        "workload": dict(described),
        "network": network_code(network, learning=True),
        "recipe": trajectory.recipe.describe(),
        "seed": trajectory.seed,
        "from": trajectory.step,
        "steps": steps,
        "device": device.type,
    }
    key = content_key("stretch", decided, state=copy_state(network), mask={} if mask is None else dict(mask.tensors))
    found = store.get(key)
    if found is not None and isinstance(found.about.get("seconds"), float):
        load_state(network, dict(found.tensors))
        trajectory.skip(steps)
        return float(found.about["seconds"])
    begin = spent(device)
    trajectory.advance(steps, mask)
    seconds = spent(device) - begin
    if seconds > WORTH_KEEPING or store.brief:
        store.put(key, Stored(copy_state(network), {"seconds": seconds}))
    return 0.0


def _pack(network: nn.Module, mask: Mask | None, record: TrainingRecord) -> Stored:
    states: dict[str, Mapping[str, Tensor]] = {"end": copy_state(network)}
    states |= {str(step): state for step, state in record.snapshots.items()}
    kept = {} if mask is None else mask.to("cpu").tensors
    tensors = {
        f"{when}/{name}": tensor[kept[name]] if name in kept else tensor
        for when, state in states.items()
        for name, tensor in state.items()
    }
    about: dict[str, Any] = {
        f.name: getattr(record, f.name) for f in dataclasses.fields(record) if f.name not in ("snapshots", "history")
    }
    about["best_validation_accuracy"] = about.pop("best_validation_metric")  # as stores have called it from the start
    return Stored(tensors, about | {"history": [dataclasses.astuple(entry) for entry in record.history]})


def _unpack(network: nn.Module, mask: Mask | None, found: Stored) -> TrainingRecord:
    kept = {} if mask is None else mask.to("cpu").tensors
    states: dict[str, dict[str, Tensor]] = {}
    for place, tensor in found.tensors.items():
        when, _, name = place.partition("/")
        if name in kept:
            full = torch.zeros(kept[name].shape, dtype=tensor.dtype)
            full[kept[name]] = tensor
            tensor = full
        states.setdefault(when, {})[name] = tensor
    load_state(network, states.pop("end"))
    # In the network's order: the file's is alphabetical.
    snapshots = {int(step): {name: state[name] for name in network.state_dict()} for step, state in states.items()}
    about = dict(copy.deepcopy(found.about))
    about["best_validation_metric"] = about.pop("best_validation_accuracy")
    history = tuple(Evaluation(*entry) for entry in about.pop("history"))
    shrunk = about.pop("compacted", None)
    shrunk = None if shrunk is None else Shrunk(*shrunk)
    return TrainingRecord(**about, history=history, snapshots=snapshots, compacted=shrunk)
