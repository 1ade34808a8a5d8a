"""Ticket: initial weights + mask + where it came from; saved as safetensors, so that loading runs no code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from scratchcard.artefacts.tensor_file import read_tensors, write_tensors
from scratchcard.pruning.findings import Finding, findings
from scratchcard.pruning.hold import Hold, hold, moved_weights
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import check_same_layout, inside, prunable
from scratchcard.pruning.state import copy_state, load_state
from scratchcard.pruning.ticket_html import ticket_html
from scratchcard.words import shortened

FORMAT = "scratchcard-ticket"
FORMAT_VERSION = 2
VERSIONS = ("1", "2")


@dataclass(frozen=True, eq=False)
class Ticket:
    """Initial weights, a mask over them and where both came from; after training also the trained weights.

    Attributes:
        initial: the network's whole state (parameters and buffers) before training, pruned weights not yet zeroed.
        mask: the kept weights.
        provenance: plain JSON: workload, scorer, regime, density, seed, versions ...
        trained: the network's whole state after training, its pruned weights zero, or None.

    Raises:
        ValueError: initial weights, mask and trained weights do not have the same names and shapes, or trained weights
            that the mask prunes are not zero.

    Examples:
        >>> network = nn.Linear(4, 2)
        >>> ticket = Ticket.of(network, Mask({"weight": torch.eye(2, 4, dtype=torch.bool)}), {"method": "by hand"})
        >>> ticket
        Ticket(2 of 8 weights, density 0.25, by hand, untrained)
        >>> ticket.apply_to(network)
        >>> int((network.weight != 0).sum())
        2
    """

    initial: Mapping[str, Tensor]
    mask: Mask
    provenance: Mapping[str, Any] = field(default_factory=dict)
    trained: Mapping[str, Tensor] | None = None

    def __post_init__(self) -> None:
        masks = self.mask.tensors
        check_same_layout(masks, {name: self.initial[name] for name in masks if name in self.initial}, "the ticket")
        if self.trained is None:
            return
        trained = {name: self.trained[name] for name in self.initial if name in self.trained}
        trained |= self.trained  # in the initial order, then what only the trained state has
        check_same_layout(self.initial, trained, "the ticket's trained state")
        for name, kept in masks.items():
            moved = int((trained[name] != 0).logical_and_(~kept).sum())
            if moved:
                raise ValueError(
                    f"{moved} trained weights of {name!r} that the ticket prunes are not zero; hold them there while "
                    "training (ticket.hold)"
                )

    def __repr__(self) -> str:
        method = self.provenance.get("label") or self.provenance.get("method")
        found = f", {method}" if isinstance(method, str) else ""
        state = "untrained" if self.trained is None else "trained"
        mask = self.mask
        return f"Ticket({mask.kept:,} of {mask.total:,} weights, density {mask.density:.4g}{found}, {state})"

    def _repr_html_(self) -> str:
        """What a notebook shows: a row for each layer."""
        return ticket_html(repr(self), self.mask)

    @classmethod
    def of(cls, network: nn.Module, mask: Mask, provenance: Mapping[str, Any] | None = None) -> Ticket:
        """A ticket from a network as it stands now; its tensors are copied, never aliased.

        Names are those of the network inside of wrappers (`DataParallel`, compiled modules), as everywhere.
        """
        check_same_layout(prunable(network), mask.tensors, "the mask")
        return cls(copy_state(inside(network)), mask.to("cpu"), dict(provenance or {}))

    def apply_to(self, network: nn.Module, *, trained: bool = False) -> None:
        """Load the initial (or trained) weights into `network` and set its pruned weights to zero.

        A network in a wrapper, such as `DataParallel`, gets them inside of it.

        Raises:
            ValueError: `trained=True` for a ticket that was not trained, or a network of another shape.
        """
        state = self.trained if trained else self.initial
        if state is None:
            raise ValueError("this ticket holds no trained weights: train it first (scratchcard train)")
        network = inside(network)
        own = network.state_dict()
        # In the network's order, then what only the ticket has: all is checked before anything is changed.
        order = [*(name for name in own if name in state), *(name for name in state if name not in own)]
        check_same_layout(own, {name: state[name] for name in order}, "the ticket")
        check_same_layout(prunable(network), self.mask.tensors, "the ticket's mask")
        load_state(network, state)
        self.mask.apply_to(network)

    def hold(self, network: nn.Module, optimizer: Optimizer | None = None, *, trained: bool = False) -> Hold:
        """Apply the ticket to `network` and hold its pruned weights at zero in any training loop; see `hold`.

        >>> network = nn.Linear(4, 2)
        >>> ticket = Ticket.of(network, Mask({"weight": torch.eye(2, 4, dtype=torch.bool)}))
        >>> with ticket.hold(network):
        ...     optimizer = torch.optim.SGD(network.parameters(), lr=0.1, weight_decay=0.1, momentum=0.9)
        ...     network(torch.ones(3, 4)).sum().backward()
        ...     optimizer.step()
        >>> int((network.weight != 0).sum())
        2

        Raises:
            ValueError: see `apply_to`.
        """
        self.apply_to(network, trained=trained)
        return hold(network, self.mask, optimizer)

    def check(self) -> tuple[Finding, ...]:
        """What is odd about the ticket, a sentence each; empty where all is well.

        Looked for are layers of which nothing is kept, an effective density far below the density, weights that were
        kept by lot, layers to which the criterion gave only zeros, matrices that are not prunable, classes that the
        scoring batch lacks, and frozen layers. All but the first are known only of tickets that `prune` found.

        >>> mask = Mask({"weight": torch.eye(2, 4, dtype=torch.bool)})
        >>> Ticket.of(nn.Linear(4, 2), mask).check()
        ()

        Raises:
            ValueError: what the provenance holds of the search under `checks` is of another kind.
        """
        known = self.provenance.get("checks")
        return findings(self.mask, known if isinstance(known, Mapping) else {})

    def save(self, path: str | Path) -> Path:
        """Write the ticket to `path` (safetensors); written beside and renamed, so never half there.

        The mask is stored as bits, and of the trained weights those that are kept; the file has a checksum.

        Raises:
            OSError: `path` is a folder, or nothing can be written there.
            ValueError: the provenance holds NaN or infinity, which JSON has no word for.
            TypeError: the provenance is not plain JSON.
        """
        masks = self.mask.tensors
        tensors = {f"initial/{name}": tensor for name, tensor in self.initial.items()}
        tensors |= {f"kept/{name}": _bits(kept) for name, kept in masks.items()}
        for name, tensor in (self.trained or {}).items():
            tensors[f"trained/{name}"] = tensor[masks[name]] if name in masks else tensor
        texts = {
            "format": FORMAT,
            "version": str(FORMAT_VERSION),
            "weights": json.dumps(list(masks)),
            "excluded": json.dumps(sorted(self.mask.excluded)),
            "state": json.dumps(list(self.initial)),
            "provenance": json.dumps(dict(self.provenance), sort_keys=True, allow_nan=False),
        }
        return write_tensors(path, tensors, texts)

    @classmethod
    def load(cls, path: str | Path | bytes) -> Ticket:
        """Read a ticket that `save` wrote, from its file or its file's bytes.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is damaged or not a ticket, in one sentence.

        Warns:
            UncheckedWarning: it was written before tickets had a checksum.
        """
        source, path = path, "the ticket" if isinstance(path, bytes) else Path(path)
        if isinstance(path, Path) and not path.is_file():
            raise FileNotFoundError(f"no ticket at {path}: expected a .safetensors file that `scratchcard prune` wrote")
        try:
            tensors, texts = read_tensors(source)
        except ValueError as error:
            raise ValueError(_damaged(path, error)) from error
        if texts.get("format") != FORMAT:
            raise ValueError(f"{path} is a safetensors file but not a ticket (no {FORMAT!r} in its metadata)")
        if texts.get("version") not in VERSIONS:
            raise ValueError(
                f"{path} has ticket version {shortened(str(texts.get('version')), 40)}, this release reads "
                f"{', '.join(VERSIONS)}"
            )
        try:
            return cls(*_parts(tensors, texts))
        except (KeyError, TypeError, ValueError, RecursionError, RuntimeError) as error:  # torch's, of odd types
            raise ValueError(_damaged(path, error)) from error


def _parts(
    tensors: Mapping[str, Tensor], texts: Mapping[str, str]
) -> tuple[dict[str, Tensor], Mask, dict[str, Any], dict[str, Tensor] | None]:
    """Initial state, mask, provenance and trained state of a file; whatever does not fit together is refused."""
    weights, state, excluded = (_names(texts, key) for key in ("weights", "state", "excluded"))
    provenance = json.loads(texts["provenance"])
    if not isinstance(provenance, dict):
        raise TypeError(f"its provenance is no JSON object but {type(provenance).__name__}")
    initial = {name: tensors[f"initial/{name}"] for name in state}
    for name in weights:
        if not initial[name].is_floating_point():
            raise TypeError(f"the weights {name!r} are {initial[name].dtype}, expected floating numbers")
    if texts["version"] == "1":
        kept = {name: tensors[f"mask/{name}"] for name in weights}
    else:
        kept = {name: _from_bits(tensors[f"kept/{name}"], initial[name].shape, name) for name in weights}
    mask = Mask(kept, frozenset(excluded))
    check_same_layout({name: initial[name] for name in weights}, mask.tensors, "the mask")
    said = provenance.get("kept", mask.kept)
    if said != mask.kept:
        raise ValueError(f"its mask keeps {mask.kept} weights, but it says {said}")
    trained = {name: tensors[f"trained/{name}"] for name in state if f"trained/{name}" in tensors}
    if trained and len(trained) != len(initial):
        raise KeyError("trained weights")
    if trained and texts["version"] != "1":
        for name in weights:
            whole = torch.zeros(initial[name].shape, dtype=trained[name].dtype)
            if trained[name].shape != (int(kept[name].sum()),):
                raise ValueError(f"the trained weights {name!r} are not as many as are kept")
            trained[name] = whole.masked_scatter_(kept[name], trained[name])
    checks = provenance.get("checks")
    findings(mask, checks if isinstance(checks, Mapping) else {})  # refuses what it cannot read
    return initial, mask, provenance, trained or None


def _names(texts: Mapping[str, str], key: str) -> list[str]:
    found = json.loads(texts.get(key, "[]") if key == "excluded" else texts[key])
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise TypeError(f"{key} is no list of names")
    if key == "weights" and not found:
        raise ValueError("it names no weights")
    return found


def _bits(kept: Tensor) -> Tensor:
    return torch.from_numpy(np.packbits(kept.cpu().numpy().reshape(-1)))


def _from_bits(bits: Tensor, shape: torch.Size, name: str) -> Tensor:
    size = shape.numel()
    if bits.dtype is not torch.uint8 or bits.shape != ((size + 7) // 8,):
        raise ValueError(f"the mask of {name!r} is not of the shape {tuple(shape)}")
    return torch.from_numpy(np.unpackbits(bits.numpy(), count=size).astype(bool)).reshape(shape)


def _damaged(path: str | Path, error: Exception) -> str:
    why = shortened(str(error))
    return f"{path} is damaged or truncated ({why}); make the ticket again or restore the file from a copy"


def nonzero_pruned(network: nn.Module, mask: Mask) -> int:
    """How many pruned weights of `network` are not exactly zero (0 for a well-kept ticket); `verify` names them.

    Examples:
        >>> network = nn.Linear(2, 1)
        >>> _ = network.weight.data.fill_(0.5)
        >>> nonzero_pruned(network, Mask({"weight": torch.tensor([[True, False]])}))
        1
    """
    return sum(moved_weights(network, mask).values())
