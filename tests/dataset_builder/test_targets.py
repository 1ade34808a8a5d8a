"""Targets, by hand on a search of two rounds."""

from __future__ import annotations

import numpy as np
import torch

from scratchcard.dataset_builder.targets import TARGETS, Targets
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.scores import Scores
from scratchcard.regimes import Found


def found(survived: list[int], scores: list[float], rounds: int) -> Found:
    counts = {"w": torch.tensor([survived], dtype=torch.int32)}
    return Found(
        Mask({"w": counts["w"] >= rounds}),
        Scores({"w": torch.tensor([scores], dtype=torch.float64)}, "test"),
        counts,
        tuple(0.5**t for t in range(1, rounds + 1)),
        {},
        0.0,
    )


def test_targets_of_the_dense_network() -> None:
    slow = found([0, 1, 2, 2, 1], [0.0, 9.0, 4.0, -2.0, 3.0], rounds=2)
    columns = Targets(slow).columns("w", np.arange(5), 0)
    assert list(columns) == [column.name for column in TARGETS]
    # The largest absolute score of a *kept* weight is 4; pruned weights count 0, however high they scored.
    assert columns["score"].tolist() == [0, 0, 1, -0.5, 0]
    assert columns["kept"].tolist() == [0, 0, 1, 1, 0]
    assert columns["rounds_survived"].tolist() == [0, 0.5, 1, 1, 0.5]
    assert columns["kept_next"].tolist() == [0, 1, 1, 1, 1]
    assert np.isnan(columns["kept_repeat"]).all()
    assert all(values.dtype == np.float32 for values in columns.values())


def test_targets_of_a_later_round_and_of_chosen_weights() -> None:
    slow = found([0, 1, 2, 2, 1], [0.0, 9.0, 4.0, -2.0, 3.0], rounds=2)
    repeat = found([2, 0, 2, 1, 0], [1.0, 1.0, 1.0, 1.0, 1.0], rounds=2)
    columns = Targets(slow, repeat).columns("w", np.array([1, 2, 4]), 1)
    assert columns["kept_next"].tolist() == [0, 1, 0]
    assert columns["kept_repeat"].tolist() == [0, 1, 0]


def test_a_ticket_with_zero_scores_gives_zero_not_nan() -> None:
    columns = Targets(found([1, 0], [0.0, 0.0], rounds=1)).columns("w", np.arange(2), 0)
    assert columns["score"].tolist() == [0, 0]
