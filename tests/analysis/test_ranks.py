"""Friedman and Nemenyi against Demšar's worked example and tables; blocks, ties, failures; the diagram."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scratchcard.analysis.ranks import Friedman, critical_difference, critical_difference_diagram, friedman

# Demšar (2006), table 6: AUC of C4.5, with tuned m, tuned cf, and both, on 14 data sets. One 0.975 is written 0.9751:
# the paper ranks it above the other, by digits that it does not print.
C45 = {
    "c4.5": [0.763, 0.599, 0.954, 0.628, 0.882, 0.936, 0.661, 0.583, 0.775, 1.0, 0.940, 0.619, 0.972, 0.957],
    "c4.5+m": [0.768, 0.591, 0.971, 0.661, 0.888, 0.931, 0.668, 0.583, 0.838, 1.0, 0.962, 0.666, 0.981, 0.978],
    "c4.5+cf": [0.771, 0.590, 0.968, 0.654, 0.886, 0.916, 0.609, 0.563, 0.866, 1.0, 0.965, 0.614, 0.9751, 0.946],
    "c4.5+m+cf": [0.798, 0.569, 0.967, 0.657, 0.898, 0.931, 0.685, 0.625, 0.875, 1.0, 0.962, 0.669, 0.975, 0.970],
}


def blocks(values: dict[str, list[float]], density: float = 0.01) -> pd.DataFrame:
    """One seed for each value."""
    rows = [
        {"label": label, "network": "mlp", "task": "mnist", "density": density, "seed": seed, "test_accuracy": value}
        for label, row in values.items()
        for seed, value in enumerate(row)
    ]
    return pd.DataFrame(rows)


def random_blocks(methods: int, count: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return blocks({f"method {i}": list(rng.random(count)) for i in range(methods)})


def test_demsars_example() -> None:
    found = friedman(blocks(C45))
    assert list(found.mean_ranks) == ["c4.5+m+cf", "c4.5+m", "c4.5+cf", "c4.5"]
    assert list(found.mean_ranks.values()) == pytest.approx([1.964, 2.000, 2.893, 3.143], abs=5e-4)
    without_ties = 12 * 14 / (4 * 5) * (sum(rank**2 for rank in found.mean_ranks.values()) - 4 * 25 / 4)
    assert without_ties == pytest.approx(9.28, abs=0.01)  # as published
    assert found.statistic == pytest.approx(10.2283, abs=1e-4)  # corrected for ties: R's friedman.test
    assert found.p == pytest.approx(0.01672, abs=1e-5)
    assert found.p_iman_davenport < found.p
    assert found.critical_difference == pytest.approx(1.25, abs=0.005)
    assert (found.blocks, found.dropped) == (14, 0)


def test_critical_values_of_demsars_table() -> None:
    published = [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164]
    for methods, quantile in enumerate(published, 2):
        scale = math.sqrt(methods * (methods + 1) / (6 * 20))
        assert critical_difference(methods, 20) / scale == pytest.approx(quantile, abs=1e-3)
    at_ten = [1.645, 2.052, 2.291]
    for methods, quantile in enumerate(at_ten, 2):
        assert critical_difference(methods, 1, 0.1) / math.sqrt(methods * (methods + 1) / 6) == pytest.approx(
            quantile, abs=1e-3
        )
    with pytest.raises(ValueError, match="two methods and a block"):
        critical_difference(1, 5)


def test_nemenyi_agrees_with_the_critical_difference() -> None:
    found = friedman(random_blocks(6, 8, seed=4))
    assert list(found.nemenyi.index) == list(found.nemenyi.columns) == list(found.mean_ranks)
    for one, rank in found.mean_ranks.items():
        for other, another in found.mean_ranks.items():
            p = found.nemenyi.loc[one, other]
            assert p == found.nemenyi.loc[other, one]
            assert (p < 0.05) == (abs(rank - another) > found.critical_difference)
    shifted = random_blocks(4, 30)
    shifted["test_accuracy"] += np.where(shifted["label"] == "method 2", 1.0, 0.0)
    far = friedman(shifted)
    assert far.mean_ranks["method 2"] == 1.0
    assert (far.nemenyi.loc["method 2"].drop("method 2") < 0.05).all()


def test_levels_hold_by_simulation() -> None:
    """Equal methods: the tests reject in about 1 of 20 grids."""
    found = [friedman(random_blocks(4, 12, seed)) for seed in range(100)]
    for p in ([f.p for f in found], [f.p_iman_davenport for f in found]):
        assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.065)
        assert np.mean(p) == pytest.approx(0.5, abs=0.1)


def test_perfect_agreement_and_none() -> None:
    agreed = friedman(blocks({"a": [0.9, 0.8, 0.7], "b": [0.8, 0.7, 0.6], "c": [0.7, 0.6, 0.5]}))
    assert agreed.statistic == pytest.approx(6.0)  # N (k - 1), its largest
    assert agreed.p_iman_davenport == 0.0
    assert agreed.p == pytest.approx(math.exp(-3))  # chi-squared, 2 degrees of freedom
    tied = friedman(blocks({label: [0.1135, 0.098] for label in "abc"}))
    assert (tied.statistic, tied.p, tied.p_iman_davenport) == (0.0, 1.0, 1.0)
    assert set(tied.mean_ranks.values()) == {2.0}
    assert (tied.nemenyi == 1.0).all(axis=None)


def test_the_order_of_rows_and_labels_does_not_matter() -> None:
    frame = random_blocks(5, 6)
    labels = [f"method {i}" for i in (3, 1, 4, 0, 2)]
    found, other = friedman(frame), friedman(frame.sample(frac=1, random_state=1), labels)
    assert other.statistic == pytest.approx(found.statistic)
    assert dict(other.mean_ranks) == dict(found.mean_ranks)


def test_lower_may_be_better() -> None:
    frame = blocks(C45)
    turned = friedman(frame.assign(loss=-frame["test_accuracy"]), metric="loss", higher_is_better=False)
    assert dict(turned.mean_ranks) == dict(friedman(frame).mean_ranks)


def test_incomplete_blocks_are_dropped_and_counted() -> None:
    frame = blocks(C45)
    cut = frame[~((frame["label"] == "c4.5") & frame["seed"].isin([2, 5])) & ~(frame["seed"] == 9)]
    found = friedman(cut)
    assert (found.blocks, found.dropped) == (11, 2)
    rest = friedman(frame[~frame["seed"].isin([2, 5, 9])])
    assert (found.statistic, rest.dropped) == (rest.statistic, 0)
    # a label that is not asked for cuts nothing
    some = friedman(pd.concat([frame, blocks({"other": [0.5]})]), list(C45))
    assert (some.blocks, some.dropped) == (14, 0)
    dense = blocks({"dense": [0.98] * 14}, density=1.0)
    with pytest.raises(ValueError, match=r"found 0 of 28; .* has runs in 14"):
        friedman(pd.concat([frame, dense]))


def test_a_run_without_a_value_ranks_last() -> None:
    values = {"a": [0.9, math.nan, 0.9], "b": [0.8, 0.8, 0.8], "c": [0.7, 0.7, math.nan]}
    found = friedman(blocks(values))
    assert (found.blocks, found.dropped) == (3, 0)
    assert dict(found.mean_ranks) == pytest.approx({"a": 5 / 3, "b": 5 / 3, "c": 8 / 3})


def test_blocks_over_which_seeds_are_averaged() -> None:
    rng = np.random.default_rng(2)
    parts = [blocks({label: list(rng.random(5)) for label in "abc"}, density) for density in (0.01, 0.1, 0.5)]
    frame = pd.concat(parts)
    found = friedman(frame, blocks=("task", "density"))
    means = frame.groupby(["density", "label"])["test_accuracy"].mean().unstack()
    expected = means.rank(axis=1, ascending=False).mean()
    assert (found.blocks, dict(found.mean_ranks)) == (3, pytest.approx(expected.to_dict()))
    assert friedman(frame).blocks == 15
    assert friedman(pd.concat([frame, frame.assign(network="wide")])).blocks == 30
    for wrong in ((), ("label",)):
        with pytest.raises(ValueError, match="blocks are made of network, task, density, seed"):
            friedman(frame, blocks=wrong)


def test_what_is_refused() -> None:
    frame = blocks(C45)
    with pytest.raises(ValueError, match=r"no runs of 'c5\.0'"):
        friedman(frame, ["c4.5", "c4.5+m", "c5.0"])
    for labels in (["c4.5", "c4.5+m"], ["c4.5", "c4.5+m", "c4.5"]):
        with pytest.raises(ValueError, match="three or more different methods"):
            friedman(frame, labels)
    with pytest.raises(ValueError, match="found 1 of 1"):
        friedman(frame[frame["seed"] == 0])


def diagram(found: Friedman, path: Path) -> str:
    return critical_difference_diagram(found, path, title="Trees").read_text()


def test_the_diagram_is_drawn(tmp_path: Path) -> None:
    found = friedman(blocks(C45))
    text = diagram(found, tmp_path / "cd.svg")
    for label, rank in found.mean_ranks.items():
        assert label in text
        assert f"{rank:.2f}" in text
    assert "Trees" in text
    assert "N = 14 blocks, Friedman p = 0.0" in text
    assert "critical difference 1.25" in text
    assert text == diagram(found, tmp_path / "again.svg")
    assert "#000000" not in text  # one ink
    picture = critical_difference_diagram(found, tmp_path / "cd.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.svg", "cd.png", "cd.svg"]
    with pytest.raises(ValueError, match=r"\.png or \.svg, got cd\.pdf"):
        critical_difference_diagram(found, tmp_path / "cd.pdf")


def test_bars_join_what_does_not_differ(tmp_path: Path) -> None:
    """Two clusters far apart: two bars; the diagram says so where nothing is rejected."""
    rng = np.random.default_rng(0)
    good = {f"good {i}": list(0.9 + 0.01 * rng.random(20)) for i in range(2)}
    poor = {f"poor {i}": list(0.1 + 0.01 * rng.random(20)) for i in range(2)}
    apart = diagram(friedman(blocks(good | poor)), tmp_path / "apart.svg")
    assert apart.count("stroke-width: 3") == 2
    assert "not rejected" not in apart
    alike = friedman(blocks({label: list(rng.random(6)) for label in "abcd"}))
    assert alike.p > 0.05
    text = diagram(alike, tmp_path / "alike.svg")
    assert text.count("stroke-width: 3") == 1
    assert "not rejected" in text
    tied = friedman(blocks({f"${i}$ {{x}}": [0.1135, 0.098] for i in range(3)}))
    assert "$0$ {x}" in diagram(tied, tmp_path / "tied.svg")
