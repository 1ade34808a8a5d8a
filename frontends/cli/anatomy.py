"""`scratchcard anatomy`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scratchcard.frontends.cli.options import PATH, check_new, emit, json_option, overwrite_option, progress_bar
from scratchcard.words import counted, duration

if TYPE_CHECKING:
    import pandas as pd

MOST_LABELS = 24
"""Larger matrices of overlap don't fit on a screen."""


@click.command()
@click.argument("sources", metavar="SOURCE...", type=PATH, nargs=-1, required=True)
@click.option(
    "--out", type=PATH, help="Write every number to this Parquet file, e.g. anatomy.parquet. [default: none written]"
)
@click.option(
    "--density", type=click.FloatRange(0, 1, min_open=True), help="Only tickets of it, e.g. 0.01. [default: all]"
)
@overwrite_option
@json_option
def anatomy(sources: tuple[Path, ...], out: Path | None, density: float | None, overwrite: bool, as_json: bool) -> None:
    """Compare tickets: overlap (Jaccard), common core, layers, weights.

    SOURCE is a results folder whose sweep kept its tickets, ticket files, or a file that --out wrote. Tickets are
    compared within a seed, where a position is the same weight, then averaged over seeds.

    \b
    scratchcard anatomy results --out anatomy.parquet
    scratchcard anatomy results --density 0.01
    scratchcard anatomy snip.safetensors synflow.safetensors
    """
    from scratchcard.analysis.anatomy import anatomy as dissect
    from scratchcard.analysis.anatomy import read_anatomy
    from scratchcard.analysis.anatomy_tables import places

    begin = time.perf_counter()
    if out is not None:
        if out.suffix != ".parquet":
            raise ValueError(f"--out must name a .parquet file, got {out}")
        check_new(out, overwrite)
    if sources[0].suffix == ".parquet":
        if out is not None or len(sources) > 1:
            raise ValueError(f"{sources[0]} is a finished anatomy: name it alone, without --out")
        frame = read_anatomy(sources[0])
        if density is not None:
            known = sorted(set(frame["density"]))
            frame = frame[frame["density"] == density]
            if frame.empty:
                there = ", ".join(f"{value:g}" for value in known)
                raise ValueError(f"{sources[0]} has no tickets of density {density:g}; it has {there}")
    else:
        with progress_bar("reading tickets") as progress:
            frame = dissect(sources, out, density=density, progress=progress)
    result = [_summary(frame, *place) for place in places(frame)]
    text = "\n\n".join(_text(entry) for entry in result)
    took = duration(time.perf_counter() - begin)
    emit(result, as_json, f"{text}\n\nwritten to {out} in {took}" if out is not None else text)


def _summary(frame: pd.DataFrame, workload: str, density: float) -> dict[str, Any]:
    """All of one workload and density, as plain values."""
    from scratchcard.analysis.anatomy_tables import MEASURES, core_sizes, means, overlap_matrix

    own = frame[(frame["workload"] == workload) & (frame["density"] == density)]
    matrices = {measure: overlap_matrix(own, measure) for measure in MEASURES}
    tables = {kind: means(own, kind).drop(columns=["workload", "density"]) for kind in ("ticket", "layer", "weights")}
    return {
        "workload": workload,
        "density": density,
        "labels": list(matrices["jaccard"].index),
        "overlap": {measure: matrix.to_numpy().tolist() for measure, matrix in matrices.items()},
        "core": core_sizes(own).drop(columns=["workload", "density"]).to_dict("records"),
        "tickets": tables["ticket"].drop(columns="layer").to_dict("records"),
        "layers": tables["layer"].to_dict("records"),
        "weights": tables["weights"].to_dict("records"),
    }


def _text(entry: dict[str, Any]) -> str:
    parts = [f"{entry['workload']}, density {entry['density']:g}"]
    if entry["labels"]:
        parts += [_overlap(entry), _core(entry["core"])]
    else:
        parts.append("no two tickets of one seed: nothing to compare")
    parts.append(_layers(entry))
    return "\n\n".join(part for part in parts if part)


def _overlap(entry: dict[str, Any]) -> str:
    labels, jaccard, chance = entry["labels"], entry["overlap"]["jaccard"], entry["overlap"]["chance_by_layer"]
    if len(labels) > MOST_LABELS:
        return f"Jaccard index of {len(labels)} methods: too wide for text, see --json or --out"
    rows = [
        [str(i + 1), label, *(_number(chance[i][j] if j > i else jaccard[i][j], 3) for j in range(len(labels)))]
        for i, label in enumerate(labels)
    ]
    head = "Jaccard index (below the diagonal), and what chance gives tickets of these layer densities (above):"
    return "\n".join([head, _table(["", "", *(str(i + 1) for i in range(len(labels)))], rows)])


def _core(rows: Sequence[dict[str, Any]]) -> str:
    lines = []
    for tickets in sorted({row["tickets"] for row in rows}):
        own = {row["at_least"]: row for row in rows if row["tickets"] == tickets}
        for at_least in sorted({tickets, tickets // 2 + 1}, reverse=True):
            row = own[at_least]
            who = f"all {tickets}" if at_least == tickets else f"at least {at_least} of {tickets}"
            lines.append(
                f"kept by {who} tickets of a seed: {row['weights']:,.0f} weights (chance, these layer densities: "
                f"{row['expected_by_layer']:,.1f}; {counted(row['seeds'], 'seed')})"
            )
    return "\n".join(lines)


def _layers(entry: dict[str, Any]) -> str:
    """A row a method and layer, the whole ticket first."""
    distributions = {(row["label"], row["layer"]): row for row in entry["weights"]}
    rows = []
    for ticket in entry["tickets"]:
        label = ticket["label"]
        whole = {"layer": "", **ticket}
        for row in (whole, *(layer for layer in entry["layers"] if layer["label"] == label)):
            weights = distributions.get((label, row["layer"]), {})
            live, units = row.get("live_units"), row.get("units")
            rows.append(
                [
                    label if row is whole else "",
                    row["layer"] or "all",
                    _number(row["kept"], 0),
                    _number(row["kept_density"], 4),
                    _number(row.get("effective_density"), 4),
                    "" if row is whole else f"{_number(live, 0)} of {_number(units, 0)}",
                    _number(weights.get("initial_kept.bimodality"), 2),
                    _number(weights.get("final_kept.bimodality"), 2),
                    _number(weights.get("initial_kept.central_share"), 3),
                    _number(weights.get("final_kept.central_share"), 3),
                    _number(ticket.get("best_step"), 0) if row is whole else "",
                    str(ticket["seeds"]) if row is whole else "",
                ]
            )
    head = ["method", "layer", "kept", "density", "effective", "live units"]
    head += ["BC initial", "BC final", "centre initial", "centre final", "best step", "seeds"]
    note = (
        "BC: bimodality coefficient of the kept weights; above 0.556 (uniform) hints at two modes.\n"
        "centre: share within a quarter of their median magnitude of zero; below 0.125 (uniform) hints at a gap there."
    )
    return f"{_table(head, rows)}\n{note}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns side by side; the first two to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (head, *rows)
    )


def _number(value: Any, digits: int) -> str:
    return "-" if value is None or value != value else f"{value:,.{digits}f}"
