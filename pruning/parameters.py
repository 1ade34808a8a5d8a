"""Which parameters of a network are prunable, by name.

Prunable are the weights of linear, convolution and embedding layers; biases and normalisation parameters are not.
Every density in this project has the number of prunable weights as its denominator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.optim.swa_utils import AveragedModel

CONVOLUTIONS = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
PRUNABLE_LAYERS: tuple[type[nn.Module], ...] = (nn.Linear, *CONVOLUTIONS, nn.Embedding)


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
        if isinstance(module, PRUNABLE_LAYERS):
            weight = module.weight
            if id(weight) not in seen:
                seen.add(id(weight))
                found[f"{name}.weight" if name else "weight"] = module
    return found


def prunable(network: nn.Module) -> dict[str, nn.Parameter]:
    """The prunable weights of `network` by qualified name, in registration order.

    Linear weights have shape `(out, in)`, convolutions `(out, in, kh, kw)`, embeddings `(entries, width)`.

    Raises:
        ValueError: the network has no prunable weight, or one of them holds NaN or infinity.

    Examples:
        >>> network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
        >>> {name: tuple(weight.shape) for name, weight in prunable(network).items()}
        {'0.weight': (3, 4), '2.weight': (2, 3)}
    """
    weights: dict[str, nn.Parameter] = {}
    for name, module in prunable_layers(network).items():
        weight = module.weight
        if not isinstance(weight, nn.Parameter):
            raise ValueError(
                f"the weight {name!r} is not a parameter of its layer but computed (a parametrisation?); "
                "remove the parametrisation before pruning"
            )
        weights[name] = weight
    if not weights:
        raise ValueError(
            f"{type(network).__name__} has nothing to prune: expected at least one linear, convolution or "
            "embedding layer"
        )
    for name, weight in weights.items():
        if weight.is_meta or isinstance(weight, UninitializedParameter):
            raise ValueError(f"the weight {name!r} has no values yet (a lazy layer, the device meta?); build it first")
        if not all_finite(weight.detach()):
            raise ValueError(
                f"the weight {name!r} holds NaN or infinity; pruning needs finite weights, so check how the "
                "network was initialised or loaded"
            )
    return weights


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
