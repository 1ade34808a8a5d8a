"""Fitting where the rows are read: sums over parts are those of the whole, a cluster fits what one machine does."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scratchcard.meta import parts
from scratchcard.meta.fit import fit
from scratchcard.meta.predictors import PREDICTORS
from scratchcard.meta.predictors.linear import least_squares
from scratchcard.meta.predictors.multishot import Multishot
from scratchcard.meta.rows import Rows, networks_of
from scratchcard.score_tables.schema import TableBlock
from scratchcard.score_tables.table import ScoreTable
from scratchcard.workers.cluster import Cluster
from scratchcard.workers.pool import Here
from tests.frontends.calls import refused
from tests.workers.clusters import cluster

FEATURES = ("snip", "grasp", "synflow", "magnitude", "wide")
SMALL = {"forest": {"trees": 5}, "gbm": {"trees": 20}, "mlp": {"epochs": 2}}
CASES = [(name, objective) for name, family in PREDICTORS.items() for objective in family.objectives]


class Parts(Here):
    """A cluster of this process."""

    does_not_see = staticmethod(Cluster.does_not_see)


def both(table: ScoreTable, **arguments: Any) -> tuple[Rows, Rows]:
    """The rows as one part and, as a cluster has them, in several."""
    rows = Rows(table, FEATURES, "kept", networks_of(table), **arguments)
    return rows, replace(rows, cluster=Parts())  # type: ignore[arg-type]


@pytest.mark.parametrize("sample", [{}, {"max_rows": 900}, {"max_rows": 1500, "keep_positives": True}])
def test_sums_over_parts_are_those_of_the_whole(
    table: ScoreTable, monkeypatch: pytest.MonkeyPatch, sample: dict[str, Any]
) -> None:
    monkeypatch.setattr(parts, "PART_ROWS", 500)
    whole, apart = both(table, **sample)
    assert apart.summary == replace(whole.summary, mean=pytest.approx(whole.summary.mean))
    assert apart.counts == whole.counts
    for found, expected in zip(apart.moments, whole.moments, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    coefficients, intercept = least_squares(whole)
    seen: list[tuple[int, int]] = []
    found, other = least_squares(apart, lambda done, total: seen.append((done, total)))
    np.testing.assert_allclose(found, coefficients, rtol=1e-10)
    assert other == pytest.approx(intercept, rel=1e-10)
    number = 3 if sample else 6  # a sample is drawn network by network
    assert seen == [(done, number) for done in range(1, number + 1)]
    clock = replace(whole, features=("snip", "grasp", "progress")[:2])
    assert Multishot().fit(clock, "regression", seed=0, threads=1)["clock"].tolist() == [-1]


def test_parts_are_of_one_network_and_hold_all_row_groups() -> None:
    groups = {("a", 0): [4, 4, 4, 1], ("b", 0): [9], ("c", 0): []}
    found = parts.parts_of(groups, 8)
    assert [(part.networks, part.groups) for part in found] == [
        ((("a", 0),), slice(0, 2)),
        ((("a", 0),), slice(2, 4)),
        ((("b", 0),), slice(0, 1)),
    ]


def test_refusals_are_the_same_sentences(make_table: Callable[..., ScoreTable]) -> None:
    def spoilt(block: TableBlock) -> None:
        if block.seed == 1:
            block.columns["kept"][3] = np.nan

    for rows in both(make_table(change=spoilt)):
        with pytest.raises(ValueError, match="target 'kept' of 'toy' seed 1 holds NaN or infinity"):
            _ = rows.summary


def test_a_worker_that_does_not_see_the_table_is_one_sentence(make_table: Callable[..., ScoreTable]) -> None:
    table = make_table(seeds=(0,))
    _, apart = both(table)
    table.files[0].path.unlink()
    with pytest.raises(OSError, match=r"a worker of the cluster does not see the table .* has gone"):
        _ = apart.summary


def test_the_command_says_in_one_line_that_nobody_answers(
    make_table: Callable[..., ScoreTable], tmp_path: Path
) -> None:
    line = refused("fit", make_table(seeds=(0,)).path, "--out", tmp_path / "out", "--dask", "nobody")
    assert "'nobody' is no address of a Dask scheduler" in line
    assert not (tmp_path / "out").exists()


# What follows starts processes.


@pytest.fixture(scope="module")
def two() -> Iterator[Any]:
    pytest.importorskip("distributed")
    with cluster() as found:
        yield found


DASK = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def marked(function: Any) -> Any:
    for mark in DASK:
        function = mark(function)
    return function


@marked
@pytest.mark.parametrize(("name", "objective"), CASES)
def test_a_cluster_fits_what_one_machine_does(two: Any, table: ScoreTable, name: str, objective: str) -> None:
    how: dict[str, Any] = {"objective": objective, "held_out_seeds": [2], **SMALL.get(name, {})}
    here, there = fit(table, name, **how), fit(table, name, dask=two.scheduler_address, **how)
    assert there.training["sampling"] == pytest.approx(here.training["sampling"])
    if name == "gbm":  # bins are found by each worker, and sums rounded otherwise
        gap = there.metrics["held_out"]["roc_auc"] - here.metrics["held_out"]["roc_auc"]
        assert abs(gap) < 0.02
        assert there.arrays["offsets"].shape == here.arrays["offsets"].shape
        return
    if not PREDICTORS[name].by_parts:
        assert there.digest == here.digest
    for array in here.arrays:
        np.testing.assert_allclose(there.arrays[array], here.arrays[array], rtol=1e-9, atol=1e-12)
    for side in ("train", "held_out"):
        for number in ("mse", "roc_auc", "overlap"):
            assert there.metrics[side][number] == pytest.approx(here.metrics[side][number], rel=1e-9)


@marked
@pytest.mark.parametrize(("name", "trees"), [("linear", {}), ("gbm", {"trees": 300})])
def test_a_worker_that_is_killed_is_done_without(table: ScoreTable, name: str, trees: dict[str, int]) -> None:
    pytest.importorskip("distributed")
    how: dict[str, Any] = {"objective": "regression", "held_out_seeds": [2], **trees}
    with cluster(3) as found:
        victim = next(iter(found.workers.values())).pid
        killer = threading.Timer(1.0, os.kill, (victim, signal.SIGKILL))
        killer.start()
        results = [fit(table, name, dask=found.scheduler_address, **how) for _ in range(2)]
        killer.join()
    expected = fit(table, name, **how).metrics["held_out"]["roc_auc"]
    for result in results:
        assert result.metrics["held_out"]["roc_auc"] == pytest.approx(expected, abs=0.02)
