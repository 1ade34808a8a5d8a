"""State: all tensors of a network, copied, and loaded as the version of its layers that the network itself has."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

Network = TypeVar("Network", bound=nn.Module)


def copied_module(network: Network, memo: Mapping[int, Any] | None = None) -> Network:
    """A deep copy of a network; activations that it keeps of its last call lose their graph, which nothing can copy.

    Args:
        network: left untouched.
        memo: what is to stand in the copy for things of the network, by their identity.

    Examples:
        >>> network = nn.Linear(2, 1)
        >>> network.seen = network(torch.ones(1, 2))
        >>> copied_module(network).seen.requires_grad
        False
    """
    held = (leaf for module in network.modules() for leaf in tree_leaves(vars(module)))
    kept = {id(leaf): leaf.detach().clone() for leaf in held if isinstance(leaf, Tensor) and not leaf.is_leaf}
    return copy.deepcopy(network, kept | dict(memo or {}))


def copy_state(network: nn.Module) -> dict[str, Tensor]:
    """A copy of the network's whole state on the CPU that shares no memory with it.

    Raises:
        ValueError: its state holds something else than dense tensors.

    Examples:
        >>> network = nn.Linear(2, 1)
        >>> state = copy_state(network)
        >>> state["weight"].data_ptr() == network.weight.data_ptr()
        False
    """
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in _state(network).items()}


def given_up_state(network: nn.Module) -> dict[str, Tensor]:
    """The whole state, on the CPU, of a network that nobody will use any more: its own tensors where that is possible.

    Tensors that share memory with others of the state are copied.

    Raises:
        ValueError: see `copy_state`.

    Examples:
        >>> network = nn.Linear(2, 1)
        >>> state = given_up_state(network)
        >>> state["weight"].data_ptr() == network.weight.data_ptr()
        True
    """
    found: dict[str, Tensor] = {}
    places = set[int]()
    for name, tensor in _state(network).items():
        own, storage = tensor.detach().to("cpu"), tensor.untyped_storage()
        alone = storage.nbytes() == own.nbytes and storage.data_ptr() not in places
        places.add(storage.data_ptr())
        found[name] = own if alone or not own.numel() else own.clone()
    return found


def _state(network: nn.Module) -> dict[str, Tensor]:
    state: dict[str, Tensor] = network.state_dict()
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(
                f"{type(network).__name__} keeps {name!r} in its state, which is {type(tensor).__name__}; expected "
                "tensors only (an extra state cannot be stored in a ticket)"
            )
        if tensor.layout is not torch.strided or tensor.is_quantized:
            kind = "quantised" if tensor.is_quantized else str(tensor.layout)
            raise ValueError(
                f"{type(network).__name__} keeps {name!r} in its state as a {kind} tensor, which cannot be stored in a "
                "ticket; keep it dense, or out of the state (persistent=False)"
            )
    return state


def load_state(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a whole state into `network`, whether or not it says of which version its layers are.

    `state_dict()` notes beside the tensors a version of each layer's code, and some layers ask for it when they are
    loaded (torchvision's MNASNet refuses without). Plain dicts and safetensors files hold tensors alone. Such a state,
    if its names are those of the network, is taken for one of the network's own versions; with other names it is left
    to the layers, which may know older ones.

    Raises:
        RuntimeError: the names or shapes are not the network's.

    Examples:
        >>> network = nn.Linear(2, 1)
        >>> load_state(network, {"weight": torch.ones(1, 2), "bias": torch.zeros(1)})
        >>> network.weight
        Parameter containing:
        tensor([[1., 1.]], requires_grad=True)
    """
    versioned: Any = OrderedDict(state)
    own: Any = network.state_dict()
    versions = getattr(state, "_metadata", None)
    if versions is None and set(state) == set(own):
        versions = own._metadata
    if versions is not None:
        versioned._metadata = versions
    network.load_state_dict(versioned)
