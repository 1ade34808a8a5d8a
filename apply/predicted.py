"""PredictedScorer: a fitted predictor as a scorer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from apply.shipped import load_tickets, shipped
from apply.tickets import TicketLibrary
from dataset_builder.features import compute_features
from meta.bundle import load_bundle
from meta.predictor import Predictor
from pruning.mask import Mask
from pruning.parameters import prunable
from pruning.schedules import check_density
from pruning.scores import Scores
from scorers.scorer import Batch, Loss, Scorer, hand_over


@dataclass(frozen=True)
class PredictedScorer:
    """Scores = what a predictor expects of the slow regime, from each weight's features.

    The features of the (masked) network are computed exactly as they were for the predictor's table; in a multi-shot
    regime they are computed anew on the network that the last round left.

    Attributes:
        predictor: a fitted predictor.
        density: the density asked for at the end, a feature of its own.
        source: where the predictor came from, for the provenance.
        tickets: stored tickets. Where one of them is of the batch's task and fits the network (`TicketLibrary.lay`),
            its matched weights are what is predicted, from first round to last; elsewhere the predictor scores.
    """

    predictor: Predictor
    density: float
    source: str = ""
    tickets: TicketLibrary | None = None

    def __post_init__(self) -> None:
        check_density(self.density)

    @classmethod
    def from_bundle(cls, path: str | Path, density: float) -> PredictedScorer:
        """The scorer of a saved predictor.

        Raises:
            ValueError: the bundle is damaged or was tampered with.
            FileNotFoundError: there is no such folder.
        """
        folder, with_tickets = shipped(str(path))
        return cls(load_bundle(folder), density, str(path), load_tickets(folder) if with_tickets else None)

    def __repr__(self) -> str:
        tickets = "" if self.tickets is None else f", tickets={self.tickets.digest[:16]}"
        return (
            f"PredictedScorer({self.predictor.family}, {self.predictor.digest[:16]}{tickets}, density={self.density})"
        )

    def prepare(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scorer:
        """The scorer of one multi-shot sequence on `network`: the ticket that was found to fit it, or this one."""
        laid = None if self.tickets is None or mask is not None else self.tickets.lay(network, batch, self.density)
        return self if laid is None else laid

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        """See `scorers.Scorer`; float64 predictions are stored as float32 to save memory.

        Raises:
            ValueError: the predictor needs a feature that this release does not compute.

        Warns:
            NoEffectWarning: all kept weights have the same prediction.
        """
        if self.tickets is not None and mask is None:
            laid = self.tickets.lay(network, batch, self.density)
            if laid is not None:
                return laid(network, batch, loss)
        weights = prunable(network)
        scores = {name: torch.zeros(w.numel(), dtype=torch.float32) for name, w in weights.items()}
        blocks = compute_features(network, batch, loss, mask=mask, density=self.density, names=self.predictor.features)
        for block in blocks:
            predicted = torch.from_numpy(self.predictor.predict(block))
            scores[block.parameter][torch.from_numpy(block.indices)] = predicted.float()
        placed = {name: scores[name].reshape(w.shape).to(w.device) for name, w in weights.items()}
        return hand_over(placed, mask, self)
