"""How the tests call the command line."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner, Result

from scratchcard.frontends.cli import cli

FAST = ["--max-steps", "60", "--evaluation-interval", "20", "--scoring-examples", "200"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def refused(*arguments: object) -> str:
    """The one line on stderr of a call that ends with exit status 2."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("scratchcard: ")
    assert result.stdout == ""
    return lines[0]


def as_json(*arguments: object) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout, parse_constant=_refuse)


def _refuse(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")
