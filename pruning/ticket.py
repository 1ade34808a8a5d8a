"""Ticket: initial weights + mask + where it came from; saved as safetensors, so that loading runs no code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from scratchcard.artefacts.tensor_file import read_tensors, write_tensors
from scratchcard.pruning.hold import moved_weights
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import check_same_layout, prunable

FORMAT = "scratchcard-ticket"
FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class Ticket:
    """Initial weights, a mask over them and where both came from; after training also the trained weights.

    Attributes:
        initial: the network's whole state (parameters and buffers) before training, pruned weights not yet zeroed.
        mask: the kept weights.
        provenance: plain JSON: workload, scorer, regime, density, seed, versions ...
        trained: the network's whole state after training, or None.

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

    def __repr__(self) -> str:
        method = self.provenance.get("label") or self.provenance.get("method")
        found = f", {method}" if isinstance(method, str) else ""
        state = "untrained" if self.trained is None else "trained"
        mask = self.mask
        return f"Ticket({mask.kept:,} of {mask.total:,} weights, density {mask.density:.4g}{found}, {state})"

    def _repr_html_(self) -> str:
        """What a notebook shows: a row for each layer."""
        rows = [
            f"<tr><td>{escape(name)}</td><td>{' × '.join(map(str, kept.shape))}</td>"
            f"<td>{int(kept.sum()):,}</td><td>{float(kept.float().mean()):.4f}</td></tr>"
            for name, kept in self.mask.tensors.items()
        ]
        head = "".join(f"<th>{word}</th>" for word in ("layer", "shape", "kept", "density"))
        return f"<p>{escape(repr(self))}</p><table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"

    @classmethod
    def of(cls, network: nn.Module, mask: Mask, provenance: Mapping[str, Any] | None = None) -> Ticket:
        """A ticket from a network as it stands now; its tensors are copied, never aliased."""
        check_same_layout(prunable(network), mask.tensors, "the mask")
        return cls(copy_state(network), mask.to("cpu"), dict(provenance or {}))

    def apply_to(self, network: nn.Module, *, trained: bool = False) -> None:
        """Load the initial (or trained) weights into `network` and set its pruned weights to zero.

        Raises:
            ValueError: `trained=True` for a ticket that was not trained, or a network of another shape.
        """
        state = self.trained if trained else self.initial
        if state is None:
            raise ValueError("this ticket holds no trained weights: train it first (scratchcard train)")
        own = network.state_dict()
        # In the network's order, then what only the ticket has: all is checked before anything is changed.
        order = [*(name for name in own if name in state), *(name for name in state if name not in own)]
        check_same_layout(own, {name: state[name] for name in order}, "the ticket")
        check_same_layout(prunable(network), self.mask.tensors, "the ticket's mask")
        network.load_state_dict(dict(state))
        self.mask.apply_to(network)

    def save(self, path: str | Path) -> Path:
        """Write the ticket to `path` (safetensors); written beside and renamed, so never half there.

        Raises:
            OSError: `path` is a folder, or nothing can be written there.
            ValueError: the provenance holds NaN or infinity, which JSON has no word for.
            TypeError: the provenance is not plain JSON.
        """
        tensors = {f"initial/{name}": tensor for name, tensor in self.initial.items()}
        tensors |= {f"mask/{name}": tensor for name, tensor in self.mask.tensors.items()}
        tensors |= {f"trained/{name}": tensor for name, tensor in (self.trained or {}).items()}
        texts = {
            "format": FORMAT,
            "version": str(FORMAT_VERSION),
            "weights": json.dumps(list(self.mask.tensors)),
            "state": json.dumps(list(self.initial)),
            "provenance": json.dumps(dict(self.provenance), sort_keys=True, allow_nan=False),
        }
        return write_tensors(path, tensors, texts)

    @classmethod
    def load(cls, path: str | Path) -> Ticket:
        """Read a ticket that `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is damaged or not a ticket, in one sentence.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no ticket at {path}: expected a .safetensors file that `scratchcard prune` wrote")
        try:
            tensors, texts = read_tensors(path)
        except ValueError as error:
            raise ValueError(_damaged(path, error)) from error
        if texts.get("format") != FORMAT:
            raise ValueError(f"{path} is a safetensors file but not a ticket (no {FORMAT!r} in its metadata)")
        if texts.get("version") != str(FORMAT_VERSION):
            raise ValueError(f"{path} has ticket version {texts.get('version')}, this release reads {FORMAT_VERSION}")
        try:
            weights, state = json.loads(texts["weights"]), json.loads(texts["state"])
            provenance = json.loads(texts["provenance"])
            if not isinstance(provenance, dict):
                raise TypeError(f"its provenance is no JSON object but {type(provenance).__name__}")
            mask = Mask({name: tensors[f"mask/{name}"] for name in weights})
            initial = {name: tensors[f"initial/{name}"] for name in state}
            trained = {name: tensors[f"trained/{name}"] for name in state if f"trained/{name}" in tensors}
            if trained and len(trained) != len(initial):
                raise KeyError("trained weights")
            check_same_layout({name: initial[name] for name in weights}, mask.tensors, "the mask")
        except (KeyError, TypeError, json.JSONDecodeError, RecursionError) as error:
            raise ValueError(_damaged(path, error)) from error
        return cls(initial, mask, provenance, trained or None)


def _damaged(path: Path, error: Exception) -> str:
    return f"{path} is damaged or truncated ({error}); make the ticket again or restore the file from a copy"


def copy_state(network: nn.Module) -> dict[str, Tensor]:
    """A copy of the network's whole state on the CPU that shares no memory with it.

    Examples:
        >>> network = nn.Linear(2, 1)
        >>> state = copy_state(network)
        >>> state["weight"].data_ptr() == network.weight.data_ptr()
        False
    """
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in network.state_dict().items()}


def nonzero_pruned(network: nn.Module, mask: Mask) -> int:
    """How many pruned weights of `network` are not exactly zero (0 for a well-kept ticket).

    Examples:
        >>> network = nn.Linear(2, 1)
        >>> _ = network.weight.data.fill_(0.5)
        >>> nonzero_pruned(network, Mask({"weight": torch.tensor([[True, False]])}))
        1
    """
    return sum(moved_weights(network, mask).values())
