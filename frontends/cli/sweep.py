"""`scratchcard sweep` and `scratchcard status`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scratchcard.frontends.cli import options as opt
from scratchcard.words import counted, duration

if TYPE_CHECKING:
    from scratchcard.sweeps.grid import Grid
    from scratchcard.sweeps.run_grid import Standing

_file = click.argument("file", type=opt.PATH)
_out = click.option(
    "--out",
    type=opt.PATH,
    default="runs/results",
    show_default=True,
    help="Results folder, e.g. results; grids that lie in one folder share their runs.",
)
_densities = click.option(
    "--density",
    "densities",
    type=float,
    multiple=True,
    help="Only this one of the grid's densities, e.g. 0.005; may be repeated. [default: all]",
)
_tasks = click.option(
    "--task",
    "tasks",
    multiple=True,
    help="Only this one of the grid's tasks, e.g. mnist; may be repeated. [default: all]",
)


@click.command()
@_file
@_out
@click.option("--jobs", type=opt.COUNT, default=1, show_default=True, help="Runs at once, one thread each, e.g. 2.")
@click.option(
    "--dask", help="Send the runs to the workers of this Dask scheduler, e.g. tcp://10.0.0.5:8786. [default: none]"
)
@click.option(
    "--together",
    type=opt.COUNT,
    default=1,
    show_default=True,
    help="On a GPU: train so many tickets at once, with stacked parameters, e.g. 32.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Say how many runs there are and are done, how long the rest takes, e.g. before a night. [default: run]",
)
@click.option(
    "--keep-tickets",
    is_flag=True,
    help="Keep every trained ticket in OUT/tickets, e.g. for anatomy. [default: not kept]",
)
@click.option(
    "--tensorboard", type=opt.PATH, help="Write TensorBoard logs of every new run here, e.g. runs/logs. [default: none]"
)
@_tasks
@_densities
@opt.device_option
@opt.data_dir_option
@opt.json_option
def sweep(
    file: Path,
    out: Path,
    jobs: int,
    dask: str | None,
    together: int,
    dry_run: bool,
    keep_tickets: bool,
    tensorboard: Path | None,
    device: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Run a grid of experiments: a TOML file of workloads, methods, densities and seeds.

    Finished runs are kept, failed ones are recorded and do not stop the others; the same command goes on after any
    interruption. Re-running a finished grid costs nothing. What runs share lies in OUT/.shared, which only grows and
    may be deleted. docs/grids.md lists all keys of the file; a small one is

    \b
      name = "two_criteria"
      title = "SNIP and SynFlow"
      densities = [0.01, 0.1]
      seeds = "0-4"
      [workload]
      task = "digits"
      [[methods]]
      scorer = ["snip", "synflow"]
      regime = "UMS"

    \b
    scratchcard sweep experiments/mnist_baselines.toml --jobs 2
    scratchcard sweep experiments/mnist_baselines.toml --jobs 2 --dry-run
    scratchcard sweep grid.toml --dask tcp://10.0.0.5:8786
    """
    from scratchcard.sweeps.run_grid import run_grid, standing
    from scratchcard.workloads.device import choose_device
    from scratchcard.workloads.session import Session

    grid = _read(file, out, options, imports=not dry_run)
    before = standing(grid, out, jobs=jobs, keep_tickets=keep_tickets)
    if dry_run:
        opt.emit(_plain(grid, before), as_json, _text(grid, before, jobs))
        return
    opt.when_interrupted(f"finished runs are kept in {out}, the same command goes on")
    each = None
    if tensorboard is not None:
        from scratchcard.sweeps.tensorboard import Logs

        each = Logs(tensorboard, {e.workload.task.name: len(e.workload.task.train) for e in grid.experiments}).write
    with _says_what_to_do(out), _bar(f"grid {grid.name}") as (report, progress):
        swept = run_grid(
            grid,
            out,
            Session(choose_device(device), jobs=jobs, dask=dask),
            together=together,
            keep_tickets=keep_tickets,
            each=each,
            report=report,
            progress=progress,
        )
    for digest, error in swept.failed.items():
        opt.warn(f"run {digest[:12]} failed: {error}; the whole traceback is in {out / (digest + '.error.json')}")
    after = standing(grid, out, jobs=jobs, keep_tickets=keep_tickets)
    result = {"ran": swept.ran, "seconds": swept.seconds, "runs_per_minute": swept.runs_per_minute}
    text = f"{_text(grid, after, jobs)}\nthis sweep: {counted(swept.ran, 'run')} in {duration(swept.seconds)}"
    if swept.ran and not dask:
        text += f", {swept.runs_per_minute:.1f} a minute with {counted(jobs, 'job')}"
    opt.emit(_plain(grid, after) | result, as_json, text)
    if swept.failed:
        click.get_current_context().exit(1)


@click.command()
@_file
@_out
@click.option("--jobs", type=opt.COUNT, default=1, show_default=True, help="For the estimate: runs at once, e.g. 2.")
@_tasks
@_densities
@opt.data_dir_option
@opt.json_option
def status(file: Path, out: Path, jobs: int, as_json: bool, **options: Any) -> None:
    """How far a grid is: runs done, failed, running, and the time that the rest takes.

    No code that the file names is imported. Runs on a task of your own are known once a sweep into OUT has noted it.

    \b
    scratchcard status experiments/mnist_baselines.toml
    """
    from scratchcard.sweeps.run_grid import standing

    grid = _read(file, out, options, imports=False)
    found = standing(grid, out, jobs=jobs)
    opt.emit(_plain(grid, found), as_json, _text(grid, found, jobs))


def _read(file: Path, out: Path, options: dict[str, Any], *, imports: bool) -> Grid:
    from scratchcard.sweeps.grid import read_grid

    chosen = {"tasks": options["tasks"] or None, "densities": options["densities"] or None}
    return read_grid(file, out, data_dir=options["data_dir"], imports=imports, **chosen)


def _plain(grid: Grid, found: Standing) -> dict[str, Any]:
    return {"grid": grid.name, **vars(found)}


def _text(grid: Grid, found: Standing, jobs: int) -> str:
    text = f"{grid.name}: {found.done} of {found.total} runs done"
    text += f", {len(found.failed)} failed" if found.failed else ""
    text += f", {found.running} running now" if found.running else ""
    if found.done == found.total:
        return text
    if found.seconds_left is None:
        return f"{text}; how long the rest takes is not known before a run is done"
    return f"{text}; the rest takes about {duration(found.seconds_left)} with {counted(jobs, 'job')}"


@contextlib.contextmanager
def _says_what_to_do(out: Path) -> Iterator[None]:
    from scratchcard.sweeps.runs import UNWRITABLE

    try:
        yield
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        raise OSError(
            f"cannot write to {out} ({error.strerror}): finished runs are kept; free some space or choose another "
            "--out, then run the same command again"
        ) from error


@contextlib.contextmanager
def _bar(title: str) -> Iterator[tuple[Any, Any]]:
    """Progress of tables and fits, then of runs, with the time left."""
    with opt.progress_bar(title) as show:

        def progress(now: Any) -> None:
            left = "" if now.seconds_left is None else f"about {duration(now.seconds_left)} left"
            failed = f" ({now.failed} failed)" if now.failed else ""
            show(now.done + now.failed, now.total, f"{title}{failed}", left)

        yield lambda text, done, total: show(done, total, text, ""), progress
