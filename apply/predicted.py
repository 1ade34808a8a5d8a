"""PredictedScorer: a fitted predictor as a scorer."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scratchcard.apply.shipped import FALLBACK, opened
from scratchcard.apply.ticket_library import LaidTicket, TicketLibrary
from scratchcard.artefacts.json_file import declared
from scratchcard.dataset_builder.feature_network import SCORED
from scratchcard.dataset_builder.features import compute_features, looks_for, prepared_scorers
from scratchcard.dataset_builder.layer_inputs import LayerInputs
from scratchcard.dataset_builder.looks import Looks
from scratchcard.meta.bundle import load_bundle
from scratchcard.meta.predictor import Predictor
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.pruning.schedules import check_density
from scratchcard.pruning.scores import Scores
from scratchcard.score_tables.schema import FeatureBlock
from scratchcard.scorers.scorer import Batch, Loss, Scorer, hand_over

OUTSIDE = 0.1
"""Share of weights with a feature beyond the range seen in fitting, from which a network counts as lying outside."""


class OutsideWarning(UserWarning):
    """A network unlike those that a predictor was fitted on.

    Examples:
        >>> issubclass(OutsideWarning, UserWarning)
        True
    """


@dataclass(frozen=True)
class PredictedScorer(Scorer):
    """Scores = what a predictor expects of the slow regime, from each weight's features.

    The features of the (masked) network are computed exactly as they were for the predictor's table; in a multi-shot
    regime they are computed anew on the network that the last round left.

    Attributes:
        predictor: a fitted predictor.
        density: the density asked for at the end, a feature of its own.
        source: where the predictor came from, for the provenance.
        tickets: stored tickets. Where one of them is of the batch's task and fits the network (`TicketLibrary.lay`),
            its matched weights are what is predicted, from first round to last; elsewhere the predictor scores.
        scorers: of the features that are scores.
        looks: of the search that it scores in, where the predictor reads how weights moved; tickets are not laid there.
        known: what earlier rounds of a multi-shot sequence found out about the batch.

    Examples:
        >>> scorer = PredictedScorer.from_bundle("policy", density=0.25)
        >>> network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> batch = torch.rand(8, 4), torch.arange(8) % 2
        >>> import warnings
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore", OutsideWarning)  # such a small network is unlike those of the fit
        ...     scores = scorer(network, batch, nn.functional.cross_entropy)
        >>> sc.keep_top(scores, 0.25).kept
        4
    """

    predictor: Predictor
    density: float
    source: str = ""
    tickets: TicketLibrary | None = None
    scorers: Mapping[str, Scorer] = field(default_factory=lambda: SCORED, repr=False, compare=False)
    looks: Looks | None = field(default=None, repr=False, compare=False)
    known: dict[str, LayerInputs] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_density(self.density)

    @classmethod
    def from_bundle(cls, path: str | Path, density: float) -> PredictedScorer:
        """The scorer of a saved predictor.

        Raises:
            ValueError: the bundle is damaged or was tampered with.
            FileNotFoundError: there is no such folder.
        """
        folder, tickets = opened(str(path))
        return cls(load_bundle(folder), density, str(path), tickets)

    def __repr__(self) -> str:
        tickets = "" if self.tickets is None else f", tickets={self.tickets.digest[:16]}"
        fitted = f"{self.predictor.family}, {self.predictor.digest[:16]}"
        return f"PredictedScorer({fitted}{tickets}, density={self.density})"

    def _laid(self, network: nn.Module, batch: Batch, mask: Mask | None) -> LaidTicket | None:
        if self.tickets is None or mask is not None or self.looks is not None:
            return None
        return self.tickets.lay(network, batch, self.density)

    def from_start(self, network: nn.Module, done: Callable[[], float]) -> Scorer:
        """With looks of its own in each search, if the predictor reads features of movement; else itself.

        Raises:
            ValueError: the predictor needs a feature that this release does not compute.
        """
        looks = looks_for(self.predictor.features, network, done)
        return self if looks is None else replace(self, looks=looks)

    def prepare(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scorer:
        """The scorer of one multi-shot sequence on `network`: the ticket that was found to fit it, or this one.

        The same scores with less work.
        """
        laid = self._laid(network, batch, mask)
        if laid is not None:
            return laid
        return replace(self, scorers=prepared_scorers(self.predictor.features, network, batch, loss), known={})

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        """See `scorers.Scorer`; float64 predictions are stored as float32 to save memory.

        Raises:
            ValueError: the predictor needs a feature that this release does not compute.

        Warns:
            NoEffectWarning: all kept weights have the same prediction.
            OutsideWarning: the whole network lies outside of what the predictor was fitted on, where that is known:
                over a tenth of its weights have a feature beyond the range that the fitted networks' weights had (its
                `training["seen"]`: the lowest and highest thousandth, a tenth of their distance further).
        """
        laid = self._laid(network, batch, mask)
        if laid is not None:
            return laid(network, batch, loss)
        weights = prunable(network)
        scores: dict[str, Tensor] = {}  # each layer's memory as it comes, not while the criteria score
        seen = Seen.of(self.predictor) if mask is None else None
        names, scorers = self.predictor.features, self.scorers
        how: dict[str, Any] = {"names": names, "scorers": scorers, "looks": self.looks, "known": self.known}
        blocks = compute_features(network, batch, loss, mask=mask, density=self.density, **how)
        for block in blocks:
            if seen is not None:
                seen.look_at(block)
            predicted = torch.from_numpy(self.predictor.predict(block))
            if block.parameter not in scores:
                scores[block.parameter] = torch.zeros(weights[block.parameter].numel(), dtype=torch.float32)
            scores[block.parameter][torch.from_numpy(block.indices)] = predicted.float()
        if seen is not None:
            seen.warn(self.source or self.predictor.family)
        placed = {}
        for name, weight in weights.items():
            scored = scores.pop(name, None)
            found = torch.zeros(weight.numel(), dtype=torch.float32) if scored is None else scored
            placed[name] = found.reshape(weight.shape).to(weight.device)
        return hand_over(placed, mask, self)


@dataclass(eq=False)
class Seen:
    """How many weights have a feature beyond the range that a predictor saw.

    Attributes:
        names: features.
        low, high: `(F,)`.
        beyond: for each feature the weights beyond its range; the last entry counts those with any such feature.
        weights: looked at.

    Examples:
        >>> seen = Seen(("snip",), np.array([0.0]), np.array([1.0]), np.zeros(2, np.int64))
        >>> values = np.array([[0.5], [1.5], [0.1]], np.float32)
        >>> seen.look_at(FeatureBlock("weight", np.arange(3), ("snip",), values))
        >>> seen.beyond, seen.weights
        (array([1, 1]), 3)
    """

    names: tuple[str, ...]
    low: np.ndarray
    high: np.ndarray
    beyond: np.ndarray
    weights: int = 0

    @classmethod
    def of(cls, predictor: Predictor) -> Seen | None:
        """From the predictor's record; None where it has no ranges."""
        record = predictor.training.get("seen")
        if not isinstance(record, Mapping):
            return None
        ranges = declared(dict[str, list[float]], dict(record), "the ranges that the predictor saw")
        low, high = (np.asarray(ranges.get(side, []), dtype=np.float64) for side in ("low", "high"))
        count = len(predictor.features)
        if low.shape != (count,) or high.shape != (count,):
            return None
        return cls(predictor.features, low, high, np.zeros(count + 1, dtype=np.int64))

    @staticmethod
    def ranges(blocks: Iterable[FeatureBlock]) -> dict[str, list[float]]:
        """What a predictor's record keeps of the networks that it was fitted on."""
        values = np.concatenate([block.values for block in blocks])
        low, high = np.quantile(values, [0.001, 0.999], axis=0)
        wider = 0.1 * (high - low) + 1e-6
        return {"low": (low - wider).tolist(), "high": (high + wider).tolist()}

    def look_at(self, block: FeatureBlock) -> None:
        """Count a block's weights."""
        out = (block.values < self.low) | (block.values > self.high)
        self.beyond[:-1] += out.sum(axis=0)
        self.beyond[-1] += int(out.any(axis=1).sum())
        self.weights += len(out)

    def warn(self, source: str) -> None:
        """Say so if it is more than a tenth."""
        share = self.beyond[-1] / max(1, self.weights)
        if share > OUTSIDE:
            worst = self.names[int(self.beyond[:-1].argmax())]
            warnings.warn(
                f"this network lies outside of what the predictor {source!r} was fitted on: {100 * share:.0f} % of its "
                f"weights have a feature beyond the range seen there, most often {worst!r}; compare with {FALLBACK}, "
                "which needs no fitting",
                OutsideWarning,
                stacklevel=3,
            )
