"""RigL: a mask that moves while it is trained; by hand, and what stays as it is."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from scratchcard.artefacts.store import Store
from scratchcard.pruning.cut import keep_top
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.scores import Scores
from scratchcard.regimes import RigL
from scratchcard.regimes.rigl import moved
from scratchcard.scorers import make_scorer
from scratchcard.scorers.random import Random
from scratchcard.workloads import stored_training
from scratchcard.workloads.engines.trajectory import Trajectory
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.session import Session
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload

RECIPE = Recipe(max_steps=60, evaluation_interval=60, learning_rate=0.2, scoring_examples=100)


@pytest.fixture(scope="module")
def workload() -> Workload:
    return Workload("lenet_300_100", load_task("digits"), RECIPE)


def layer_counts(mask: Mask) -> dict[str, int]:
    return {name: int(kept.sum()) for name, kept in mask.tensors.items()}


def test_an_update_in_closed_form() -> None:
    """Of four kept weights the two smallest go; the two largest gradients among all others grow."""
    kept = torch.tensor([[True, True, True, True], [False, False, False, False]])
    scores = torch.tensor([[0.9, 0.1, 0.2, 0.8], [0.0, 0.0, 0.0, 0.0]])
    slopes = torch.tensor([[9.0, 0.0, 0.0, 9.0], [0.1, -0.7, 0.4, 0.3]])
    mask = moved(Mask({"weight": kept}), {"weight": scores}, {"weight": slopes}, fraction=0.5)
    assert mask.tensors["weight"].tolist() == [[True, False, False, True], [False, True, True, False]]
    slopes[0, 2] = -0.5  # what was just dropped may grow again
    mask = moved(Mask({"weight": kept}), {"weight": scores}, {"weight": slopes}, fraction=0.5)
    assert mask.tensors["weight"].tolist() == [[True, False, True, True], [False, True, False, False]]
    assert (
        moved(Mask({"weight": kept}), {"weight": scores}, {"weight": slopes}, fraction=0.2)
        .tensors["weight"]
        .equal(kept)
    )  # less than a whole weight


@given(
    seed=st.integers(0, 2**31),
    shapes=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 9)), min_size=1, max_size=3),
    density=st.floats(0, 1),
    fraction=st.floats(0, 1),
    ties=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_layers_keep_their_counts(
    seed: int, shapes: list[tuple[int, int]], density: float, fraction: float, ties: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)

    def drawn() -> dict[str, torch.Tensor]:
        found = {str(k): torch.rand(shape, generator=generator) for k, shape in enumerate(shapes)}
        return {name: tensor.round() if ties else tensor for name, tensor in found.items()}

    mask = Mask({name: tensor <= density for name, tensor in drawn().items()})
    scores, slopes = drawn(), drawn()
    after = moved(mask, scores, slopes, fraction, seed)
    assert layer_counts(after) == layer_counts(mask)
    for name, kept in mask.tensors.items():
        gone = kept & ~after.tensors[name]
        new = after.tensors[name] & ~kept
        assert int(gone.sum()) == int(new.sum()) <= fraction * int(kept.sum())


def test_the_search_by_hand(workload: Workload) -> None:
    """Two updates: drop the smallest weights, grow by the gradient of the scoring batch, from zero."""
    regime = RigL(search_steps=30, update_steps=10, drop_fraction=0.4)
    assert regime.updates == (10, 20)
    found = regime.find(workload, make_scorer("magnitude"), 0.1, seed=3)
    network, (inputs, targets) = workload.build(3), workload.scoring_batch(3)
    mask = keep_top(Random(seed=3)(network, (inputs, targets), workload.task.loss), 0.1, scope="erk", seed=3)
    counts = layer_counts(mask)
    trajectory = Trajectory(network, workload.task, RECIPE, seed=3)
    for step in (10, 20):
        trajectory.advance(10, mask)
        network.zero_grad()
        nn.functional.cross_entropy(network(inputs), targets).backward()
        tensors = {}
        for name, kept in mask.tensors.items():
            weight = network.get_parameter(name)
            share = 0.4 / 2 * (1 + math.cos(math.pi * step / 22.5))
            number = math.floor(share * counts[name])
            size = weight.detach().abs().masked_fill(~kept, math.inf).reshape(-1)
            stays = kept.reshape(-1).clone()
            stays[size.argsort()[:number]] = False
            slope = weight.grad.abs().reshape(-1).masked_fill(stays, -1.0)
            stays[slope.argsort(descending=True)[:number]] = True
            tensors[name] = stays.reshape(kept.shape)
            assert not bool(weight[tensors[name] & ~kept].any())  # grown from zero
        assert mask != Mask(tensors)
        mask = Mask(tensors)
    trajectory.advance(10, mask)
    assert found.mask == mask
    assert layer_counts(mask) == counts
    for name, tensor in network.state_dict().items():
        assert torch.equal(found.start[name], tensor)
    for name, kept in mask.tensors.items():
        assert not bool(found.start[name][~kept].any())
    assert [each["steps"] for each in found.training] == [10, 10, 10]
    assert found.mask_after(1) == found.mask


def test_layers_are_as_dense_as_the_scope_says(workload: Workload) -> None:
    found = RigL(search_steps=20, update_steps=5, scope="layer").find(workload, make_scorer("magnitude"), 0.1, seed=0)
    assert layer_counts(found.mask) == {name: round(0.1 * kept.numel()) for name, kept in found.mask.tensors.items()}
    for density in (0.3, 0.01):
        found = RigL(search_steps=20, update_steps=5).find(workload, make_scorer("magnitude"), density, seed=0)
        numbers = {name: torch.rand(kept.shape) for name, kept in found.mask.tensors.items()}
        assert layer_counts(found.mask) == layer_counts(keep_top(Scores(numbers, "by lot"), density, scope="erk"))


def test_the_same_seed_is_the_same_search_and_other_scorers_drop_other_weights(workload: Workload) -> None:
    regime = RigL(search_steps=20, update_steps=5)
    one, same = (regime.find(workload, make_scorer("magnitude"), 0.05, seed=1) for _ in range(2))
    assert one.mask == same.mask
    assert all(torch.equal(tensor, same.start[name]) for name, tensor in one.start.items())
    assert one.mask != regime.find(workload, make_scorer("snip"), 0.05, seed=1).mask
    assert one.mask != regime.find(workload, make_scorer("magnitude"), 0.05, seed=2).mask


def test_what_is_left_out_of_pruning_stays_whole(workload: Workload) -> None:
    regime = RigL(search_steps=20, update_steps=5, exclude=("3.weight",))
    found = regime.find(workload, make_scorer("magnitude"), 0.05, seed=0)
    assert bool(found.mask.tensors["3.weight"].all())
    assert found.mask.kept == round(0.05 * found.mask.total) == sum(layer_counts(found.mask).values()) - 30_000


def test_a_search_goes_on_where_it_was_broken_off(
    workload: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_training, "WORTH_KEEPING", 0.0)
    regime, scorer, store = RigL(search_steps=20, update_steps=5), make_scorer("magnitude"), Store(tmp_path / "rounds")
    whole = regime.find(workload, scorer, 0.05, seed=0)

    def stop(done: int, _: int) -> None:
        if done == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        regime.find(workload, scorer, 0.05, seed=0, session=Session(store=store, progress=stop))
    trained: list[int] = []
    advance = Trajectory.advance
    monkeypatch.setattr(Trajectory, "advance", lambda self, *given: trained.append(given[0]) or advance(self, *given))
    again = regime.find(workload, scorer, 0.05, seed=0, session=Session(store=store))
    assert trained == [10]  # 5 and 5 are kept
    assert again.mask == whole.mask
    assert all(torch.equal(tensor, again.start[name]) for name, tensor in whole.start.items())


def test_a_search_without_an_update_is_refused(workload: Workload) -> None:
    with pytest.raises(ValueError, match=r"updates every 100 steps do not fit into 0\.75 of the search's 120 steps"):
        RigL(search_steps=120).find(workload, make_scorer("magnitude"), 0.1, seed=0)
