"""Gem-Miner: a step by hand, all steps and rounds against a slow reference, and what is frozen."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from scratchcard.pruning.parameters import prunable
from scratchcard.pruning.scopes import Scope
from scratchcard.regimes import GemMiner
from scratchcard.regimes.regime import Found, Search
from scratchcard.scorers import make_scorer
from scratchcard.workloads.engines.loop import batches
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.session import Session
from scratchcard.workloads.task import Task
from scratchcard.workloads.workload import Workload

BATCH, SEED, DENSITY = 16, 4, 0.125
SCORER = make_scorer("random", seed=3)


def perceptron() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 3)).double()


def small(network: nn.Module | None = None) -> Workload:
    inputs = torch.randn(80, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Workload(network or perceptron(), Task.of(inputs, torch.arange(80) % 3), Recipe(batch_size=BATCH))


def find(regime: GemMiner, workload: Workload | None = None, density: float = DENSITY) -> Found:
    return regime.find(workload or small(), SCORER, density, seed=SEED, session=Session(dtype=torch.float64))


def begun(network: nn.Module) -> dict[str, Tensor]:
    """`(rank - 1/2) / n` of the scorer's scores, which have no ties, by sorting twice."""
    generator, found = torch.Generator().manual_seed(3), {}
    for name, weight in prunable(network).items():
        scores = torch.rand(weight.shape, generator=generator, dtype=torch.float64).flatten()
        ranks = scores.argsort().argsort().double()
        found[name] = ((ranks + 0.5) / scores.numel()).reshape(weight.shape)
    return found


def test_a_step_is_the_one_by_hand() -> None:
    """Softmax regression: the gradient of the masked weights is `(softmax - one hot)ᵀ x / n`."""
    torch.manual_seed(2)
    network = nn.Linear(6, 3, bias=False).double()
    workload, regime = small(network), GemMiner(search_steps=1, rounds=1, mask_rate=3.0, mask_decay=0.05)
    first, weight = begun(network)["weight"], network.weight.detach()
    train, places = workload.task.train, next(batches(len(workload.task.train), BATCH, SEED))
    inputs = train.inputs[places].double()  # type: ignore[index,union-attr]
    outputs = inputs @ (weight * (first >= 0.5)).T
    hot = torch.eye(3, dtype=torch.float64)[train.targets[places]]
    wrong = outputs.exp() / outputs.exp().sum(1, keepdim=True) - hot
    gradient = wrong.T @ inputs / BATCH
    expected = first - 3.0 * (gradient * weight + 2 * 0.05 * first)
    assert float(expected.min()) < 0  # so that something is projected
    found = find(regime, workload, 0.5)
    torch.testing.assert_close(found.scores.tensors["weight"], expected.clamp(0, 1), rtol=1e-12, atol=1e-15)
    assert torch.equal(found.mask.tensors["weight"], expected.clamp(0, 1) >= expected.flatten().sort().values[9])


def slowly(regime: GemMiner) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
    """The same by autograd through `round(p)`, one step after the other, with the frozen mask applied everywhere."""
    network, train, steps = perceptron(), small().task.train, regime.search_steps
    learned = {name: values.requires_grad_() for name, values in begun(network).items()}
    weights = {name: weight.detach() for name, weight in prunable(network).items()}
    live = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}
    speed = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    total, order, cuts = sum(weight.numel() for weight in weights.values()), batches(len(train), BATCH, SEED), []
    for step in range(1, steps + 1):
        masked = {
            name: weights[name] * live[name] * (p + ((p >= 0.5).double() - p).detach()) for name, p in learned.items()
        }
        places = next(order)
        outputs = torch.func.functional_call(network, masked, (train.inputs[places].double(),))  # type: ignore[index,union-attr]
        loss = nn.functional.cross_entropy(outputs, train.targets[places])
        loss = loss + regime.mask_decay * torch.cat([p.flatten() for p in learned.values()]).square().sum()
        slopes = torch.autograd.grad(loss, list(learned.values()))
        rate = regime.mask_rate * (1 + math.cos(math.pi * (step - 1) / steps)) / 2
        for (name, values), slope in zip(learned.items(), slopes, strict=True):
            speed[name] = 0.9 * speed[name] + slope * live[name]
            values.data = (values.data - rate * speed[name]).clamp(0, 1) * live[name]
        due = [k for k in range(1, regime.rounds + 1) if round(steps * k / regime.rounds) == step]
        for k in due:
            keep = round(DENSITY ** (k / regime.rounds) * total)
            ranked = torch.cat([p.detach().masked_fill(~live[name], -1).flatten() for name, p in learned.items()])
            cut = ranked.sort(descending=True).values[keep - 1]
            live = {name: live[name] & (p.detach() >= cut) for name, p in learned.items()}
            assert sum(int(each.sum()) for each in live.values()) == keep  # no ties, so that there is one answer
            cuts.append(live)
            if k < regime.rounds:
                for name, values in learned.items():
                    values.data, speed[name] = values.data * live[name], speed[name] * live[name]
    return {name: values.detach() for name, values in learned.items()}, cuts


@pytest.mark.parametrize(
    "regime",
    [
        GemMiner(search_steps=11, rounds=3, mask_rate=0.5, mask_decay=0.01),
        GemMiner(search_steps=12, rounds=1, mask_rate=0.2),
        GemMiner(search_steps=9, rounds=9, mask_rate=0.3, mask_decay=0.0),
    ],
)
def test_all_steps_and_rounds_are_those_of_a_slow_reference(regime: GemMiner) -> None:
    found = find(regime)
    learned, cuts = slowly(regime)
    for name, values in learned.items():
        torch.testing.assert_close(found.scores.tensors[name], values, rtol=1e-9, atol=1e-12)
        assert not torch.allclose(values, begun(perceptron())[name], rtol=1e-3)  # it has learned something
    for k, cut in enumerate(cuts, 1):
        assert all(torch.equal(found.mask_after(k).tensors[name], live) for name, live in cut.items())


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize(("rate", "decay"), [(0.3, 0.0001), (3.0, 0.0001), (1e4, 0.0001), (1.0, 1e4)])
def test_what_is_frozen_stays_so_and_counts_are_exact(scope: Scope, rate: float, decay: float) -> None:
    """Also where the rate has driven all numbers to 0 and 1, or the regulariser all to 0: the lot tells them apart."""
    found = find(GemMiner(search_steps=12, rounds=4, mask_rate=rate, mask_decay=decay, scope=scope))
    masks, scores = [found.mask_after(k).tensors for k in range(5)], found.scores.tensors
    layers = [list(scores)] if scope == "global" else [[name] for name in scores]
    for k in range(1, 5):
        for names in layers:
            share = DENSITY ** (k / 4) * sum(scores[name].numel() for name in names)
            assert sum(int(masks[k][name].sum()) for name in names) == round(share)
        assert not any(bool((kept & ~masks[k - 1][name]).any()) for name, kept in masks[k].items())
    assert found.mask == found.mask_after(4)
    assert found.densities == tuple(found.mask_after(k).density for k in range(1, 5))
    lots = 0
    for names in layers:
        numbers, live, last = (torch.cat([of[name].flatten() for name in names]) for of in (scores, masks[3], masks[4]))
        assert bool(((numbers >= 0) & (numbers <= 1)).all())
        assert bool((numbers[~live] == 0).all())
        assert numbers[last].min() >= numbers[live & ~last].max()
        lots += int((numbers[last] == numbers[live & ~last].max()).sum())
    assert found.by_lot == lots
    assert lots > 0 or rate * decay < 1  # all are at 0 or 1


def test_a_floor_and_weights_that_are_left_out_hold_in_every_round() -> None:
    found = find(GemMiner(search_steps=12, rounds=3, mask_decay=1e4, floor=5))
    assert [int(kept.sum()) for kept in found.mask.tensors.values()] == [5, 5]
    regime = GemMiner(search_steps=12, rounds=3, mask_decay=1e4, exclude=("0",))
    found = find(regime)
    assert all(bool(found.mask_after(k).tensors["0.weight"].all()) for k in range(1, 4))
    assert int(found.mask.tensors["2.weight"].sum()) == round(DENSITY * 27)
    workload, excluded = small(), frozenset({"0.weight"})
    batch = workload.scoring_batch(0, dtype=torch.float64)
    asked = Search(workload, perceptron(), batch, SCORER, DENSITY, 0, 0, Session(), excluded)
    masks = regime.masks(begun(perceptron()), asked, torch.Generator())
    assert (bool(masks["0.weight"].all()), int(masks["2.weight"].sum())) == (True, 14)


@pytest.mark.parametrize("change", [lambda s: s**3, lambda s: 5 * s - 2, torch.exp])
def test_it_begins_with_ranks(change: object) -> None:
    scores = torch.randn(4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    first = GemMiner().begin(scores, scores)
    assert sorted(first.flatten().tolist()) == pytest.approx([(k + 0.5) / 20 for k in range(20)], rel=1e-12)
    assert torch.equal(first.flatten().argsort(), scores.flatten().argsort())
    assert torch.equal(GemMiner().begin(change(scores), scores), first)  # type: ignore[operator]
    assert GemMiner().begin(torch.ones(3, 2), scores).tolist() == [[0.5, 0.5]] * 3


def test_more_rounds_than_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="20 rounds do not fit into 19 steps; take fewer rounds or more steps"):
        find(GemMiner(search_steps=19))
    assert find(GemMiner(search_steps=20)).rounds == 20
