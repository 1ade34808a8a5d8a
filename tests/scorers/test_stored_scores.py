"""Scores that are kept for others: the same as computed, and at the cost that they had."""

from __future__ import annotations

import functools
import json
import time
import types
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from scratchcard.apply.method import Method
from scratchcard.apply.pipeline import find_ticket
from scratchcard.artefacts.store import Store
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.pruning.scores import Scores
from scratchcard.scorers import make_scorer
from scratchcard.scorers.scorer import Batch, Loss, Scorer
from scratchcard.scorers.stored_scores import Shared
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.session import Session
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload
from tests.artefacts.rewritten import rewritten
from tests.scorers.toys import CASES, UPFRONT, case, cross_entropy, random_mask


@dataclass(frozen=True)
class Counting(Scorer):
    """Scores are the weights' squares; what it does is counted."""

    scale: float = 1.0
    warns: bool = False
    calls: list[Mask | None] = field(default_factory=list, repr=False, compare=False)

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        self.calls.append(mask)
        if self.warns:
            warnings.warn("seen nothing", UserWarning, stacklevel=2)
        begin = time.process_time()
        while time.process_time() - begin < 0.02:
            pass
        return Scores({name: self.scale * w.detach().square() for name, w in prunable(network).items()}, repr(self))


def same(one: Scores, two: Scores) -> None:
    assert list(one.tensors) == list(two.tensors)
    assert one.criterion == two.criterion
    for name, tensor in one.tensors.items():
        assert torch.equal(tensor, two.tensors[name])
        assert tensor.dtype == two.tensors[name].dtype


@pytest.mark.parametrize("name", UPFRONT)
@pytest.mark.parametrize("kind", CASES)
def test_every_scorers_scores_come_back_in_the_networks_order(name: str, kind: str, tmp_path: Path) -> None:
    network, batch = case(kind)
    scorer = make_scorer(name, 3)
    expected = scorer(network, batch, cross_entropy)
    for _ in range(2):
        shared = Shared(Store(tmp_path))
        same(shared.of(scorer)(network, batch, cross_entropy), expected)
    assert repr(shared.of(scorer)) == repr(scorer)


def test_what_scores_cost_is_what_scoring_took_once(tmp_path: Path) -> None:
    """Neither is a stored score free, nor does keeping it cost: a big state takes longer to digest than to score."""
    torch.manual_seed(0)
    network = nn.Linear(2000, 2000)
    batch = torch.zeros(1, 2000), torch.zeros(1, dtype=torch.int64)
    shared, counting = Shared(Store(tmp_path)), Counting()
    scorer = shared.of(counting)
    begin = time.process_time()
    counting(network, batch, cross_entropy)
    alone, costs, results = time.process_time() - begin, [], []
    for _ in range(3):
        begin, before = time.process_time(), shared.saved
        results.append(scorer(network, batch, cross_entropy))
        costs.append(time.process_time() - begin + shared.saved - before)
    same(results[0], results[2])
    assert len(counting.calls) == 2
    (path,) = tmp_path.rglob("*.safetensors")
    found = Store(tmp_path).get(path.stem)
    assert found is not None
    assert 0.02 <= found.about["seconds"] < alone + 0.5
    assert costs == pytest.approx([found.about["seconds"]] * 3, abs=2e-3)


@dataclass(frozen=True, eq=False, repr=False)
class Nameless(Counting):
    """Its `repr` is the default one: an address, which a later object may have too."""

    __repr__ = object.__repr__


def test_what_has_no_name_is_not_shared(tmp_path: Path) -> None:
    network, batch = case(next(iter(CASES)))
    shared, nameless, counting = Shared(Store(tmp_path)), Nameless(), Counting()
    losses: list[Loss] = [lambda y, t: y.square().mean(), functools.partial(cross_entropy, label_smoothing=0.1)]
    for _ in range(2):
        shared.of(nameless)(network, batch, cross_entropy)
        for loss in (*losses, nn.CrossEntropyLoss(label_smoothing=0.1)):
            shared.of(counting)(network, batch, loss)
    assert len(nameless.calls) == 2
    assert len(counting.calls) == 6
    assert not list(tmp_path.rglob("*.safetensors"))


def test_losses_of_one_name_in_two_modules_are_two(tmp_path: Path) -> None:
    network, batch = case(next(iter(CASES)))
    shared, counting = Shared(Store(tmp_path)), Counting()
    for module in ("one", "two", "one"):
        loss = types.FunctionType(_mean_of_squares.__code__, {"__name__": module})
        assert (loss.__module__, loss.__qualname__) == (module, "_mean_of_squares")
        shared.of(counting)(network, batch, loss)
    assert len(counting.calls) == 2


def test_what_decides_scores_is_in_their_key(tmp_path: Path) -> None:
    network, (inputs, targets) = case(next(iter(CASES)))
    shared, calls = Shared(Store(tmp_path)), []
    counting = Counting(calls=calls)
    other_loss = _mean_of_squares
    shared.of(counting)(network, (inputs, targets), cross_entropy)
    shared.of(counting)(network, (inputs + 1e-9, targets), cross_entropy)
    shared.of(counting)(network, (inputs, targets.flip(0)), cross_entropy)
    shared.of(counting)(network, (inputs, targets), other_loss)
    shared.of(Counting(2.0, calls=calls))(network, (inputs, targets), cross_entropy)
    next(network.parameters()).data.view(-1)[0] += 1e-12
    shared.of(counting)(network, (inputs, targets), cross_entropy)
    shared.of(counting)(nn.Sequential(network), (inputs, targets), cross_entropy)
    assert len(calls) == 7
    assert shared.saved <= 0  # nothing was found


def test_the_networks_mode_decides_its_scores(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).double()
    batch = torch.randn(20, 6, dtype=torch.float64), torch.randint(0, 3, (20,))
    scorer, shared = make_scorer("snip"), Shared(Store(tmp_path))
    for training in (True, False):
        network.train(training)
        same(shared.of(scorer)(network, batch, cross_entropy), scorer(network, batch, cross_entropy))


def _mean_of_squares(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs.square().mean()


def test_calls_with_a_mask_are_computed_each_time(tmp_path: Path) -> None:
    network, batch = case(next(iter(CASES)))
    mask, counting = random_mask(network), Counting()
    scorer = Shared(Store(tmp_path)).of(counting)
    for _ in range(2):
        same(scorer(network, batch, cross_entropy, mask=mask), counting(network, batch, cross_entropy))
    assert counting.calls == [mask, None, mask, None]
    assert not list(tmp_path.rglob("*.safetensors"))


def test_warnings_are_given_again(tmp_path: Path) -> None:
    network, batch = case(next(iter(CASES)))
    shared, counting = Shared(Store(tmp_path)), Counting(warns=True)
    for _ in range(2):
        with pytest.warns(UserWarning, match="seen nothing") as caught:
            shared.of(counting)(network, batch, cross_entropy)
        assert len(caught) == 1
    assert len(counting.calls) == 2


def test_what_a_scorer_prepares_is_its_own(tmp_path: Path) -> None:
    network, batch = case(next(iter(CASES)))
    shared = Shared(Store(tmp_path)).of(Counting())
    assert shared.prepare(network, batch, cross_entropy) is shared  # nothing to prepare

    @dataclass(frozen=True)
    class Preparing(Counting):
        def prepare(self, *_: Any, mask: Mask | None) -> Counting:
            return Counting(5.0)

    prepared = Shared(Store(tmp_path)).of(Preparing()).prepare(network, batch, cross_entropy)
    assert prepared == Counting(5.0)


@pytest.fixture(scope="module")
def workload() -> Workload:
    recipe = Recipe(max_steps=40, evaluation_interval=20, scoring_examples=100)
    return Workload("lenet_300_100", load_task("digits"), recipe)


METHODS = [
    Method("snip"),
    Method("snip", on="synflow"),
    Method.of("synflow", regime="UMS", rounds=5),
    Method.of("snip", regime="UMS", rounds=3, scope="layer"),
    Method.of("magnitude", regime="ISS", rounds=3),
    Method.of("synflow", regime="IMS", rounds=2, shots=3, rewind_step=5),
    Method("random", initial="saw", initial_scorer="snip"),
    Method.of("magnitude", regime="ISS", rounds=4, towards=0.01),
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.label)
def test_a_store_changes_no_ticket(method: Method, workload: Workload, tmp_path: Path) -> None:
    alone = find_ticket(workload, method, 0.05, 2)
    for _ in range(2):
        stored = find_ticket(workload, method, 0.05, 2, Session(store=Store(tmp_path)))
        assert stored.mask == alone.mask
        assert stored.initial.keys() == alone.initial.keys()
        assert all(torch.equal(tensor, alone.initial[name]) for name, tensor in stored.initial.items())
        for one, two in zip(stored.provenance.get("rounds", []), alone.provenance.get("rounds", []), strict=True):
            assert one | {"seconds": 0} == two | {"seconds": 0}


@pytest.mark.parametrize(
    ("method", "parts"),
    [
        (Method("snip"), 1),
        (Method("random", initial="saw", initial_scorer="snip"), 2),
        (Method.of("magnitude", regime="ISS", rounds=3), 4),  # three trainings, the first scores
        (Method.of("snip", regime="UMS", rounds=3), 1),
    ],
    ids=lambda value: getattr(value, "label", value),
)
def test_what_was_found_costs_what_it_cost(method: Method, parts: int, workload: Workload, tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = find_ticket(workload, method, 0.05, 2, Session(store=store)).provenance["pruning_seconds"]
    paths = sorted(tmp_path.rglob("*.safetensors"))
    assert len(paths) == parts
    assert first < 60
    for path in paths:  # as if each had taken 1000 seconds more
        found = store.get(path.stem)
        assert found is not None
        with safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["about"])
        about["seconds"] += 1000
        rewritten(path, {"about": json.dumps(about)})
    again = find_ticket(workload, method, 0.05, 2, Session(store=store)).provenance["pruning_seconds"]
    assert again == pytest.approx(1000 * parts + first, abs=first + 5)
