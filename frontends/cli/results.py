"""`scratchcard results`."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scratchcard.frontends.cli.options import PATH, check_new, emit, json_option, overwrite_option, warn
from scratchcard.words import counted

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 1000
"""Rows that a terminal is shown."""


@click.command()
@click.argument("source", type=PATH)
@click.argument("sql", required=False)
@click.option("--grid", metavar="NAME", help="Only the runs of this grid, e.g. mnist_baselines. [default: all]")
@click.option(
    "--out", type=PATH, help="Export to a file instead, e.g. results.parquet or results.csv. [default: print]"
)
@click.option(
    "--failed",
    is_flag=True,
    help="List the runs that failed and have no result, e.g. to see why. [default: those that have]",
)
@overwrite_option
@json_option
def results(
    source: Path, sql: str | None, grid: str | None, out: Path | None, failed: bool, overwrite: bool, as_json: bool
) -> None:
    """Show, query or export the results of a sweep.

    SOURCE is the folder of results, or a .parquet file exported from one. Without SQL: mean test accuracy (or the
    task's own metric) and its 95 % interval over the seeds of each task, density and method. SQL is one SELECT
    (DuckDB's) over the view runs, a row a run; "DESCRIBE runs" lists its columns.

    \b
    scratchcard results runs/mnist_baselines
    scratchcard results runs/mnist_baselines "SELECT label, max(test_accuracy) FROM runs GROUP BY label" --json
    scratchcard results runs/mnist_baselines --grid mnist_baselines --out mnist_baselines.parquet
    """
    from scratchcard.analysis import results as found
    from scratchcard.analysis.equal_tickets import identical
    from scratchcard.analysis.mixed import mixed

    if failed and (sql or out):
        raise ValueError("--failed lists failed runs: leave the SQL and --out away")
    if out is not None:
        check_new(out, overwrite)
        found.export(source, out, grid=grid, query=sql)
        emit({"out": str(out)}, as_json, f"written to {out}")
    elif failed:
        _print(found.failures(source, grid=grid), as_json, f"no failed runs in {source}")
    elif sql is not None:
        _print(found.query(source, sql, grid=grid), as_json, "no rows")
    else:
        frame = found.frame(source, grid=grid)
        _print_summary(found.summary(frame), as_json)
        # Means over fewer seeds than planned must not pass for the whole.
        for name, (missing, planned) in found.unfinished(frame, found.grids(source)).items():
            if missing and grid in (None, name):
                warn(f"{missing:,} of the {counted(planned, 'run')} of grid {name!r} are not finished")
        for told in mixed(frame):
            warn(told)
        for group in identical(frame, "label"):
            warn(f"{group.sentence}: one result under several names")
        failures = found.failures(source, grid=grid)
        if len(failures):
            warn(f"{counted(len(failures), 'run')} failed: scratchcard results {source} --failed lists them")


def _print_summary(summary: pd.DataFrame, as_json: bool) -> None:
    from scratchcard.analysis.statistics import Headline

    if as_json:
        emit(_rows(summary), True, "")
        return
    headlines = [Headline(metric) for metric in summary["metric"]]
    shown = summary.drop(columns=["metric", "test_accuracy", "half_width", "seeds"])
    for name in ("network", "predictor"):
        if shown[name].nunique(dropna=False) == 1:
            shown = shown.drop(columns=name)
    shown["density"] = [f"{density:g}" for density in shown["density"]]
    titles = list(dict.fromkeys(headline.title for headline in headlines))
    shown[titles[0] if len(titles) == 1 else "result"] = [
        ("" if len(titles) == 1 else f"{headline.title}: ")
        + headline.text(mean)
        + ("" if math.isnan(half) else f" ± {headline.text(half)}")
        for headline, mean, half in zip(headlines, summary["test_accuracy"], summary["half_width"], strict=True)
    ]
    shown["seeds"] = summary["seeds"]
    _print(shown, False, "")


def _print(frame: pd.DataFrame, as_json: bool, nothing: str) -> None:
    """JSON; a table on a terminal; else lines with tabs between the values, the names first."""
    rows = _rows(frame)
    if as_json:
        emit(rows, True, "")
    elif not rows and nothing:
        click.echo(nothing)
    elif sys.stdout.isatty():
        _table(list(frame.columns), rows)
    else:
        lines: list[list[Any]] = [list(frame.columns), *(list(row.values()) for row in rows)]
        click.echo("\n".join("\t".join(_text(value, repr) for value in line) for line in lines))


def _table(names: list[str], rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    numbers = {name for name in names if any(isinstance(row[name], int | float) for row in rows)}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, justify="right" if name in numbers else "left", overflow="fold")
    for row in rows[:MOST_ROWS]:
        table.add_row(*(_escaped(_text(value, "{:.6g}".format)) for value in row.values()))
    Console(file=sys.stdout).print(table)
    if len(rows) > MOST_ROWS:
        warn(f"{len(rows) - MOST_ROWS:,} more rows are not shown: --out or --json gives all")


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _text(value: Any, number: Any) -> str:
    """One cell: no tab or line break, nothing for a missing value."""
    if value is None:
        return ""
    text = number(value) if isinstance(value, float) else str(value)
    return " ".join(text.split()) if any(mark in text for mark in "\t\n\r") else text


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as plain JSON values; a missing value is None."""
    columns = [[_plain(value) for value in frame[name].tolist()] for name in frame.columns]
    return [dict(zip(frame.columns, values, strict=True)) for values in zip(*columns, strict=True)]


def _plain(value: Any) -> Any:
    from decimal import Decimal

    import pandas as pd

    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if hasattr(value, "tolist"):  # a list is an array in a frame
        value = value.tolist()
    if isinstance(value, Decimal):  # DuckDB's literals within a list or a struct
        return float(value)
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return None
    return value if isinstance(value, str | bool | int | float) else str(value)
