"""Scores by which weights that training has turned round go first, and where that can be asked for."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from torch import nn

from scratchcard.apply.method import Method
from scratchcard.pruning.cut import keep_top
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.regimes import EMS, ESS, IMS, ISS, Regime
from scratchcard.scorers import SCORERS, make_scorer
from scratchcard.scorers.same_sign import SameSign
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload
from tests.scorers.toys import case, cross_entropy, random_mask


def turned(network: nn.Module, seed: int = 3) -> nn.Module:
    """The network where an earlier one's weights were its own, some of them of the other sign."""
    start = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in prunable(start).values():
            weight.mul_(torch.rand(weight.shape, generator=generator) * 4.0 - 2.0)
    return start


def test_the_example_of_the_study() -> None:
    """Threshold 0.1: by magnitude the first and the third stay, by the signed size only the third."""
    network = nn.Linear(3, 1, bias=False).double()
    batch = torch.ones(1, 3).double(), torch.ones(1, 1).double()
    network.weight.data = torch.tensor([[0.1, 0.2, 0.3]], dtype=torch.float64)
    magnitude = make_scorer("magnitude")
    scorer = SameSign.of(magnitude, network)
    network.weight.data = torch.tensor([[-0.2, 0.05, 0.3]], dtype=torch.float64)
    by_size = magnitude(network, batch, nn.functional.mse_loss).flat()
    by_sign = scorer(network, batch, nn.functional.mse_loss).flat()
    assert (by_size >= 0.1).tolist() == [True, False, True]
    assert (by_sign >= 0.1).tolist() == [False, False, True]
    assert by_sign.tolist() == [-0.2, 0.05, 0.3]


@pytest.mark.parametrize("name", SCORERS)
def test_whoever_kept_the_sign_ranks_above_and_in_the_same_order(name: str) -> None:
    network, batch = case("mlp")
    start = turned(network)
    inner = make_scorer(name).from_start(start, lambda: 1.0)
    scorer = SameSign.of(inner, start)
    same = torch.cat([(w.sign() == start.get_parameter(n).sign()).reshape(-1) for n, w in prunable(network).items()])
    for mask in (None, random_mask(network)):
        live = torch.ones_like(same) if mask is None else mask.flat()
        plain, found = (each(network, batch, cross_entropy, mask=mask).flat().double() for each in (inner, scorer))
        assert torch.equal(found[same & live], plain[same & live])
        assert float(found[same & live].min()) >= float(found[~same & live].max())
        lowest = min(0.0, float(plain[live].min()))
        assert torch.equal(found[~same & live], 2 * lowest - plain[~same & live])  # the opposite order
        assert not found[~live].any()


def test_magnitude_becomes_the_signed_size_and_zero_has_no_sign() -> None:
    network, batch = case("mlp")
    start = turned(network)
    with torch.no_grad():
        network[0].weight[0, 0] = start[0].weight[0, 0] = 0.0
    lots = SameSign.of(make_scorer("random"), start)(network, batch, cross_entropy)
    assert float(lots.tensors["0.weight"][0, 0]) < 0
    found = SameSign.of(make_scorer("magnitude"), start)(network, batch, cross_entropy).tensors
    for name, weight in prunable(network).items():
        assert torch.equal(found[name], start.get_parameter(name).sign() * weight)


@pytest.mark.parametrize("regime", [ISS(rounds=1), IMS(rounds=1, shots=2), ESS(search_steps=20), EMS(search_steps=20)])
def test_regimes_that_train_prune_turned_weights_first(regime: Regime) -> None:
    workload = Workload("lenet_300_100", load_task("digits"), Recipe(max_steps=20, learning_rate=0.5))
    regime = dataclasses.replace(regime, same_sign=True)  # type: ignore[call-arg]
    found = regime.find(workload, make_scorer("random"), 0.2, seed=0)
    assert float(found.scores.flat()[found.mask.flat()].min()) > 0  # what has turned has reflected, negative scores
    assert found.mask.kept == round(0.2 * found.mask.total)


def test_regimes_without_trained_weights_refuse_it_by_name() -> None:
    for name in ("USS", "UMS", "RigL"):
        with pytest.raises(ValueError, match=rf"{name} has no setting same_sign \(ISS, IMS, ESS, EMS"):
            Method.of("magnitude", regime=name, same_sign=True)
    assert Method.of("magnitude", regime="ISS", same_sign=True).label == "magnitude, ISS 10, same sign"
    assert "same_sign" not in Method.of("magnitude", regime="ISS").describe()


def test_another_networks_start_is_refused() -> None:
    network, batch = case("mlp")
    with pytest.raises(ValueError, match="the initial weights"):
        SameSign.of(make_scorer("magnitude"), nn.Linear(2, 1))(network, batch, cross_entropy)


def test_rounds_nest_in_shots() -> None:
    network, batch = case("everything")
    scorer = SameSign.of(make_scorer("small_init").from_start(turned(network), lambda: 1.0), turned(network))
    mask = Mask.dense(network)
    for density in (0.7, 0.3):
        smaller = keep_top(scorer(network, batch, cross_entropy, mask=mask), density, within=mask)
        assert mask.contains(smaller)
        mask = smaller
