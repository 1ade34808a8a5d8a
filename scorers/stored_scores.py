"""Shared: scores that many runs ask for are computed once."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from torch.nn import functional as F

from scratchcard.artefacts.fingerprint import fingerprint
from scratchcard.artefacts.store import Store, Stored, content_key
from scratchcard.clock import counted_reads, note_reads, spent
from scratchcard.pruning.inputs import tensors
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.network_code import network_code
from scratchcard.pruning.parameters import check_same_layout, prunable
from scratchcard.pruning.scores import Scores
from scratchcard.pruning.state import copy_state
from scratchcard.scorers.pieces import given_memory
from scratchcard.scorers.scorer import Batch, Loss, Scorer


@dataclass(eq=False)
class Shared:
    """A store of scores, and what it saved.

    What a method spends is what it would have spent alone: with `saved` added, neither is a stored score free, nor does
    looking it up and storing it cost anything.

    Attributes:
        store: where the scores lie.
        known: plain JSON of what decides scores and cannot be seen in a network: its code, and that of a loss.
        saved: seconds that stored scores once took, less those spent on finding and storing them, so far.

    Examples:
        >>> network = nn.Linear(3, 2, bias=False)
        >>> network.weight.data = torch.tensor([[1.0, -2.0, 0.5], [0.1, 0.2, -3.0]])
        >>> batch = torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 0.5]]), torch.tensor([0, 1])
        >>> import pathlib, tempfile
        >>> shared = Shared(Store(pathlib.Path(tempfile.mkdtemp())))
        >>> scorer = shared.of(sc.make_scorer("snip"))
        >>> first = scorer(network, batch, nn.functional.cross_entropy)
        >>> again = scorer(network, batch, nn.functional.cross_entropy)  # read, not computed
        >>> again.flat().equal(first.flat())
        True
    """

    store: Store
    known: Mapping[str, Any] = field(default_factory=dict)
    saved: float = 0.0

    def of(self, scorer: Scorer) -> SharedScorer:
        """The scorer, with its scores kept in the store."""
        return SharedScorer(scorer, self)


@dataclass(frozen=True, eq=False)
class SharedScorer(Scorer):
    """A scorer whose scores of whole (unmasked) networks are kept in a store; with a mask it computes.

    The same network, batch and scorer give the same scores, so that a grid's densities and regimes share them. Only
    calls of the scorer itself are kept, not what it prepares for a multi-shot sequence; and only if scorer and loss are
    known by their names (`repr` of a dataclass, a function of a module): an address in memory tells nobody apart.

    Attributes:
        scorer: who scores.
        shared: where the scores lie.

    Examples:
        >>> network = nn.Linear(3, 2, bias=False)
        >>> network.weight.data = torch.tensor([[1.0, -2.0, 0.5], [0.1, 0.2, -3.0]])
        >>> batch = torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 0.5]]), torch.tensor([0, 1])
        >>> import pathlib, tempfile
        >>> scorer = SharedScorer(sc.make_scorer("snip"), Shared(Store(pathlib.Path(tempfile.mkdtemp()))))
        >>> scorer
        SNIP()
        >>> scorer(network, batch, nn.functional.cross_entropy).total
        6
    """

    scorer: Scorer
    shared: Shared

    def __repr__(self) -> str:
        return repr(self.scorer)

    def prepare(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scorer:
        """What the scorer prepares for a multi-shot sequence; itself, if it prepares nothing."""
        prepared = self.scorer.prepare(network, batch, loss, mask=mask)
        return self if prepared is self.scorer else prepared

    def from_start(self, network: nn.Module, done: Callable[[], float]) -> Scorer:
        """What the scorer is in a search; itself, if that is no other: what depends on a search cannot be shared."""
        begun = self.scorer.from_start(network, done)
        return self if begun is self.scorer else begun

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        """See `scorers.Scorer`."""
        name = _loss_name(loss)
        if mask is not None or name is None or _ADDRESS.search(repr(self.scorer)):
            return self.scorer(network, batch, loss, mask=mask)
        device = next(network.parameters()).device
        begin = spent(device)
        scores, seconds = self._found_or_scored(network, batch, loss, name)
        self.shared.saved += seconds - (spent(device) - begin)
        return scores

    def _found_or_scored(self, network: nn.Module, batch: Batch, loss: Loss, name: str) -> tuple[Scores, float]:
        """The scores, and the seconds that scoring takes or took."""
        inputs, targets = batch
        device = next(network.parameters()).device
        described: dict[str, Any] = {
            "scorer": repr(self.scorer),
            "network": network_code(network, learning=True),
            "loss": name,
        }
        described |= {"scorer_code": fingerprint(type(self.scorer)), "loss_code": fingerprint(loss)}
        described |= self.shared.known
        modes = [module.training for module in network.modules()]
        if not all(modes):  # batch normalisation scores otherwise in evaluation mode
            described["modes"] = modes
        if given_memory() is not None:  # pieces may be batches of their own
            described["memory"] = given_memory()
        if device.type != "cpu":  # its seconds are of another clock
            described["device"] = device.type
        given = {f"inputs.{name}" if name else "inputs": tensor for name, tensor in tensors(inputs).items()}
        given["targets"] = targets
        key = content_key("scores", described, state=copy_state(network), batch=given)
        found = self._found(network, key)
        if found is None:
            with self.shared.store.claim(key):  # another process that needs them too waits
                found = self._found(network, key) or self._scored(network, batch, loss, key)
        return found

    def _found(self, network: nn.Module, key: str) -> tuple[Scores, float] | None:
        found = self.shared.store.get(key)
        if found is None:
            return None
        weights = prunable(network)
        device = next(network.parameters()).device
        try:
            held = {weight: found.tensors[weight].to(device) for weight in weights}
            check_same_layout(weights, held, "the stored scores")
            seconds, reads = float(found.about["seconds"]), float(found.about["reads"])
            note_reads(reads)
            return Scores(held, repr(self.scorer)), seconds
        except (KeyError, TypeError, ValueError):
            return None  # a whole file that holds something else: as good as none

    def _scored(self, network: nn.Module, batch: Batch, loss: Loss, key: str) -> tuple[Scores, float]:
        device = next(network.parameters()).device
        begin = spent(device)
        with warnings.catch_warnings(record=True) as caught, counted_reads() as reads:
            warnings.simplefilter("always")
            scores = self.scorer(network, batch, loss)
        seconds = spent(device) - begin
        for warning in caught:
            warnings.warn(warning.message, warning.category, stacklevel=4)
        if not caught:  # what was warned of once is warned of again
            self.shared.store.put(key, Stored(scores.tensors, {"seconds": seconds, "reads": reads.examples}))
        return scores, seconds


_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def _loss_name(loss: Loss) -> str | None:
    """The name of a loss that is a function of a module; None for others (lambdas, modules with settings)."""
    module, name = getattr(loss, "__module__", None), getattr(loss, "__qualname__", "<")
    if loss is F.cross_entropy:
        return str(name)
    return None if "<" in name or module is None else f"{module}.{name}"
