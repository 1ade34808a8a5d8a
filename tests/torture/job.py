"""The job that is tortured: small commands on digits, what they need, and what they find, to the bit."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scratchcard.artefacts.json_file import read_json
from scratchcard.meta.bundle import load_bundle
from scratchcard.pruning.ticket import Ticket
from scratchcard.score_tables.table import ScoreTable
from tests.fuzz.fuzzing import printed
from tests.sweeps.sweeping import results

FAST = ["--max-steps", "60", "--evaluation-interval", "20", "--scoring-examples", "100"]
SLOW = ["--regime", "ISS", "--scorer", "magnitude", "--rounds", "2"]
GRID = """name = "torture"
title = "Short runs"
densities = [0.2, 0.05]
seeds = "1-2"

[workload]
network = "lenet_300_100"
task = "digits"
recipe = { max_steps = 60, evaluation_interval = 20, scoring_examples = 100, patience = 1000 }

[[methods]]
scorer = "snip"

[[methods]]
scorer = "magnitude"
regime = "ISS"
rounds = 2
"""
TIMES = ("seconds", "finished", "versions", "machine")
"""Of a provenance: what differs between equal runs."""


@dataclass(frozen=True)
class Step:
    """A command of the job.

    Attributes:
        arguments: of `scratchcard`, with paths relative to the job's folder.
        needs: what of the job's folder it reads.
        makes: what it writes there.
        found: what it found, from the job's folder.
    """

    arguments: tuple[str, ...]
    needs: tuple[str, ...]
    makes: tuple[str, ...]
    found: Callable[[Path], Any]

    def prepare(self, whole: Path, folder: Path) -> None:
        """A folder with what the command needs, from one where the whole job is done."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "grid.toml").write_text(GRID)
        for name in self.needs:
            copy(whole / name, folder / name)


def copy(source: Path, place: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, place)
    else:
        shutil.copy2(source, place)


def left_over(folder: Path) -> list[str]:
    """Files that killed or refused commands should not leave behind for good."""
    hidden = {".leases", ".running", ".rounds", ".seconds", ".ticket.safetensors.rounds"}
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return sorted(str(path) for path in files if ".part" in path.name or hidden & set(path.parts))


def _plain(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _plain(value) for key, value in content.items() if not key.endswith(TIMES)}
    return [_plain(value) for value in content] if isinstance(content, list) else content


def _table(folder: Path) -> Any:
    table = ScoreTable.open(folder / "table")
    manifest = _plain(read_json(folder / "table" / "manifest.json"))
    blocks = [(b.seed, b.round, b.parameter, b.indices, dict(b.columns)) for b in table.blocks()]
    return table.digest, manifest, blocks


def _predictor(folder: Path) -> Any:
    predictor = load_bundle(folder / "predictor")
    features = [column.name for column in predictor.columns]
    return dict(predictor.arrays), predictor.family, predictor.target, features, _plain(predictor.metrics)


def _ticket(name: str) -> Callable[[Path], Any]:
    def found(folder: Path) -> Any:
        ticket = Ticket.load(folder / name)
        return ticket.initial, ticket.mask.tensors, ticket.trained, _plain(ticket.provenance)

    return found


def _results(folder: Path) -> Any:
    tickets = {path.stem: _ticket(path.name)(path.parent) for path in (folder / "results" / "tickets").glob("*.*")}
    return results(folder / "results"), tickets


def digest(step: Step, folder: Path) -> str:
    """Of what a command found."""
    return printed(step.found(folder))


def file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


STEPS: dict[str, Step] = {
    "build": Step(("build", "--seeds", "0-2", *SLOW, *FAST, "--out", "table"), (), ("table",), _table),
    "fit": Step(
        ("fit", "table", "--objective", "classification", "--option", "trees=5", "--out", "predictor"),
        ("table",),
        ("predictor",),
        _predictor,
    ),
    "prune": Step(
        ("prune", *SLOW, *FAST, "--density", "0.05", "--out", "ticket.safetensors"),
        (),
        ("ticket.safetensors",),
        _ticket("ticket.safetensors"),
    ),
    "predict": Step(
        ("prune", "--predictor", "predictor", *FAST, "--density", "0.05", "--out", "predicted.safetensors"),
        ("predictor",),
        ("predicted.safetensors",),
        _ticket("predicted.safetensors"),
    ),
    "train": Step(
        ("train", "ticket.safetensors", "--out", "trained.safetensors"),
        ("ticket.safetensors",),
        ("trained.safetensors",),
        _ticket("trained.safetensors"),
    ),
    "sweep": Step(("sweep", "grid.toml", "--out", "results", "--keep-tickets"), (), ("results",), _results),
}
"""By name, in the order of the job."""
