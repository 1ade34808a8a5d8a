"""The command line. Commands are imported when they run, so that `--help` answers at once."""

from __future__ import annotations

import errno
import importlib
import re
import signal
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import click

from scratchcard.words import printable

COMMANDS = {
    "demo": ("demo", "The whole job on the embedded digits task, in a few minutes."),
    "build": ("build", "Build a score table: features and slow targets of every weight."),
    "fit": ("fit", "Fit a predictor on a score table and save it as a bundle."),
    "prune": ("prune", "Find a ticket of a network before (or with) training."),
    "train": ("tickets", "Train a ticket's kept weights."),
    "evaluate": ("tickets", "Loss and accuracy of a ticket."),
    "export": ("export", "Write a ticket's network for other tools."),
    "serve": ("serve", "Serve predictors and pruning over HTTP."),
    "sweep": ("sweep", "Run a grid of experiments that a TOML file states."),
    "status": ("sweep", "How far a grid is."),
    "results": ("results", "Query and export the results of sweeps."),
    "anatomy": ("anatomy", "What tickets look like: overlaps, layers, weights kept."),
    "report": ("report", "One HTML page of a results folder: plots, tables, tests."),
    "list": ("listing", "Everything that can be named: scorers, regimes, tasks, features ..."),
    "show": ("show", "Explain a table, a bundle, a ticket or a recipe."),
}

BEGINS_AGAIN = "nothing was saved, the same command begins again"
INTERRUPTED = {
    "demo": "finished rounds, seeds and runs are kept, the same command goes on",
    "build": "finished rounds and seeds are kept, the same command goes on",
    "fit": BEGINS_AGAIN,
    "prune": BEGINS_AGAIN,
    "export": BEGINS_AGAIN,
    "train": "the ticket is as it was, the same command begins again",
}
"""What is true when a command is interrupted; a command may know better (`output.when_interrupted`)."""


class _LazyGroup(click.Group):
    """A group whose commands are imported on use; errors become one line on stderr and exit status 2."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of the job."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"{__name__}.{COMMANDS[cmd_name][0]}")
        command = getattr(module, cmd_name.replace("list", "list_"))
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but an unknown command names the nearest known one."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            from scratchcard.registry import lookup

            lookup(COMMANDS, "commands", name)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """As click does, but a wrong call is one line too: no lines of usage around it."""
        prog_name = prog_name or "scratchcard"
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        try:
            status = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.ctx.get_help() if error.ctx else "")
            status = 0
        except click.ClickException as error:
            ctx = getattr(error, "ctx", None)
            _say(f"{error.format_message().rstrip('.')}; see {ctx.command_path if ctx else prog_name} --help")
            status = 2
        except click.Abort as error:
            stopped = error.__cause__ or error.__context__
            _say(_why(stopped))
            status = 128 + _signal_of(stopped)
        sys.exit(status if isinstance(status, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        """Run; a user's error is one line, never a traceback. What is our own error stays one."""
        ctx.meta["scratchcard.begun"] = time.monotonic()
        try:
            return super().invoke(ctx)
        except (ValueError, OSError) as error:
            text = _in_options(error, self.get_command(ctx, ctx.invoked_subcommand or ""))
            if isinstance(error, OSError):
                if error.errno == errno.EPIPE:  # whoever read stdout has gone, as `head` does
                    raise
                if error.strerror:
                    text = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
            _say(text)
            ctx.exit(2)
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            _say(f"out of memory: take smaller batches, fewer rows or jobs, or another --device ({error})")
            ctx.exit(2)
        except KeyboardInterrupt as stopped:
            truth = ctx.meta.get("scratchcard.interrupted") or INTERRUPTED.get(ctx.invoked_subcommand or "")
            _say(_why(stopped) + (f"; {truth}" if truth else ""))
            ctx.exit(128 + _signal_of(stopped))


class Stopped(KeyboardInterrupt):
    """A signal that asks a command to end; it ends as with Ctrl-C.

    >>> Stopped(15).number
    15
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


STOPPING = {"SIGTERM": "terminated", "SIGHUP": "the terminal has gone"}
"""Signals that end a command as Ctrl-C does, and how that is said."""


def _stop(number: int, _: object) -> None:
    for name in STOPPING:  # once is enough: what is under way is being cleared up
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    raise Stopped(number)


def _signal_of(stopped: BaseException | None) -> int:
    return stopped.number if isinstance(stopped, Stopped) else signal.SIGINT


def _why(stopped: BaseException | None) -> str:
    name = signal.Signals(_signal_of(stopped)).name
    return STOPPING.get(name, "interrupted")


def _listen() -> list[tuple[int, Any]]:
    """Hear the signals that are not ignored on purpose, as `nohup` ignores SIGHUP; returns what was done before."""
    before = []
    for number in (getattr(signal, name) for name in STOPPING if hasattr(signal, name)):
        handler = signal.getsignal(number)
        if handler is not signal.SIG_IGN:
            before.append((number, handler))
            signal.signal(number, _stop)
    return before


def _in_options(error: Exception, command: click.Command | None) -> str:
    """The library's sentence, with a setting said as the command's option, if it is one."""
    setting, text = getattr(error, "setting", ""), str(error)
    if command is None or setting not in {parameter.name for parameter in command.params}:
        return text
    return re.sub(rf"\b{setting}\b", f"--{setting.replace('_', '-')}", text)


def _is_out_of_memory(error: BaseException) -> bool:
    torch = sys.modules.get("torch")  # not imported, not its error
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):  # torch's own words on the CPU
        return True
    return torch is not None and isinstance(error, torch.OutOfMemoryError)


def _say(text: str) -> None:
    click.echo(f"scratchcard: {printable(text)}", err=True)


def _warning_lines() -> Callable[..., None]:
    """Says warnings as lines, each once: Python forgets what it has shown whenever some code changes its filters."""
    shown: set[str] = set()

    def warn(message: Warning | str, *_: Any, **__: Any) -> None:
        said = re.sub(r"Method\('(\w+)'\)", r"--scorer \1", str(message))  # the library speaks of Python
        if said not in shown:
            shown.add(said)
            _say(f"warning: {said}")

    return warn


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="scratchcard")
def cli() -> None:
    """Find trainable sparse networks (winning lottery tickets) before training.

    \b
    The job, step by step, on the embedded digits task:
      scratchcard build --task digits --seeds 0-3 --regime ISS --scorer magnitude --out table
      scratchcard fit table --family gbm --objective classification --held-out-seeds 3 --out predictor
      scratchcard prune --task digits --seed 7 --predictor predictor --scorer synflow --on predicted --regime UMS
      scratchcard train ticket.safetensors
      scratchcard evaluate ticket.safetensors

    \b
    Tab completion of commands, options and names (bash; zsh and fish alike):
      eval "$(_SCRATCHCARD_COMPLETE=bash_source scratchcard)"
    """
    warnings.showwarning = _warning_lines()


def main() -> None:
    """Entry point of the command `scratchcard`.

    >>> import contextlib
    >>> from unittest import mock
    >>> with mock.patch("sys.argv", ["scratchcard", "list", "scopes"]), contextlib.suppress(SystemExit):
    ...     main()
    scopes:
      global    All weights are compared with each other.
      layer     Each layer's weights among themselves; all layers are as dense as each other.
      expected  Each layer's weights among themselves; layers are as dense as their share of the scores.
      erk       Each layer's weights among themselves; densities by Erdos-Renyi-Kernel.
    """
    import os

    # Must be set before torch is imported: with several threads small networks train several times slower.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    before = _listen()
    try:
        cli()
    except SystemExit:
        # Where Ctrl-C comes while some text is executed (dataclasses do so when they are imported), CPython notes it as
        # unhandled, and dies of it at the very end, whatever was done about it. To execute a text clears that note.
        exec("")  # noqa: S102
        raise
    finally:
        for number, handler in before:  # all is cleared up: from here on a signal simply ends the process
            if signal.getsignal(number) is _stop:
                signal.signal(number, handler)
