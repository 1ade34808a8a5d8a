"""When a mask is there: distances of masks, the stopping rule, and the earliest step found afterwards."""

from __future__ import annotations

import pytest
import torch

from scratchcard.pruning.emergence import MASKS_BEFORE, Settling, emergence_step, mask_distance
from scratchcard.pruning.mask import Mask


def keeping(total: int, *places: int) -> Mask:
    kept = torch.zeros(total, dtype=torch.bool)
    kept[list(places)] = True
    return Mask({"weight": kept})


def moved(total: int, kept: int, changed: int) -> tuple[Mask, Mask]:
    """Two masks that keep as many weights, of which some are others."""
    return keeping(total, *range(kept)), keeping(total, *range(changed, kept + changed))


@pytest.mark.parametrize(("total", "kept", "changed"), [(1000, 10, 3), (1000, 800, 40), (100, 50, 50)])
def test_equal_densities_have_the_share_of_kept_weights_over_chance(total: int, kept: int, changed: int) -> None:
    one, other = moved(total, kept, changed)
    assert mask_distance(one, other) == pytest.approx((changed / kept) / (1 - kept / total))
    assert mask_distance(one, other) == mask_distance(other, one)


def test_it_is_one_less_cohens_kappa() -> None:
    from sklearn.metrics import cohen_kappa_score

    draw = torch.Generator().manual_seed(0)
    for p, q in ((0.8, 0.8), (0.05, 0.05), (0.3, 0.1)):
        masks = [Mask({"weight": torch.rand(5000, generator=draw) < share}) for share in (p, q)]
        kappa = cohen_kappa_score(*(mask.flat().numpy() for mask in masks))
        assert mask_distance(*masks) == pytest.approx(1 - kappa)
        assert mask_distance(*masks) == pytest.approx(1, abs=0.1)  # independent masks, at every density


def test_nothing_pruned_is_no_distance_and_weights_left_out_do_not_count() -> None:
    dense = Mask({"weight": torch.ones(4, dtype=torch.bool)})
    assert mask_distance(dense, dense) == 0
    one, other = (
        Mask({**keeping(40, *places).tensors, "frozen": torch.ones(500, dtype=torch.bool)}, frozenset({"frozen"}))
        for places in ((0, 1, 2, 3), (2, 3, 4, 5))
    )
    assert mask_distance(one, other) == pytest.approx(0.5 / 0.9)
    with pytest.raises(ValueError, match="other mask"):
        mask_distance(one, dense)


def test_masks_have_settled_when_the_newest_is_near_each_of_the_five_before() -> None:
    settling = Settling(0.1)
    still, away = keeping(100, *range(10)), keeping(100, *range(10, 20))
    shown = [still, still, away, *[still] * (MASKS_BEFORE + 1)]
    said = [settling.see(mask) for mask in shown]
    assert said == [False] * (len(shown) - 1) + [True]  # the one that was away has left the queue
    assert settling.distance == 0


def test_the_threshold_itself_is_not_below_it() -> None:
    one, other = moved(100, 50, 5)  # 0.1 / 0.5
    for threshold, settled in ((0.2, False), (0.21, True)):
        settling = Settling(threshold)
        assert [settling.see(mask) for mask in [one] * MASKS_BEFORE + [other]][-1] is settled


def test_a_slow_drift_does_not_settle_though_each_step_is_small() -> None:
    settling = Settling(0.1)
    masks = [keeping(1000, *range(start, start + 100)) for start in range(0, 200, 4)]  # each 0.044 from the next
    assert max(mask_distance(*masks[:2]), 0.04) < 0.1
    assert not any(settling.see(mask) for mask in masks)


def test_the_earliest_step_is_after_the_last_excursion() -> None:
    assert emergence_step({0: 0.05, 10: 0.01, 20: 0.0}, 0.1) == 0
    assert emergence_step({20: 0.0, 10: 0.1, 0: 0.05}, 0.1) == 20
    for distances in ({}, {0: 0.0, 10: 0.3}):
        with pytest.raises(ValueError, match="its distance, 0"):
            emergence_step(distances, 0.1)
