"""Rounds of scoring and pruning at given weights, which every regime is made of."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scratchcard.pruning.mask import Mask, keep_top
from scratchcard.pruning.parameters import count, prunable
from scratchcard.pruning.schedules import SCHEDULES, check_count
from scratchcard.pruning.scopes import Scope
from scratchcard.pruning.scores import Scores
from scratchcard.registry import lookup
from scratchcard.scorers.scorer import Batch, Loss, Scorer
from scratchcard.workloads.session import Progress


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
        ValueError: density outside (0, 1] or above that of `within`, no rounds, an unknown schedule, what is no scorer.

    Examples:
        >>> network, batch, loss = nn.Linear(4, 2), (torch.ones(1, 4), torch.ones(1, 2)), nn.functional.mse_loss
        >>> scorer = sc.make_scorer("magnitude")
        >>> mask, _, survived, densities = prune_upfront(network, batch, loss, scorer, 0.25, rounds=2)
        >>> mask.kept, densities, int(survived["weight"].sum())  # 4 weights survive the first round, 2 both
        (2, (0.5, 0.25), 6)
    """
    if not isinstance(scorer, Scorer):
        raise ValueError(f"{scorer!r} is no scorer: expected a subclass of scratchcard.Scorer, which has `prepare`")
    total = count(prunable(network))
    check_count(density, total)
    start = 1.0 if within is None else within.density
    # Masks keep whole weights, so that densities are compared by their counts.
    if within is not None and round(density * total) > within.kept:
        raise ValueError(f"cannot prune to density {density}: the given mask already keeps only {start:.6g}")
    shares = lookup(SCHEDULES, "schedules", schedule)(min(1.0, density / start), rounds)
    densities = (*(start * share for share in shares[:-1]), density)
    mask = within
    scorer = scorer.prepare(network, batch, loss, mask=mask)
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
