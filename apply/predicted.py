"""PredictedScorer: a fitted predictor as a scorer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from dataset_builder.features import compute_features
from meta.bundle import load_bundle
from meta.predictor import Predictor
from pruning.mask import Mask
from pruning.parameters import prunable
from pruning.schedules import check_density
from pruning.scores import Scores
from scorers.scorer import Batch, Loss, hand_over


@dataclass(frozen=True)
class PredictedScorer:
    """Scores = what a predictor expects of the slow regime, from each weight's features.

    The features of the (masked) network are computed exactly as they were for the predictor's table; in a multi-shot
    regime they are computed anew on the network that the last round left.

    Attributes:
        predictor: a fitted predictor.
        density: the density asked for at the end, a feature of its own.
        source: where the predictor came from, for the provenance.
    """

    predictor: Predictor
    density: float
    source: str = ""

    def __post_init__(self) -> None:
        check_density(self.density)

    @classmethod
    def from_bundle(cls, path: str | Path, density: float) -> PredictedScorer:
        """The scorer of a saved predictor.

        Raises:
            ValueError: the bundle is damaged or was tampered with.
            FileNotFoundError: there is no such folder.
        """
        return cls(load_bundle(path), density, source=str(path))

    def __repr__(self) -> str:
        return f"PredictedScorer({self.predictor.family}, {self.predictor.digest[:16]}, density={self.density})"

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        """See `scorers.Scorer`; float64 predictions are stored as float32 to save memory.

        Raises:
            ValueError: the predictor needs a feature that this release does not compute.

        Warns:
            NoEffectWarning: all kept weights have the same prediction.
        """
        weights = prunable(network)
        scores = {name: torch.zeros(w.numel(), dtype=torch.float32) for name, w in weights.items()}
        blocks = compute_features(network, batch, loss, mask=mask, density=self.density, names=self.predictor.features)
        for block in blocks:
            predicted = torch.from_numpy(self.predictor.predict(block))
            scores[block.parameter][torch.from_numpy(block.indices)] = predicted.float()
        placed = {name: scores[name].reshape(w.shape).to(w.device) for name, w in weights.items()}
        return hand_over(placed, mask, self)
