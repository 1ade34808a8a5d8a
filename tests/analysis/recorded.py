"""Folders of made-up results, for the tests that read them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def record(
    label: str = "snip", *, seed: int = 0, density: float = 0.1, test_accuracy: float = 0.9, task: str = "mnist"
) -> dict[str, Any]:
    """A record as version 0.1.0 wrote it: without wall time, machine, history, and whether it diverged."""
    settings = [label, seed, density, task]
    return {
        "digest": hashlib.sha256(json.dumps(settings).encode()).hexdigest(),
        "label": label,
        "configuration": {
            "density": density,
            "dtype": "torch.float32",
            "method": {
                "initial": "given",
                "initial_scorer": None,
                "on": None,
                "predictor": None,
                "regime": "USS",
                "rewind_step": 0,
                "rounds": 1,
                "schedule": "exponential",
                "scope": "global",
                "scorer": label,
                "shots": 10,
            },
            "results_version": 1,
            "seed": seed,
            "workload": {
                "data_digest": "data",
                "network": "lenet_300_100",
                "recipe": {"batch_size": 64, "max_steps": 12885, "scoring_examples": 2560},
                "task": task,
            },
        },
        "device": "cpu",
        "effective_density": round(density * 266_200) * 0.75 / 266_200,
        "finished": "2026-11-21T14:57:08Z",
        "kept": round(266200 * density),
        "layer_density": {"1.weight": 0.1, "3.weight": 0.30000000000000004},
        "live_units": {"1.weight": 116, "3.weight": 58},
        "prunable": 266200,
        "pruning_seconds": 1.5,
        "test_accuracy": test_accuracy,
        "test_loss": 0.25,
        "training": {
            "best_step": 430,
            "early_stopped": False,
            "engine": "fused",
            "seconds": 0.5,
            "steps": 860,
            "validation_accuracy": 0.875,
            "validation_loss": 0.3,
        },
        "versions": {"python": "3.11.7", "results": "1", "scratchcard": "0.1.0", "torch": "2.15.0"},
    }


def failure(made: dict[str, Any], error: str = "ValueError: no data") -> dict[str, Any]:
    """The record of a failed run in place of a finished one."""
    kept = {name: made[name] for name in ("digest", "label", "configuration", "finished")}
    return kept | {"error": error, "traceback": "Traceback ..."}


def write(folder: Path, records: Sequence[dict[str, Any]]) -> Path:
    """The folder, with a file for each record, as sweeps write them."""
    folder.mkdir(parents=True, exist_ok=True)
    for made in records:
        ending = ".error.json" if "error" in made else ".json"
        (folder / f"{made['digest']}{ending}").write_text(json.dumps(made, indent=1, sort_keys=True) + "\n")
    return folder


def write_grid(folder: Path, name: str, digests: Sequence[str], **more: Any) -> dict[str, Any]:
    """The manifest of a grid that was swept into the folder."""
    manifest = {"name": name, "title": f"Grid {name}", "digests": list(digests), "comparisons": [], "sessions": []}
    (folder / "grids").mkdir(parents=True, exist_ok=True)
    (folder / "grids" / f"{name}.json").write_text(json.dumps(manifest | more))
    return manifest | more
