"""What masks do along one dense training: distances to the last one, when the stopping rule ends it, what was known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from scratchcard.pruning.cut import keep_top
from scratchcard.pruning.emergence import Settling, mask_distance
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.modes import scored_by
from scratchcard.pruning.parameters import flatten, prunable
from scratchcard.pruning.scores import Scores
from scratchcard.pruning.state import load_state
from scratchcard.scorers import make_scorer
from scratchcard.scorers.scorer import Batch
from scratchcard.scorers.sharpness import sharpness
from scratchcard.workloads.engines.training import train
from scratchcard.workloads.workload import Workload

THRESHOLD = 0.1
"""Below it two masks count as one, as in Early-Bird."""
CRITERIA = ("magnitude", "snip")


def trajectory(workload: Workload, seed: int, densities: Sequence[float], every: int) -> list[dict[str, Any]]:
    """A row for each criterion and density, of the dense training to its lowest validation loss.

    `last_step` is that step; `distances` are by step, of the mask that would be cut there to the one of the last step;
    `stopped` is the step at which `ESS` with `settle=THRESHOLD` would have ended, None if it would not; `known` is what
    was known before training.
    """
    recipe, task = workload.recipe, workload.task
    looks = {*range(0, recipe.max_steps + 1, every), *(2**power for power in range(int(math.log2(every)) + 1))}
    looks |= set(range(0, recipe.max_steps + 1, recipe.evaluation_interval))
    network, batch = workload.build(seed), workload.scoring_batch(seed)
    record = train(network, task, recipe, seed=seed, snapshot_steps=looks)
    states = {step: state for step, state in record.snapshots.items() if step <= record.best_step}
    combinations = [(name, density) for name in CRITERIA for density in densities]
    load_state(network, states[record.best_step])
    last = _masks(_scores(network, batch, workload), combinations, seed)
    distances: dict[tuple[str, float], dict[str, float]] = {each: {} for each in combinations}
    settling, stopped = {each: Settling(THRESHOLD) for each in combinations}, dict[tuple[str, float], int]()
    known: dict[tuple[str, float], dict[str, float]] = {}
    for step, state in sorted(states.items()):
        load_state(network, state)
        scores = _scores(network, batch, workload)
        for each, mask in _masks(scores, combinations, seed).items():
            distances[each][str(step)] = round(mask_distance(mask, last[each]), 4)
            if step == 0:
                known[each] = _known(network, batch, workload, scores, *each, seed)
            elif step % every == 0 and settling[each].see(mask):
                stopped.setdefault(each, step)
    return [
        {"seed": seed, "criterion": name, "density": density, "last_step": record.best_step}
        | {"stopped": stopped.get((name, density)), "distances": far, "known": known[name, density]}
        for (name, density), far in distances.items()
    ]


def _scores(network: nn.Module, batch: Batch, workload: Workload) -> dict[str, Scores]:
    with scored_by(network, "batch"):
        return {name: make_scorer(name)(network, batch, workload.task.loss) for name in CRITERIA}


def _masks(
    scores: Mapping[str, Scores], combinations: Sequence[tuple[str, float]], seed: int
) -> dict[tuple[str, float], Mask]:
    return {(name, density): keep_top(scores[name], density, seed=seed) for name, density in combinations}


def _known(
    network: nn.Module,
    batch: Batch,
    workload: Workload,
    scores: Mapping[str, Scores],
    name: str,
    density: float,
    seed: int,
) -> dict[str, float]:
    """What the scores at initialisation say, in logarithms to 10 where it may be any positive number.

    `cut` is the rate over the smallest magnitude that is kept: Adam's steps are about as long as its rate. `crowd` is
    the share of the kept weights whose score is less than 1.2 times the cut's. `disagreement` is the distance of the
    criteria's masks from each other, `uneven` half the sum of the differences between the layers' shares of the kept
    weights and of all weights.
    """
    masks = {each: keep_top(scores[each], density, seed=seed) for each in CRITERIA}
    mask, weights, rate = masks[name], prunable(network), workload.recipe.learning_rate
    kept = flatten(scores[name].tensors)[mask.flat()]
    threshold = float(flatten(scores["magnitude"].tensors)[masks["magnitude"].flat()].min())
    parts = [(int(keep.sum()) / mask.kept, keep.numel() / mask.total) for keep in mask.tensors.values()]
    with scored_by(network, "batch"):
        curvature = sharpness(network, batch, workload.task.loss)
    return {
        "weights": math.log10(mask.total),
        "layers": math.log10(len(weights)),
        "density": math.log10(density),
        "rate": math.log10(rate),
        "gradient": float(name != "magnitude"),
        "sharpness": math.log10(curvature),
        "cut": math.log10(rate / threshold),
        "crowd": float((kept < 1.2 * kept.min()).float().mean()),
        "disagreement": mask_distance(*masks.values()),
        "uneven": sum(abs(ours - theirs) for ours, theirs in parts) / 2,
    }
