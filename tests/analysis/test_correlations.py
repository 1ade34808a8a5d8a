"""Correlations against scipy and scikit-learn; the sample is uniform, seeded and bounded."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from scratchcard.analysis.correlations import feature_correlations
from scratchcard.score_tables.schema import Column, TableBlock, TableSchema
from scratchcard.score_tables.table import ScoreTable
from scratchcard.score_tables.writer import TableWriter, file_name

SCHEMA = TableSchema(
    1,
    tuple(Column(name, "feature", "raw", name) for name in ("good", "ties", "noise", "constant", "tiny", "place"))
    + tuple(Column(name, "target", "raw", name) for name in ("score", "kept", "kept_repeat", "late")),
)
SIZES = {"0.weight": 400, "2.weight": 150}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> ScoreTable:
    folder = tmp_path_factory.mktemp("table")
    for seed in (0, 1):
        with TableWriter(SCHEMA, folder / file_name("toy", seed), "toy", seed) as writer:
            for round_ in (0, 1):
                for parameter, n in SIZES.items():
                    rng = np.random.default_rng([seed, round_, n])
                    good = rng.standard_normal(n)
                    score = np.maximum(0, np.exp(good) + rng.standard_normal(n))
                    columns = {
                        "good": good,
                        "ties": np.round(good),
                        "noise": rng.standard_normal(n),
                        "constant": np.full(n, 0.1),
                        "tiny": 1e-30 * good,
                        "place": np.arange(n),
                        "late": np.arange(n) >= n / 2,
                        "score": score,
                        "kept": score > 2,
                        "kept_repeat": np.full(n, np.nan) if seed else good > 0,
                    }
                    writer.write(
                        TableBlock(
                            "toy",
                            seed,
                            round_,
                            parameter,
                            np.arange(n),
                            {name: np.asarray(values, dtype=np.float32) for name, values in columns.items()},
                        )
                    )
    return ScoreTable.open(folder)


@pytest.mark.parametrize("target", ["score", "kept"])
def test_of_all_rows_they_are_those_of_scipy_and_scikit_learn(table: ScoreTable, target: str) -> None:
    found = feature_correlations(table, target).set_index("feature")
    assert list(found.index) == list(SCHEMA.features)
    data = {name: values.astype(float) for name, values in table.columns(SCHEMA.names, rounds=(0,)).items()}
    for name in ("good", "ties", "noise", "tiny"):
        row = found.loc[name]
        assert row["rows"] == 2 * sum(SIZES.values())
        assert row["pearson"] == pytest.approx(stats.pearsonr(data[name], data[target])[0], abs=1e-9)
        assert row["spearman"] == pytest.approx(stats.spearmanr(data[name], data[target])[0], abs=1e-9)
        assert row["roc_auc"] == pytest.approx(roc_auc_score(data["kept"], data[name]), abs=1e-12)
    assert all(math.isnan(found.loc["constant", column]) for column in ("pearson", "spearman", "roc_auc"))


def test_rows_without_a_target_are_left_out(table: ScoreTable) -> None:
    """The target is itself what the ROC AUC is of."""
    found = feature_correlations(table, "kept_repeat").set_index("feature").loc["good"]
    assert found["rows"] == sum(SIZES.values())
    assert found["roc_auc"] == 1.0


def value(table: ScoreTable, target: str, feature: str, **options: int) -> float:
    return float(feature_correlations(table, target, **options).set_index("feature").loc[feature, "pearson"])


def test_a_sample_is_seeded_exact_in_size_and_unbiased(table: ScoreTable) -> None:
    one = feature_correlations(table, "kept", rows=100, seed=3)
    assert set(one["rows"]) == {100}
    assert one.equals(feature_correlations(table, "kept", rows=100, seed=3))
    assert not one.equals(feature_correlations(table, "kept", rows=100, seed=4))
    whole = value(table, "kept", "good")
    samples = [value(table, "kept", "good", rows=100, seed=s) for s in range(60)]
    assert np.mean(samples) == pytest.approx(whole, abs=4 * np.std(samples) / np.sqrt(60) + 0.005)


def test_a_sample_comes_from_everywhere_in_the_row_groups(table: ScoreTable) -> None:
    assert value(table, "late", "place", rows=160) == pytest.approx(value(table, "late", "place"), abs=0.1)


def test_one_row_group_at_a_time(table: ScoreTable, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    original = ScoreTable.read

    def spy(self: ScoreTable, group: object, columns: object = None) -> TableBlock:
        block = original(self, group, columns)  # type: ignore[arg-type]
        assert set(block.columns) == {*SCHEMA.features, "score", "kept"}
        read.append(block.rows)
        return block

    monkeypatch.setattr(ScoreTable, "read", spy)
    feature_correlations(table, "score")
    assert read == [400, 150, 400, 150]


def test_an_unknown_target_is_refused(table: ScoreTable) -> None:
    with pytest.raises(ValueError, match="no column x"):
        feature_correlations(table, "x")
