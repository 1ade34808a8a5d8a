"""Supermasks: the mask that the untrained network does best with, and its own density."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import nn

from scratchcard.apply.method import Method
from scratchcard.apply.pipeline import evaluate_ticket, find_ticket, train_ticket
from scratchcard.artefacts.store import Store
from scratchcard.clock import counted_reads
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.pruning.scores import Scores
from scratchcard.regimes import ISS, Supermask
from scratchcard.regimes.thresholds import best_of, coarse_to_fine, counts_above, most_tried
from scratchcard.scorers import make_scorer
from scratchcard.workloads.engines.evaluator import Evaluated
from scratchcard.workloads.engines.training import evaluate, train
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.session import Session
from scratchcard.workloads.task import Task
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload

RECIPE = Recipe(optimizer="adam", learning_rate=0.003, max_steps=120, evaluation_interval=40)


@pytest.fixture(scope="module")
def workload() -> Workload:
    return Workload("lenet_300_100", load_task("digits"), RECIPE)


def test_given_thresholds_by_hand(workload: Workload) -> None:
    """Each threshold's mask is evaluated by the plain way; the best is the one that the regime takes."""
    thresholds = (-0.01, 0.0, 0.02, 0.05, 0.08)
    found = Supermask(thresholds=thresholds).find(workload, make_scorer("magnitude"), 0.99, seed=1)
    network = workload.build(1)
    start = {name: weight.detach().clone() for name, weight in prunable(network).items()}
    train(network, workload.task, RECIPE, seed=1)
    trained = {name: weight.detach().clone() for name, weight in prunable(network).items()}
    accuracies, masks = [], []
    for threshold in thresholds:
        masks.append(Mask({name: start[name].sign() * trained[name] >= threshold for name in start}))
        untrained = workload.build(1)
        masks[-1].apply_to(untrained)
        accuracies.append(evaluate(untrained, workload.task, "validation").accuracy)
    assert found.mask == masks[accuracies.index(max(accuracies))]
    told = found.training[0]["masks"]
    assert told["metric"] == pytest.approx(accuracies[::-1])  # fewest weights first
    assert told["kept"] == [mask.kept for mask in masks[::-1]]
    assert max(accuracies) > 0.4  # no weight was trained
    assert found.densities == (found.mask.density,)


def test_the_ticket_is_untrained_and_as_good_as_was_said(workload: Workload) -> None:
    method = Method.of("magnitude", regime="Supermask", thresholds=(0.01, 0.03, 0.05))
    ticket = find_ticket(workload, method, 0.99, seed=2)
    told = ticket.provenance["rounds"][0]["masks"]  # type: ignore[index,call-overload]
    accuracy = evaluate_ticket(ticket, workload, "validation", trained=False).accuracy
    assert accuracy == told["metric"][told["best"]] == max(told["metric"])
    assert told["kept"][told["best"]] == ticket.mask.kept
    assert told["examples"] == len(workload.task.validation)
    initial = workload.build(2).state_dict()
    assert all(torch.equal(tensor, initial[name]) for name, tensor in ticket.initial.items())
    json.dumps(ticket.provenance, allow_nan=False)
    trained, _ = train_ticket(ticket, workload, seed=2)
    assert trained.trained is not None
    assert not any(trained.trained[name][~kept].any() for name, kept in ticket.mask.tensors.items())
    assert Method.of("magnitude", regime="Supermask", masks=8).label == "magnitude, Supermask, masks 8"


@pytest.mark.parametrize("density", [0.5, 0.05, 0.001])
def test_the_density_asked_for_is_the_most(workload: Workload, density: float) -> None:
    found = Supermask(masks=8).find(workload, make_scorer("magnitude"), density, seed=0)
    most = round(density * found.mask.total)
    assert 0 < found.mask.kept <= most
    assert max(found.training[0]["masks"]["kept"]) == most


def test_any_scorer_and_setting_of_masks_goes(workload: Workload) -> None:
    scorer = make_scorer("snip")
    found = Supermask(masks=4, scope="layer", floor=20, exclude=("1",), same_sign=False).find(workload, scorer, 0.5, 0)
    assert bool(found.mask.tensors["1.weight"].all())
    assert all(int(kept.sum()) >= 20 for kept in found.mask.counted.values())
    assert min(found.scores.flat()) >= 0  # nothing is reflected
    told = found.training[0]["masks"]
    assert found.mask.kept == told["kept"][told["best"]]
    assert min(told["kept"]) >= 40
    thin = Supermask(masks=4, scope="layer").find(workload, scorer, 0.0002, 0)  # some counts leave a layer nothing
    assert thin.mask.kept > 0
    for name in ("movement", "small_init_small_final"):
        assert Supermask(masks=4).find(workload, make_scorer(name), 0.5, 0).mask.kept > 0


def test_it_shares_the_dense_training(workload: Workload, tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert Supermask().begins_dense
    assert not Supermask(search_steps=20).begins_dense
    session = Session(store=store)
    ISS(rounds=1).find(workload, make_scorer("magnitude"), 0.5, 0, session)
    kept = len(list(tmp_path.rglob("*.safetensors")))
    first = Supermask(masks=4).find(workload, make_scorer("magnitude"), 0.99, 0, session)
    assert len(list(tmp_path.rglob("*.safetensors"))) == kept
    assert first.mask == Supermask(masks=4).find(workload, make_scorer("magnitude"), 0.99, 0).mask


def test_the_searchs_own_training() -> None:
    regime = Supermask(search_steps=30, search_learning_rate=0.01, search_optimizer="adam", search_batch_size=32)
    wanted = Recipe(optimizer="adam", learning_rate=0.01, batch_size=32, max_steps=30)
    assert regime.recipe(Recipe(momentum=0.9)) == wanted
    assert Supermask().recipe(RECIPE) == RECIPE
    with pytest.raises(ValueError, match="warmup_steps"):
        Supermask(search_steps=20).check(Recipe(warmup_steps=50), 0.5)


def test_what_does_not_go_together_is_refused(workload: Workload) -> None:
    with pytest.raises(ValueError, match="masks is for the search over all values"):
        Supermask(thresholds=(0.1,), masks=8)
    with pytest.raises(ValueError, match="thresholds compare all weights"):
        Supermask(thresholds=(0.1,), scope="layer")
    with pytest.raises(ValueError, match="no threshold leaves between 1 and"):
        Supermask(thresholds=(99.0,)).find(workload, make_scorer("magnitude"), 0.99, 0)


class Normed(nn.Module):
    """A convolution with normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.Linear(6 * 36, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """`(n, 1, 8, 8)` to `(n, 10)`."""
        return self.head(torch.relu(self.norm(self.conv(images))).flatten(1))  # type: ignore[no-any-return]


def noise(examples: int, validation: int, shape: tuple[int, ...] = (64,)) -> Task:
    """Images of the size of digits, of no meaning; the test split has as many as the validation split."""
    inputs = torch.randn(examples, *shape, generator=torch.Generator().manual_seed(0))
    return Task.of(inputs, torch.arange(examples) % 10, validation_size=validation, test_size=validation)


@pytest.mark.parametrize(
    ("examples", "validation", "fewest", "most"),
    [(90, 16, 16, 16), (900, 300, 256, 256), (8000, 600, 257, 599)],
)
def test_other_networks_are_evaluated_on_what_an_epoch_allows_but_not_on_a_handful(
    examples: int, validation: int, fewest: int, most: int
) -> None:
    torch.manual_seed(0)
    task = noise(examples, validation, (1, 8, 8))
    workload = Workload(Normed(), task, RECIPE.changed(max_steps=5, evaluation_interval=5, batch_size=20))
    with counted_reads() as reads:
        found = Supermask(masks=8).find(workload, make_scorer("magnitude"), 0.99, seed=0)
    told = found.training[0]["masks"]
    assert fewest <= told["examples"] <= most
    if most > 256:
        assert told["examples"] * len(told["kept"]) <= 3 * len(task.train)
    assert reads.examples >= told["examples"] * len(told["kept"])  # the bill says what was done
    assert all(torch.equal(found.start[name], tensor) for name, tensor in workload.build(0).state_dict().items())


def test_perceptrons_whose_first_layer_is_small_are_held_to_an_epoch_too() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 40), nn.ReLU(), nn.Linear(40, 200), nn.ReLU(), nn.Linear(200, 10)
    )
    task = noise(12_000, 1000)
    workload = Workload(network, task, RECIPE.changed(max_steps=20, evaluation_interval=20))
    with counted_reads() as reads:
        told = Supermask(masks=8).find(workload, make_scorer("magnitude"), 0.99, seed=0).training[0]["masks"]
    assert 256 < told["examples"] < len(task.validation)
    assert reads.examples < 3 * len(task.train)


def test_a_training_that_diverged_at_once_says_so() -> None:
    task = Task.of(torch.randn(60, 4) * 1e18, torch.arange(60) % 2)
    workload = Workload(
        nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), task, Recipe(learning_rate=1e18, batch_size=16)
    )
    with pytest.raises(ValueError, match="diverged before its first evaluation"):
        Supermask().find(workload, make_scorer("magnitude"), 0.9, 0)


@pytest.mark.parametrize("at_once", [4, 7, 32])
@pytest.mark.parametrize("most", [1, 3, 50, 1000])
def test_a_single_peak_is_found_exactly(most: int, at_once: int) -> None:
    peak = random.Random(most).randint(1, most)
    calls: list[int] = []

    def evaluate(counts: Sequence[int]) -> list[Evaluated]:
        calls.extend(counts)
        return [Evaluated(0.0, {"accuracy": -abs(count - peak)}, 1) for count in counts]

    found = coarse_to_fine(evaluate, most, at_once)
    assert best_of(found) == peak
    assert len(calls) == len(set(calls)) == len(found)
    assert min(calls) >= 1
    assert max(calls) == most
    assert len(found) <= most_tried(most, at_once)[1]


def test_numbers_that_are_none_never_win() -> None:
    nan = float("nan")
    tried = {1: Evaluated(nan, {"r2": nan}, 5), 2: Evaluated(0.5, {"r2": -3.0}, 5), 3: Evaluated(nan, {"r2": -3.0}, 5)}
    assert best_of(tried) == 2


def test_thresholds_of_the_study() -> None:
    scores = Scores({"a": torch.tensor([-0.2, 0.05]), "b": torch.tensor([0.3])}, "by hand")
    assert counts_above(scores, [0.1], frozenset(), 3) == [1]
    assert counts_above(scores, [-1.0, 0.0, 0.01, 0.3], frozenset({"b"}), 2) == [1, 2]
    assert counts_above(scores, [-1.0, 0.0], frozenset(), 2) == [2]
