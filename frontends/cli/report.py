"""`scratchcard report`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from scratchcard.frontends.cli.options import PATH, check_new, emit, json_option, overwrite_option
from scratchcard.words import duration


@click.command()
@click.argument("results", type=PATH, nargs=-1, required=True)
@click.option("--out", type=PATH, default=Path("report.html"), show_default=True, help="The page, e.g. report.html.")
@click.option("--title", help="Of the page, e.g. 'Stacks on MNIST'. [default: the grid's]")
@click.option(
    "--anatomy",
    type=PATH,
    help="The tickets' anatomy, e.g. anatomy.parquet, for overlaps and histograms. [default: the one in RESULTS]",
)
@overwrite_option
@json_option
def report(
    results: tuple[Path, ...], out: Path, title: str | None, anatomy: Path | None, overwrite: bool, as_json: bool
) -> None:
    """Write one HTML page of RESULTS: folders that `sweep` wrote, or exported .parquet files.

    The page begins with a verdict: what is best, by how much, how sure. Below it each grid unfolds: plots with
    intervals, sortable tables with significance, published figures beside ours, and how each number was made. It opens
    offline, in light and dark, on a phone and on paper.

    \b
    scratchcard report results --out report.html
    scratchcard report mine.parquet theirs.parquet --anatomy anatomy.parquet --out report.html
    """
    begin = time.perf_counter()
    from scratchcard.analysis.report import report as write

    check_new(out, overwrite)
    path = write(results, out, title=title, anatomy=anatomy)
    size = path.stat().st_size
    seconds = time.perf_counter() - begin
    told = {"report": str(path), "bytes": size, "seconds": round(seconds, 3)}
    emit(told, as_json, f"{path} ({size / 1e6:.1f} MB), made in {duration(seconds)}")
