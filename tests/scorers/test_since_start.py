"""Criteria on initial and trained weights, and how searches show scorers where they begin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from scratchcard.apply.method import Method
from scratchcard.apply.pipeline import find_ticket
from scratchcard.apply.stacked import StackedScorer
from scratchcard.artefacts.store import Store
from scratchcard.pruning.cut import keep_top
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.pruning.scores import Scores
from scratchcard.regimes import EMS, ESS, IMS, ISS, UMS, Regime
from scratchcard.scorers import make_scorer
from scratchcard.scorers.scorer import Batch, Loss, Scorer
from scratchcard.scorers.stored_scores import Shared
from scratchcard.workloads import stored_training
from scratchcard.workloads.engines.trajectory import Trajectory
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.session import Session
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload
from tests.scorers.toys import UPFRONT, case, cross_entropy, random_mask

RECIPE = Recipe(max_steps=20, evaluation_interval=20, learning_rate=0.2)
FORMULAS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "movement": lambda w, start: (w - start).abs(),
    "magnitude_increase": lambda w, start: w.abs() - start.abs(),
    "small_final": lambda w, start: -w.abs(),
    "large_init": lambda w, start: start.abs(),
    "small_init": lambda w, start: -start.abs(),
    "large_init_large_final": lambda w, start: torch.minimum(share(start.abs()), share(w.abs())),
    "small_init_small_final": lambda w, start: torch.minimum(share(-start.abs()), share(-w.abs())),
}


def share(sizes: Tensor) -> Tensor:
    """For each number the share of all that are not larger, pair by pair."""
    flat = sizes.reshape(-1)
    return torch.stack([(flat <= size).double().mean() for size in flat]).reshape(sizes.shape)


@pytest.fixture(scope="module")
def workload() -> Workload:
    return Workload("lenet_300_100", load_task("digits"), RECIPE)


@pytest.mark.parametrize("name", FORMULAS)
def test_scores_by_hand(name: str) -> None:
    network, batch = case("mlp")
    start = {key: weight.detach().clone() for key, weight in prunable(network).items()}
    scorer = make_scorer(name).from_start(network, lambda: 1.0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter))
    for mask in (None, random_mask(network)):
        for key, scores in scorer(network, batch, cross_entropy, mask=mask).tensors.items():
            kept = torch.ones_like(scores, dtype=torch.bool) if mask is None else mask.tensors[key]
            expected = FORMULAS[name](network.get_parameter(key).detach()[kept], start[key][kept])
            assert torch.equal(scores[kept], expected)
            assert not scores[~kept].any()


@pytest.mark.parametrize("name", ["movement", "magnitude_increase", "small_init"])
def test_the_search_by_hand(workload: Workload, name: str) -> None:
    """Two looks: both compare with the weights before all training, not with those of the last look."""
    found = EMS(rounds=2, search_steps=20).find(workload, make_scorer(name), 0.04, seed=5)
    network = workload.build(5)
    start = {key: weight.detach().clone() for key, weight in prunable(network).items()}
    trajectory, mask = Trajectory(network, workload.task, RECIPE, seed=5), None
    for target in (0.2, 0.04):
        trajectory.advance(10, mask)
        scores = {key: FORMULAS[name](w.detach(), start[key]) for key, w in prunable(network).items()}
        mask = keep_top(Scores(scores, "by hand"), target, within=mask, seed=5)
    assert found.mask == mask
    assert found.scores.criterion == repr(make_scorer(name))


@pytest.mark.parametrize("name", FORMULAS)
def test_where_nothing_was_trained_they_are_refused(workload: Workload, name: str) -> None:
    with pytest.raises(ValueError, match=r"take a regime that trains in between \(ISS"):
        UMS(rounds=2).find(workload, make_scorer(name), 0.1, seed=0)
    with pytest.raises(ValueError, match="nothing was trained since"):  # a stack's second scorer sees scores
        ESS(search_steps=2).find(workload, StackedScorer(make_scorer("snip"), make_scorer(name)), 0.1, seed=0)
    assert Method(name).make_regime() == ISS()
    network, batch = case("mlp")
    with pytest.raises(ValueError, match="the initial weights"):
        make_scorer(name).from_start(nn.Linear(2, 1), lambda: 1.0)(network, batch, cross_entropy)


@pytest.mark.parametrize("name", UPFRONT)
def test_other_scorers_are_the_same_in_a_search(name: str) -> None:
    scorer, network = make_scorer(name, seed=3), case("mlp")[0]
    assert scorer.from_start(network, lambda: 1.0) is scorer
    stacked = StackedScorer(scorer, make_scorer("magnitude"))
    assert stacked.from_start(network, lambda: 1.0) is stacked


@dataclass(frozen=True)
class Told(Scorer):
    """Magnitude that notes what a search shows it."""

    notes: list[object] = field(default_factory=list)
    done: Callable[[], float] | None = None

    def from_start(self, network: nn.Module, done: Callable[[], float]) -> Scorer:
        self.notes.append({key: weight.detach().clone() for key, weight in prunable(network).items()})
        return replace(self, done=done)

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        assert self.done is not None
        self.notes.append(self.done())
        return make_scorer("magnitude")(network, batch, loss, mask=mask)


@pytest.mark.parametrize(
    ("regime", "density", "shares"),
    [
        (ESS(search_steps=10), 0.1, [1.0]),
        (EMS(rounds=2, search_steps=10, pace=2), 0.1, [0.2, 1.0]),
        (EMS(rounds=2, search_steps=10, shots=2), 0.1, [0.5, 0.5, 1.0, 1.0]),
        (EMS(rounds=4, search_steps=8, towards=0.01), 0.1, [0.25, 0.5]),  # of the whole path
        (ISS(rounds=2), 0.1, [0.5, 1.0]),
        (ISS(rounds=4, towards=0.01, round_steps=5), 0.1, [0.25, 0.5]),
        (IMS(rounds=2, shots=2), 0.1, [0.5, 0.5, 1.0, 1.0]),
    ],
)
def test_every_regime_that_trains_shows_the_start_once_and_says_how_far_it_is(
    workload: Workload, regime: Regime, density: float, shares: list[float]
) -> None:
    told = Told()
    found = regime.find(workload, told, density, seed=1)
    start, *said = told.notes
    assert said == pytest.approx(shares)
    assert all(torch.equal(tensor, workload.build(1).get_parameter(name)) for name, tensor in start.items())  # type: ignore[attr-defined]
    assert found.mask == regime.find(workload, make_scorer("magnitude"), density, seed=1).mask


def test_stacks_and_shared_scores_hand_the_start_on(workload: Workload, tmp_path: Path) -> None:
    regime, plain = ESS(search_steps=10), make_scorer("movement")
    expected = regime.find(workload, plain, 0.1, seed=0).mask
    shared = Shared(Store(tmp_path))
    stack = StackedScorer(shared.of(plain), make_scorer("magnitude"))
    assert regime.find(workload, stack, 0.1, seed=0).mask == expected
    for seed in (0, 1):  # nothing of another search's is taken for one's own
        assert (
            regime.find(workload, shared.of(plain), 0.1, seed=seed).mask
            == regime.find(workload, plain, 0.1, seed=seed).mask
        )
    method = Method.of("movement", regime="ESS", search_steps=10)
    assert find_ticket(workload, method, 0.1, seed=0).mask == expected


def test_a_search_that_goes_on_compares_with_the_same_start(
    workload: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_training, "WORTH_KEEPING", 0.0)
    regime, store = EMS(rounds=3, search_steps=12), Store(tmp_path)
    whole = regime.find(workload, make_scorer("movement"), 0.05, seed=0)
    for _ in range(2):
        again = regime.find(workload, make_scorer("movement"), 0.05, seed=0, session=Session(store=store))
        assert again.mask == whole.mask


def test_what_is_no_scorer_is_refused_before_any_training(workload: Workload) -> None:
    with pytest.raises(ValueError, match="is no scorer: expected a subclass"):
        ISS(rounds=1).find(workload, abs, 0.1, seed=0)  # type: ignore[arg-type]
