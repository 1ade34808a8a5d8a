"""Random: the baseline that every criterion must beat."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from scratchcard.number_list import LARGEST
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.scores import Scores
from scratchcard.scorers.scorer import Batch, Loss, Scorer, check_mask, hand_over, without_pruned
from scratchcard.setting import setting
from scratchcard.settings import Settings


@dataclass(frozen=True)
class Random(Settings, Scorer):
    """Uniform scores on [0, 1), independent of weights and data.

    Every call starts one new generator from `seed`, on the CPU, and fills the weights in the order of
    `prunable()` in float64: the same layout gets the same scores, on every device, in every round. Called
    round after round it therefore prunes nested sets, and ends at the mask that one round would have given.

    Attributes:
        seed: of the generator; another seed is another ranking.

    Examples:
        >>> network = nn.Linear(3, 2, bias=False)
        >>> network.weight.data = torch.tensor([[1.0, -2.0, 0.5], [0.1, 0.2, -3.0]])
        >>> batch = torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 0.5]]), torch.tensor([0, 1])
        >>> one, other = (Random(seed=1)(network, batch, nn.functional.cross_entropy) for _ in range(2))
        >>> one.flat().equal(other.flat())
        True
    """

    seed: int = setting(0, help="Of the generator; at its default the run's own seed", example=7, low=0, high=LARGEST)

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        weights = check_mask(network, mask)
        generator = torch.Generator().manual_seed(self.seed)
        scores = {
            name: torch.rand(weight.shape, generator=generator, dtype=torch.float64).to(weight.device)
            for name, weight in weights.items()
        }
        return hand_over(without_pruned(scores, mask), mask, self)
