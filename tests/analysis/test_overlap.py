"""Jaccard, chance levels and cores against sets in Python, enumeration and simulation."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scratchcard.analysis.overlap import PackedMask, chances, core_curve, jaccards
from scratchcard.pruning.mask import Mask

SHAPES = {"0.weight": (9, 7), "2.weight": (4, 9), "4.weight": (3, 1, 2, 2)}


def random_mask(seed: int, densities: tuple[float, ...] = (0.3, 0.6, 0.9)) -> Mask:
    generator = torch.Generator().manual_seed(seed)
    return Mask(
        {
            name: torch.rand(shape, generator=generator) < density
            for (name, shape), density in zip(SHAPES.items(), densities, strict=True)
        }
    )


def as_set(mask: Mask) -> set[tuple[str, int]]:
    return {(name, int(i)) for name, tensor in mask.tensors.items() for i in tensor.flatten().nonzero()}


def mask_of(*vectors: list[bool]) -> Mask:
    return Mask({f"{place}.weight": torch.tensor(vector).reshape(1, -1) for place, vector in enumerate(vectors)})


def pack(masks: Iterable[Mask]) -> list[PackedMask]:
    return [PackedMask.of(mask) for mask in masks]


def jaccard(a: Mask, b: Mask) -> float:
    return float(jaccards(pack([a, b]))[0, 1])


def test_jaccard_by_hand() -> None:
    a, b = mask_of([True, True, False, False]), mask_of([False, True, True, True])
    assert jaccard(a, b) == 0.25
    assert jaccard(a, a) == 1.0
    assert jaccard(a, mask_of([False, False, True, False])) == 0.0
    nothing = mask_of([False] * 4)
    assert jaccard(nothing, nothing) == 1.0  # equal masks
    assert jaccard(nothing, a) == 0.0


def test_the_matrix_is_that_of_python_sets() -> None:
    masks = [random_mask(seed) for seed in range(6)]
    found = jaccards(pack(masks))
    for a, b in product(range(6), range(6)):
        one, other = as_set(masks[a]), as_set(masks[b])
        assert found[a, b] == len(one & other) / len(one | other)


@given(st.integers(1, 200), st.integers(0, 2**31), st.floats(0, 1))
def test_packing_keeps_every_mask(n: int, seed: int, density: float) -> None:
    mask = mask_of((np.random.default_rng(seed).random(n) < density).tolist(), [True])
    packed = PackedMask.of(mask)
    assert packed.kept.sum() == mask.kept
    assert packed.bits.nbytes <= (n + 1 + 63) // 64 * 8
    assert jaccards([packed, *pack([mask])])[0, 1] == 1.0


def chance(p: float, q: float) -> float:
    return p * q / (p + q - p * q)


def chance_by_layer(a: Mask, b: Mask) -> float:
    """Of masks that keep as much of each layer at random places, layer by layer in Python."""
    both = union = 0.0
    for name, one in a.tensors.items():
        p, q = float(one.float().mean()), float(b.tensors[name].float().mean())
        both += one.numel() * p * q
        union += one.numel() * (p + q - p * q)
    return both / union


def core(masks: list[Mask]) -> Mask:
    return Mask({name: torch.stack([m.tensors[name] for m in masks]).all(0) for name in masks[0].tensors})


def test_chance_is_what_independent_masks_give() -> None:
    rng = np.random.default_rng(0)
    a, b = (mask_of(list(rng.random(60_000) < p[0]), list(rng.random(20_000) < p[1])) for p in ((0.1, 0.8), (0.2, 0.9)))
    pair = pack([a, b])
    anywhere, by_layer = (chances(pair, by_layer=kind)[0, 1] for kind in (False, True))
    assert jaccard(a, b) == pytest.approx(by_layer, abs=0.01)
    # Twice as much as without knowing the layers: 0.275 and 0.375 of all weights anywhere.
    assert anywhere == pytest.approx(0.275 * 0.375 / (0.65 - 0.275 * 0.375), abs=0.005)
    assert by_layer > 2 * anywhere
    nothing = mask_of([False] * 4)
    assert chances(pack([nothing, nothing]))[0, 1] == 1.0


def test_chance_matrices_are_the_pairs_chances() -> None:
    masks = [random_mask(seed) for seed in range(3)]
    for by_layer in (False, True):
        table = chances(pack(masks), by_layer=by_layer)
        for a, b in product(range(3), range(3)):
            pair = (masks[a], masks[b])
            expected = chance_by_layer(*pair) if by_layer else chance(pair[0].density, pair[1].density)
            assert table[a, b] == pytest.approx(expected)


def test_the_core_curve_counts_every_weight_and_its_expectation_is_enumerated() -> None:
    masks = [random_mask(seed) for seed in range(4)]
    curve = core_curve(pack(masks))
    times = np.stack([mask.flat().numpy() for mask in masks]).sum(axis=0)
    assert list(curve["at_least"]) == [1, 2, 3, 4]
    assert list(curve["weights"]) == [int((times >= k).sum()) for k in (1, 2, 3, 4)]
    assert curve["weights"].iloc[-1] == core(masks).kept

    def at_least(k: int, densities: list[float]) -> float:
        """Sum over all 2^n outcomes."""
        return sum(
            float(np.prod([p if kept else 1 - p for p, kept in zip(densities, outcome, strict=True)]))
            for outcome in product((True, False), repeat=len(densities))
            if sum(outcome) >= k
        )

    for k, row in zip((1, 2, 3, 4), curve.itertuples(), strict=True):
        assert row.expected == pytest.approx(masks[0].total * at_least(k, [mask.density for mask in masks]))
        by_layer = sum(
            mask_tensor.numel() * at_least(k, [float(mask.tensors[name].float().mean()) for mask in masks])
            for name, mask_tensor in masks[0].tensors.items()
        )
        assert row.expected_by_layer == pytest.approx(by_layer, rel=1e-6)


def test_the_core_curve_of_a_network_longer_than_one_block() -> None:
    rng = np.random.default_rng(1)
    kept = rng.random((3, 150_001)) < np.array([[0.1], [0.5], [0.7]])
    curve = core_curve(pack(mask_of(list(row)) for row in kept))
    assert list(curve["weights"]) == [int((kept.sum(axis=0) >= k).sum()) for k in (1, 2, 3)]
