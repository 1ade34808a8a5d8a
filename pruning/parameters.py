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
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils.parametrize import is_parametrized
from torch.optim.swa_utils import AveragedModel

from scratchcard.pruning.known_layers import check_registered, weights_of

_NORMALISATIONS = (
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)


class NotPrunableWarning(UserWarning):
    """A network has matrices that nothing of this project prunes or counts.

    Examples:
        >>> import warnings
        >>> class Scaled(nn.Linear):
        ...     def __init__(self):
        ...         super().__init__(2, 2)
        ...         self.scale = nn.Parameter(torch.ones(2, 2))
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     _ = prunable(Scaled())
        >>> str(caught[0].message)[:24]
        '4 weights of Scaled in m'
    """


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

    Examples:
        >>> network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> [*prunable_layers(network)]
        ['0.weight', '2.weight']
    """
    found: dict[str, nn.Module] = {}
    seen: set[int] = set()
    for name, module in inside(network).named_modules():
        for own, weight in weights_of(module):
            if id(weight) not in seen:
                seen.add(id(weight))
                found[f"{name}.{own}" if name else own] = module
    return found


def prunable(network: nn.Module) -> dict[str, nn.Parameter]:
    """The prunable weights of `network` by qualified name, in registration order.

    Linear weights have shape `(out, in)`, convolutions `(out, in, kh, kw)`, embeddings `(entries, width)`, attention
    and recurrent layers `(gates or heads x width, in)`.

    Raises:
        ValueError: the network has no prunable weight, or one of them is complex, of whole numbers or of 8 bits, or
            holds NaN or infinity; or `register_prunable` was given names that its layers do not have.

    Warns:
        NotPrunableWarning: it has other matrices, which stay dense and are not counted; once for each kind of network.

    Examples:
        >>> network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
        >>> {name: tuple(weight.shape) for name, weight in prunable(network).items()}
        {'0.weight': (3, 4), '2.weight': (2, 3)}
    """
    check_registered(inside(network))
    weights: dict[str, nn.Parameter] = {}
    for name, module in prunable_layers(network).items():
        own = name.rpartition(".")[2]
        weight = None if is_parametrized(module, own) else getattr(module, own)
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
        if weight.is_meta or isinstance(weight, UninitializedParameter):
            raise ValueError(f"the weight {name!r} has no values yet (a lazy layer, the device meta?); build it first")
        if not (weight.is_floating_point() or weight.is_complex()) or weight.itemsize < 2:
            raise ValueError(
                f"the weight {name!r} is {weight.dtype}; pruning is defined for floating numbers of 16 to 64 "
                "bits, so prune the network before it is quantised"
            )
        if weight.is_complex():
            raise ValueError(f"the weight {name!r} is {weight.dtype}; pruning is defined for real weights")
        if not all_finite(weight.detach()):
            raise ValueError(
                f"the weight {name!r} holds NaN or infinity; pruning needs finite weights, so check how the "
                "network was initialised or loaded"
            )
    _say_left_out(network, weights)
    return weights


def not_prunable(network: nn.Module) -> dict[str, nn.Parameter]:
    """The matrices of a network that are not prunable, by name: those of layers that nothing here knows.

    Examples:
        >>> class Scaled(nn.Linear):
        ...     def __init__(self):
        ...         super().__init__(2, 2)
        ...         self.gains = nn.Parameter(torch.ones(2, 3))
        >>> [*not_prunable(Scaled())]
        ['gains']
    """
    weights = {name: getattr(layer, name.rpartition(".")[2]) for name, layer in prunable_layers(network).items()}
    return {name: parameter for name, _, parameter in _unknown(inside(network), weights)}


def _unknown(network: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[tuple[str, str, nn.Parameter]]:
    """Name, kind and value of the other parameters with more than one axis that is longer than 1."""
    known = {id(weight) for weight in weights.values()}
    for name, module in network.named_modules():
        if isinstance(module, _NORMALISATIONS):
            continue
        for own, parameter in module._parameters.items():
            if parameter is not None and id(parameter) not in known and sum(size > 1 for size in parameter.shape) > 1:
                yield f"{name}.{own}" if name else own, f"{type(module).__name__}.{own}", parameter


_looked_at: WeakSet[nn.Module] = WeakSet()
_said: set[tuple[str, ...]] = set()


def _say_left_out(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Warn of matrices that are not prunable."""
    network = inside(network)
    if network in _looked_at:
        return
    _looked_at.add(network)
    found = [*_unknown(network, weights)]
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


def matching(names: Iterable[str], patterns: Iterable[str]) -> frozenset[str]:
    """The weights that patterns name: a weight (`fc.weight`), a layer and all within it (`fc`), or a glob (`*.weight`).

    What is the name of a weight or a layer is no glob.

    Raises:
        ValueError: a pattern that names no weight.

    Examples:
        >>> sorted(matching(["stem.weight", "head.0.weight", "head.2.weight"], ["head", "st*"]))
        ['head.0.weight', 'head.2.weight', 'stem.weight']
        >>> matching(["stem.weight"], ["body"])
        Traceback (most recent call last):
            ...
        ValueError: 'body' names no prunable weight of the network; they are stem.weight
    """
    names, found = list(names), set()
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        named = {name for name in names if name == pattern or name.startswith(f"{pattern}.")}
        named = named or {name for name in names if fnmatchcase(name, pattern)}
        if not named:
            shown = ", ".join(names[:20]) + (" ..." if len(names) > 20 else "")
            raise ValueError(f"{pattern!r} names no prunable weight of the network; they are {shown}")
        found |= named
    return frozenset(found)


def all_finite(tensor: Tensor) -> bool:
    """Whether no entry is NaN or infinite.

    NaN and infinity survive a sum, so a finite sum answers at a tenth of the cost; where the sum is not
    finite, it may have overflowed, and every entry is looked at.

    Examples:
        >>> all_finite(torch.tensor([1.0, float("nan")]))
        False
    """
    return bool(torch.isfinite(tensor.sum())) or bool(torch.isfinite(tensor).all())


def count(tensors: Mapping[str, Tensor]) -> int:
    """Number of entries in all tensors together.

    Examples:
        >>> count({"a": torch.ones(2, 3), "b": torch.ones(4)})
        10
    """
    return sum(tensor.numel() for tensor in tensors.values())


def flatten(tensors: Mapping[str, Tensor]) -> Tensor:
    """All entries as one vector `(n,)`, in the order of the mapping.

    Examples:
        >>> flatten({"a": torch.tensor([[1, 2]]), "b": torch.tensor([3])})
        tensor([1, 2, 3])
    """
    return torch.cat([tensor.reshape(-1) for tensor in tensors.values()])


def unflatten(vector: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `flatten`: cuts `(n,)` into tensors with the names and shapes of `like`.

    Examples:
        >>> unflatten(torch.arange(3), {"a": torch.ones(1, 2), "b": torch.ones(1)})
        {'a': tensor([[0, 1]]), 'b': tensor([2])}
    """
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

    Examples:
        >>> check_same_layout({"a": torch.ones(2)}, {"a": torch.ones(2)}, "the mask")
        >>> check_same_layout({"a": torch.ones(2)}, {"a": torch.ones(3)}, "the mask")
        Traceback (most recent call last):
            ...
        ValueError: the mask: 'a' has shape (3,), expected (2,)
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
