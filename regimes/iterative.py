"""Iterative regimes: train, score, prune, rewind, again. ISS with magnitude is IMP; IMS prunes in several shots."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from scratchcard.artefacts.store import Store
from scratchcard.clock import spent
from scratchcard.pruning.mask import Scope
from scratchcard.pruning.parameters import count, prunable
from scratchcard.pruning.schedules import SCHEDULES, check_count
from scratchcard.pruning.scores import Scores
from scratchcard.pruning.ticket import copy_state
from scratchcard.regimes.regime import Found, Progress
from scratchcard.regimes.upfront import prune_upfront
from scratchcard.registry import lookup
from scratchcard.scorers.scorer import Scorer
from scratchcard.workloads.stored_training import train_once
from scratchcard.workloads.workload import Workload


@dataclass(frozen=True)
class Iterative:
    """Train, score the trained network, prune, rewind; `rounds` times.

    One shot a round is ISS; with the magnitude scorer that is iterative magnitude pruning (Frankle & Carbin 2019,
    arXiv 1803.03635). Several shots a round are IMS: a multi-shot sequence on the trained network, on the scorer's
    own exponential way from this round's density to the next.

    Attributes:
        rounds: number of train-prune-rewind cycles.
        shots: scoring and pruning steps after each training.
        schedule: density after each round.
        scope: compare all weights with each other or each layer's among themselves.
        rewind_step: rewind to the weights after this many training steps of the dense network (0 = initialisation;
            Frankle et al. 2020, arXiv 1912.05671).
        towards: the density that the schedule's rounds lead to; a search for a higher density leaves that path at
            the round that would pass it, and prunes to its own density there. So all densities of a path share its
            rounds, as where each round keeps the same share and every round's ticket is reported (Frankle & Carbin
            2019). None: each density has a path of its own, of `rounds` rounds.
        round_steps: training steps of each round, at most; None: the recipe's. The ticket is trained by the recipe.
    """

    rounds: int = 10
    shots: int = 1
    schedule: str = "exponential"
    scope: Scope = "global"
    rewind_step: int = 0
    # Not in the repr, by which score tables know the regimes that they were recorded with: none of them has these.
    towards: float | None = field(default=None, repr=False)
    round_steps: int | None = field(default=None, repr=False)

    @property
    def trains(self) -> bool:
        """Iterative regimes train the network in every round."""
        return True

    def densities(self, density: float) -> tuple[float, ...]:
        """The density after each round.

        Raises:
            ValueError: a density below the path's last.
        """
        path = lookup(SCHEDULES, "schedules", self.schedule)
        if self.towards is None:
            return path(density, self.rounds)
        if density < self.towards:
            raise ValueError(f"a path towards density {self.towards} never reaches {density}; take a lower `towards`")
        return (*(share for share in path(self.towards, self.rounds) if share > density), density)

    def find(
        self,
        workload: Workload,
        scorer: Scorer,
        density: float,
        seed: int,
        *,
        network: nn.Module | None = None,
        data_seed: int | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        store: Store | None = None,
        progress: Progress | None = None,
    ) -> Found:
        """See `Regime.find`. With a `store` each finished training is kept, so that the next call goes on after it."""
        network = (
            workload.build(seed, dtype=dtype, device=device) if network is None else copy.deepcopy(network).to(device)
        )
        check_count(density, count(prunable(network)))
        if self.round_steps is not None:
            workload = replace(workload, recipe=replace(workload.recipe, max_steps=self.round_steps))
        initial = copy_state(network)
        batch = workload.scoring_batch(seed, dtype=dtype, device=device)
        densities = self.densities(density)
        rounds, steps = len(densities), workload.recipe.max_steps
        survived = {n: torch.zeros_like(w, dtype=torch.int32, device="cpu") for n, w in prunable(network).items()}
        rewind, mask, scores = initial, None, None
        training: list[dict[str, Any]] = []
        for number, target in enumerate(densities, start=1):
            network.load_state_dict(rewind)
            snapshot_steps = (self.rewind_step,) if number == 1 and self.rewind_step else ()
            record = train_once(
                network,
                workload,
                store=store,
                mask=mask,
                seed=seed if data_seed is None else data_seed,
                device=device,
                snapshot_steps=snapshot_steps,
                progress=_shifted(progress, (number - 1) * steps, rounds * steps),
            )
            if snapshot_steps:
                if self.rewind_step not in record.snapshots:
                    raise ValueError(
                        f"cannot rewind to step {self.rewind_step}: training ended after {record.steps} steps"
                    )
                rewind = dict(record.snapshots[self.rewind_step])
            begin = spent(device)
            pruned, scores, _, _ = prune_upfront(
                network,
                batch,
                workload.task.loss,
                scorer,
                target,
                rounds=self.shots,
                scope=self.scope,
                within=mask,
                seed=seed,
            )
            mask = pruned.to("cpu")
            for name, tensor in mask.tensors.items():
                survived[name] += tensor
            training.append(
                {
                    "density": mask.density,
                    "steps": record.steps,
                    "best_step": record.best_step,
                    "validation_loss": record.best_validation_loss,
                    "validation_accuracy": record.best_validation_metric,
                    "seconds": record.seconds + spent(device) - begin,
                }
            )
            if progress is not None:
                progress(number * steps, rounds * steps)
        assert mask is not None and scores is not None  # noqa: S101, PT018  (a schedule has at least one round)
        last = {name: tensor.detach().cpu() for name, tensor in scores.tensors.items()}
        seconds = sum(float(entry["seconds"]) for entry in training)
        return Found(mask, Scores(last, repr(scorer)), survived, densities, rewind, seconds, tuple(training))


def _shifted(progress: Progress | None, done: int, total: int) -> Progress | None:
    if progress is None:
        return None
    return lambda step, _: progress(done + step, total)
