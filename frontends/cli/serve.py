"""`scratchcard serve`."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import click

from scratchcard.frontends.cli import options as opt
from scratchcard.frontends.service.limits import Limits


@click.command()
@click.option(
    "--predictors",
    type=opt.PATH,
    help="Folder of predictors, each a bundle's folder NAME, or NAME/1, NAME/2 ..., e.g. predictors. "
    "[default: the shipped ones alone]",
)
@click.option(
    "--data",
    "data_dir",
    type=opt.PATH,
    help="Folder with the data files of registered tasks, e.g. ~/data; only it is searched. [default: what "
    "SCRATCHCARD_DATA names, then the system's places]",
)
@click.option(
    "--state",
    type=opt.PATH,
    default="scratchcard-state",
    show_default=True,
    help="Folder of uploads, jobs and results, e.g. /var/lib/scratchcard.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on, e.g. 0.0.0.0.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="E.g. 8080; 0 is a free one."
)
@click.option(
    "--token-file",
    type=opt.PATH,
    help="File with lines NAME TOKEN; each name sees only its own networks, tasks and jobs, e.g. tokens. Needed on any "
    "address but this machine's own. [default: no tokens]",
)
@click.option(
    "--allow",
    multiple=True,
    metavar="PACKAGE.MODULE:FACTORY",
    help="Code of a network or a task that jobs may name, e.g. my_package.nets:small_cnn; can be repeated. "
    "[default: none]",
)
@click.option(
    "--dask",
    help="Address of a Dask scheduler whose workers do the jobs, e.g. tcp://10.0.0.5:8786; state, predictors and data "
    "lie where all of them see these under the same names. [default: processes on this machine]",
)
@opt.settings_options(Limits)
def serve(**options: Any) -> None:
    """Serve predictors and pruning over HTTP, until it is told to stop.

    Predictors answer in the Open Inference Protocol (V2); `POST /jobs` prunes. Without options the shipped predictors
    are served, on this machine alone.

    \b
    scratchcard serve
    scratchcard serve --predictors predictors --data ~/data --state state --port 8080
    scratchcard serve --host 0.0.0.0 --token-file tokens --workers 2
    """
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ValueError("serving needs more packages: pip install 'scratchcard[serve]'") from error
    from scratchcard.frontends.service.app import Service, Settled
    from scratchcard.frontends.service.observed import log_to_stderr
    from scratchcard.frontends.service.server import Server, configured, listening
    from scratchcard.frontends.service.tokens import Tokens
    from scratchcard.settings import settings_of
    from scratchcard.workloads.factory import load_factory

    token_file: Path | None = options["token_file"]
    for path in options["allow"]:
        load_factory(path)
    limits = Limits(**opt.given_of(options, settings_of(Limits)))
    settled = Settled(
        options["state"],
        options["predictors"],
        options["data_dir"],
        options["host"],
        Tokens() if token_file is None else Tokens.read(token_file),
        tuple(options["allow"]),
        limits,
        options["dask"],
    )
    host = settled.host
    with listening(host, options["port"]) as found:
        port = found.getsockname()[1]
        service = Service(settled)
        log_to_stderr()
        click.echo(f"scratchcard: serving on http://{f'[{host}]' if ':' in host else host}:{port}", err=True)
        server = Server(configured(service.app, limits), service.stopping)
        with contextlib.suppress(KeyboardInterrupt):  # the server has ended in order when it raises its signal again
            server.run([found])
