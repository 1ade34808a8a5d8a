"""Rows: exact samples, weights, mixing, moments, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import scratchcard.meta.rows
from scratchcard.meta.rows import Rows, networks_of
from scratchcard.score_tables.schema import TableBlock
from scratchcard.score_tables.table import ScoreTable

FEATURES = ("wide", "snip", "depth")


def rows_of(table: ScoreTable, **arguments: object) -> Rows:
    networks = (("toy", 2), ("toy", 0))
    return replace(Rows(table, FEATURES, "kept", networks), **arguments)  # type: ignore[arg-type]


def test_batches_are_the_tables_rows_in_the_asked_order(table: ScoreTable) -> None:
    rows = rows_of(table)
    whole = rows.whole()
    for place, (_, seed) in enumerate(rows.networks):
        part = slice(1000 * place, 1000 * place + 1000)
        columns = table.columns([*FEATURES, "kept"], seeds=[seed])
        assert np.array_equal(whole.x[part], np.column_stack([columns[name] for name in FEATURES]))
        assert np.array_equal(whole.y[part], columns["kept"])
    assert whole.weight is None
    assert rows.count == 2000


def test_never_more_than_a_row_group_at_once(table: ScoreTable) -> None:
    assert [len(batch.y) for batch in rows_of(table).batches()] == [700, 300, 700, 300]


@pytest.mark.parametrize("max_rows", [1, 7, 500, 1999])
def test_a_sample_is_exact_repeatable_and_without_replacement(table: ScoreTable, max_rows: int) -> None:
    rows = rows_of(table, max_rows=max_rows)
    x = rows.whole().x
    assert len(x) == max_rows == rows.count
    assert len(np.unique(x[:, 0])) == len(x) or max_rows > 1000  # `wide` is continuous
    assert np.array_equal(x, rows_of(table, max_rows=max_rows).whole().x)
    assert not np.array_equal(x, rows_of(table, max_rows=max_rows, seed=1).whole().x)
    known = {tuple(row) for row in rows_of(table).whole().x}
    assert all(tuple(row) in known for row in x)


def test_samples_are_uniform_over_networks_and_layers(table: ScoreTable) -> None:
    shares = np.zeros(2)
    for seed in range(40):
        x = rows_of(table, max_rows=200, seed=seed).whole().x
        shares += [np.mean(x[:, 2] == 0), np.mean(x[:, 1] < 0.5)]
    # 0.7 of the rows have depth 0, half a snip below a half; 8000 draws in all.
    assert np.allclose(shares / 40, [0.7, 0.5], atol=0.03)


def test_keeping_positives_weighs_the_others_up(table: ScoreTable) -> None:
    full = rows_of(table)
    positives = sum(full.summary.positives)
    rows = rows_of(table, max_rows=positives + 100, keep_positives=True)
    whole = rows.whole()
    assert whole.y.sum() == positives
    assert rows.count == positives + 100
    assert whole.weight is not None
    assert np.all(whole.weight[whole.y > 0] == 1)
    assert whole.weight.sum() == pytest.approx(full.count)
    assert rows.sampling["weight_of_other_rows"] == (2000 - positives) / 100
    with pytest.raises(ValueError, match="leaves no room"):
        rows_of(table, max_rows=positives, keep_positives=True).whole()


@pytest.mark.parametrize("sample", [{}, {"max_rows": 800, "keep_positives": True}])
def test_balanced_weights_have_equal_sums(table: ScoreTable, sample: dict[str, object]) -> None:
    rows = rows_of(table, **sample)
    batch = rows.whole()
    weight = rows.weights(batch, True)
    assert weight is not None
    assert weight[batch.y > 0].sum() == pytest.approx(1000)
    assert weight[batch.y == 0].sum() == pytest.approx(1000)


@pytest.mark.parametrize("pool", [1, 900, 10**6])
def test_shuffled_is_every_row_once(table: ScoreTable, pool: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratchcard.meta.rows, "POOL", pool)
    rows = rows_of(table, max_rows=1500, keep_positives=True)
    whole = rows.whole()
    batches = list(rows.shuffled(64, np.random.default_rng(0)))
    x = np.concatenate([batch.x for batch in batches])
    y = np.concatenate([batch.y for batch in batches])
    weight = np.concatenate([batch.weight for batch in batches])
    assert max(len(batch.y) for batch in batches) == 64
    assert not np.array_equal(x, whole.x)
    mixed = np.column_stack([x, y, weight])
    straight = np.column_stack([whole.x, whole.y, whole.weight])
    assert np.array_equal(mixed[np.lexsort(mixed.T)], straight[np.lexsort(straight.T)])
    if pool > 2000:
        assert 0 < x[:64, 2].mean() < 1  # both layers in the first batch


def test_moments_are_those_of_all_rows(table: ScoreTable) -> None:
    rows = rows_of(table)
    x = rows.whole().x.astype(np.float64)
    mean, scale = rows.moments
    assert np.allclose(mean, x.mean(axis=0), rtol=1e-12)
    assert np.allclose(scale, x.std(axis=0), rtol=1e-10)


def test_a_constant_feature_has_scale_one(make_table: Callable[..., ScoreTable]) -> None:
    def constant(block: TableBlock) -> None:
        block.columns["snip"][:] = 0.1

    rows = rows_of(make_table(change=constant))
    assert rows.moments[1][1] == 1.0
    assert rows.constant[1]
    assert rows.constant.sum() == 1


def test_rounds_are_chosen(make_table: Callable[..., ScoreTable]) -> None:
    table = make_table(rounds=(0, 1, 2))
    assert rows_of(table).count == 6000
    assert rows_of(table, rounds=(1,)).count == 2000
    assert networks_of(table) == (("toy", 0), ("toy", 1), ("toy", 2))


def test_a_target_with_nan_is_refused(table: ScoreTable) -> None:
    with pytest.raises(ValueError, match=r"'kept_repeat' of 'toy' seed 2 holds NaN"):
        _ = rows_of(table, target="kept_repeat").count
