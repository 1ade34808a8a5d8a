"""The command line. Commands are imported when they run, so that `--help` answers at once."""

from __future__ import annotations

import importlib
import sys
import warnings
from typing import Any

import click

COMMANDS = {
    "demo": ("frontends.cli.demo", "The whole job on the embedded digits task, in under two minutes."),
    "build": ("frontends.cli.build", "Build a score table: features and slow targets of every weight."),
    "fit": ("frontends.cli.fit", "Fit a predictor on a score table and save it as a bundle."),
    "prune": ("frontends.cli.tickets", "Find a ticket of a network before (or with) training."),
    "train": ("frontends.cli.tickets", "Train a ticket's kept weights."),
    "evaluate": ("frontends.cli.tickets", "Loss and accuracy of a trained ticket."),
    "list": ("frontends.cli.listing", "Everything that can be named: scorers, regimes, tasks, features ..."),
    "show": ("frontends.cli.show", "Explain a table, a bundle or a ticket."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported on use; errors become one line on stderr and exit status 2."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of the job."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(COMMANDS[cmd_name][0]), cmd_name.replace("list", "list_"))
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but an unknown command names the nearest known one."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            from pruning.families import lookup

            lookup(COMMANDS, "commands", name)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run; a user's error is one line, never a traceback."""
        try:
            return super().invoke(ctx)
        except (ValueError, OSError) as error:
            text = str(error)
            if isinstance(error, OSError) and error.strerror:
                text = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
            click.echo(f"scratchcard: {' '.join(text.split())}", err=True)
            ctx.exit(2)
        except KeyboardInterrupt:
            click.echo(
                "scratchcard: interrupted; finished rounds and seeds are kept, run the same command again to go on",
                err=True,
            )
            ctx.exit(130)


def _warn(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    click.echo(f"scratchcard: warning: {' '.join(str(message).split())}", err=True)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
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
    """
    warnings.showwarning = _warn


def main() -> None:
    """Entry point of the command `scratchcard`."""
    import os

    # Must be set before torch is imported: with several threads small networks train several times slower.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(cli())


if __name__ == "__main__":
    main()
