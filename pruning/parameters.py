"""Which parameters of a network are prunable, by name.

Prunable are the matrices that layers multiply their inputs with, whatever they call them: `weight` of linear,
convolution, embedding and bilinear layers, `in_proj_weight` of attention, `weight_ih_l0` of recurrent layers, and what
`register_prunable` adds; biases and normalisation parameters are not. Every density in this project has the number of
prunable weights as its denominator.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

PRUNABLE: dict[type[nn.Module], tuple[str, ...]] = {
    **dict.fromkeys(
        (
            nn.Linear,
            nn.Conv1d,
            nn.Conv2d,
            nn.Conv3d,
            nn.ConvTranspose1d,
            nn.ConvTranspose2d,
            nn.ConvTranspose3d,
            nn.Embedding,
            nn.EmbeddingBag,
            nn.Bilinear,
        ),
        ("weight",),
    ),
    nn.MultiheadAttention: ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"),
    nn.RNNBase: ("weight_ih_l*", "weight_hh_l*", "weight_hr_l*"),
    nn.RNNCellBase: ("weight_ih", "weight_hh"),
}
"""Names of prunable parameters by the type of their layer (or a subclass of it); `*` stands for anything."""

_BY_CLASS_NAME = {"Conv1D": ("weight",)}  # of the library transformers, which is not imported for this
_NORMALISATIONS = (
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)


class NotPrunableWarning(UserWarning):
    """A network has matrices that nothing of this project prunes or counts."""


def register_prunable(kind: type[nn.Module], names: Iterable[str]) -> None:
    """Let parameters of a layer of one's own count as prunable, from now on and in this process.

    Args:
        kind: the layer's class; its subclasses are meant too.
        names: of its parameters, such as `("weight",)`; `*` stands for anything.

    Raises:
        ValueError: not a class of modules, or no names.

    >>> class Outer(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.table = nn.Parameter(torch.ones(2, 3))
    >>> register_prunable(Outer, ["table"])
    >>> list(prunable(Outer()))
    ['table']
    """
    names = (names,) if isinstance(names, str) else tuple(names)
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)) or not names:
        raise ValueError(
            f"expected a class of torch.nn.Module and names of its parameters, got {kind!r} and {names!r}, such as "
            'register_prunable(MyLayer, ("weight",))'
        )
    PRUNABLE[kind] = names
    _patterns.cache_clear()


@lru_cache(maxsize=4096)
def _patterns(kind: type[nn.Module]) -> tuple[str, ...]:
    found = [name for known, names in PRUNABLE.items() if issubclass(kind, known) for name in names]
    return tuple(dict.fromkeys([*found, *_BY_CLASS_NAME.get(kind.__name__, ())]))


def _weights_of(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    patterns = _patterns(type(module))  # type: ignore[arg-type]
    if not patterns:
        return
    for name, parameter in module._parameters.items():
        if parameter is not None and (name in patterns or any(fnmatchcase(name, pattern) for pattern in patterns)):
            yield name, parameter
    for name in patterns:
        # Computed, as by a parametrisation: not to be overlooked, but refused (`prunable`).
        if name not in module._parameters and isinstance(weight := getattr(module, name, None), Tensor):
            yield name, weight


def inside(network: nn.Module) -> nn.Module:
    """The network without wrappers: `DataParallel`, `DistributedDataParallel`, `AveragedModel`, compiled modules.

    >>> inside(nn.DataParallel(nn.Linear(2, 1)))
    Linear(in_features=2, out_features=1, bias=True)
    """
    while True:
        if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel | AveragedModel):
            network = network.module
        elif isinstance(getattr(network, "_orig_mod", None), nn.Module):
            network = network._orig_mod  # type: ignore[assignment]
        else:
            return network


def prunable_layers(network: nn.Module) -> dict[str, nn.Module]:
    """The layers that own a prunable weight, keyed by the weight's qualified name, in registration order.

    A weight shared by several layers is listed once, under the first layer that owns it. Names are those of the network
    inside of wrappers (`inside`): no `module.` stands before them.
    """
    found: dict[str, nn.Module] = {}
    seen: set[int] = set()
    for name, module in inside(network).named_modules():
        for own, weight in _weights_of(module):
            if id(weight) not in seen:
                seen.add(id(weight))
                found[f"{name}.{own}" if name else own] = module
    return found


def input_first(layer: nn.Module) -> bool:
    """Whether the first axis of the layer's `weight` is its input's: tables, `transformers`' Conv1D."""
    return isinstance(layer, nn.Embedding | nn.EmbeddingBag) or type(layer).__name__ in _BY_CLASS_NAME


def prunable(network: nn.Module) -> dict[str, nn.Parameter]:
    """The prunable weights of `network` by qualified name, in registration order.

    Linear weights have shape `(out, in)`, convolutions `(out, in, kh, kw)`, embeddings `(entries, width)`, attention
    and recurrent layers `(gates or heads x width, in)`.

    Raises:
        ValueError: the network has no prunable weight, or one of them holds NaN or infinity.

    Warns:
        NotPrunableWarning: it has other matrices, which stay dense and are not counted; once for each kind of network.
    """
    weights: dict[str, nn.Parameter] = {}
    for name, module in prunable_layers(network).items():
        weight = getattr(module, name.rpartition(".")[2])
        if not isinstance(weight, nn.Parameter):
            raise ValueError(
                f"the weight {name!r} is not a parameter of its layer but computed (a parametrisation?); "
                "remove the parametrisation before pruning"
            )
        weights[name] = weight
    if not weights:
        raise ValueError(
            f"{type(network).__name__} has nothing to prune: expected at least one linear, convolution, "
            "embedding, attention or recurrent layer (or one that register_prunable knows)"
        )
    for name, weight in weights.items():
        if not all_finite(weight.detach()):
            raise ValueError(
                f"the weight {name!r} holds NaN or infinity; pruning needs finite weights, so check how the "
                "network was initialised or loaded"
            )
    _say_left_out(network, weights)
    return weights


_looked_at: WeakSet[nn.Module] = WeakSet()
_said: set[tuple[str, ...]] = set()


def _say_left_out(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Warn of matrices that are not prunable: those with more than one axis that is longer than 1."""
    network = inside(network)
    if network in _looked_at:
        return
    _looked_at.add(network)
    known = {id(weight) for weight in weights.values()}
    found = [
        (f"{name}.{own}" if name else own, f"{type(module).__name__}.{own}", parameter)
        for name, module in network.named_modules()
        if not isinstance(module, _NORMALISATIONS)
        for own, parameter in module._parameters.items()
        if parameter is not None and id(parameter) not in known and sum(size > 1 for size in parameter.shape) > 1
    ]
    key = (type(network).__qualname__, *sorted({kind for _, kind, _ in found}))
    if not found or key in _said:
        return
    _said.add(key)
    left, total = sum(p.numel() for _, _, p in found), sum(w.numel() for w in weights.values())
    shown = ", ".join(f"{name} {tuple(parameter.shape)}" for name, _, parameter in found[:3])
    warnings.warn(
        f"{left} weights of {type(network).__name__} in matrices of unknown layers stay dense and are not counted, "
        f"beside {total} prunable ones: {shown}{' ...' if len(found) > 3 else ''}; name them by "
        "sc.register_prunable to prune them too",
        NotPrunableWarning,
        stacklevel=3,
    )


def all_finite(tensor: Tensor) -> bool:
    """Whether no entry is NaN or infinite.

    NaN and infinity survive a sum, so a finite sum answers at a tenth of the cost; where the sum is not
    finite, it may have overflowed, and every entry is looked at.
    """
    return bool(torch.isfinite(tensor.sum())) or bool(torch.isfinite(tensor).all())


def count(tensors: Mapping[str, Tensor]) -> int:
    """Number of entries in all tensors together."""
    return sum(tensor.numel() for tensor in tensors.values())


def flatten(tensors: Mapping[str, Tensor]) -> Tensor:
    """All entries as one vector `(n,)`, in the order of the mapping."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors.values()])


def unflatten(vector: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `flatten`: cuts `(n,)` into tensors with the names and shapes of `like`."""
    if vector.numel() != count(like):
        raise ValueError(f"expected a vector of {count(like)} entries, got {vector.numel()}")
    return dict(_cut(vector, like))


def _cut(vector: Tensor, like: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    start = 0
    for name, tensor in like.items():
        yield name, vector[start : start + tensor.numel()].reshape(tensor.shape)
        start += tensor.numel()


def check_same_layout(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], what: str) -> None:
    """Refuse `found` unless it has the names, order and shapes of `expected`.

    Raises:
        ValueError: naming the first difference; `what` says whose tensors `found` are.
    """
    if list(expected) != list(found):
        missing = [name for name in expected if name not in found]
        extra = [name for name in found if name not in expected]
        raise ValueError(
            f"{what}: expected the weights {list(expected)}, missing {missing}, unknown {extra}"
            if missing or extra
            else f"{what}: expected the weights in the order {list(expected)}, got {list(found)}"
        )
    for name, tensor in expected.items():
        if tensor.shape != found[name].shape:
            raise ValueError(f"{what}: {name!r} has shape {tuple(found[name].shape)}, expected {tuple(tensor.shape)}")
