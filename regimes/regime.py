"""What every regime takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from scratchcard.artefacts.store import Store
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.scores import Scores
from scratchcard.scorers.scorer import Scorer
from scratchcard.workloads.workload import Workload

Progress = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""


@dataclass(frozen=True, eq=False)
class Found:
    """What a regime found.

    Attributes:
        mask: the kept weights.
        scores: of the last round, taken before its cut; pruned weights of earlier rounds score 0.
        survived: for each weight the number of rounds that kept it, int32; masks are nested, so this holds them all.
        densities: the density after each round.
        start: the state (parameters and buffers, CPU) that the ticket is trained from: initialisation, or the early
            step that the regime rewound to.
        seconds: of the whole search (`clock`), training included, earlier sessions' rounds included.
        training: for each round that trained, the density after it and its record in short (steps, best step,
            validation loss and accuracy, seconds).
    """

    mask: Mask
    scores: Scores
    survived: Mapping[str, Tensor]
    densities: tuple[float, ...]
    start: Mapping[str, Tensor]
    seconds: float
    training: tuple[Mapping[str, Any], ...] = field(default_factory=tuple)

    @property
    def rounds(self) -> int:
        """Number of pruning rounds."""
        return len(self.densities)

    def mask_after(self, round_: int) -> Mask:
        """The mask after round 1 ... rounds; 0 is the dense mask.

        Raises:
            ValueError: no such round.
        """
        if not 0 <= round_ <= self.rounds:
            raise ValueError(f"round must lie in 0 ... {self.rounds}, got {round_}")
        return Mask({name: tensor >= round_ for name, tensor in self.survived.items()})


class Regime(Protocol):
    """Finds a mask for a workload's network."""

    @property
    def rounds(self) -> int:
        """Number of pruning rounds."""
        ...

    @property
    def trains(self) -> bool:
        """Whether the network is trained between rounds."""
        ...

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
        """Prune the network of `workload` at initialisation `seed` down to `density`.

        Args:
            workload: network, task, recipe.
            scorer: the criterion.
            density: kept weights / prunable weights, in (0, 1].
            seed: of the initial weights, the scoring batch and the order of ties.
            network: a copy of it is used in place of `workload.build(seed)`.
            data_seed: of the data order in training; `seed` if not given. Upfront regimes do not train.
            device: where to score and train.
            dtype: precision of the network.
            store: where finished trainings are kept, so that a second call goes on and other searches share them;
                unused by regimes without training.
            progress: called as rounds (upfront) or training steps (iterative) finish.

        Raises:
            ValueError: a density outside (0, 1], or one that the regime's path does not reach.
        """
        ...
