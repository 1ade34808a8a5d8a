"""The training loop of every engine: steps, evaluations, snapshots, early stopping, divergence, the best state."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field

import torch
from torch import Tensor

from scratchcard.workloads.engines.checkpoint import Checkpoint
from scratchcard.workloads.engines.engine import Engine, State, random_states, set_random_states
from scratchcard.workloads.engines.evaluator import Evaluated
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.task import Split

# So many steps at most between two calls of `progress`.
PROGRESS_STEPS = 430


@dataclass(frozen=True)
class Evaluation:
    """One evaluation on the validation split during training.

    Attributes:
        step: training steps taken so far.
        train_loss: mean over the steps since the last evaluation, each measured before its update.
        validation_loss, validation_metric: on the whole validation split; the metric is the objective's first.

    Examples:
        >>> Evaluation(step=100, train_loss=0.4, validation_loss=0.5, validation_metric=0.85).validation_metric
        0.85
    """

    step: int
    train_loss: float
    validation_loss: float
    validation_metric: float


@dataclass(eq=False)
class Training:
    """Where the training of one network stands.

    Attributes:
        order: its batches to come, each `(batch,)`.
        best_state: after the step of `best`; before the first evaluation, the state before training.
        snapshots: states by step.
        step: steps taken.
        best: the evaluation with the lowest validation loss, the first of equals; step 0 before there is one.
        diverged: a loss was NaN or infinite.
        ended: it takes no more steps.
        losses, losses_of: summed since the last evaluation, and of how many steps.

    Examples:
        >>> recipe = Recipe(patience=1)
        >>> training = Training(batches(100, 20, seed=0), best_state={})
        >>> training.stepped(10, losses=8.0)
        >>> training.evaluated(Evaluated(0.7, {"accuracy": 0.6}, 50), recipe)
        True
        >>> training.stepped(10, losses=5.0)
        >>> training.evaluated(Evaluated(0.9, {"accuracy": 0.5}, 50), recipe)  # worse, and no patience is left
        False
        >>> training.best.step, training.ended
        (10, True)
    """

    order: Iterator[Tensor]
    best_state: State
    snapshots: dict[int, State] = field(default_factory=dict)
    step: int = 0
    history: list[Evaluation] = field(default_factory=list)
    best: Evaluation = Evaluation(0, math.nan, math.inf, 0.0)
    diverged: bool = False
    ended: bool = False
    losses: float = 0.0
    losses_of: int = 0

    def stepped(self, steps: int, losses: float) -> None:
        """Note steps and their summed losses."""
        self.step += steps
        self.losses += losses
        self.losses_of += steps
        self.diverged = self.ended = not math.isfinite(self.losses)

    def evaluated(self, found: Evaluated, recipe: Recipe) -> bool:
        """Note an evaluation; whether it is the best so far."""
        noted = Evaluation(self.step, self.losses / self.losses_of, found.loss, found.metric)
        self.history.append(noted)
        self.losses, self.losses_of = 0.0, 0
        self.diverged = not math.isfinite(found.loss)
        better = not self.diverged and found.loss < self.best.validation_loss
        if better:
            self.best = noted
        waited = sum(earlier.step > self.best.step for earlier in self.history)
        self.ended = self.diverged or waited >= recipe.patience or self.step == recipe.max_steps
        return better


def run_trainings(
    engine: Engine,
    recipe: Recipe,
    examples: int,
    validation: Split,
    seeds: Sequence[int],
    *,
    snapshot_steps: Collection[int] = (),
    progress: Callable[[int, int], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> list[Training]:
    """Train the engine's networks, each to its last step, the end of its patience, or divergence.

    A network whose training has ended leaves the engine.

    Args:
        engine: of as many networks as there are seeds.
        recipe: of all.
        examples: in the training split.
        validation: where the networks are evaluated; the lowest loss on it makes the best state.
        seeds: of each network's data order.
        snapshot_steps: after which steps to copy the states.
        progress: called with (steps done, most steps) over all networks; one that has ended counts as done.
        checkpoint: of a single network: where it is kept while it goes on, and perhaps goes on from.

    Examples:
        >>> from scratchcard.workloads.engines.autograd import AutogradEngine
        >>> split = Split(torch.eye(2), torch.tensor([0, 1]))
        >>> recipe = Recipe(batch_size=2, max_steps=30, evaluation_interval=10)
        >>> engine = AutogradEngine(nn.Linear(2, 2), None, sc.Classification(), recipe, split)
        >>> (training,) = run_trainings(engine, recipe, len(split), split, seeds=[0])
        >>> [evaluation.step for evaluation in training.history], training.best.validation_metric
        ([10, 20, 30], 1.0)
    """
    trainings = [
        Training(batches(examples, recipe.batch_size, seed), engine.state(place)) for place, seed in enumerate(seeds)
    ]
    active, step = trainings, 0
    if checkpoint is not None:
        step = _resumed(engine, trainings[0], checkpoint)
    if step == 0:
        _take_snapshots(engine, active, step, snapshot_steps)
    with _kept_at_interruption(checkpoint):
        while active:
            stop = _next_stop(step, recipe, snapshot_steps)
            order = [torch.stack([next(training.order) for _ in range(stop - step)]) for training in active]
            for training, losses in zip(active, engine.run(torch.stack(order)).tolist(), strict=True):
                training.stepped(stop - step, losses)
            step = stop
            active = _going(engine, active)
            _take_snapshots(engine, active, step, snapshot_steps)
            if active and (step % recipe.evaluation_interval == 0 or step == recipe.max_steps):
                for place, (training, found) in enumerate(zip(active, engine.evaluate(validation), strict=True)):
                    if training.evaluated(found, recipe):
                        training.best_state = engine.state(place)
                active = _going(engine, active)
            if active and checkpoint is not None:
                checkpoint.keep(_standing(engine, trainings[0]))
            if progress is not None:
                most = recipe.max_steps
                progress((len(trainings) - len(active)) * most + len(active) * step, len(trainings) * most)
    return trainings


def _standing(engine: Engine, training: Training) -> State:
    """All of a training that decides how it goes on, as tensors of their own. The data order is told by the step."""
    best, snapshots = training.best_state, training.snapshots
    found = {f"engine/{name}": tensor for name, tensor in engine.standing().items()}
    found |= {f"best/{name}": tensor for name, tensor in best.items()}
    found |= {f"snapshot/{step}/{name}": t for step, state in snapshots.items() for name, t in state.items()}
    found |= {f"random/{kind}": state for kind, state in random_states(engine.device).items()}
    numbers = {
        "history": [astuple(entry) for entry in training.history],
        "best_evaluation": [astuple(training.best)],
        "losses": [(training.losses, training.losses_of, training.step)],
    }
    return found | {name: torch.tensor(rows, dtype=torch.float64) for name, rows in numbers.items()}


def _resumed(engine: Engine, training: Training, checkpoint: Checkpoint) -> int:
    """Put engine, training and random state where the checkpoint has them, if it has; the steps that were taken."""
    found = checkpoint.found()
    if found is None:
        return 0
    parts: dict[str, State] = {}
    for place, tensor in found.items():
        kind, _, name = place.partition("/")
        parts.setdefault(kind, {})[name] = tensor
    training.losses, *counts = found["losses"][0].tolist()
    training.losses_of, training.step = map(int, counts)
    training.history = [_evaluation(row) for row in found["history"].tolist()]
    training.best = _evaluation(found["best_evaluation"][0].tolist())
    names = list(training.best_state)  # in the network's order: the file's is alphabetical
    snapshots = sorted({int(place.partition("/")[0]) for place in parts.get("snapshot", {})})
    training.best_state = {name: parts["best"][name] for name in names}
    training.snapshots = {step: {n: parts["snapshot"][f"{step}/{n}"] for n in names} for step in snapshots}
    for _ in range(training.step):
        next(training.order)
    engine.restore(parts["engine"], training.step)
    set_random_states(engine.device, parts["random"])
    checkpoint.resumed = training.step
    return training.step


def _evaluation(row: Sequence[float]) -> Evaluation:
    return Evaluation(int(row[0]), *row[1:])


@contextmanager
def _kept_at_interruption(checkpoint: Checkpoint | None) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if checkpoint is not None:
            checkpoint.write()
        raise


def _next_stop(step: int, recipe: Recipe, snapshot_steps: Collection[int]) -> int:
    interval = recipe.evaluation_interval
    stops = [recipe.max_steps, (step // interval + 1) * interval, step + PROGRESS_STEPS]
    return min(stops + [later for later in snapshot_steps if later > step])


def _take_snapshots(engine: Engine, active: Sequence[Training], step: int, snapshot_steps: Collection[int]) -> None:
    if step in snapshot_steps:
        for place, training in enumerate(active):
            training.snapshots[step] = engine.state(place)


def _going(engine: Engine, active: list[Training]) -> list[Training]:
    """The trainings that go on; the engine keeps their networks only."""
    going = [place for place, training in enumerate(active) if not training.ended]
    if 0 < len(going) < len(active):
        engine.select(going)
    return [active[place] for place in going]


def batches(examples: int, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Endless batches of indices `(batch,)`: one permutation an epoch, the incomplete last batch dropped.

    Examples:
        >>> order = batches(examples=5, batch_size=2, seed=0)
        >>> epoch = torch.cat([next(order), next(order)])
        >>> len(epoch), len(epoch.unique())  # the fifth example is dropped
        (4, 4)
    """
    generator = torch.Generator().manual_seed(seed)
    whole = examples - examples % batch_size
    while True:
        yield from torch.randperm(examples, generator=generator)[:whole].view(-1, batch_size)
