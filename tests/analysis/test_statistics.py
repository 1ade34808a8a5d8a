"""Intervals against scipy and by hand; the picture is drawn."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from experiments.cost_front import cost_front
from experiments.markdown import markdown
from scratchcard.analysis.figures import comparison
from scratchcard.analysis.statistics import interval, pareto, summarise


def test_interval_by_hand_and_against_scipy() -> None:
    from scipy import stats

    values = [0.91, 0.93, 0.92, 0.97]
    found = interval(values)
    expected = stats.t.interval(0.95, 3, loc=found.mean, scale=stats.sem(values))
    assert found.mean == pytest.approx(0.9325)
    assert found.mean - found.half_width == pytest.approx(expected[0])
    assert interval([1.0, 3.0]).half_width == pytest.approx(12.7062047)
    assert math.isnan(interval([0.5]).half_width)
    assert interval([0.5]).text() == "0.50"
    assert interval([1.0, 3.0]).text(1) == "2.0 ± 12.7"
    with pytest.raises(ValueError, match="at least one value"):
        interval([])


def result(label: str, seed: int, accuracy: float) -> dict[str, object]:
    return {
        "label": label,
        "configuration": {"density": 0.01, "seed": seed},
        "test_accuracy": accuracy,
        "training": {"best_step": 100 * seed},
        "pruning_seconds": 0.5,
        "effective_density": 0.009,
    }


def test_summaries_table_and_picture(tmp_path: Path) -> None:
    results = [result("snip", s, 0.8 + 0.01 * s) for s in (1, 2, 3)] + [result("synflow", 1, 0.9)]
    summaries = summarise(results)
    assert [s.label for s in summaries] == ["snip", "synflow"]
    assert summaries[0].test_accuracy.mean == pytest.approx(0.82)
    assert summaries[0].accuracies == pytest.approx((0.81, 0.82, 0.83))
    lines = markdown(summaries).splitlines()
    assert lines[2].startswith("| snip | 82.00 ± 2.48 | 200 ± 248 | 0.50 ± 0.00 | 0.0090 | 3 |")
    costs = markdown(summaries, {"snip": 12.345, "synflow": 0.0}).splitlines()
    assert costs[2:] == [
        "| synflow | 90.00 | 0 | 0.50 | 0.0090 | 1 |",
        "| snip | 82.00 ± 2.48 | 12.3 | 0.50 ± 0.00 | 0.0090 | 3 |",
    ]
    picture = comparison(summaries, tmp_path / "figure.png", "title")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "snip" in comparison(summaries, tmp_path / "figure.svg", "title").read_text()
    with pytest.raises(ValueError, match=r"\.png or \.svg"):
        comparison(summaries, tmp_path / "figure.pdf", "title")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure.png", "figure.svg"]


def test_summaries_never_mix_densities_tasks_or_seeds() -> None:
    results = [result("snip", s, 0.8) for s in (1, 2)] + [result("snip", 1, 0.9) | {"configuration": at(0.1, "mnist")}]
    assert [(s.label, s.density) for s in summarise(results)] == [
        ("snip, density 0.01", 0.01),
        ("snip, density 0.1, mnist", 0.1),
    ]
    tasks = [result("snip", 1, 0.8) | {"configuration": at(0.1, task)} for task in ("mnist", "digits")]
    assert [s.label for s in summarise(tasks)] == ["snip, mnist", "snip, digits"]
    with pytest.raises(ValueError, match=r"2 results of 'snip' at density 0\.01 .*share 1 seeds"):
        summarise([result("snip", 1, 0.8), result("snip", 1, 0.9)])


def at(density: float, task: str) -> dict[str, object]:
    return {"density": density, "seed": 1, "workload": {"task": task}}


def test_the_pareto_front_holds_what_nothing_beats() -> None:
    assert pareto([(1.0, 0.5), (2.0, 0.4), (3.0, 0.9), (0.5, 0.1)]) == {0, 2, 3}
    assert pareto([(1.0, 0.5), (1.0, 0.7), (2.0, 0.7)]) == {1}
    assert pareto([(1.0, 0.5), (1.0, 0.5)]) == {0}
    assert pareto([]) == set()


def test_accuracy_against_cost_is_drawn_above_a_floor(tmp_path: Path) -> None:
    results = [result("snip", 0, 0.9), result("snip", 1, 0.92), result("slow", 0, 0.95), result("bad", 0, 0.2)]
    picture = cost_front(summarise(results), tmp_path / "cost.svg", "title", "MNIST", floor=80).read_text()
    assert "snip" in picture
    assert "1 left out, below 80 %" in picture
    assert "bad" not in picture
    with pytest.raises(ValueError, match="no method reaches 99 %"):
        cost_front(summarise(results), tmp_path / "none.png", "title", floor=99)
    assert not (tmp_path / "none.png").exists()


def test_accuracy_against_cost_shows_equal_methods_as_one_point(tmp_path: Path) -> None:
    results = [result(label, seed, 0.9) for label in ("snip", "twin") for seed in (0, 1)]
    # One value alone needs an axis all the same.
    picture = cost_front(summarise(results), tmp_path / "cost.svg", "title").read_text()
    assert picture.count("snip = twin") == picture.count("twin") >= 1
