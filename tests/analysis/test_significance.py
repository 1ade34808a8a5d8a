"""Tests of differences against scipy, statsmodels, slow references and simulations; the traps of declared families."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.tables import comparison_table
from scratchcard.analysis.significance import COLUMNS, compare
from scratchcard.analysis.two_samples import hedges_correction, hedges_g, holm, paired, welch

QUICK = settings(max_examples=30, deadline=None)
groups = st.lists(st.integers(0, 10_000), min_size=2, max_size=8).map(lambda hits: [hit / 10_000 for hit in hits])


def runs(
    label: str,
    accuracies: list[float],
    density: float = 0.01,
    task: str = "mnist",
    first: int = 0,
    network: str = "mlp",
) -> pd.DataFrame:
    seeds = range(first, first + len(accuracies))
    return pd.DataFrame(
        {
            "label": label,
            "network": network,
            "task": task,
            "density": density,
            "seed": seeds,
            "test_accuracy": accuracies,
            "diverged": False,
        }
    )


def three() -> pd.DataFrame:
    return pd.concat(
        [
            runs("snip", [0.84, 0.85, 0.83, 0.86, 0.84]),
            runs("synflow", [0.88, 0.87, 0.89, 0.88, 0.90]),
            runs("random", [0.83, 0.85, 0.84, 0.87, 0.82]),
        ]
    )


def family(of: list[str], against: list[str], **more: Any) -> dict[str, Any]:
    return {"name": "criteria", "of": of, "against": against} | more


# Two groups


def test_welch_by_hand_and_against_statsmodels() -> None:
    from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

    a, b = [1.0, 2.0, 3.0, 4.0], [2.0, 4.0, 6.0, 8.0, 10.0]
    found = welch(a, b)
    # variances of the means: (5/3)/4 = 5/12 and 10/5 = 2
    assert found.difference == pytest.approx(-3.5)
    assert found.degrees_of_freedom == pytest.approx((5 / 12 + 2) ** 2 / ((5 / 12) ** 2 / 3 + 2**2 / 4))
    both = CompareMeans(DescrStatsW(a), DescrStatsW(b))
    assert found.p == pytest.approx(both.ttest_ind(usevar="unequal")[1])
    assert (found.low, found.high) == pytest.approx(both.tconfint_diff(usevar="unequal"))
    assert (found.n_of, found.n_against, found.mean_of, found.mean_against, found.note) == (4, 5, 2.5, 6.0, "")


def test_paired_is_a_t_test_of_the_differences() -> None:
    from scipy import stats

    a, b = [0.90, 0.80, 0.95, 0.70], [0.89, 0.78, 0.93, 0.69]
    differences = np.subtract(a, b)
    found = paired(a, b)
    assert found.p == pytest.approx(stats.ttest_1samp(differences, 0.0).pvalue)
    assert found.degrees_of_freedom == 3
    half = stats.t.ppf(0.975, 3) * differences.std(ddof=1) / 2
    assert (found.low, found.high) == pytest.approx((0.015 - half, 0.015 + half))
    assert found.p < 0.02 < 0.8 < welch(a, b).p  # seeds that are good or bad for both
    assert found.hedges_g == hedges_g(a, b)
    with pytest.raises(ValueError, match="as many values in both groups, got 2 and 3"):
        paired([1.0, 2.0], [1.0, 2.0, 3.0])


@QUICK
@given(groups, groups)
def test_the_interval_excludes_zero_exactly_where_the_test_rejects(a: list[float], b: list[float]) -> None:
    found, turned = welch(a, b), welch(b, a)
    assert turned.difference == -found.difference
    if math.isnan(found.low):
        assert len(set(a)) == len(set(b)) == 1
        return
    assert turned.p == pytest.approx(found.p)
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))
    assert found.low < found.difference < found.high
    if abs(found.p - 0.05) > 1e-9:
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


def test_without_spread() -> None:
    """No warning, no p = 0: a few equal values are not infinite evidence."""
    chance = [0.1135] * 5
    same = welch(chance, [0.1135] * 4)
    assert (same.p, same.difference, same.note) == (1.0, 0.0, "")
    assert math.isnan(same.hedges_g)
    assert math.isnan(same.low)
    other = welch(chance, [0.098] * 5)
    assert math.isnan(other.p)
    assert "without any spread" in other.note
    one = welch(chance, [0.91, 0.92, 0.93, 0.90])
    assert one.degrees_of_freedom == pytest.approx(3)
    assert 0 < one.p < 1e-4
    assert one.high < 0
    assert paired([0.9, 0.8], [0.9, 0.8]).p == 1.0
    shifted = paired([0.9, 0.8, 0.7], [0.8, 0.7, 0.6])  # 0.1 each, but for rounding
    assert math.isnan(shifted.p)
    assert "without any spread" in shifted.note


def test_too_few_values_and_values_that_are_none() -> None:
    for a, b in (([0.9], [0.8, 0.7]), ([0.9, 0.8], []), ([], [])):
        found = welch(a, b)
        assert math.isnan(found.p)
        assert "fewer than two" in found.note
    assert math.isnan(welch([], [0.5, 0.6]).difference)
    for broken in (math.nan, math.inf):
        with pytest.raises(ValueError, match="1 NaN or infinite of 3"):
            welch([0.9, broken, 0.8], [0.7, 0.6])
        with pytest.raises(ValueError, match="leave such runs out"):
            hedges_g([0.9, 0.8], [0.7, broken])


# Effect size


def test_hedges_correction_by_its_closed_forms() -> None:
    assert hedges_correction(2) == pytest.approx(1 / math.sqrt(math.pi))
    assert hedges_correction(4) == pytest.approx(math.sqrt(2 / math.pi))
    for freedom in (8, 18, 100):
        assert hedges_correction(freedom) == pytest.approx(1 - 3 / (4 * freedom - 1), abs=6e-4)


def test_hedges_g_by_hand_and_unbiased() -> None:
    # means 2 and 5, pooled variance (2 * 1 + 2 * 4) / 4 = 2.5
    assert hedges_g([1, 2, 3], [3, 5, 7]) == pytest.approx(-3 / math.sqrt(2.5) * math.sqrt(2 / math.pi))
    rng = np.random.default_rng(0)
    simulated = [hedges_g(rng.normal(1, 1, 4), rng.normal(0, 1, 4)) for _ in range(4000)]
    error = np.std(simulated) / math.sqrt(len(simulated))
    assert abs(np.mean(simulated) - 1) < 4 * error
    assert 4 * error < 0.15 / 2  # uncorrected, the bias would be 0.15
    assert math.isnan(hedges_g([1], [2, 3]))
    assert math.isnan(hedges_g([1, 1], [2, 2]))


# Holm


p_lists = st.lists(st.floats(0, 1), min_size=1, max_size=7)


@QUICK
@given(p_lists)
def test_holm_is_the_closed_test_of_bonferroni(p: list[float]) -> None:
    """Adjusted p of i: the largest Bonferroni p of any set of hypotheses that holds i."""
    sets = [s for size in range(1, len(p) + 1) for s in itertools.combinations(range(len(p)), size)]
    slow = [max(min(1.0, len(s) * min(p[j] for j in s)) for s in sets if i in s) for i in range(len(p))]
    found = holm(p)
    assert found == pytest.approx(slow)
    order = np.argsort(p, kind="stable")
    assert all(np.diff(np.array(found)[order]) >= -1e-15)
    assert all(raw <= adjusted <= min(1, len(p) * raw) + 1e-15 for raw, adjusted in zip(p, found, strict=True))


def test_holm_against_statsmodels() -> None:
    from statsmodels.stats.multitest import multipletests

    p = [0.04, 0.001, 0.3, 0.02, 0.001, 0.9]
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1].tolist())


def test_holm_leaves_nan_out() -> None:
    assert holm([0.01, math.nan, 0.03]) == pytest.approx([0.02, math.nan, 0.03], nan_ok=True)
    assert holm([]) == []
    assert math.isnan(holm([math.nan])[0])


def test_false_discoveries_are_held_over_the_family() -> None:
    """Six tests of equal methods: without correction 1 in 4 families finds something, with it 1 in 20."""
    rng = np.random.default_rng(5)
    uncorrected = corrected = 0
    for _ in range(300):
        p = [welch(rng.normal(size=5), rng.normal(size=5)).p for _ in range(6)]
        uncorrected += min(p) <= 0.05
        corrected += min(holm(p)) <= 0.05
    assert uncorrected / 300 > 0.15
    assert corrected / 300 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)


# Families


def test_a_family_spans_all_comparisons_of_its_name() -> None:
    frame = three()
    table = compare(frame, [family(["snip"], ["synflow", "random"]), family(["synflow"], ["random"])])
    assert tuple(table.columns) == COLUMNS
    assert table["family_size"].tolist() == [3, 3, 3]
    values = {label: part["test_accuracy"].tolist() for label, part in frame.groupby("label")}
    expected = [welch(values[a], values[b]) for a, b in zip(table["of"], table["against"], strict=True)]
    assert table["p"].tolist() == [test.p for test in expected]
    assert table["p_adjusted"].tolist() == holm([test.p for test in expected])
    assert table["difference"].tolist() == [test.difference for test in expected]
    assert table["significant"].tolist() == [True, False, True]
    alone = compare(frame, [family(["snip"], ["synflow", "random"]), family(["synflow"], ["random"], name="other")])
    assert alone["family_size"].tolist() == [2, 2, 1]
    assert alone["p_adjusted"].iloc[2] == alone["p"].iloc[2]


def test_a_hypothesis_counts_once_and_order_does_not_matter() -> None:
    labels = ["snip", "synflow", "random"]
    once = compare(three(), [family(labels, labels)])
    assert [set(pair) for pair in zip(once["of"], once["against"], strict=True)] == [
        *({"snip", "synflow"}, {"snip", "random"}, {"synflow", "random"})
    ]
    turned = [family(["random", "random"], ["synflow", "snip"]), family(["snip"], ["synflow"], densities=[0.01])]
    shuffled = compare(three().sample(frac=1, random_state=0), [*turned, *turned])
    assert len(shuffled) == 3

    def by_pair(table: pd.DataFrame) -> dict[frozenset[str], float]:
        return {frozenset((row.of, row.against)): row.p_adjusted for row in table.itertuples()}

    assert by_pair(shuffled) == pytest.approx(by_pair(once))


def test_missing_labels_and_single_seeds_are_shown_and_not_counted() -> None:
    frame = pd.concat([three(), runs("grasp", [0.7])])
    table = compare(frame, [family(["snip"], ["synflow", "snp", "grasp"])]).set_index("against")
    assert table["family_size"].tolist() == [2 - 1] * 3
    assert table["counted"].tolist() == [True, False, False]
    assert not table.loc[["snp", "grasp"], "significant"].any()
    assert table.loc[["snp", "grasp"], ["p", "p_adjusted"]].isna().all(axis=None)
    assert table["n_against"].tolist() == [5, 0, 1]
    assert "no runs of 'snp' (nearest label: 'snip')" in table.loc["snp", "note"]
    assert "not counted in the family" in table.loc["grasp", "note"]
    assert table.loc["grasp", "difference"] == pytest.approx(0.844 - 0.7)
    nowhere = compare(frame, [family(["a"], ["b"])])
    assert len(nowhere) == 1
    assert math.isnan(nowhere["density"].iloc[0])
    assert "no runs of 'a'; no runs of 'b'" in nowhere["note"].iloc[0]


def test_outcomes_never_shrink_the_family() -> None:
    """Two runs each were made: that all diverged, or that nothing spreads, must not make the other tests easier."""
    broken = runs("grasp", [math.nan, math.nan, 0.5])
    frame = pd.concat([three(), broken, runs("magnitude", [0.1135] * 3), runs("l2", [0.098] * 3)])
    table = compare(frame, [family(["snip"], ["synflow", "grasp"]), family(["magnitude"], ["l2"])])
    assert table["family_size"].tolist() == [3, 3, 3]
    assert table["counted"].all()
    assert table["p"].isna().tolist() == table["p_adjusted"].isna().tolist() == [False, True, True]
    assert table["p_adjusted"].iloc[0] == pytest.approx(3 * table["p"].iloc[0])
    assert "2 of 3 runs of 'grasp' have no finite value" in table["note"].iloc[1]
    assert "counts in the family as p = 1" in table["note"].iloc[1]
    assert table["n_against"].iloc[1] == 1


def test_diverged_runs_are_named() -> None:
    frame = pd.concat([three(), runs("grasp", [0.7, 0.6, math.nan, 0.65])]).reset_index(drop=True)
    frame.loc[(frame["label"] == "grasp") & (frame["seed"] == 1), "diverged"] = True
    row = compare(frame, [family(["grasp"], ["snip"])]).iloc[0]
    assert row["mean_of"] == pytest.approx(0.65)
    assert "1 of 4 runs of 'grasp' have no finite value, left out" in row["note"]
    assert "1 runs of 'grasp' diverged, measured at their best before" in row["note"]
    assert row["p"] == welch([0.7, 0.6, 0.65], [0.84, 0.85, 0.83, 0.86, 0.84]).p


def test_dense_networks_stand_beside_every_density() -> None:
    frame = pd.concat([three(), three().assign(density=0.1), runs("dense", [0.98, 0.97, 0.98], density=1.0)])
    table = compare(frame, [family(["snip"], ["dense"]), family(["dense"], ["random"], densities=[0.1])])
    assert table["density"].tolist() == [0.01, 0.1, 0.1]
    assert table["n_against"].tolist() == [3, 3, 5]
    assert table["mean_against"].iloc[0] == pytest.approx(0.97667, abs=1e-4)
    assert table["note"].tolist() == ["'dense': dense networks, density 1"] * 3
    dense = pd.concat([runs("dense", [0.98, 0.97], density=1.0), runs("saw", [0.96, 0.95], density=1.0)])
    both = compare(dense, [family(["saw"], ["dense"])])
    assert both["density"].tolist() == [1.0]
    assert both["note"].tolist() == [""]


def test_densities_and_tasks() -> None:
    frame = pd.concat([three(), three().assign(density=0.1, task="fashion"), runs("snip", [0.5, 0.6], density=0.3)])
    every = compare(frame, [family(["snip"], ["random"])])
    assert list(zip(every["task"], every["density"], strict=True)) == [
        ("mnist", 0.01),
        ("mnist", 0.3),
        ("fashion", 0.1),
    ]
    assert every["counted"].tolist() == [True, False, True]
    assert "no runs of 'random' here" in every["note"].iloc[1]
    some = compare(frame, [family(["snip"], ["random"], densities=[0.1 + 1e-17, 0.2], task="fashion")])
    assert some["density"].tolist() == [0.1, 0.2]
    assert some["n_of"].tolist() == [5, 0]


def test_networks_are_compared_each_by_itself() -> None:
    wide = three().assign(network="wide", test_accuracy=three()["test_accuracy"] + 0.1)
    both = pd.concat([three(), wide])
    every = compare(both, [family(["synflow"], ["snip"])])
    assert every["network"].tolist() == ["mlp", "wide"]
    assert every["mean_of"].tolist() == pytest.approx([0.884, 0.984])
    assert every["family_size"].tolist() == [2, 2]
    assert every["p"].tolist() == pytest.approx([compare(three(), [family(["synflow"], ["snip"])])["p"].iloc[0]] * 2)
    assert "| synflow | snip | wide | mnist |" in comparison_table(every)
    one = compare(both, [family(["synflow"], ["snip"], network="wide")])
    assert (one["network"].tolist(), one["mean_of"].tolist()) == (["wide"], pytest.approx([0.984]))
    assert "wide" not in comparison_table(one)


def test_paired_takes_common_seeds() -> None:
    frame = pd.concat([runs("snip", [0.8, 0.9, 0.7, 0.85]), runs("random", [0.89, 0.68, 0.85, 0.99], first=1)])
    table = compare(frame, [family(["snip"], ["random"], paired=True), family(["snip"], ["random"])])
    common = paired([0.9, 0.7, 0.85], [0.89, 0.68, 0.85])
    every = welch([0.8, 0.9, 0.7, 0.85], [0.89, 0.68, 0.85, 0.99])
    assert table["p"].tolist() == [common.p, every.p]
    assert table["n_of"].tolist() == [3, 4]
    assert table["family_size"].tolist() == [2, 2]
    assert "2 runs without a partner of the same seed left out" in table["note"].iloc[0]
    apart = pd.concat([runs("snip", [0.8, 0.9]), runs("random", [0.8, 0.9], first=2)])
    row = compare(apart, [family(["snip"], ["random"], paired=True)]).iloc[0]
    assert not row["counted"]
    assert "fewer than two pairs" in row["note"]
    broken = pd.concat([runs("snip", [0.8, math.nan, 0.7, 0.6]), runs("random", [0.7, 0.8, 0.75, 0.5])])
    row = compare(broken, [family(["snip"], ["random"], paired=True)]).iloc[0]
    assert row["p"] == paired([0.8, 0.7, 0.6], [0.7, 0.75, 0.5]).p


def test_what_is_refused() -> None:
    twice = pd.concat([three().assign(device="cpu"), runs("snip", [0.9]).assign(device="cuda")])
    with pytest.raises(ValueError, match=r"runs of .snip. with mlp on mnist at density 0\.01 have the seed 0 .*device"):
        compare(twice, [family(["snip"], ["random"])])
    with pytest.raises(ValueError, match="'of' of the comparison 'criteria' must be a list"):
        compare(three(), [family("snip", ["random"])])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no against"):
        compare(three(), [{"name": "criteria", "of": ["snip"]}])
    with pytest.raises(ValueError, match="no column seed"):
        compare(three().drop(columns="seed"), [])
    assert compare(three(), []).empty


def test_table_in_markdown() -> None:
    frame = pd.concat([three(), runs("grasp", [0.7])])
    text = comparison_table(
        compare(frame, [family(["snip"], ["synflow", "grasp"]), family(["a|b"], ["c"], name="two")])
    )
    lines = text.splitlines()
    assert lines[0] == (
        "**criteria**: 1 tests, p corrected by Holm over all of them; 1 declared without enough runs, not counted."
    )
    assert lines[4].startswith(
        "| snip | synflow | mnist | 0.01 | 5, 5 | 84.40, 88.40 | -4.00 [-5.66, -2.34] | -3.17 | 0.00"
    )
    assert lines[4].endswith("| yes |")
    assert lines[5].endswith("| +14.40 | – | – | – | not tested (1) |")
    assert lines[7].startswith("(1) fewer than two values")
    assert "| a\\|b | c | – | – | 0, 0 | –, – | – | – | – | – | not tested (1) |" in lines
    assert comparison_table(compare(frame, [])) == ""


def test_metrics_never_meet_and_are_shown_in_their_own_units() -> None:
    frame = three().assign(metric="r2")
    text = comparison_table(compare(frame, [family(["snip"], ["synflow"])]))
    assert "| 0.8440, 0.8840 | -0.0400 [" in text
    assert compare(frame, [family(["snip"], ["synflow"])])["metric"].tolist() == ["r2"]
    mixed = three()
    mixed["metric"] = [None] * 5 + ["r2"] * 10
    with pytest.raises(ValueError, match="measured by accuracy and r2, which cannot be compared"):
        compare(mixed, [family(["snip"], ["synflow"])])
