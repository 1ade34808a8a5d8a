"""`scratchcard report`."""

from __future__ import annotations

from pathlib import Path

import click

from scratchcard.frontends.cli.options import PATH, emit, json_option


@click.command()
@click.argument("results", type=PATH)
@click.option("--out", type=PATH, default=Path("report.html"), show_default=True, help="The page, e.g. report.html.")
@click.option("--title", help="Of the page, e.g. 'Stacks on MNIST'. [default: the grid's]")
@click.option(
    "--anatomy",
    type=PATH,
    help="The tickets' anatomy, e.g. anatomy.parquet, for overlaps and histograms. [default: the one in RESULTS]",
)
@json_option
def report(results: Path, out: Path, title: str | None, anatomy: Path | None, as_json: bool) -> None:
    """Write one HTML page of RESULTS: a folder that `sweep` wrote, or an exported .parquet file.

    The page opens offline, in light and dark, on a phone and on paper: plots with intervals, sortable tables with
    significance, published figures beside ours, and how each number was made.

    \b
    scratchcard report results --out report.html
    scratchcard report results.parquet --anatomy anatomy.parquet --out report.html
    """
    from scratchcard.analysis.report import report as write

    path = write(results, out, title=title, anatomy=anatomy)
    size = path.stat().st_size
    emit({"report": str(path), "bytes": size}, as_json, f"{path} ({size / 1e6:.1f} MB)")
