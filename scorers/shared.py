"""Shared: scores that many runs ask for are computed once."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from pruning.clock import spent
from pruning.mask import Mask
from pruning.parameters import prunable
from pruning.scores import Scores
from pruning.store import Store, Stored, content_key
from pruning.ticket import copy_state
from scorers.scorer import Batch, Loss, Scorer


@dataclass(eq=False)
class Shared:
    """A store of scores, and what it saved.

    What a method spends is what it would have spent alone: `saved` adds up the seconds that stored scores once took.

    Attributes:
        store: where the scores lie.
        saved: seconds that were not spent again, so far.
    """

    store: Store
    saved: float = 0.0

    def of(self, scorer: Scorer) -> SharedScorer:
        """The scorer, with its scores kept in the store."""
        return SharedScorer(scorer, self)


@dataclass(frozen=True, eq=False)
class SharedScorer:
    """A scorer whose scores of whole (unmasked) networks are kept in a store; with a mask it computes.

    The same network, batch and scorer give the same scores, so that a grid's densities and regimes share them. Only
    calls of the scorer itself are kept, not what it prepares for a multi-shot sequence.

    Attributes:
        scorer: who scores.
        shared: where the scores lie.
    """

    scorer: Scorer
    shared: Shared

    def __repr__(self) -> str:
        return repr(self.scorer)

    def prepare(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scorer:
        """What the scorer prepares for a multi-shot sequence; itself, if it prepares nothing."""
        prepare: Callable[..., Scorer] | None = getattr(self.scorer, "prepare", None)
        return self if prepare is None else prepare(network, batch, loss, mask=mask)

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        """See `scorers.Scorer`."""
        if mask is not None:
            return self.scorer(network, batch, loss, mask=mask)
        inputs, targets = batch
        described: dict[str, Any] = {
            "scorer": repr(self.scorer),
            "network": repr(network),
            "loss": getattr(loss, "__qualname__", repr(loss)),
        }
        modes = [module.training for module in network.modules()]
        if not all(modes):  # batch normalisation scores otherwise in evaluation mode
            described["modes"] = modes
        key = content_key("scores", described, state=copy_state(network), batch={"inputs": inputs, "targets": targets})
        found = self.shared.store.get(key)
        device = next(network.parameters()).device
        if found is not None:
            self.shared.saved += float(found.about["seconds"])
            return Scores({name: found.tensors[name].to(device) for name in prunable(network)}, repr(self.scorer))
        begin = spent(device)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            scores = self.scorer(network, batch, loss)
        for warning in caught:
            warnings.warn(warning.message, warning.category, stacklevel=2)
        if not caught:  # what was warned of once is warned of again
            self.shared.store.put(key, Stored(scores.tensors, {"seconds": spent(device) - begin}))
        return scores
