"""Closed forms of the bimodality coefficient and the central share; distributions of tickets made by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from scratchcard.analysis.weights import (
    ALL_LAYERS,
    EDGES,
    Distribution,
    bimodality_coefficient,
    central_share,
    same_sign,
    weight_distributions,
)
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.ticket import Ticket

GRID = (np.arange(200_000) + 0.5) / 200_000


def test_closed_forms_in_the_limit() -> None:
    """Quantiles on a fine grid stand for the distribution itself."""
    normal = stats.norm.ppf(GRID)
    assert bimodality_coefficient(normal) == pytest.approx(1 / 3, abs=1e-3)
    assert bimodality_coefficient(GRID) == pytest.approx(5 / 9, abs=1e-4)
    assert bimodality_coefficient(np.repeat([-1.0, 1.0], 50_000)) == pytest.approx(1.0, abs=1e-3)
    # Skew alone reaches the uniform's value: the limit that the docstring names.
    assert bimodality_coefficient(stats.expon.ppf(GRID)) == pytest.approx(5 / 9, abs=5e-3)
    assert central_share(normal) == pytest.approx(2 * stats.norm.cdf(stats.norm.ppf(0.75) / 4) - 1, abs=1e-4)
    assert central_share(2 * GRID - 1) == pytest.approx(0.125, abs=1e-4)
    assert central_share(stats.laplace.ppf(GRID)) == pytest.approx(1 - 2**-0.25, abs=1e-4)
    assert central_share([-1.0, 1.0]) == 0.0


@pytest.mark.parametrize("scale", [1.0, 1e-170, 1e150])
def test_bimodality_agrees_with_scipy_and_knows_no_scale(scale: float) -> None:
    x = np.random.default_rng(0).gamma(2.0, size=37)
    n = len(x)
    correction = 3 * (n - 1) ** 2 / ((n - 2) * (n - 3))
    expected = (stats.skew(x, bias=False) ** 2 + 1) / (stats.kurtosis(x, bias=False) + correction)
    assert bimodality_coefficient(scale * x) == pytest.approx(expected, rel=1e-9)
    assert bimodality_coefficient(3.0 - x) == pytest.approx(expected, rel=1e-9)


def test_without_spread_or_values_there_is_no_answer() -> None:
    for values in ([], [1.0, 2.0, 3.0], [4.0] * 10):
        assert math.isnan(bimodality_coefficient(values))
    assert math.isnan(central_share([]))
    assert math.isnan(central_share([0.0, 0.0, 0.0, 1.0]))


def test_far_outliers_blind_the_coefficient_but_not_the_central_share() -> None:
    two = np.concatenate([stats.norm.ppf(GRID) / 10 + sign for sign in (-1, 1)])
    far = np.concatenate([two, np.repeat([-30.0, 30.0], 500)])
    assert bimodality_coefficient(two) > 5 / 9 > bimodality_coefficient(far)
    assert central_share(far) < 0.001


def make_ticket(trained: bool = True) -> Ticket:
    initial = {
        "0.weight": torch.tensor([[-4.0, -2.0], [2.0, 4.0]]),
        "0.bias": torch.zeros(2),
        "2.weight": torch.tensor([[0.1, -0.1]]),
    }
    after = {
        "0.weight": torch.tensor([[-8.0, 0.0], [-2.0, 0.0]]),
        "0.bias": torch.zeros(2),
        "2.weight": torch.tensor([[0.3, float("nan")]]),
    }
    mask = Mask({"0.weight": torch.tensor([[True, False], [True, False]]), "2.weight": torch.tensor([[True, True]])})
    return Ticket(initial, mask, {}, after if trained else None)


def test_distributions_are_in_units_of_their_layer() -> None:
    found = {(d.layer, d.part): d for d in weight_distributions(make_ticket(), {})}
    assert set(found) == {
        (layer, part)
        for layer in ("0.weight", "2.weight", ALL_LAYERS)
        for part in ("initial", "initial_kept", "final_kept")
    }
    scale = math.sqrt(10.0)
    assert found["0.weight", "initial"].root_mean_square == pytest.approx(1.0)
    kept = found["0.weight", "initial_kept"]
    assert kept.count == 2
    assert kept.root_mean_square == pytest.approx(math.sqrt((16 + 4) / 2) / scale)
    assert np.flatnonzero(kept.histogram).tolist() == sorted(
        int(np.searchsorted(EDGES, value / scale, side="right")) - 1 for value in (-4.0, 2.0)
    )
    # 0.1 and -0.1 have the standard deviation 0.1; the weight that is not finite is left out.
    assert found["2.weight", "final_kept"].count == 1
    assert found["2.weight", "final_kept"].root_mean_square == pytest.approx(3.0)
    assert found[ALL_LAYERS, "initial"].count == 6
    assert found[ALL_LAYERS, "initial"].histogram.sum() == 6
    assert {d.part for d in weight_distributions(make_ticket(trained=False), {})} == {"initial", "initial_kept"}


def test_initialisations_are_summarised_once_and_never_mixed_up() -> None:
    known: dict[str, list[Distribution]] = {}
    one, other = make_ticket(), make_ticket()
    other.initial["0.weight"][0, 0] = 5.0
    for ticket in (one, other, one, make_ticket()):
        found = weight_distributions(ticket, known)
        for d, expected in zip(found, weight_distributions(ticket, {}), strict=True):
            assert (d.layer, d.part, d.count) == (expected.layer, expected.part, expected.count)
            assert d.root_mean_square == expected.root_mean_square
            assert d.histogram.tolist() == expected.histogram.tolist()
    assert len(known) == 2


def test_the_histogram_counts_everything_and_near_zero_is_its_centre() -> None:
    values = np.array([-1e9, -20.0, -0.25, -0.1, 0.0, 0.2, 0.3, 20.0, 1e9])
    found = Distribution.of("w", "initial", values)
    assert found.histogram.sum() == found.count == len(values)
    assert found.histogram[0] == found.histogram[-1] == 2
    assert found.near_zero == pytest.approx(4 / 9)
    zero = len(EDGES) // 2
    assert EDGES[zero] == 0.0
    assert found.histogram[zero - 1 : zero + 1].tolist() == [2, 2]


def test_a_layer_without_spread_is_left_out() -> None:
    ticket = Ticket({"w": torch.ones(2, 2)}, Mask({"w": torch.ones(2, 2, dtype=torch.bool)}))
    assert weight_distributions(ticket, {}) == []


def test_signs_that_training_kept() -> None:
    # 0.weight: -4 → -8 the same, 2 → -2 not; 2.weight: 0.1 → 0.3 the same, NaN has no sign.
    assert same_sign(make_ticket()) == {"0.weight": 0.5, "2.weight": 1.0, ALL_LAYERS: pytest.approx(2 / 3)}
    assert same_sign(make_ticket(trained=False)) == {}
    zero = Ticket(
        {"w": torch.zeros(1, 2)}, Mask({"w": torch.ones(1, 2, dtype=torch.bool)}), {}, {"w": torch.ones(1, 2)}
    )
    assert all(math.isnan(share) for share in same_sign(zero).values())
