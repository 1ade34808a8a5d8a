"""docs/grids.md: every key is there, and its example is a grid."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

from scratchcard.settings import settings_of
from scratchcard.sweeps.fitted import FittedSpec, table_keys
from scratchcard.sweeps.grid_docs import written
from scratchcard.sweeps.grid_file import ComparisonSpec, ExtraSpec, GridFile, MethodSpec, WorkloadSpec, method_keys
from scratchcard.workloads.recipe import Recipe

PAGE = (Path(__file__).parents[2] / "docs" / "grids.md").read_text()
SECTIONS: dict[str, type[BaseModel]] = {
    "Top of the file": GridFile,
    "`[workload]`": WorkloadSpec,
    "`[[methods]]`": MethodSpec,
    "`[[extra]]`": ExtraSpec,
    "`[predictors.NAME]`": FittedSpec,
    "`[[comparisons]]`": ComparisonSpec,
}


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("title", SECTIONS)
def test_every_key_is_described(title: str) -> None:
    keys = set(SECTIONS[title].model_fields) | (set(method_keys()) if title == "`[[methods]]`" else set())
    if title == "`[[extra]]`":
        assert keys <= set(re.findall(r"`(\w+)`", section(title)))
        return
    rows = [row for row in section(title).partition("\n### ")[0].splitlines() if row.startswith("| `")]
    described = [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(described) == sorted(keys)


def test_the_rows_of_settings_are_those_that_their_declarations_make() -> None:
    assert written(PAGE) == PAGE, "write them anew: python -m scratchcard.sweeps.grid_docs"
    assert {f"`{name}`" for name in table_keys()} <= set(re.findall(r"`\w+`", section("`[predictors.NAME]`")))
    assert {f"`{name}`" for name in settings_of(Recipe)} <= set(re.findall(r"`\w+`", section("`[workload]`")))


@pytest.mark.parametrize("title", SECTIONS)
def test_defaults_are_those_of_the_code(title: str) -> None:
    rows = [row.split("|") for row in section(title).splitlines() if row.startswith("| `")]
    told = {name: row[3].strip() for row in rows for name in re.findall(r"`(\w+)`", row[1])}
    for name, field in SECTIONS[title].model_fields.items():
        if name not in told or told[name] in ("the grid's", "all", "none", "IMS with SynFlow", "1, 100, 10, 10"):
            continue
        assert field.is_required() == (told[name] == "required"), name
        if field.is_required() or field.default is None:
            continue
        default = field.default[0] if isinstance(field.default, list) and field.default else field.default
        default = [] if default == () else default
        assert tomllib.loads(f"x = {told[name].strip('`')}")["x"] == default, name


def test_the_example_is_a_grid() -> None:
    text = PAGE.partition("```toml\n")[2].partition("```")[0]
    file = GridFile.model_validate(tomllib.loads(text))
    assert len(file.methods) == 4
