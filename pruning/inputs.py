"""Inputs: what a network is called with, one tensor or several by name."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from scratchcard.pruning.parameters import all_finite
from scratchcard.words import said

Inputs = Tensor | Mapping[str, Tensor]
"""One tensor `(n, *shape)`, passed by place, or several by name, passed as keyword arguments; floats or tokens."""


def forward(network: nn.Module, inputs: Inputs, state: Any = None) -> Tensor:
    """The network's outputs: the one place where a scorer or an engine calls a network.

    Args:
        network: any module that returns one tensor.
        inputs: a tensor, or a mapping that becomes keyword arguments.
        state: tensors in place of the network's own, as `torch.func.functional_call` takes them.

    Raises:
        ValueError: the network raises (one sentence that names the layer), or returns a dict, a tuple or another thing
            that is no tensor.

    >>> forward(nn.Bilinear(2, 3, 4), {"input1": torch.ones(5, 2), "input2": torch.ones(5, 3)}).shape
    torch.Size([5, 4])
    """
    places, names = ((), dict(inputs)) if isinstance(inputs, Mapping) else ((inputs,), {})
    kind = type(network).__name__
    with told(lambda: f"{kind} cannot be called with {shapes_of(inputs)}{in_layer(network)}"):
        outputs = network(*places, **names) if state is None else _called(network, state, places, names)
    return check_tensor(outputs, kind)


def _called(network: nn.Module, state: Any, places: tuple[Tensor, ...], names: dict[str, Tensor]) -> Any:
    """`functional_call`, which leaves a module of several names without its parameters: it sets them at each name."""
    once = dict(network.named_modules())
    if sum(1 for _ in network.named_modules(remove_duplicate=False)) == len(once):
        return functional_call(network, state, places, names)
    given = dict(state) if isinstance(state, Mapping) else {k: t for part in state for k, t in part.items()}
    every = [*network.named_parameters(remove_duplicate=False), *network.named_buffers(remove_duplicate=False)]
    instead = {id(own): given[name] for name, own in every if name in given}
    own_names = {name for name, _ in every if name.rpartition(".")[0] in once}
    whole = {name: instead[id(own)] for name, own in every if name in own_names and id(own) in instead}
    return functional_call(network, whole, places, names, tie_weights=False)


def loss_of(loss: Callable[[Tensor, Tensor], Tensor], outputs: Tensor, targets: Tensor) -> Tensor:
    """The loss of a batch: the one place where a scorer or an engine of one network calls a loss.

    Raises:
        ValueError: it raises, is no single number, or has no gradient where gradients are taken; one sentence.

    Examples:
        >>> loss_of(nn.functional.mse_loss, torch.ones(2, 1), torch.zeros(2, 1))
        tensor(1.)
        >>> loss_of(nn.functional.cross_entropy, torch.zeros(2, 3), torch.tensor([0, 7]))
        Traceback (most recent call last):
            ...
        ValueError: the loss cross_entropy cannot take outputs torch.float32 (2, 3) and targets torch.int64 (2,): ...
    """
    name = getattr(loss, "__name__", type(loss).__name__)
    what = f"outputs {outputs.dtype} {tuple(outputs.shape)} and targets {targets.dtype} {tuple(targets.shape)}"
    with told(lambda: f"the loss {name} cannot take {what}"):
        value = loss(outputs, targets)
    if not isinstance(value, Tensor) or value.ndim:
        found = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"the loss {name} returns {found} for {what}, expected one number, the mean over the examples")
    if outputs.requires_grad and not value.requires_grad:
        raise ValueError(
            f"the loss {name} has no gradient for {what}: compute it from the outputs, by operations that torch can "
            "differentiate"
        )
    return value


@contextmanager
def told(what: Callable[[], str]) -> Iterator[None]:
    """Say an error of foreign code in one sentence that begins with `what`; its cause is kept.

    What says that memory is out passes as it is, for those who can do with less.

    Raises:
        ValueError: in place of what foreign code raised.

    Examples:
        >>> with told(lambda: "the network cannot run"):
        ...     [][1]
        Traceback (most recent call last):
            ...
        ValueError: the network cannot run: IndexError: list index out of range
    """
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except (Exception, SystemExit) as error:  # foreign code can raise anything
        if "can't allocate memory" in str(error):
            raise
        raise ValueError(f"{what()}: {said(error)}") from error


def in_layer(network: nn.Module) -> str:
    """The layer in which the error that is being handled was raised, as the end of a phrase; else nothing.

    Examples:
        >>> network = nn.Sequential(nn.Linear(2, 2), nn.Linear(3, 2))
        >>> try:
        ...     network(torch.zeros(1, 2))
        ... except RuntimeError:
        ...     in_layer(network)
        " in the layer '1'"
    """
    names = {id(module): name for name, module in network.named_modules()}
    found = ""
    trace = sys.exc_info()[2]
    while trace is not None:
        owner = trace.tb_frame.f_locals.get("self")
        if inspect.getmodule(type(owner)) is not None and isinstance(owner, nn.Module):
            found = names.get(id(owner)) or found
        trace = trace.tb_next
    return f" in the layer {found!r}" if found else ""


def shapes_of(inputs: Inputs) -> str:
    """Type and shape of inputs in words.

    Examples:
        >>> shapes_of(torch.zeros(2, 4)), shapes_of({"ids": torch.zeros(2, 7, dtype=torch.int64)})
        ('torch.float32 of shape (2, 4)', "'ids' torch.int64 (2, 7)")
    """
    if isinstance(inputs, Tensor):
        return f"{inputs.dtype} of shape {tuple(inputs.shape)}"
    return ", ".join(f"{name!r} {tensor.dtype} {tuple(tensor.shape)}" for name, tensor in inputs.items())


def check_tensor(outputs: object, what: str) -> Tensor:
    """The outputs, if they are one tensor.

    Raises:
        ValueError: they are not; one sentence that begins with `what`.

    Examples:
        >>> check_tensor({"logits": torch.zeros(2, 3)}, "the network")
        Traceback (most recent call last):
            ...
        ValueError: the network returns dict, expected one tensor of outputs; wrap it in a module whose ...
    """
    if not isinstance(outputs, Tensor):
        raise ValueError(
            f"{what} returns {type(outputs).__name__}, expected one tensor of outputs; wrap it in a module whose "
            "`forward` picks the logits"
        )
    return outputs


def each(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    """`change` of the tensor, or of every tensor under its name.

    Examples:
        >>> each({"ids": torch.tensor([[1, 2]]), "length": torch.tensor([2])}, torch.numel)
        {'ids': 2, 'length': 1}
    """
    if isinstance(inputs, Mapping):
        return {name: change(tensor) for name, tensor in inputs.items()}
    return change(inputs)


def tensors(inputs: Inputs) -> dict[str, Tensor]:
    """The tensors by name; the name of a single one is empty.

    Examples:
        >>> list(tensors(torch.zeros(3))), list(tensors({"ids": torch.zeros(3)}))
        ([''], ['ids'])
    """
    return dict(inputs) if isinstance(inputs, Mapping) else {"": inputs}


def examples(inputs: Inputs) -> int:
    """The number of examples.

    Examples:
        >>> examples({"ids": torch.zeros(5, 7), "length": torch.zeros(5)})
        5
    """
    return len(next(iter(tensors(inputs).values())))


def rows(inputs: Inputs, chosen: Tensor | slice) -> Inputs:
    """Some of the examples; indices may lie on another device.

    Examples:
        >>> rows({"x": torch.tensor([[1.0], [2.0], [3.0]])}, torch.tensor([2, 0]))
        {'x': tensor([[3.],
                [1.]])}
    """
    return each(inputs, lambda t: t[chosen if isinstance(chosen, slice) else chosen.to(t.device)])


def placed(inputs: Inputs, device: torch.device | str, dtype: torch.dtype) -> Inputs:
    """The inputs on a device, floating tensors in `dtype`; integers, such as tokens, stay integers.

    Examples:
        >>> inputs = placed({"pixels": torch.zeros(1, 4), "ids": torch.tensor([[3]])}, "cpu", torch.float64)
        >>> {name: tensor.dtype for name, tensor in inputs.items()}
        {'pixels': torch.float64, 'ids': torch.int64}
    """
    return each(inputs, lambda t: t.to(device, dtype if t.is_floating_point() else t.dtype))


def device_of(inputs: Inputs) -> torch.device:
    """Where the inputs lie.

    Examples:
        >>> device_of({"ids": torch.zeros(1)})
        device(type='cpu')
    """
    return next(iter(tensors(inputs).values())).device


def one_tensor(inputs: Inputs, who: str) -> Tensor:
    """The inputs, if they are a single tensor.

    Raises:
        ValueError: there are several; `who` says what cannot take them.

    Examples:
        >>> one_tensor({"ids": torch.zeros(1), "length": torch.zeros(1)}, "SynFlow")
        Traceback (most recent call last):
            ...
        ValueError: SynFlow takes networks of one input, and these are called ids, length; use a criterion ...
    """
    if isinstance(inputs, Mapping):
        raise ValueError(
            f"{who} takes networks of one input, and these are called {', '.join(inputs)}; use a criterion that "
            "needs the loss only, such as snip, grasp or magnitude"
        )
    return inputs


def check_finite(inputs: Inputs, what: str) -> None:
    """Refuse floating tensors that hold NaN or infinity.

    Raises:
        ValueError: one sentence that begins with `what`.

    Examples:
        >>> check_finite({"x": torch.tensor([1.0, torch.nan])}, "the training inputs")
        Traceback (most recent call last):
            ...
        ValueError: the training inputs 'x' hold NaN or infinity; fill or drop these examples
    """
    for name, tensor in tensors(inputs).items():
        if tensor.is_floating_point() and not all_finite(tensor):
            where = f" {name!r}" if name else ""
            raise ValueError(f"{what}{where} hold NaN or infinity; fill or drop these examples")
