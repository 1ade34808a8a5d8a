"""Mask and keep_top: exact counts, nesting, ties, scope."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from scratchcard.pruning.cut import by_lot, keep_top
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.pruning.scores import Scores

SHAPES = {"first.weight": (7, 5), "second.weight": (4, 3, 2, 2), "third.weight": (3,)}
TOTAL = 7 * 5 + 4 * 3 * 2 * 2 + 3


def scores_from(seed: int, *, levels: int | None = None) -> Scores:
    """Normal scores of three layers; with `levels`, integers around zero, so that many are equal."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in SHAPES.items():
        values = torch.randn(shape, generator=generator, dtype=torch.float64)
        if levels is not None:
            values = torch.randint(-levels // 2, levels, shape, generator=generator).double()
        tensors[name] = values
    return Scores(tensors, criterion="random")


def mask_from(seed: int, density: float = 0.5) -> Mask:
    """Each weight kept with this probability."""
    generator = torch.Generator().manual_seed(seed)
    return Mask({name: torch.rand(shape, generator=generator) < density for name, shape in SHAPES.items()})


seeds = st.integers(0, 10_000)
densities = st.floats(1e-4, 1.0)
some_levels = st.sampled_from([None, 1, 3, 10])


@settings(max_examples=60, deadline=None)
@given(seed=seeds, density=densities, levels=some_levels, order=seeds)
def test_keeps_exactly_the_rounded_count_of_the_highest(
    seed: int, density: float, levels: int | None, order: int
) -> None:
    scores = scores_from(seed, levels=levels)
    mask = keep_top(scores, density, seed=order)
    assert mask.kept == round(density * TOTAL)
    assert mask.total == TOTAL
    kept, pruned = scores.flat()[mask.flat()], scores.flat()[~mask.flat()]
    if len(kept) and len(pruned):
        assert kept.min() >= pruned.max()
    assert keep_top(scores, density, seed=order) == mask


@settings(max_examples=60, deadline=None)
@given(seed=seeds, density=densities, levels=some_levels, share=st.floats(0.0, 1.0))
def test_never_keeps_a_weight_outside_within(seed: int, density: float, levels: int | None, share: float) -> None:
    scores, within = scores_from(seed, levels=levels), mask_from(seed, share)
    mask = keep_top(scores, density, within=within)
    assert within.contains(mask)
    assert mask.kept == min(round(density * TOTAL), within.kept)
    allowed = within.flat()
    kept, pruned = scores.flat()[mask.flat()], scores.flat()[allowed & ~mask.flat()]
    if len(kept) and len(pruned):
        assert kept.min() >= pruned.max()


@settings(max_examples=40, deadline=None)
@given(seed=seeds, density=densities, levels=some_levels, share=st.floats(0.0, 1.0))
def test_layer_scope_counts_in_each_layer(seed: int, density: float, levels: int | None, share: float) -> None:
    scores, within = scores_from(seed, levels=levels), mask_from(seed, share)
    dense, inside = (keep_top(scores, density, scope="layer", within=w) for w in (None, within))
    assert within.contains(inside)
    for name, tensor in scores.tensors.items():
        wanted = round(density * tensor.numel())
        assert int(dense.tensors[name].sum()) == wanted
        assert int(inside.tensors[name].sum()) == min(wanted, int(within.tensors[name].sum()))
        kept, pruned = tensor[dense.tensors[name]], tensor[~dense.tensors[name]]
        if len(kept) and len(pruned):
            assert kept.min() >= pruned.max()


@settings(max_examples=25, deadline=None)
@given(seed=seeds, levels=some_levels, steps=st.lists(densities, min_size=2, max_size=6))
def test_rounds_nest_even_when_every_round_has_other_scores(seed: int, levels: int | None, steps: list[float]) -> None:
    mask: Mask | None = None
    for number, density in enumerate(sorted(steps, reverse=True)):
        smaller = keep_top(scores_from(seed + number, levels=levels), density, within=mask)
        assert mask is None or mask.contains(smaller)
        assert smaller.kept == round(density * TOTAL)
        mask = smaller


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_density_one_keeps_all_and_a_tiny_one_nothing(scope: str) -> None:
    scores = scores_from(0)
    assert keep_top(scores, 1.0, scope=scope).kept == TOTAL  # type: ignore[arg-type]
    assert keep_top(scores, 1e-9, scope=scope).kept == 0  # type: ignore[arg-type]


def test_density_one_within_a_mask_is_that_mask() -> None:
    within = mask_from(3)
    assert keep_top(scores_from(0), 1.0, within=within) == within


def test_trap_rounds_to_the_nearest_count_and_does_not_cut_off() -> None:
    # 0.29 * 100 is 28.999999999999996 in floating point; int() would keep 28.
    scores = Scores({"w": torch.arange(100.0)}, criterion="x")
    assert int(0.29 * 100) == 28
    assert keep_top(scores, 0.29).kept == 29


@pytest.mark.parametrize("value", [0.0, -1.0, 3.0])
def test_trap_equal_scores_still_give_the_exact_count(value: float) -> None:
    scores = Scores({"w": torch.full((1000,), value)}, criterion="x")
    for density in (0.001, 0.5, 0.999):
        assert keep_top(scores, density).kept == round(density * 1000)


def test_trap_ties_are_not_decided_by_position() -> None:
    scores = Scores({"a": torch.zeros(2000), "b": torch.zeros(2000)}, criterion="x")
    first, second = (keep_top(scores, 0.5, seed=seed) for seed in (0, 1))
    assert first != second
    for mask in (first, second):
        places = np.flatnonzero(mask.flat().numpy())
        assert abs(places.mean() - 1999.5) < 5 * 4000 / np.sqrt(12 * 2000)
        # Two independent halves of 4000 share about 1000; positions would share all 2000.
    assert abs(int((first & second).kept) - 1000) < 150


def test_trap_a_pruned_weights_zero_is_above_negative_scores_but_stays_pruned() -> None:
    scores = Scores({"w": torch.tensor([0.0, -1.0, -2.0, 0.0, -3.0])}, criterion="GraSP")
    within = Mask({"w": torch.tensor([False, True, True, False, True])})
    assert keep_top(scores, 0.4, within=within).tensors["w"].tolist() == [False, True, True, False, False]


def test_trap_over_100_rounds_no_weight_returns() -> None:
    mask, once_pruned = Mask({name: torch.ones(s, dtype=torch.bool) for name, s in SHAPES.items()}), None
    for number in range(1, 101):
        mask = keep_top(scores_from(number), 0.05 ** (number / 100), within=mask)
        pruned = ~mask.flat()
        assert once_pruned is None or bool((pruned | ~once_pruned).all())
        once_pruned = pruned


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_works_in_every_floating_dtype(dtype: torch.dtype) -> None:
    scores = Scores({"w": torch.tensor([1.0, 5.0, 3.0, -2.0], dtype=dtype)}, criterion="x")
    assert keep_top(scores, 0.5).tensors["w"].tolist() == [False, True, True, False]


def test_float64_differences_count() -> None:
    scores = Scores({"w": torch.tensor([1.0, 1.0 + 1e-15, 1.0 - 1e-15, 1.0], dtype=torch.float64)}, criterion="x")
    assert keep_top(scores, 0.25).tensors["w"].tolist() == [False, True, False, False]


def test_scores_of_any_memory_layout() -> None:
    tensor = torch.arange(12.0).reshape(3, 4).T
    assert torch.equal(keep_top(Scores({"w": tensor}, criterion="x"), 0.5).tensors["w"], tensor >= 6)


@pytest.mark.parametrize("density", [0.0, -0.5, 1.5, float("nan")])
def test_refuses_a_density_outside_its_range(density: float) -> None:
    with pytest.raises(ValueError, match="density must lie in"):
        keep_top(scores_from(0), density)


def test_refuses_an_unknown_scope_and_a_foreign_mask() -> None:
    with pytest.raises(ValueError, match="unknown scope 'row', expected one of global, layer, expected"):
        keep_top(scores_from(0), 0.5, scope="row")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the mask `within`: expected the weights"):
        keep_top(scores_from(0), 0.5, within=Mask({"w": torch.ones(3, dtype=torch.bool)}))


def test_does_not_touch_the_global_generators() -> None:
    scores = Scores({"w": torch.zeros(50)}, criterion="x")
    torch.manual_seed(0)
    expected = torch.get_rng_state()
    keep_top(scores, 0.5)
    assert torch.equal(torch.get_rng_state(), expected)


def test_mask_counts() -> None:
    mask = Mask({"a": torch.tensor([True, False]), "b": torch.tensor([[True, True]])})
    assert (mask.total, mask.kept, mask.density, mask.sparsity) == (4, 3, 0.75, 0.25)
    assert mask.flat().tolist() == [True, False, True, True]


def test_mask_refuses_numbers() -> None:
    with pytest.raises(ValueError, match=r"the mask of 'a' is torch\.float32, expected bool"):
        Mask({"a": torch.ones(2)})


def test_and_equality_and_containment() -> None:
    first, second = mask_from(1), mask_from(2)
    both = first & second
    assert first.contains(both)
    assert second.contains(both)
    assert not both.contains(first)
    assert both == second & first
    assert both != first
    assert first != "a mask"
    with pytest.raises(TypeError, match="unhashable"):
        hash(first)
    with pytest.raises(ValueError, match="the other mask"):
        first & Mask({"a": torch.ones(1, dtype=torch.bool)})


def test_apply_zeroes_pruned_weights_in_place_and_nothing_else() -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    parameters = list(network.parameters())
    mask = Mask({name: torch.rand(w.shape) < 0.5 for name, w in prunable(network).items()})
    mask.apply_to(network)
    assert all(new is old for new, old in zip(network.parameters(), parameters, strict=True))
    for name, tensor in network.state_dict().items():
        expected = torch.where(mask.tensors[name], before[name], 0) if name in mask.tensors else before[name]
        assert torch.equal(tensor, expected)


def test_dense_keeps_everything() -> None:
    mask = Mask.dense(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)))
    assert list(mask.tensors) == ["0.weight", "1.weight"]
    assert mask.density == 1.0


def test_apply_prunes_weights_that_were_made_for_inference() -> None:
    with torch.inference_mode():
        network = nn.Linear(2, 1)
    Mask({"weight": torch.tensor([[True, False]])}).apply_to(network)
    assert network.weight[0, 0] != 0
    assert network.weight[0, 1] == 0


def test_apply_refuses_another_network() -> None:
    with pytest.raises(ValueError, match="the mask: expected the weights"):
        mask_from(0).apply_to(nn.Linear(2, 2))


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    density=st.floats(0.01, 1.0),
    seed=st.integers(0, 1000),
    half=st.booleans(),
)
def test_expected_scope_keeps_the_exact_total_and_never_more_than_there_is(
    sizes: list[int], density: float, seed: int, half: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    tensors = {f"w{i}": torch.rand(size, generator=generator) ** (1 + 3 * i) for i, size in enumerate(sizes)}
    scores = Scores(tensors, "test")
    within = Mask({n: torch.rand(t.shape, generator=generator) < 0.5 for n, t in tensors.items()}) if half else None
    allowed = scores.total if within is None else within.kept
    if allowed == 0:
        return
    mask = keep_top(scores, density, scope="expected", within=within)
    assert mask.kept == min(round(density * scores.total), allowed)
    assert within is None or within.contains(mask)
    for name, kept in mask.tensors.items():
        live = tensors[name] if within is None else tensors[name][within.tensors[name]]
        count = int(kept.sum())
        expected = sorted(live.tolist(), reverse=True)[:count]
        assert sorted(tensors[name][kept].tolist(), reverse=True) == expected


def test_expected_scope_by_hand() -> None:
    scores = Scores({"a": torch.tensor([0.9, 0.9, 0.9, 0.3]), "b": torch.tensor([0.5, 0.3, 0.1, 0.1])}, "test")
    # The sums are 3 and 1: of four kept weights three belong to a and one to b, though b's best is below a's third.
    mask = keep_top(scores, 0.5, scope="expected")
    assert mask.tensors["a"].tolist() == [True, True, True, False]
    assert mask.tensors["b"].tolist() == [True, False, False, False]
    # Six: a's quota 4.5 exceeds its four weights, and its surplus goes to b.
    mask = keep_top(scores, 0.75, scope="expected")
    assert [int(kept.sum()) for kept in mask.tensors.values()] == [4, 2]
    with pytest.raises(ValueError, match="some are negative"):
        keep_top(Scores({"a": torch.tensor([-1.0, 1.0])}, "test"), 0.5, scope="expected")
    with pytest.raises(ValueError, match="at least one positive"):
        keep_top(Scores({"a": torch.zeros(2)}, "test"), 0.5, scope="expected")


def test_erk_gives_layers_densities_by_their_sides() -> None:
    # Sums of sides: 2 + 10, 5 + 3 + 2 + 2, 4 + 5; so many of 33 weights, whatever the layers hold.
    shapes = {"a": (2, 10), "b": (5, 3, 2, 2), "c": (4, 5)}
    scores = Scores({name: torch.rand(shape) for name, shape in shapes.items()}, "random")
    sides = {"a": 12, "b": 12, "c": 9}
    mask = keep_top(scores, 33 / 100, scope="erk")
    assert {name: int(tensor.sum()) for name, tensor in mask.tensors.items()} == sides
    for name, tensor in mask.tensors.items():
        assert scores.tensors[name][tensor].min() >= scores.tensors[name][~tensor].max()
    # A layer that is full leaves its surplus to the others.
    dense = keep_top(scores, 0.8, scope="erk")
    assert dense.kept == 80
    assert bool(dense.tensors["a"].all())
    negative = Scores({name: -tensor for name, tensor in scores.tensors.items()}, "negative")
    assert keep_top(negative, 33 / 100, scope="erk").kept == 33


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 1000),
    density=st.floats(0.2, 1.0),
    floor=st.integers(0, 3),
    levels=st.sampled_from([None, 3]),
    scope=st.sampled_from(["global", "layer", "expected", "erk"]),
    excluded=st.sampled_from([(), ("b",), ("a", "c")]),
)
def test_a_floor_and_what_is_excluded(
    seed: int, density: float, floor: int, levels: int | None, scope: Any, excluded: tuple[str, ...]
) -> None:
    generator = torch.Generator().manual_seed(seed)
    tensors = {name: torch.rand(shape, generator=generator) for name, shape in SIZES.items()}
    if levels:
        tensors = {name: (levels * tensor).floor() for name, tensor in tensors.items()}
        tensors["b"][0] = 1.0
    scores = Scores(tensors, "by hand")
    mask = keep_top(scores, density, scope=scope, floor=floor, exclude=excluded, seed=seed)
    counted = [name for name in SIZES if name not in excluded]
    assert mask.excluded == set(excluded)
    assert all(bool(mask.tensors[name].all()) for name in excluded)
    assert mask.total == sum(tensors[name].numel() for name in counted)
    wanted = sum(round(density * tensors[name].numel()) for name in counted)
    assert mask.kept == (wanted if scope == "layer" else round(density * mask.total))
    for name in counted:
        kept, values = mask.tensors[name], tensors[name]
        assert int(kept.sum()) >= min(floor, values.numel())
        if bool((~kept).any()) and bool(kept.any()):  # within a layer, always the highest
            assert values[kept].min() >= values[~kept].max()
    nested = keep_top(scores, density / 2, scope=scope, within=mask, seed=seed)
    assert nested.excluded == mask.excluded
    assert mask.contains(nested)


SIZES = {"a": (4, 5), "b": (2, 9), "c": (3, 3, 2)}


def test_the_floor_is_exactly_what_the_global_cut_lacks() -> None:
    scores = Scores({"a": torch.tensor([9.0, 8.0, 7.0]), "b": torch.tensor([1.0, 3.0, 2.0])}, "by hand")
    mask = keep_top(scores, 0.5, floor=1)
    assert mask.tensors["a"].tolist() == [True, True, False]
    assert mask.tensors["b"].tolist() == [False, True, False]
    with pytest.raises(ValueError, match="a floor of 2 weights in each layer needs 4 weights, but the density keeps 3"):
        keep_top(scores, 0.5, floor=2)
    with pytest.raises(ValueError, match="'d' names no prunable weight"):
        keep_top(scores, 0.5, exclude=["d"])
    with pytest.raises(ValueError, match="all weights are excluded"):
        keep_top(scores, 0.5, exclude=["a", "b"])


@pytest.mark.parametrize(("scope", "lots"), [("global", 2), ("layer", 1)])
def test_what_is_left_to_the_lot(scope: Any, lots: int) -> None:
    scores = Scores({"a": torch.tensor([5.0, 1.0, 1.0, 1.0]), "b": torch.tensor([4.0, 3.0, 1.0, 0.0])}, "by hand")
    mask = keep_top(scores, 0.5 if scope == "layer" else 5 / 8, scope=scope)
    assert by_lot(scores, mask, scope=scope) == lots
    assert by_lot(scores, keep_top(scores, 1.0)) == 0
    assert by_lot(scores, keep_top(scores, 3 / 8)) == 0


def test_what_a_floor_keeps_by_lot_is_counted() -> None:
    scores = Scores({"a": torch.arange(2.0, 3.0, 0.1), "b": torch.full((10,), 0.5)}, "by hand")
    assert by_lot(scores, keep_top(scores, 0.4, floor=3)) == 3
    assert by_lot(scores, keep_top(scores, 0.4)) == 0


def test_an_excluded_weight_that_is_pruned_already_does_not_come_back() -> None:
    scores = Scores({"a": torch.rand(4), "b": torch.rand(4)}, "by hand")
    within = Mask({"a": torch.arange(4) < 2, "b": torch.ones(4, dtype=torch.bool)})
    with pytest.raises(ValueError, match="'a' is excluded and is to stay whole, but the mask `within` prunes some"):
        keep_top(scores, 0.5, within=within, exclude=["a"])
