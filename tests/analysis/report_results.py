"""A made-up folder of results for the tests of reports: records as runs write them, without running anything."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from scratchcard.apply.method import Method

SCORERS = ("magnitude", "snip", "grasp", "synflow")
STACKS = tuple(Method(second, on=first, regime="UMS", restack=True) for first in SCORERS for second in SCORERS) + tuple(
    Method(scorer, regime="UMS") for scorer in SCORERS
)
SAW = tuple(
    Method(scorer, regime="UMS", initial="saw", initial_scorer=first)
    for scorer in SCORERS
    for first in ("snip", "synflow", "grasp")
)
BASELINES = (Method("random"), Method("magnitude"), Method("snip"), Method("synflow", regime="UMS"))
EVIL = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>"
DENSE = ({"initial": "given"}, {"initial": "saw", "initial_scorer": "snip"}, {"initial": "bimodal"})


def record(method: Method, density: float, seed: int, *, task: str = "mnist", **changes: Any) -> dict[str, Any]:
    """One run's record; accuracies rise with density and differ by method."""
    label = changes.pop("label", method.label)
    described = method.describe()
    key = json.dumps([described, label, density, seed, task], sort_keys=True)
    digest = hashlib.sha256(key.encode()).hexdigest()
    draw = random.Random(key)
    skill = random.Random(label).uniform(0.4, 1.6) * (3.0 if method.scorer == "random" else 1.0)
    accuracy = 0.985 - 0.0012 * skill * density**-0.8 + draw.gauss(0, 0.002)
    steps = range(0, 8601, 430)
    recipe = {"scoring_examples": 256, "max_steps": 12885, "batch_size": 64, "learning_rate": 0.1}
    made: dict[str, Any] = {
        "digest": digest,
        "label": label,
        "configuration": {
            "workload": {"network": "lenet_300_100", "task": task, "data_digest": "f" * 64, "recipe": recipe},
            "method": described,
            "density": density,
            "seed": seed,
            "dtype": "torch.float32",
            "results_version": 1,
        },
        "kept": round(density * 266200),
        "prunable": 266200,
        "effective_density": density * 0.99,
        "layer_density": {"1.weight": density * 0.6, "3.weight": min(1.0, density * 3)},
        "live_units": {"1.weight": 116, "3.weight": 58},
        "pruning_seconds": skill * (40.0 if method.make_regime().name in ("ISS", "IMS") else 0.4) + draw.random() / 10,
        "training": {
            "seconds": 1.0 + draw.random(),
            "steps": 8600,
            "best_step": 430 * draw.randint(5, 20),
            "early_stopped": True,
            "diverged": False,
            "engine": "fused",
            "validation_accuracy": max(0.1, accuracy - 0.002),
            "validation_loss": 0.1,
        },
        "history": [[s, 0.5, 0.3, max(0.1, accuracy - 0.5 * math.exp(-s / 900) + draw.gauss(0, 0.001))] for s in steps],
        "test_accuracy": max(0.1, accuracy),
        "test_loss": 0.1,
        "wall_seconds": 2.5,
        "device": "cpu",
        "machine": "x86_64, 2 cores",
        "versions": {"torch": "2.15.0", "python": "3.11.7", "scratchcard": "0.1.0", "numpy": "2.4.6"},
        "finished": "2026-11-21T14:57:08Z",
    }
    return made | changes


def write_grid(
    folder: Path,
    name: str,
    records: Iterable[dict[str, Any]],
    comparisons: Sequence[dict[str, Any]] = (),
    **manifest: Any,
) -> list[str]:
    """Write records and the manifest of the grid that they belong to; returns the digests."""
    (folder / "grids").mkdir(parents=True, exist_ok=True)
    digests = []
    for made in records:
        (folder / f"{made['digest']}.json").write_text(json.dumps(made))
        digests.append(str(made["digest"]))
    session = {
        "begin": "2026-11-21T12:00:00Z",
        "end": "2026-11-21T12:40:00Z",
        "jobs": 2,
        "device": "cpu",
        "runs": len(digests),
        "failed": 0,
        "seconds": 2400.0,
        "runs_per_minute": len(digests) / 40,
        "machine": "x86_64, 2 cores",
    }
    told = {
        "name": name,
        "title": name.capitalize(),
        "source": "figures 5.10 and 5.11 of the thesis",
        "file": f"experiments/{name}.toml",
        "text": f'name = "{name}"\n# <b>not bold</b>\n',
        "digests": digests,
        "comparisons": list(comparisons),
        "references": [],
        "sessions": [session],
    } | manifest
    (folder / "grids" / f"{name}.json").write_text(json.dumps(told))
    return digests


def runs(
    methods: Sequence[Method], densities: Sequence[float], seeds: Sequence[int], **changes: Any
) -> list[dict[str, Any]]:
    """Records of all combinations."""
    return [record(m, d, s, **changes) for m in methods for d in densities for s in seeds]


def dense(seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Dense networks from three kinds of initial weights."""
    return [record(Method.of("magnitude", **start), 1.0, seed) for start in DENSE for seed in seeds]


def write_failure(folder: Path, error: str) -> str:
    """A failed run; returns its digest."""
    made = record(Method("grasp"), 0.005, 7)
    failed = {key: made[key] for key in ("digest", "label", "configuration", "finished")}
    digest = str(made["digest"])
    (folder / f"{digest}.error.json").write_text(json.dumps(failed | {"error": error, "traceback": error}))
    return digest


def write_predictors(folder: Path) -> None:
    """Two fitted predictors, one with a learning curve."""
    (folder / "predictors").mkdir(exist_ok=True)
    for place, (name, family) in enumerate((("linear", "linear"), ("trees", "gbm"))):
        numbers = {"r2": 0.1 + 0.2 * place, "mse": 1e-4, "overlap": 0.24, "roc_auc": 0.9, "noise_ceiling": None}
        networks = [{"overlap": 0.2 + place / 10 + k / 100, "roc_auc": 0.9} for k in range(3)]
        metrics = {"train": numbers, "held_out": numbers | {"overlap": 0.21 + place / 10, "networks": networks}}
        curve = {str(n): {"held_out": numbers | {"overlap": 0.1 + n / 100, "networks": networks}} for n in (1, 2, 4, 8)}
        identity = f"{place:064x}"
        told = {
            "name": name,
            "identity": identity,
            "recipe": {"family": family, "target": "kept", "workload": {"task": "mnist"}},
            "metrics": metrics,
            "learning_curve": curve if place else {},
            "seconds": 3.2,
        }
        (folder / "predictors" / f"{identity}.json").write_text(json.dumps(told))


def write_anatomy(folder: Path, labels: Sequence[str], densities: Sequence[float] = (0.005, 0.1)) -> Path:
    """`anatomy.parquet` in the folder, in the columns and kinds of `analysis.anatomy`."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    from scratchcard.analysis.anatomy import COLUMNS, FORMAT_KEY, FORMAT_VERSION

    rows: list[dict[str, Any]] = []
    draw = random.Random(0)
    for density in densities:
        where = {"workload": "w", "network": "lenet_300_100", "task": "mnist", "density": density, "layer": ""}

        def add(kind: str, name: str, value: float, where: dict[str, Any] = where, **more: Any) -> None:
            rows.append(where | {"kind": kind, "name": name, "value": value, "label": "", "other": ""} | more)

        for place, label in enumerate(labels):
            for other in labels[place + 1 :]:
                for name, value in (("jaccard", draw.random()), ("spread", 0.01), ("chance", density / (2 - density))):
                    add("overlap", name, value, label=label, other=other)
            for layer in ("1.weight", "3.weight", "5.weight"):
                for name, value in (("density", density), ("live_units", 100.0), ("units", 300.0)):
                    add("layer", name, value, label=label, layer=layer, seed=0)
            for part in ("initial", "initial_kept", "final_kept"):
                add("weights", f"{part}.bimodality", draw.random(), label=label, seed=0)
                for k in range(-12, 12):
                    at = 0.25 * k + 0.125
                    shift = 0.0 if part == "initial" else 1.5
                    value = 1000 * (math.exp(-((at - shift) ** 2)) + math.exp(-((at + shift) ** 2)))
                    add("histogram", part, round(value), label=label, at=at)
            for kind, value in (("weights", 1331 * 0.7**place), ("expected", 1331 * 0.01**place)):
                add("core", kind, value, at=float(place + 1), seed=0)
    frame = pd.DataFrame(rows).reindex(columns=list(COLUMNS)).astype({"seed": "Int64"})
    table = pa.Table.from_pandas(frame, preserve_index=False)
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), FORMAT_KEY: FORMAT_VERSION})
    path = folder / "anatomy.parquet"
    pq.write_table(table, path)
    return path


def write_results(
    folder: Path, densities: Sequence[float] = (0.005, 0.02, 0.1), seeds: Sequence[int] = (0, 1, 2)
) -> Path:
    """A folder with everything that a report can show: grids, comparisons, a failed run, predictors, anatomy."""
    against = {"of": [m.label for m in STACKS[:4]], "against": ["snip, UMS 100"]}
    comparison = {"name": "stacks against SNIP", "densities": None, "task": "mnist", "paired": False} | against
    folder.mkdir(parents=True, exist_ok=True)
    failed = [write_failure(folder, f"RuntimeError: {EVIL}")]
    stacks = runs(STACKS, densities, seeds) + dense(seeds)
    digests = write_grid(folder, "stacks", stacks, [comparison], references=["stacked"])
    write_grid(folder, "stacks", stacks, [comparison], references=["stacked"], digests=digests + failed)
    write_grid(folder, "single", runs(STACKS[:3] + BASELINES, [0.1], seeds))
    write_grid(folder, "saw", runs((*SAW, *(Method(s, regime="UMS") for s in SCORERS)), densities, seeds))
    evil = [record(BASELINES[0], d, s, label=f"random {EVIL}", task="fashion") for d in densities for s in seeds]
    write_grid(folder, "baselines", runs(BASELINES, densities, seeds) + evil, title=f"Baselines {EVIL}", text=EVIL)
    write_predictors(folder)
    write_anatomy(folder, [m.label for m in STACKS[:5]])
    return folder
