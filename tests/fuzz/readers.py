"""Every reader of files: how whole files are made for it, and what reading them gives."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from click.testing import CliRunner
from torch import nn

from scratchcard.analysis import results
from scratchcard.analysis.anatomy import read_anatomy
from scratchcard.apply.method import Method
from scratchcard.apply.pipeline import find_ticket, train_ticket
from scratchcard.apply.shipped import describe_tickets
from scratchcard.artefacts.json_file import read_json, write_json
from scratchcard.artefacts.store import Store, Stored
from scratchcard.dataset_builder.features import FEATURES
from scratchcard.dataset_builder.table_folder import complete_manifest
from scratchcard.dataset_builder.targets import TARGETS
from scratchcard.frontends.cli import cli
from scratchcard.meta.bundle import ARRAYS, MANIFEST, load_bundle, save_bundle
from scratchcard.meta.fit import fit
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.ticket import Ticket
from scratchcard.pruning.ticket_path import TicketPath
from scratchcard.score_tables.manifest import read_manifest, write_manifest
from scratchcard.score_tables.schema import TABLE_VERSION, FeatureBlock, TableBlock, TableSchema
from scratchcard.score_tables.table import ScoreTable
from scratchcard.score_tables.writer import TableWriter, file_name
from scratchcard.sweeps.grid import read_grid
from scratchcard.sweeps.run_grid import run_grid
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.task import Task
from scratchcard.workloads.tasks.idx import read_idx
from scratchcard.workloads.tasks.tensors import tensors_task
from scratchcard.workloads.weights_file import load_weights
from scratchcard.workloads.workload import Workload


@dataclass(frozen=True)
class Reader:
    """A reader of the files in a folder.

    Attributes:
        make: writes whole files into the folder.
        read: all that the files hold, and what is done with it at once.
        checked: endings of files in which every changed byte is to be found.
        repair: makes digests in other files right again after one was changed.
        silent: damaged files are skipped with a warning of ours, or count as none.
    """

    make: Callable[[Path], None]
    read: Callable[[Path], Any]
    checked: tuple[str, ...] = ()
    repair: Callable[[Path], None] | None = None
    silent: bool = False


def workload(network: nn.Module | str | None = None) -> Workload:
    inputs = torch.rand(60, 4, generator=torch.Generator().manual_seed(0))
    task = Task.of(inputs, torch.arange(60) % 2)
    network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)) if network is None else network
    return Workload(network, task, Recipe(max_steps=10, batch_size=32, evaluation_interval=5))


def _ticket(folder: Path) -> None:
    torch.manual_seed(0)
    made = workload()
    ticket, _ = train_ticket(find_ticket(made, Method("snip"), 0.5, 0), made, 0)
    ticket.save(folder / "ticket.safetensors")


def _read_ticket(folder: Path) -> Any:
    ticket = Ticket.load(folder / "ticket.safetensors")
    ticket.check()
    repr(ticket), ticket._repr_html_()
    return ticket.initial, ticket.trained, ticket.mask.tensors, sorted(ticket.mask.excluded), ticket.provenance


def _path(folder: Path) -> None:
    mask = torch.arange(12).reshape(3, 4)
    masks = {0.5: Mask({"weight": mask < 6}), 0.25: Mask({"weight": mask < 3})}
    path = TicketPath.of(masks, {"weight": mask / 12 - 0.4}, torch.rand(2, 4), {"task": "toy", "regime": "ISS"})
    (folder / "tickets").mkdir()
    path.save(folder / "tickets" / "path.safetensors")


def _read_path(folder: Path) -> Any:
    path = TicketPath.load(folder / "tickets" / "path.safetensors")
    path.signs(path.densities[-1], total=path.kept[-1])
    return path.densities, path.levels, path.values, path.inputs, path.about


def _store(folder: Path) -> None:
    Store(folder).put("ab" * 32, Stored({"end/weight": torch.rand(3, 4), "mask": torch.eye(3) > 0}, {"seconds": 0.5}))


def _read_store(folder: Path) -> Any:
    found = Store(folder).get("ab" * 32)
    return None if found is None else (found.tensors, found.about)


def _table(folder: Path) -> None:
    random = np.random.default_rng(0)
    schema = TableSchema(TABLE_VERSION, (*FEATURES, *TARGETS))
    for seed in (0, 1):
        with TableWriter(schema, folder / file_name("toy", seed), "toy", seed, {"kept": 3}) as writer:
            for parameter, rows in (("0.weight", 30), ("2.weight", 12)):
                values = {name: random.random(rows, dtype=np.float32) for name in schema.names}
                values["kept"] = np.round(values["kept"])
                writer.write(TableBlock("toy", seed, 0, parameter, np.arange(rows), values))
    write_manifest(folder, {"workloads": {"toy": {"network": "toy", "task": "own"}}, "recording": {"density": 0.5}})
    complete_manifest(folder)


def _read_table(folder: Path) -> Any:
    table = ScoreTable.open(folder)
    repr(table)
    blocks = [(b.parameter, b.round, b.seed, b.workload, b.indices, dict(b.columns)) for b in table.blocks()]
    return table.seeds, table.rounds, blocks, read_manifest(folder)


def _bundle(family: str, **options: Any) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        _table(folder / "table")
        save_bundle(fit(ScoreTable.open(folder / "table"), family, **options), folder / "bundle")
        for path in (folder / "table").glob("*"):
            path.unlink()

    return make


def _read_bundle(folder: Path) -> Any:
    predictor = load_bundle(folder / "bundle")
    rows = np.random.default_rng(0).random((20, len(predictor.columns)), dtype=np.float32)
    names = tuple(column.name for column in predictor.columns)
    predicted = predictor.predict(FeatureBlock("weight", np.arange(len(rows)), names, rows))
    if not np.isfinite(predicted).all():
        raise AssertionError("predictions are not finite")
    return dict(predictor.arrays), dataclasses.asdict(predictor) | {"arrays": 0}, predicted


def _repair_bundle(folder: Path) -> None:
    manifest = read_json(folder / "bundle" / MANIFEST)
    data = (folder / "bundle" / ARRAYS).read_bytes()
    manifest["files"][ARRAYS] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    write_json(folder / "bundle" / MANIFEST, manifest)


GRID = """name = "tiny"
title = "A tiny grid"
source = "toy"
densities = [0.5]
seeds = "0-1"

[workload]
network = "lenet_300_100"
task = "digits"
recipe = { max_steps = 2, evaluation_interval = 2, scoring_examples = 20 }

[[methods]]
scorer = "snip"
[[methods]]
scorer = "magnitude"
regime = "ISS"
rounds = 2
"""


def _grid(folder: Path) -> None:
    (folder / "grid.toml").write_text(GRID)


def _read_grid(folder: Path) -> Any:
    grid = read_grid(folder / "grid.toml", folder / "results")
    return sorted(grid.digests)


def _records(folder: Path) -> None:
    _grid(folder)
    run_grid(read_grid(folder / "grid.toml", folder / "results"), folder / "results")
    (folder / "grid.toml").unlink()
    content = {
        "digest": "ab12",
        "label": "snip",
        "configuration": {"density": 0.5, "seed": 0},
        "error": "ValueError: x",
    }
    (folder / "results" / "ab12.error.json").write_text(json.dumps(content))


def _read_records(folder: Path) -> Any:
    place = folder / "results"
    frame = results.frame(place)
    found = (frame.to_json(), results.grids(place), results.predictors(place), results.failures(place).to_json())
    results.summary(frame)
    return found


def _export(folder: Path) -> None:
    _records(folder)
    results.export(folder / "results", folder / "runs.parquet")
    for path in sorted((folder / "results").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def _read_export(folder: Path) -> Any:
    frame = results.frame(folder / "runs.parquet")
    results.summary(frame)
    return frame.to_json(), results.grids(folder / "runs.parquet"), results.failures(folder / "runs.parquet").to_json()


def _anatomy(folder: Path) -> None:
    from scratchcard.analysis.anatomy import anatomy

    _ticket(folder)
    anatomy(folder / "ticket.safetensors", folder / "anatomy.parquet")
    (folder / "ticket.safetensors").unlink()


def _read_anatomy(folder: Path) -> Any:
    return read_anatomy(folder / "anatomy.parquet").to_json()


def _weights(ending: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        from safetensors.torch import save_file

        state = nn.Linear(4, 3).state_dict()
        if ending == "pt":
            torch.save(state, folder / "weights.pt")
        else:
            save_file(state, folder / "weights.safetensors")

    return make


def _read_weights(ending: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        network = nn.Linear(4, 3)
        load_weights(network, folder / f"weights.{ending}")
        return dict(network.state_dict())

    return read


def _idx(folder: Path) -> None:
    content = bytes([0, 0, 8, 3]) + struct.pack(">3I", 5, 4, 4) + bytes(range(80))
    (folder / "images.gz").write_bytes(gzip.compress(content, mtime=0))


def _npz(folder: Path) -> None:
    inputs = np.random.default_rng(0).random((50, 4), dtype=np.float32)
    np.savez(folder / "task.npz", train_inputs=inputs, train_targets=np.arange(50) % 2, outputs=np.array(2))


def _tensors(folder: Path) -> None:
    workload().task.save(folder / "task.safetensors")


def _read_task(file: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        task = tensors_task("task", folder / file)  # `load_task` remembers what it has read
        repr(task)
        splits = (task.train, task.validation, task.test)
        return task.digest, task.objective.describe(), [(split.inputs, split.targets) for split in splits]

    return read


def _shown(*arguments: str) -> Callable[[Path], Any]:
    """A command's text; its refusal as the command line says it."""

    def read(folder: Path) -> Any:
        done = CliRunner().invoke(cli, [argument.replace("@", str(folder)) for argument in arguments])
        if done.exit_code == 2:
            lines = done.stderr.splitlines()
            raise ValueError(lines[-1] if all(line.startswith("scratchcard: ") for line in lines) else done.stderr)
        if done.exception is not None:
            raise done.exception
        if not all(sign.isprintable() or sign == "\n" for sign in done.stdout):
            raise AssertionError("control characters on the terminal")
        return done.stdout

    return read


SMALL_TREES = {"trees": 3}
READERS: dict[str, Reader] = {
    "ticket": Reader(_ticket, _read_ticket, (".safetensors",)),
    "show ticket": Reader(_ticket, _shown("show", "@/ticket.safetensors"), (".safetensors",)),
    "ticket path": Reader(_path, _read_path, (".safetensors",)),
    "stored tickets": Reader(_path, describe_tickets, (".safetensors",)),
    "store": Reader(_store, _read_store, (".safetensors",), silent=True),
    "bundle linear": Reader(_bundle("linear"), _read_bundle, (".safetensors",), _repair_bundle),
    "bundle gbm": Reader(_bundle("gbm", **SMALL_TREES), _read_bundle, (".safetensors",), _repair_bundle),
    "bundle mlp": Reader(_bundle("mlp", epochs=1, hidden=(3,)), _read_bundle, (".safetensors",), _repair_bundle),
    "show bundle": Reader(_bundle("linear"), _shown("show", "@/bundle"), (".safetensors",), _repair_bundle),
    "score table": Reader(_table, _read_table),
    "show table": Reader(_table, _shown("show", "@")),
    "records": Reader(_records, _read_records, silent=True),
    "results": Reader(_export, _read_export),
    "anatomy": Reader(_anatomy, _read_anatomy),
    "grid": Reader(_grid, _read_grid),
    "weights safetensors": Reader(_weights("safetensors"), _read_weights("safetensors")),
    "weights pt": Reader(_weights("pt"), _read_weights("pt")),
    "idx": Reader(_idx, lambda folder: read_idx(folder / "images.gz")),
    "task npz": Reader(_npz, _read_task("task.npz")),
    "task safetensors": Reader(_tensors, _read_task("task.safetensors"), (".safetensors",)),
}
"""By name; `@` in a command's arguments is the folder."""
