"""What commands say: results on stdout; warnings, progress and the last word of an interrupted one on stderr."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from scratchcard.words import duration, printable

LINE_SECONDS = 60.0
"""Between two lines of progress where stderr is no terminal."""


def when_interrupted(truth: str) -> None:
    """What the command's Ctrl-C message says from here on.

    >>> with click.Context(click.Command("sweep")) as context:
    ...     when_interrupted("finished runs are kept")
    >>> context.meta["scratchcard.interrupted"]
    'finished runs are kept'
    """
    click.get_current_context().meta["scratchcard.interrupted"] = truth


def warn(text: str) -> None:
    """One line on stderr.

    >>> import contextlib, sys
    >>> with contextlib.redirect_stderr(sys.stdout):
    ...     warn("2 of the 10 runs of grid 'toy' are not finished")
    scratchcard: warning: 2 of the 10 runs of grid 'toy' are not finished
    """
    click.echo(f"scratchcard: warning: {printable(text)}", err=True)


def took() -> str:
    """How long the command has taken, for the end of what it says.

    >>> with click.Context(click.Command("fit")) as context:
    ...     context.meta["scratchcard.begun"] = time.monotonic() - 90
    ...     took()
    ' (took 90 s)'
    """
    return f" (took {duration(time.monotonic() - click.get_current_context().meta['scratchcard.begun'])})"


def check_new(out: Path, overwrite: bool) -> None:
    """Refuse a file that is there, unless it may be replaced; an empty one holds nothing to lose.

    Raises:
        OSError: one sentence.

    >>> check_new(Path("ticket.safetensors"), overwrite=False)
    """
    from scratchcard.artefacts.destination import check_destination

    check_destination(out)
    if not overwrite and out.exists() and out.stat().st_size:
        raise FileExistsError(f"{out} is there already; choose another --out, or add --overwrite to replace it")


def emit(result: Any, as_json: bool, text: str) -> None:
    """Print a result: JSON for machines (NaN and infinity as null, which JSON lacks), text for people.

    >>> emit({"density": 0.1, "loss": math.nan}, as_json=True, text="")
    {
     "density": 0.1,
     "loss": null
    }
    >>> emit({"density": 0.1, "loss": math.nan}, as_json=False, text="density 0.1, loss unknown")
    density 0.1, loss unknown
    """
    if as_json:
        text = json.dumps(_finite(result), indent=1, sort_keys=True, allow_nan=False)
    click.echo("".join(sign for sign in text if sign.isprintable() or sign in "\n\t"))  # a text may come from a file


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[..., None]]:
    """A progress bar with the time left on stderr; where stderr is no terminal, a line of plain text a minute.

    What it gives is called with (done, total) and, if another, what is being done and the time left in words.

    >>> import contextlib, sys
    >>> from unittest import mock
    >>> at_once = mock.patch("scratchcard.frontends.cli.output.LINE_SECONDS", 0.0)
    >>> with contextlib.redirect_stderr(sys.stdout), at_once, progress_bar("training") as show:
    ...     show(1, 4, left="about 3 s left")
    training, 1 of 4, about 3 s left
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    console = Console(stderr=True)
    begin = said = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[left]}"))
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(title, total=None, left="")

        def show(done: int, total: int, text: str | None = None, left: str | None = None) -> None:
            nonlocal said
            now, text = time.monotonic(), text or title
            if left is None:
                left = f"about {duration((now - begin) * (total - done) / done)} left" if done else ""
            bar.update(task, description=text, completed=done, total=total, left=left)
            if not console.is_terminal and now - said >= LINE_SECONDS:
                said = now
                share = f"{done} of {total}" if total < 1000 else f"{100 * done / max(1, total):.0f} %"
                click.echo(f"{text}, {share}{', ' if left else ''}{left}", err=True)

        yield show
