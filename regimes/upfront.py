"""Upfront regimes: scores at initialisation only. USS scores once, UMS every round on the masked network."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scratchcard.artefacts.store import Store
from scratchcard.clock import spent
from scratchcard.pruning.mask import Mask, Scope, keep_top
from scratchcard.pruning.parameters import count, prunable
from scratchcard.pruning.schedules import SCHEDULES, check_count
from scratchcard.pruning.scores import Scores
from scratchcard.pruning.ticket import copy_state
from scratchcard.regimes.regime import Found, Progress
from scratchcard.registry import lookup
from scratchcard.scorers.scorer import Batch, Loss, Scorer
from scratchcard.workloads.workload import Workload


@dataclass(frozen=True)
class Upfront:
    """Score and prune at the initial weights, `rounds` times.

    Round t keeps the `round(d_t n)` highest scores of the network masked by round t - 1. One round is USS (SNIP: Lee
    et al. 2019, arXiv 1810.02340; GraSP: Wang et al. 2020, arXiv 2002.07376), many are UMS (SynFlow: Tanaka et al.
    2020, arXiv 2006.05467, with 100 rounds). One scoring batch serves all rounds.
    """

    rounds: int = 1
    schedule: str = "exponential"
    scope: Scope = "global"

    @property
    def trains(self) -> bool:
        """Upfront regimes never train."""
        return False

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
        """See `Regime.find`."""
        network = (
            workload.build(seed, dtype=dtype, device=device) if network is None else copy.deepcopy(network).to(device)
        )
        batch = workload.scoring_batch(seed, dtype=dtype, device=device)
        begin = spent(device)
        mask, scores, survived, densities = prune_upfront(
            network,
            batch,
            workload.task.loss,
            scorer,
            density,
            rounds=self.rounds,
            schedule=self.schedule,
            scope=self.scope,
            seed=seed,
            progress=progress,
        )
        seconds = spent(device) - begin
        scores = Scores({name: tensor.cpu() for name, tensor in scores.tensors.items()}, scores.criterion)
        return Found(mask.to("cpu"), scores, survived, densities, copy_state(network), seconds)


def prune_upfront(
    network: nn.Module,
    batch: Batch,
    loss: Loss,
    scorer: Scorer,
    density: float,
    *,
    rounds: int = 1,
    schedule: str = "exponential",
    scope: Scope = "global",
    within: Mask | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[Mask, Scores, dict[str, Tensor], tuple[float, ...]]:
    """Prune a network at the weights that it has, in `rounds` rounds.

    Args:
        network: any network; left as it came.
        batch: inputs and targets for the scorer.
        loss: mean loss over examples.
        scorer: the criterion.
        density: to reach, of all prunable weights.
        rounds: number of scoring and pruning steps.
        schedule: name of the schedule; it leads from the density of `within` (1 without) to `density`.
        scope: compare all weights with each other or each layer's among themselves.
        within: start from this mask.
        seed: of the order of ties.
        progress: called after each round.

    Returns:
        The mask, the last round's scores, the number of rounds that each weight survived and the densities.

    Raises:
        ValueError: density outside (0, 1] or above that of `within`, no rounds, an unknown schedule.
    """
    total = count(prunable(network))
    check_count(density, total)
    start = 1.0 if within is None else within.density
    # Masks keep whole weights, so that densities are compared by their counts.
    if within is not None and round(density * total) > within.kept:
        raise ValueError(f"cannot prune to density {density}: the given mask already keeps only {start:.6g}")
    shares = lookup(SCHEDULES, "schedules", schedule)(min(1.0, density / start), rounds)
    densities = (*(start * share for share in shares[:-1]), density)
    mask = within
    # A scorer that does part of its work once for a whole sequence (stacked scoring) says so by `prepare`.
    prepare = getattr(scorer, "prepare", None)
    if prepare is not None:
        scorer = prepare(network, batch, loss, mask=mask)
    survived = {name: torch.zeros_like(w, dtype=torch.int32, device="cpu") for name, w in prunable(network).items()}
    for number, target in enumerate(densities, start=1):
        scores = scorer(network, batch, loss, mask=mask)
        mask = keep_top(scores, target, scope=scope, within=mask, seed=seed)
        for name, tensor in mask.tensors.items():
            survived[name] += tensor.cpu()
        if progress is not None:
            progress(number, rounds)
    assert mask is not None  # noqa: S101  (a schedule has at least one round)
    return mask, scores, survived, densities
