"""Scores: floating, finite, one a weight."""

from __future__ import annotations

import pytest
import torch

from scratchcard.pruning.scores import Scores


def test_flat_follows_the_order_of_the_mapping() -> None:
    scores = Scores({"b": torch.tensor([[1.0, 2.0]]), "a": torch.tensor([3.0])}, criterion="by hand")
    assert scores.total == 3
    assert scores.flat().tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_refuses_numbers_that_are_not_finite(bad: float, dtype: torch.dtype) -> None:
    good, spoilt = torch.ones(2, dtype=dtype), torch.tensor([1.0, bad], dtype=dtype)
    with pytest.raises(ValueError, match="scores of 'b' by SNIP hold NaN or infinity"):
        Scores({"a": good, "b": spoilt}, criterion="SNIP")


def test_infinities_of_both_signs_do_not_cancel() -> None:
    with pytest.raises(ValueError, match="NaN or infinity"):
        Scores({"a": torch.tensor([float("inf"), -float("inf")])}, criterion="x")


def test_large_finite_scores_are_no_error_although_their_sum_overflows() -> None:
    scores = Scores({"a": torch.full((4,), torch.finfo(torch.float64).max, dtype=torch.float64)}, criterion="x")
    assert scores.total == 4


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_refuses_integers(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match="expected floating"):
        Scores({"a": torch.ones(2, dtype=dtype)}, criterion="x")
