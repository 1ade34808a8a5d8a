"""The verdict: who is first, by how much, how sure; from declared tests, or said to be a description."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from scratchcard.analysis.groups import rows_of
from scratchcard.analysis.report.sources import named
from scratchcard.analysis.report.verdict import BEFORE, WITH, Lead, leads, outcomes, sentences
from scratchcard.analysis.results import frame
from scratchcard.analysis.significance import compare
from scratchcard.apply.method import Method
from tests.analysis.report_results import record, write_grid

SNIP, RANDOM, SYNFLOW = Method("snip"), Method("random"), Method("synflow", regime="UMS")
SLOW = Method("magnitude", regime="ISS")


def made(method: Method, accuracies: list[float], density: float = 0.1, first: int = 0) -> list[dict[str, Any]]:
    return [record(method, density, first + seed, test_accuracy=accuracy) for seed, accuracy in enumerate(accuracies)]


def loaded(folder: Path, records: list[dict[str, Any]]) -> pd.DataFrame:
    for number, one in enumerate(records):
        one["training"]["validation_loss"] = 0.1 + number / 1000
    write_grid(folder, "grid", records)
    return named(frame(folder))


def declared(of: list[str], against: list[str]) -> list[dict[str, Any]]:
    return [{"name": "family", "of": of, "against": against, "densities": None, "task": None, "paired": False}]


def clear(folder: Path) -> pd.DataFrame:
    """SNIP is 10 points ahead, beyond doubt."""
    return loaded(folder, made(SNIP, [0.90, 0.91, 0.92]) + made(RANDOM, [0.80, 0.81, 0.82]))


def test_first_second_and_the_points_between(tmp_path: Path) -> None:
    runs = clear(tmp_path)
    (lead,) = leads(runs, [])
    assert (lead.best["method"], lead.behind and lead.behind["method"], lead.kind) == ("snip", "random", BEFORE)
    assert lead.points == pytest.approx(10.0)
    assert not lead.sure
    assert "no test declared; the intervals are apart" in lead.certainty
    ((place, text),) = sentences([lead])
    assert place == "lenet_300_100 on mnist"
    assert "'snip' has the best mean accuracy at 0.1 (91.00 %, 10.00 points above 'random')" in text
    assert "No declared test compares first and second" in text


def test_a_declared_test_makes_it_sure_only_where_it_is_of_these_runs(tmp_path: Path) -> None:
    runs = clear(tmp_path)
    tested = rows_of(compare(runs, declared(["random"], ["snip"])))
    (lead,) = leads(runs, tested)
    assert lead.sure
    assert lead.certainty.startswith("shown by the declared test, p ")
    fewer = rows_of(compare(runs[runs["seed"] < 2], declared(["snip"], ["random"])))
    fewer[0]["difference"] += 0.01  # other runs of the same two methods
    (lead,) = leads(runs, fewer)
    assert lead.test is None


def test_slow_methods_have_a_verdict_of_their_own(tmp_path: Path) -> None:
    found = leads(loaded(tmp_path, made(SNIP, [0.9, 0.91]) + made(SLOW, [0.95, 0.96])), [])
    assert [(lead.kind, lead.best["method"]) for lead in found] == [(BEFORE, "snip"), (WITH, SLOW.label)]
    assert "There is no other of its kind." in next(iter(sentences(found)))[1]


def test_one_lucky_seed_is_no_winner_and_equal_tickets_no_rival(tmp_path: Path) -> None:
    twin = Method("magnitude", on="snip")
    records = made(SNIP, [0.90, 0.91, 0.92, 0.9]) + made(RANDOM, [0.80, 0.81, 0.82, 0.8]) + made(SYNFLOW, [0.99])
    same = made(twin, [0.90, 0.91, 0.92, 0.9])
    runs = loaded(tmp_path, records + same)
    equal = ["validation_loss", "test_loss", "validation_accuracy", "best_step", "effective_density"]
    for seed in range(4):
        of = runs[(runs["method"] == "snip") & (runs["seed"] == seed)].index[0]
        other = runs[(runs["method"] == twin.label) & (runs["seed"] == seed)].index[0]
        runs.loc[other, equal] = runs.loc[of, equal]
    (lead,) = leads(runs, [])
    assert (lead.best["method"], lead.behind and lead.behind["method"]) == ("snip", "random")


def test_a_family_in_one_sentence(tmp_path: Path) -> None:
    records = made(SNIP, [0.90, 0.91, 0.92]) + made(RANDOM, [0.80, 0.81, 0.82]) + made(SYNFLOW, [0.905, 0.915, 0.912])
    runs = loaded(tmp_path, records)
    ((title, text),) = outcomes(compare(runs, declared(["snip"], ["random", SYNFLOW.label])))
    assert title == "family, lenet_300_100 on mnist"
    assert text.startswith("'snip' against 2 methods, at 0.1: better in 1 of 2 tests (by 10.00 points, 'snip' against")
    assert text.endswith("worse in 0, no difference shown in 1.")
    ((_, one),) = outcomes(compare(runs, declared(["random"], ["snip"])))
    assert one.startswith("'random' is worse than 'snip' by 10.00 points (p ")
    ((_, none),) = outcomes(compare(runs, declared(["snip"], ["nothing"])))
    assert none == "No test can be made yet, since the runs are missing."


def test_many_winners_are_counted(tmp_path: Path) -> None:
    def lead(density: float, method: str) -> Lead:
        rows = made(SNIP, [0.9, 0.91])
        (found,) = leads(loaded(tmp_path / f"{density}", rows), [])
        best = dict(found.best) | {"method": method}
        return Lead(found.network, found.task, found.headline, BEFORE, density, best, found.best, None)

    found = [lead(0.1, "a"), lead(0.2, "a"), lead(0.3, "b"), lead(0.4, "c"), lead(0.5, "d")]
    ((_, text),) = sentences(found)
    assert "'a' has the best mean accuracy at 0.1 and 0.2" in text
    assert "3 other methods at the 3 densities that are left" in text
