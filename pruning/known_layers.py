"""Which parameters of which layers are prunable."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from scratchcard.artefacts.code_digest import is_installed

CONVOLUTIONS = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
PRUNABLE: dict[type[nn.Module], tuple[str, ...]] = {
    **dict.fromkeys((nn.Linear, *CONVOLUTIONS, nn.Embedding, nn.EmbeddingBag, nn.Bilinear), ("weight",)),
    nn.MultiheadAttention: ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"),
    nn.RNNBase: ("weight_ih_l*", "weight_hh_l*", "weight_hr_l*"),
    nn.RNNCellBase: ("weight_ih", "weight_hh"),
}
"""Names of prunable parameters by the type of their layer (or a subclass of it); `*` stands for anything."""

_BY_CLASS_NAME = {"Conv1D": ("weight",)}  # of the library transformers, which is not imported for this


def register_prunable(kind: type[nn.Module], names: Iterable[str]) -> None:
    """Let parameters of a layer of one's own count as prunable, from now on and in this process.

    Args:
        kind: the layer's class; its subclasses are meant too.
        names: of its parameters, such as `("weight",)`; `*` stands for anything.

    Raises:
        ValueError: not a class of modules, or no names.

    Examples:
        >>> class Outer(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.table = nn.Parameter(torch.ones(2, 3))
        >>> register_prunable(Outer, ["table"])
        >>> list(sc.prunable(Outer()))
        ['table']
    """
    names = (names,) if isinstance(names, str) else tuple(names)
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)) or not names:
        raise ValueError(
            f"expected a class of torch.nn.Module and names of its parameters, got {kind!r} and {names!r}, such as "
            'register_prunable(MyLayer, ("weight",))'
        )
    register_again([Registration(kind, names, sys._getframe(1).f_code.co_filename)])


class Registration(NamedTuple):
    """What `register_prunable` was given, and the file in which it was called.

    Examples:
        >>> Registration(nn.Bilinear, ("weight",), "script.py").names
        ('weight',)
    """

    kind: type[nn.Module]
    names: tuple[str, ...]
    file: str


_REGISTERED: dict[type[nn.Module], Registration] = {}


def registrations() -> list[Registration]:
    """What was registered in this process, for another one.

    Examples:
        >>> [entry.kind for entry in registrations() if entry.kind is nn.Linear]
        []
    """
    return list(_REGISTERED.values())


def register_again(entries: Iterable[Registration]) -> None:
    """Register here what was registered in another process.

    Examples:
        >>> register_again(registrations())
    """
    for entry in entries:
        PRUNABLE[entry.kind] = entry.names
        _REGISTERED[entry.kind] = entry
    _patterns.cache_clear()


def registered_for(network: nn.Module | Collection[Path]) -> dict[str, list[str]]:
    """What was registered that decides what is prunable in a network: names of parameters by the class.

    Args:
        network: a module, for which all counts that fits a layer of it; or the files of the code that builds one, for
            which all counts but what is registered there (it is part of that code, and was registered only if that
            code has run) or by an installed package.

    Examples:
        >>> registered_for(nn.Linear(2, 2))
        {}
    """
    if isinstance(network, nn.Module):
        kinds = {type(layer) for layer in network.modules()}
        chosen = [entry for entry in registrations() if any(issubclass(kind, entry.kind) for kind in kinds)]
    else:
        chosen = [e for e in registrations() if Path(e.file).resolve() not in network and not is_installed(e.file)]
    return {f"{entry.kind.__module__}:{entry.kind.__qualname__}": list(entry.names) for entry in chosen}


@lru_cache(maxsize=4096)
def _patterns(kind: type[nn.Module]) -> tuple[str, ...]:
    found = [name for known, names in PRUNABLE.items() if issubclass(kind, known) for name in names]
    return tuple(dict.fromkeys([*found, *_BY_CLASS_NAME.get(kind.__name__, ())]))


def weights_of(layer: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The prunable weights that a layer itself owns, by name, in registration order.

    Those that are computed (by a parametrisation, say) are among them; `prunable` refuses them.

    Examples:
        >>> [name for name, _ in weights_of(nn.GRU(2, 3))]
        ['weight_ih_l0', 'weight_hh_l0']
    """
    patterns = _patterns(type(layer))  # type: ignore[arg-type]
    if not patterns:
        return
    for name, parameter in layer._parameters.items():
        if parameter is not None and (name in patterns or any(fnmatchcase(name, pattern) for pattern in patterns)):
            yield name, parameter
    for name in patterns:
        if is_parametrized(layer, name):  # asking for the weight would compute it, and change what it is made of
            yield name, next(layer.get_submodule("parametrizations").get_submodule(name).parameters())
        elif name not in layer._parameters and isinstance(weight := getattr(layer, name, None), Tensor):
            yield name, weight


def check_registered(network: nn.Module) -> None:
    """Refuse a layer that has none of the parameters for which its class was registered: the names are mistaken.

    Raises:
        ValueError: names the layer's class, what was registered and the parameters that it has.

    Examples:
        >>> check_registered(nn.Linear(2, 2))
    """
    for entry in registrations():
        for layer in network.modules():
            if not isinstance(layer, entry.kind) or next(layer.parameters(), None) is None:
                continue
            # A parametrised weight is asked for by its parametrisation alone: computing it may change what it is of.
            own = [*layer._parameters, *(name for name in entry.names if is_parametrized(layer, name))]
            own += [name for name in entry.names if name not in own and isinstance(getattr(layer, name, None), Tensor)]
            if not any(fnmatchcase(name, pattern) for name in own for pattern in entry.names):
                raise ValueError(
                    f"register_prunable named {', '.join(entry.names)} of {entry.kind.__name__}, and a layer of that "
                    f"class has no such parameter; its own are {', '.join(layer._parameters) or 'none'}"
                )


def input_first(layer: nn.Module) -> bool:
    """Whether the first axis of the layer's `weight` is its input's: tables, `transformers`' Conv1D.

    Examples:
        >>> input_first(nn.Embedding(5, 2)), input_first(nn.Linear(5, 2))
        (True, False)
    """
    return isinstance(layer, nn.Embedding | nn.EmbeddingBag) or type(layer).__name__ in _BY_CLASS_NAME
