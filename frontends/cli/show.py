"""`scratchcard show`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from scratchcard.frontends.cli.options import TABLE, emit, json_option
from scratchcard.words import counted, printable

FOLDED = ("features", "targets")
"""Of a table or a predictor: names, each with its transform."""
NO_BREAK = "\u00a0"
WIDTH = 110
MOST_SHOWN = 200
"""Entries of a list, such as a vocabulary: `--json` has them all."""


@click.command()
@click.argument("file", type=TABLE)
@click.option("--target", help="Of a table: how each feature goes with this target, e.g. kept. [default: not shown]")
@json_option
def show(file: Any, target: str | None, as_json: bool) -> None:
    """Explain a table, a bundle, a ticket or a recipe: what it holds and where it came from.

    \b
    scratchcard show table
    scratchcard show table --target kept
    scratchcard show s3://bucket/mnist-table
    scratchcard show predictor
    scratchcard show default
    scratchcard show ticket.safetensors
    scratchcard show resnet_cifar
    """
    from scratchcard.apply.shipped import SHIPPED, shipped
    from scratchcard.registry import members
    from scratchcard.workloads.recipes import RECIPES

    if str(file) in SHIPPED:
        file = shipped(str(file))[0]
    if not file.exists():
        if str(file) in members(RECIPES, "recipes"):
            emit(found := _recipe(str(file)), as_json, "\n".join(_lines(found)))
            return
        raise FileNotFoundError(
            f"there is nothing at {file}: expected a table, a bundle, a ticket, a recipe or a shipped predictor, "
            f"{' or '.join(SHIPPED)}; `scratchcard list` explains other names"
        )
    is_table = file.suffix == ".parquet" or (file.is_dir() and any(file.glob("*.parquet")))
    if target is not None and not is_table:
        raise ValueError(f"{file} is no table: only a table's features can be correlated with a target")
    if is_table and target is not None:
        _correlations(file, target, as_json)
        return
    if is_table:
        result = _table(file)
    elif not isinstance(file, Path):
        raise ValueError(f"{file} is no table; bundles and tickets are read from files of this machine")
    elif file.is_dir():
        result = _bundle(file)
    elif file.suffix == ".safetensors" or _holds_tensors(file):
        result = _ticket(file)
    else:
        raise ValueError(
            f"{file} is no table (folder of .parquet files or one of them), bundle (folder with manifest.json) "
            "or ticket (.safetensors)"
        )
    text = result | {"checks": result["checks"] or "nothing odd was found"} if "checks" in result else result
    emit(result, as_json, "\n".join(_lines(text)))


def _holds_tensors(file: Path) -> bool:
    """Whether it is a file as tickets are, whatever its name: `prune --out` takes any."""
    from scratchcard.artefacts.tensor_file import read_texts

    try:
        return file.is_file() and bool(read_texts(file))
    except (OSError, ValueError):
        return False


def _recipe(name: str) -> dict[str, Any]:
    from dataclasses import asdict

    from scratchcard.registry import lookup
    from scratchcard.workloads.recipes import RECIPES

    made = lookup(RECIPES, "recipes", name)
    return {"kind": "recipe", "about": (made.__doc__ or "").partition("\n")[0], "settings": asdict(made())}


def _table(path: Any) -> dict[str, Any]:
    from scratchcard.score_tables.table import ScoreTable

    table = ScoreTable.open(path)
    origin = table.manifest
    recording = origin.get("recording")
    told: dict[str, Any] = {"slow regime": recording}
    early = isinstance(recording, dict) and "slow" in recording
    if isinstance(recording, dict) and early:
        search = {name: value for name, value in recording.items() if name not in ("slow", "every_round")}
        told = {"search": search, "slow regime": recording["slow"]}
    return {
        "kind": "score table of a trajectory" if early else "score table",
        "rows": table.rows,
        "seeds": {name: list(seeds) for name, seeds in table.seeds.items()},
        "looks" if early else "rounds": list(table.rounds),
        **told,
        "workloads": origin.get("workloads"),
        "digest": table.digest,
        "versions": origin.get("versions"),
        "targets": {name: table.schema.column(name).transform for name in table.schema.targets},
        "features": {name: table.schema.column(name).transform for name in table.schema.features},
    }


def _correlations(path: Any, target: str, as_json: bool) -> None:
    """A line a feature, the one that tells kept from pruned weights best first."""
    from scratchcard.analysis.correlations import feature_correlations
    from scratchcard.score_tables.table import ScoreTable

    found = feature_correlations(ScoreTable.open(path), target)
    found = found.sort_values("roc_auc", key=lambda auc: (auc - 0.5).abs(), ascending=False, kind="stable")
    rows = found.to_dict("records")
    head = f"{'feature':<32}{'Pearson':>10}{'Spearman':>10}{'ROC AUC':>10}"
    lines = [
        f"{row['feature']:<32}" + "".join(f"{row[name]:>10.3f}" for name in ("pearson", "spearman", "roc_auc"))
        for row in rows
    ]
    emit(rows, as_json, "\n".join([f"{target}, {rows[0]['rows']:,} weights", head, *lines]))


def _bundle(path: Path) -> dict[str, Any]:
    from scratchcard.apply.shipped import describe_tickets
    from scratchcard.meta.bundle import load_bundle

    predictor = load_bundle(path)
    return {
        "kind": "predictor",
        "family": predictor.family,
        "objective": predictor.objective,
        "target": predictor.target,
        "digest": predictor.digest,
        "metrics": {
            part: {name: value for name, value in dict(numbers).items() if name != "networks"}
            for part, numbers in predictor.metrics.items()
            if numbers
        },
        "stored tickets": describe_tickets(path),
        "training": dict(predictor.training),
        "arrays": {name: list(array.shape) for name, array in predictor.arrays.items()},
        "features": {column.name: column.transform for column in predictor.columns},
    }


def _ticket(path: Path) -> dict[str, Any]:
    from scratchcard.pruning.ticket import Ticket

    ticket = Ticket.load(path)
    layers = {
        name: f"{int(kept.sum()):,} of {kept.numel():,} kept, shape {tuple(kept.shape)}"
        + (", left out of pruning" if name in ticket.mask.excluded else "")
        for name, kept in ticket.mask.tensors.items()
    }
    return {
        "kind": "ticket",
        "kept": ticket.mask.kept,
        "prunable": ticket.mask.total,
        "density": ticket.mask.density,
        "trained": ticket.trained is not None,
        "checks": {finding.kind: finding.text for finding in ticket.check()},
        "layers": layers,
        "provenance": {name: _applying(value) for name, value in ticket.provenance.items() if name != "checks"},
    }


def _applying(value: Any) -> Any:
    """A described method without settings that its regime does not have: descriptions hold some of others, too."""
    from scratchcard.regimes import REGIMES, regime_settings
    from scratchcard.settings import settings_of

    regime = value.get("regime") if isinstance(value, dict) else None
    if not isinstance(regime, str) or regime not in REGIMES:
        return value
    foreign = regime_settings().keys() - settings_of(REGIMES[regime])
    return {name: entry for name, entry in value.items() if name not in foreign}


def _lines(value: Any, depth: int = 0) -> list[str]:
    """Nested plain values as indented lines; what others wrote cannot steer the terminal."""
    pad = "  " * depth
    lines = []
    for key, entry in value.items():
        key = printable(str(key))
        if key in FOLDED and not depth:
            lines += [f"{key}, {len(entry)}:", *_folded(f"{name} ({how})" for name, how in entry.items())]
        elif isinstance(entry, dict) and entry:
            lines += [f"{pad}{key}:", *_lines(entry, depth + 1)]
        elif entry is not None and entry not in ({}, []):
            lines.append(f"{pad}{key}: {_shown(entry)}")
    return lines


def _folded(items: Iterable[str]) -> list[str]:
    """Many short entries, several a line."""
    text = ", ".join(item.replace(" ", NO_BREAK) for item in items)
    lines = textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
    return [line.replace(NO_BREAK, " ") for line in lines]


def _shown(entry: Any) -> str:
    if isinstance(entry, bool):
        return "yes" if entry else "no"
    if isinstance(entry, int):
        return f"{entry:,}"
    if isinstance(entry, float):
        return f"{entry:.6g}"
    if isinstance(entry, list | tuple):
        if any(isinstance(item, list | dict) for item in entry):
            return f"{counted(len(entry), 'entry')}, see --json"
        more = f" ... ({len(entry):,} in all, see --json)" if len(entry) > MOST_SHOWN else ""
        return ", ".join(map(_shown, entry[:MOST_SHOWN])) + more
    return printable(str(entry))
