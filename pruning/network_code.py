"""What a network computes beside its numbers: layers, what they hold as attributes, their code, their hooks."""

from __future__ import annotations

import inspect
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from scratchcard.artefacts.digest import sha256
from scratchcard.artefacts.fingerprint import fingerprint
from scratchcard.pruning.parameters import inside

_STANDARD = frozenset(vars(nn.Module())) | {"_compiled_call_impl"}  # `network.compile()` computes the same
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def network_code(network: nn.Module, *, learning: bool = False) -> str:
    """sha256 of all that decides what a network computes but its state, mode, device and precision.

    Of every module in it: its place, its class, its attributes (a function, a slope, the number of heads) and its
    buffers that no state holds. Two networks of one code and one state have the same outputs. A layer or a parameter
    of the network itself that an attribute refers to (a list of layers, a method) counts by its place.

    Args:
        network: any network.
        learning: also what decides how it learns, and what may be put on it for a while: frozen parameters, hooks.

    Examples:
        >>> class Net(nn.Module):
        ...     def __init__(self, function):
        ...         super().__init__()
        ...         self.layer, self.function = nn.Linear(2, 2), function
        >>> network_code(Net(torch.relu)) == network_code(Net(torch.tanh))
        False
        >>> network_code(nn.MultiheadAttention(8, 2)) == network_code(nn.MultiheadAttention(8, 4))
        False
    """
    parts, places = [], _places(inside(network))
    for name, module in inside(network).named_modules(remove_duplicate=False):
        kind: Any = type(module)
        known = _settings(kind)
        own = {
            k: v
            for k, v in sorted(vars(module).items())
            if k not in _STANDARD and (known is None or k in known or callable(getattr(kind, k, None)))
        }
        held: dict[str, Any] = dict(own)
        for key in sorted(module._non_persistent_buffers_set):
            buffer = module._buffers[key]
            widened = buffer is not None and buffer.is_floating_point()
            held[f"buffer {key}"] = buffer.to(torch.float64) if buffer is not None and widened else buffer
        if learning:
            held["hooks"] = [hook for key in _HOOKS for hook in getattr(module, key).values()]
            parameters = module._parameters.items()
            held["frozen"] = [key for key, value in parameters if value is not None and not value.requires_grad]
        parts += [name, fingerprint([kind, held], places)]
    return sha256(["\n".join(parts)])


def _places(network: nn.Module) -> dict[int, str]:
    """By `id` the modules of a network, and the tensors that its state holds: their numbers are no code."""
    found: dict[int, str] = {}
    for name, module in network.named_modules():
        found[id(module)] = f"module {name}"
        buffers = {k: v for k, v in module._buffers.items() if k not in module._non_persistent_buffers_set}
        for key, tensor in (module._parameters | buffers).items():
            if tensor is not None:
                found.setdefault(id(tensor), f"tensor {name}.{key}")
    return found


@lru_cache(maxsize=1024)
def _settings(kind: type) -> frozenset[str] | None:
    """Of a class of torch's own the attributes that its caller gave: others differ between versions. None of others."""
    if kind.__module__.partition(".")[0] != "torch":
        return None
    return frozenset(
        name
        for base in kind.__mro__
        if base is not object and issubclass(base, nn.Module)
        for name in inspect.signature(base.__init__).parameters
    )
