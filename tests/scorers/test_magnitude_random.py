"""Magnitude and random: the two that look at no data."""

from __future__ import annotations

import torch

from scratchcard.pruning.cut import keep_top
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.scorers import Magnitude, Random
from tests.scorers.toys import case, cross_entropy, mlp, single
from tests.scorers.transformations import permuted, permuted_back, rescaled


def test_magnitude_closed_form() -> None:
    network = single(1.0, -2.0, 0.0)
    batch = (torch.ones(1, 3), torch.zeros(1, 1))
    assert Magnitude()(network, batch, cross_entropy).tensors["0.weight"].tolist() == [[1.0, 2.0, 0.0]]


def test_magnitude_is_equivariant_under_permutation_of_hidden_units() -> None:
    network, batch = case("mlp")
    expected = Magnitude()(network, batch, cross_entropy)
    found = permuted_back(Magnitude()(permuted(network), batch, cross_entropy).tensors)
    assert all(torch.equal(found[name], expected.tensors[name]) for name in prunable(network))


def test_magnitude_counterexample_rescaling_of_hidden_units_changes_the_ranking() -> None:
    network, batch = case("mlp")
    before, after = (Magnitude()(net, batch, cross_entropy) for net in (network, rescaled(network)))
    assert keep_top(before, 0.3) != keep_top(after, 0.3)


def test_random_is_uniform_and_different_for_each_seed() -> None:
    network, batch = mlp(sizes=(50, 80, 40)), (torch.ones(1, 50), torch.zeros(1).long())
    first, second = (Random(seed)(network, batch, cross_entropy).flat() for seed in (0, 1))
    assert bool(((first >= 0) & (first < 1)).all())
    n = first.numel()
    assert abs(float(first.mean()) - 0.5) < 5 * (1 / 12 / n) ** 0.5
    assert abs(float((first < 0.25).double().mean()) - 0.25) < 5 * (3 / 16 / n) ** 0.5
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 5 / n**0.5
    assert len(first.unique()) == n


def test_random_ignores_the_weights_and_the_global_generator() -> None:
    first, batch = case("mlp", seed=0)
    second, _ = case("mlp", seed=1)
    torch.manual_seed(1)
    expected = Random(7)(first, batch, cross_entropy)
    torch.manual_seed(2)
    assert torch.equal(Random(7)(second, batch, cross_entropy).flat(), expected.flat())


def test_random_in_many_rounds_ends_where_one_round_does() -> None:
    network, batch = case("mlp")
    mask = Mask.dense(network)
    for density in (0.8, 0.5, 0.2):
        mask = keep_top(Random(3)(network, batch, cross_entropy, mask=mask), density, within=mask)
    assert mask == keep_top(Random(3)(network, batch, cross_entropy), 0.2)
