"""USS and UMS: counts, nesting, no revival, one scoring batch, state untouched."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
import torch
from torch import nn

from scratchcard.pruning.cut import keep_top
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.pruning.schedules import SCHEDULES
from scratchcard.pruning.scores import Scores
from scratchcard.regimes import IMS, REGIMES, UMS, USS, make_regime
from scratchcard.regimes.upfront import prune_upfront
from scratchcard.scorers import Scorer, make_scorer
from scratchcard.scorers.shelf import Shelf
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload
from tests.scorers.toys import UPFRONT


@pytest.fixture(scope="module")
def workload() -> Workload:
    return Workload("lenet_300_100", load_task("digits"))


@pytest.mark.parametrize("scorer", UPFRONT)
@pytest.mark.parametrize("regime", ["USS", "UMS"])
def test_every_scorer_keeps_exactly_the_asked_number(workload: Workload, scorer: str, regime: str) -> None:
    rounds = 1 if regime == "USS" else 7
    found = (USS() if regime == "USS" else UMS(rounds=rounds)).find(workload, make_scorer(scorer), 0.013, seed=3)
    assert found.mask.kept == round(0.013 * found.mask.total)
    assert found.rounds == rounds
    for number in range(1, rounds + 1):
        after = found.mask_after(number)
        assert after.kept == round(found.densities[number - 1] * found.mask.total)
        assert found.mask_after(number - 1).contains(after)
    assert found.mask_after(rounds) == found.mask


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_one_round_is_plain_keep_top(workload: Workload, schedule: str) -> None:
    network = workload.build(1)
    batch = workload.scoring_batch(1)
    scorer = make_scorer("snip")
    expected = keep_top(scorer(network, batch, workload.task.loss), 0.1, seed=1)
    mask, *_ = prune_upfront(network, batch, workload.task.loss, scorer, 0.1, schedule=schedule, seed=1)
    assert mask == expected


def test_single_and_multi_shot_agree_for_criteria_that_do_not_see_the_mask(workload: Workload) -> None:
    for name in ("magnitude", "random"):
        single = USS().find(workload, make_scorer(name), 0.02, seed=5)
        multi = UMS(rounds=20).find(workload, make_scorer(name), 0.02, seed=5)
        assert single.mask == multi.mask


@dataclass(frozen=True)
class Perverse(Scorer):
    """Gives pruned weights the highest scores and records the masks that it was called with."""

    seen: list[Mask | None] = field(default_factory=list)

    def __call__(self, network: nn.Module, batch: object, loss: object, *, mask: Mask | None = None) -> Scores:
        self.seen.append(mask)
        generator = torch.Generator().manual_seed(len(self.seen))
        scores = {n: torch.rand(w.shape, generator=generator) for n, w in prunable(network).items()}
        if mask is not None:
            scores = {n: torch.where(mask.tensors[n], s, torch.full_like(s, 9.0)) for n, s in scores.items()}
        return Scores(scores, "Perverse")


def test_pruned_weights_never_come_back_even_with_the_highest_score(workload: Workload) -> None:
    scorer = Perverse()
    network = workload.build(0)
    final, *_ = prune_upfront(network, workload.scoring_batch(0), workload.task.loss, scorer, 0.01, rounds=12)
    assert scorer.seen[0] is None
    masks = [mask for mask in [*scorer.seen, final] if mask is not None]
    assert len(masks) == 12
    for earlier, later in pairwise(masks):
        assert earlier.contains(later)
        assert later.kept < earlier.kept


def test_a_density_that_keeps_nothing_is_refused(workload: Workload) -> None:
    with pytest.raises(ValueError, match="keeps none of the 50,200"):
        USS().find(workload, make_scorer("magnitude"), 1e-6, seed=0)


def test_the_callers_network_is_neither_trained_nor_moved(workload: Workload) -> None:
    network = workload.build(0)
    found = UMS(rounds=2).find(workload, make_scorer("snip"), 0.1, seed=0, network=network)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(tensor.device.type == "cpu" for tensor in found.scores.tensors.values())


def test_scores_and_counts_of_a_large_network_lie_in_a_file_and_are_the_same(
    workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    regime, scorer = UMS(rounds=3), make_scorer("synflow")
    usual = regime.find(workload, scorer, 0.1, seed=3)
    monkeypatch.setattr("scratchcard.scorers.shelf.LARGE", 1)
    sizes: list[int] = []
    empty = Shelf._empty
    monkeypatch.setattr(Shelf, "_empty", lambda self, size, kind: sizes.append(size) or empty(self, size, kind))
    large = regime.find(workload, scorer, 0.1, seed=3)
    for found, wanted in ((large.scores.tensors, usual.scores.tensors), (large.survived, usual.survived)):
        for name, tensor in wanted.items():
            assert torch.equal(found[name], tensor)
            assert found[name].dtype == tensor.dtype
    assert sizes == 3 * [tensor.numel() for tensor in usual.survived.values()]  # bytes, scores, counts
    assert large.mask == usual.mask


def test_settings_of_a_regime_by_name() -> None:
    assert make_regime("UMS", rounds=7, schedule="cubic") == UMS(rounds=7, schedule="cubic")
    assert make_regime("IMS", shots=3, rewind_step=5) == IMS(rounds=10, shots=3, rewind_step=5)
    with pytest.raises(ValueError, match="did you mean 'ISS'"):
        make_regime("IIS")
    with pytest.raises(ValueError, match="USS has no setting rounds"):
        make_regime("USS", rounds=2)


def test_starts_from_a_given_mask_and_refuses_to_grow(workload: Workload) -> None:
    network, batch = workload.build(0), workload.scoring_batch(0)
    half = keep_top(make_scorer("random")(network, batch, workload.task.loss), 0.5)
    mask, _, survived, densities, _ = prune_upfront(
        network, batch, workload.task.loss, make_scorer("magnitude"), 0.1, rounds=4, within=half
    )
    assert half.contains(mask)
    assert mask.kept == round(0.1 * mask.total)
    assert densities[0] == pytest.approx(0.5 * 0.2**0.25)
    assert max(int(t.max()) for t in survived.values()) == 4
    with pytest.raises(ValueError, match="already keeps only"):
        prune_upfront(network, batch, workload.task.loss, make_scorer("magnitude"), 0.6, within=half)


def test_the_network_is_left_as_it_was_and_a_repeat_is_equal(workload: Workload) -> None:
    network = workload.build(2)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    first = UMS(rounds=5).find(workload, make_scorer("grasp"), 0.05, seed=2, network=network)
    second = UMS(rounds=5).find(workload, make_scorer("grasp"), 0.05, seed=2, network=network)
    assert first.mask == second.mask
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_other_seeds_give_other_tickets(workload: Workload) -> None:
    masks = [USS().find(workload, make_scorer("snip"), 0.05, seed=seed).mask for seed in (0, 1)]
    assert masks[0] != masks[1]


@pytest.mark.parametrize("density", [0.0, -0.1, 1.5])
def test_density_outside_its_range_is_refused(workload: Workload, density: float) -> None:
    with pytest.raises(ValueError, match=r"density must lie in \(0, 1\]"):
        REGIMES["USS"]().find(workload, make_scorer("magnitude"), density, seed=0)


def test_density_one_keeps_all(workload: Workload) -> None:
    found = UMS(rounds=3).find(workload, make_scorer("synflow"), 1.0, seed=0)
    assert found.mask.density == 1.0
