"""What every engine promises, for every objective and every kind of input that it takes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from scratchcard.pruning.mask import Mask
from scratchcard.workloads.engines.autograd import AutogradEngine
from scratchcard.workloads.engines.engine import Engine
from scratchcard.workloads.engines.evaluator import Evaluated, evaluate_network
from scratchcard.workloads.engines.fused import FusedEngine
from scratchcard.workloads.engines.perceptron import PerceptronEngine
from scratchcard.workloads.engines.selection import make_engine
from scratchcard.workloads.engines.sparse import SparseEngine
from scratchcard.workloads.engines.stacked_training import train_stacked
from scratchcard.workloads.engines.training import Recipe, evaluate, train
from scratchcard.workloads.engines.vmap import StackedEngine
from scratchcard.workloads.objective import Classification, Objective
from scratchcard.workloads.objectives import MultiLabel, Regression
from scratchcard.workloads.task import Split, Task
from tests.workloads.training_toys import perceptron, random_mask, toy_task

RECIPE = Recipe(batch_size=16, max_steps=12, evaluation_interval=4, momentum=0.9, learning_rate=0.02)
DENSITIES = (0.015, 0.3, 0.5)


def task_of(objective: Objective) -> Task:
    task = toy_task()
    if type(objective) is Classification:
        return task

    def split(part: Split) -> Split:
        numbers = part.inputs.flatten(1)[:, :5].double()
        return Split(part.inputs, numbers if isinstance(objective, Regression) else (numbers > 0).double())

    parts = {name: split(getattr(task, name)) for name in ("train", "validation", "test")}
    return replace(task, **parts, objective=objective)


OBJECTIVES = {"classification": Classification(), "regression": Regression(), "labels": MultiLabel()}
Build = Callable[[nn.Module, Mask, Objective, Split], Engine]
ENGINES: dict[str, Build] = {
    "autograd": lambda n, m, o, t: AutogradEngine(n, m, o, RECIPE, t),
    "sparse": lambda n, m, o, t: SparseEngine(n, m, o, RECIPE, t),
    "stacked": lambda n, m, o, t: StackedEngine([n], [m], o, RECIPE, t),
    "dense": lambda n, m, o, t: PerceptronEngine([n], [m], o, RECIPE, t),
    "fused": lambda n, m, o, t: FusedEngine(n, m, o, RECIPE, t),
}
CLAIMS = [
    (e, o) for e in ENGINES for o in OBJECTIVES if o == "classification" or e in ("autograd", "sparse", "stacked")
]


def doubled(split: Split) -> Split:
    return Split(split.inputs.double(), split.targets)


@pytest.mark.parametrize(("engine_name", "objective_name"), CLAIMS)
def test_an_engine_trains_and_evaluates_as_autograd_does(engine_name: str, objective_name: str) -> None:
    objective = OBJECTIVES[objective_name]
    task = task_of(objective)
    network, reference = perceptron(), perceptron()
    mask = random_mask(network, *DENSITIES)
    for one in (network, reference):
        mask.apply_to(one)
    train_split, validation = doubled(task.train), doubled(task.validation)
    engine = ENGINES[engine_name](network, mask, objective, train_split)
    plain = ENGINES["autograd"](reference, mask, objective, train_split)
    before = engine.state()
    copies = copy.deepcopy(before)
    order = torch.randint(300, (1, 9, 16), generator=torch.Generator().manual_seed(0))
    found, wanted = engine.run(order), plain.run(order)
    assert (found.shape, found.dtype, found.device.type) == ((1,), torch.float64, "cpu")
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=0)
    torch.testing.assert_close(engine.state(), plain.state(), rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(before, copies, rtol=0, atol=0)
    (one,) = engine.evaluate(validation)
    other = evaluate_network(reference, validation, objective)
    assert one.examples == 90
    assert tuple(one.metrics) == objective.metric_names
    assert one.loss == pytest.approx(other.loss, rel=1e-10)
    assert dict(one.metrics) == pytest.approx(dict(other.metrics), rel=1e-9)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_evaluator_is_the_objective_on_the_whole_split(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    objective = OBJECTIVES[name]
    split, network = doubled(task_of(objective).validation), perceptron()
    monkeypatch.setattr("scratchcard.workloads.engines.evaluator.BATCH_ELEMENTS", 1)  # 64 and 26 examples
    found = evaluate_network(network, split, objective)
    outputs = network(split.inputs).detach()
    assert found.loss == pytest.approx(float(objective.loss(outputs, split.targets)), rel=1e-12)
    assert dict(found.metrics) == pytest.approx(objective.metrics(objective.statistics(outputs, split.targets)))
    assert found.metric == found.metrics[objective.metric_names[0]]


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("density", [None, 0.3, 0.1, 0.015])
def test_auto_takes_an_engine_that_knows_the_objective(name: str, density: float | None) -> None:
    network, task = perceptron(), task_of(OBJECTIVES[name])
    mask = None if density is None else random_mask(network, density)
    record = train(network, task, RECIPE, mask=mask)
    written_out = {None: "dense", 0.3: "dense", 0.1: "fused", 0.015: "fused"}
    others = {None: "autograd", 0.3: "autograd", 0.1: "autograd", 0.015: "sparse"}
    assert record.engine == (written_out if name == "classification" else others)[density]
    found = evaluate(network, task, "validation")
    assert found.loss == pytest.approx(record.best_validation_loss, rel=1e-9)
    assert found.metric == pytest.approx(record.best_validation_metric, rel=1e-9)


@pytest.mark.parametrize("name", ["regression", "labels"])
def test_a_stack_trains_any_objective(name: str) -> None:
    task, networks = task_of(OBJECTIVES[name]), [perceptron(seed) for seed in (1, 2)]
    others, masks = copy.deepcopy(networks), [random_mask(networks[0], 0.3), None]
    found = train_stacked(networks, task, RECIPE, masks=masks, seeds=[1, 2])
    for one, other, mask, seed, record in zip(networks, others, masks, (1, 2), found, strict=True):
        alone = train(other, task, RECIPE, mask=mask, seed=seed, compact=False)
        assert record.best_validation_metric == pytest.approx(alone.best_validation_metric, rel=1e-8)
        torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=1e-8, atol=1e-10)


def test_statistics_that_vmap_cannot_run_are_noticed_before_training() -> None:
    class Listed(MultiLabel):
        def statistics(self, outputs: Tensor, targets: Tensor) -> Tensor:
            float(outputs.sum())
            return super().statistics(outputs, targets)

    with pytest.warns(UserWarning, match="one after another"):
        records = train_stacked([perceptron()], task_of(Listed()), RECIPE, masks=[None], seeds=[1])
    assert records[0].engine == "autograd"


@pytest.mark.parametrize("name", ["dense", "fused"])
@pytest.mark.parametrize("objective", ["regression", "labels"])
def test_written_out_engines_are_for_classification_only(name: str, objective: str) -> None:
    task = task_of(OBJECTIVES[objective])
    if name == "fused":
        with pytest.raises(ValueError, match="the fused engine takes"):
            train(perceptron(), task, RECIPE, engine="fused")
    else:
        assert train(perceptron(), task, RECIPE, engine="dense").engine == "autograd"


def test_accuracy_is_refused_where_there_is_none() -> None:
    found = Evaluated(1.0, {"r2": 0.5, "mae": 2.0}, 10)
    assert found.metric == 0.5
    with pytest.raises(ValueError, match="no accuracy, it is measured by r2, mae"):
        _ = found.accuracy


class TokensAndNumbers(nn.Module):
    """Two inputs by name: tokens `(n, 4)` and numbers `(n, 3)`."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.embedding, self.out = nn.Embedding(50, 8), nn.Linear(11, 3)
        self.double()

    def forward(self, numbers: Tensor, tokens: Tensor) -> Tensor:
        assert tokens.dtype == torch.int32
        return self.out(torch.cat([self.embedding(tokens).mean(1), numbers], 1))


def named_task() -> Task:
    generator = torch.Generator().manual_seed(0)

    def split(count: int) -> Split:
        tokens = torch.randint(0, 50, (count, 4), generator=generator, dtype=torch.int32)
        inputs = {"tokens": tokens, "numbers": torch.randn(count, 3, generator=generator)}
        return Split(inputs, tokens.sum(1) % 3)  # type: ignore[arg-type,unused-ignore]

    return Task("named", split(100), split(40), split(40), 3, "0")


@pytest.mark.parametrize("density", [None, 0.5, 0.015])
def test_inputs_by_name_become_keyword_arguments(density: float | None) -> None:
    task, networks = named_task(), [TokensAndNumbers(seed) for seed in (1, 2)]
    before = copy.deepcopy(networks[0].state_dict())
    masks = [None if density is None else random_mask(network, density, 0.5) for network in networks]
    others = copy.deepcopy(networks)
    records = [train(n, task, RECIPE, mask=m, seed=3) for n, m in zip(networks, masks, strict=True)]
    assert [record.engine for record in records] == ["autograd"] * 2
    assert not torch.equal(networks[0].out.bias, before["out.bias"])
    assert evaluate(networks[0], task, "validation").loss == pytest.approx(records[0].best_validation_loss, rel=1e-9)
    train_stacked(others, task, RECIPE, masks=masks, seeds=[3, 3])
    for one, other in zip(networks, others, strict=True):
        torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=1e-8, atol=1e-10)


def test_a_network_that_does_not_take_the_inputs_is_refused() -> None:
    narrow = nn.Sequential(nn.Flatten(), nn.Linear(35, 5))
    for use in (lambda: train(narrow, toy_task(), RECIPE), lambda: evaluate(narrow, toy_task())):
        with pytest.raises(
            ValueError, match=r"the network cannot take the inputs of toy: .* in the layer '1': RuntimeError"
        ):
            use()
    assert narrow.training


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_auto_runs_in_every_dtype(dtype: torch.dtype) -> None:
    network = perceptron().to(dtype)
    record = train(network, toy_task(), RECIPE, mask=random_mask(network, 0.1))
    assert record.engine == ("dense" if dtype == torch.bfloat16 else "fused")
    assert record.steps == 12


class Twice(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def test_a_subclass_of_a_known_layer_is_not_taken_for_it() -> None:
    network = nn.Sequential(nn.Flatten(), Twice(36, 8), nn.ReLU(), nn.Linear(8, 5))
    engine = make_engine("auto", network, None, Classification(), RECIPE, toy_task().train)
    assert engine.name == "autograd"
