"""The training loop: where trainings stop, what they keep; a stack of them stops as each would alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from scratchcard.workloads.engines.engine import Engine, State
from scratchcard.workloads.engines.evaluator import Evaluated
from scratchcard.workloads.engines.loop import Training, run_trainings
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.task import Split
from tests.workloads.training_toys import toy_task

INTERVAL, MOST, EXAMPLES = 3, 20, 30
VALIDATION = toy_task().validation
STEPS = range(1, MOST + 1)


@dataclass
class Script:
    """The losses that a network has: validation loss by evaluation, and the step at which its training loss is lost."""

    validation: list[float]
    lost: int = MOST + 1


@dataclass
class ScriptedEngine(Engine):
    """Networks whose losses are written down; notes which batches each one saw."""

    scripts: list[Script]
    name: str = "scripted"
    step: int = 0
    seen: list[list[Tensor]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.seen = [[] for _ in self.scripts]

    def run(self, order: Tensor) -> Tensor:
        assert order.shape[::2] == (len(self.scripts), 4)
        for seen, batches in zip(self.seen, order, strict=True):
            seen.extend(batches)
        steps = range(self.step + 1, self.step + order.shape[1] + 1)
        self.step += order.shape[1]
        losses = [math.fsum(math.nan if step >= s.lost else step for step in steps) for s in self.scripts]
        return torch.tensor(losses, dtype=torch.float64)

    def evaluate(self, split: Split) -> list[Evaluated]:
        assert split is VALIDATION
        place = math.ceil(self.step / INTERVAL) - 1
        return [Evaluated(script.validation[place], {"score": float(place)}, len(split)) for script in self.scripts]

    def state(self, place: int = 0) -> State:
        return {"step": torch.tensor(self.step), "script": torch.tensor(self.scripts[place].validation[0])}

    def select(self, places: Sequence[int]) -> None:
        self.scripts = [self.scripts[place] for place in places]
        self.seen = [self.seen[place] for place in places]


def told(training: Training) -> tuple[object, ...]:
    numbers = [(e.step, repr(e.train_loss), repr(e.validation_loss), e.validation_metric) for e in training.history]
    states = {step: repr(state["script"].item()) for step, state in training.snapshots.items()}
    best = {name: repr(tensor.item()) for name, tensor in training.best_state.items()}
    return training.step, numbers, training.best.step, training.diverged, states, best


def stops_at(script: Script, patience: int) -> tuple[int, int, bool]:
    """Steps, best step and divergence by the rule, written out once more."""
    lowest, best, waited = math.inf, 0, 0
    for step in STEPS:
        if step >= script.lost and (step % INTERVAL == 0 or step == MOST or step in (4, 11)):
            return step, best, True  # seen at the next stop: an evaluation or a snapshot
        if step % INTERVAL and step != MOST:
            continue
        loss = script.validation[math.ceil(step / INTERVAL) - 1]
        if not math.isfinite(loss):
            return step, best, True
        if loss < lowest:
            lowest, best, waited = loss, step, 0
        else:
            waited += 1
        if waited >= patience:
            return step, best, False
    return MOST, best, False


losses = st.one_of(st.integers(0, 6).map(float), st.sampled_from([math.nan, math.inf]))
scripts = st.builds(Script, st.lists(losses, min_size=7, max_size=7), st.integers(1, 3 * MOST))


@settings(max_examples=200, deadline=None)
@given(networks=st.lists(scripts, min_size=1, max_size=4), patience=st.integers(1, 4))
def test_a_stack_stops_as_each_training_alone(networks: list[Script], patience: int) -> None:
    recipe = Recipe(batch_size=4, max_steps=MOST, evaluation_interval=INTERVAL, patience=patience)
    seeds, progress = list(range(len(networks))), list[int]()
    together = run_trainings(
        ScriptedEngine(list(networks)),
        recipe,
        EXAMPLES,
        VALIDATION,
        seeds,
        snapshot_steps=(0, 4, 11),
        progress=lambda done, most: progress.append(done) if most == len(networks) * MOST else pytest.fail("most"),
    )
    for seed, script, training in zip(seeds, networks, together, strict=True):
        engine = ScriptedEngine([script])
        (alone,) = run_trainings(engine, recipe, EXAMPLES, VALIDATION, [seed], snapshot_steps=(0, 4, 11))
        assert told(training) == told(alone)
        assert (training.step, training.best.step, training.diverged) == stops_at(script, patience)
        assert training.ended
        assert training.best_state["step"] == training.best.step
        assert len(engine.seen[0]) == alone.step
    assert progress == sorted(progress)
    assert progress[-1] == len(networks) * MOST


def test_each_network_has_the_data_order_of_its_seed() -> None:
    recipe = Recipe(batch_size=4, max_steps=MOST, evaluation_interval=INTERVAL)
    stack = ScriptedEngine([Script([1.0] * 7) for _ in range(2)])
    run_trainings(stack, recipe, EXAMPLES, VALIDATION, [5, 6])
    for seed, seen in zip((5, 6), stack.seen, strict=True):
        generator = torch.Generator().manual_seed(seed)
        epochs = [torch.randperm(EXAMPLES, generator=generator)[:28] for _ in range(3)]
        assert torch.equal(torch.cat(seen), torch.cat(epochs)[: 4 * MOST])
