"""Small score tables: three networks of two parameters, with features of very different scales."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from scratchcard.score_tables.schema import Column, TableBlock, TableSchema
from scratchcard.score_tables.table import ScoreTable
from scratchcard.score_tables.writer import TableWriter, file_name

FEATURES = ("snip", "grasp", "synflow", "magnitude", "depth", "wide")
TARGETS = ("score", "kept", "rounds_survived", "kept_repeat")
SCHEMA = TableSchema(
    1,
    tuple(Column(name, "feature", "raw", f"the {name}") for name in FEATURES)
    + tuple(Column(name, "target", "raw", f"the {name}") for name in TARGETS),
)
SIZES = {"0.weight": 700, "2.weight": 300}


def toy_block(workload: str, seed: int, number: int, parameter: str) -> TableBlock:
    """Kept where a noisy, bent function of the features is high; `depth` is constant in a parameter."""
    generator = np.random.default_rng([seed, number, len(workload), len(parameter), SIZES[parameter]])
    n = SIZES[parameter]
    x = generator.random((n, 6), dtype=np.float32)
    x[:, 4] = list(SIZES).index(parameter)
    x[:, 5] = 1e3 + 50 * generator.standard_normal(n)
    truth = x[:, 0] * x[:, 1] + 0.5 * np.sin(6 * x[:, 2]) + 0.2 * x[:, 4] + (x[:, 5] - 1e3) / 500
    noisy = truth + 0.1 * generator.standard_normal(n)
    again = truth + 0.1 * generator.standard_normal(n)
    score = np.clip((noisy + 1) / 3, 0, 1) * (noisy > 0.7)
    columns = {name: x[:, place] for place, name in enumerate(FEATURES)}
    columns |= {
        "score": score,
        "kept": noisy > 0.7,
        "rounds_survived": np.clip((noisy + 1) / 3, 0, 1),
        "kept_repeat": again > 0.7 if seed == 1 else np.full(n, np.nan),
    }
    whole = {name: np.asarray(values, dtype=np.float32) for name, values in columns.items()}
    return TableBlock(workload, seed, number, parameter, np.arange(n), whole)


def write_toy_table(
    folder: Path,
    workloads: tuple[str, ...] = ("toy",),
    seeds: tuple[int, ...] = (0, 1, 2),
    rounds: tuple[int, ...] = (0,),
    change: Callable[[TableBlock], None] | None = None,
) -> ScoreTable:
    for workload in workloads:
        for seed in seeds:
            with TableWriter(SCHEMA, folder / file_name(workload, seed), workload, seed) as writer:
                for number in rounds:
                    for parameter in SIZES:
                        block = toy_block(workload, seed, number, parameter)
                        if change is not None:
                            change(block)
                        writer.write(block)
    return ScoreTable.open(folder)


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> ScoreTable:
    return write_toy_table(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="session")
def make_table(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., ScoreTable]:
    def make(**arguments: object) -> ScoreTable:
        return write_toy_table(tmp_path_factory.mktemp("toy"), **arguments)  # type: ignore[arg-type]

    return make
