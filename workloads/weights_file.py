"""Weights file: a network's state that other code saved, as safetensors or as torch's file of plain tensors."""

from __future__ import annotations

import io
import re
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeGuard

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from scratchcard.pruning.state import load_state
from scratchcard.words import listed, said, shortened

_TORCH = (".pt", ".pth")
_WRAPPERS = ("module.", "_orig_mod.")
"""Before the names of a state: of DataParallel, DistributedDataParallel and AveragedModel, and of compiled modules."""
_AVERAGED = "n_averaged"
"""What AveragedModel's state has beside the network's."""
_SAVED = "torch.save(network.state_dict(), 'weights.pt')"


def weights_at(path: Path) -> Path:
    """The path, if there is a file.

    Raises:
        FileNotFoundError: there is none; one sentence.

    Examples:
        >>> weights_at(Path("absent.pt"))
        Traceback (most recent call last):
            ...
        FileNotFoundError: no weights at absent.pt: expected a file of the network's state, .safetensors, .pt or .pth
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"no weights at {path}: expected a file of the network's state, .safetensors, .pt or .pth"
        )
    return path


def load_weights(network: nn.Module, path: Path | bytes) -> None:
    """Load the state in a file, or in the bytes of a safetensors file, into `network`.

    `.pt` and `.pth` are read with `torch.load(weights_only=True)`, which runs no code; every other file must be
    safetensors. In a checkpoint (a dict of states, numbers, settings) the one state of plain tensors is taken. A
    wrapper's prefix (`module.`, `_orig_mod.`) before all names is left away.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, holds more than plain tensors or several states, or does not fit the network;
            one sentence that says what to do.

    Warns:
        UserWarning: a part of a checkpoint was taken, or a prefix left away.

    Examples:
        >>> network = nn.Linear(2, 1)
        >>> torch.save({"weight": torch.ones(1, 2), "bias": torch.zeros(1)}, "ones.pt")
        >>> load_weights(network, Path("ones.pt"))
        >>> network(torch.tensor([[2.0, 3.0]]))
        tensor([[5.]], grad_fn=<AddmmBackward0>)
        >>> from safetensors.torch import save
        >>> load_weights(network, save({"weight": torch.zeros(1, 2), "bias": torch.ones(1)}))
        >>> network.bias.tolist()
        [1.0]
    """
    content, path = (path, Path("the bytes")) if isinstance(path, bytes) else (weights_at(path).read_bytes(), path)
    own = network.state_dict()
    state = _unwrapped(_state_of(content, path), own, path)
    try:
        load_state(network, state)
    except Exception as error:  # a foreign layer can raise anything while it is loaded
        found = _differences(own, state) or said(error)
        raise ValueError(f"the weights in {path} do not fit the network: {found}") from error


def is_torch_file(path: Path) -> bool:
    """Whether a file is read as one that `torch.save` wrote.

    Examples:
        >>> is_torch_file(Path("net.PT")), is_torch_file(Path("net.safetensors"))
        (True, False)
    """
    return path.suffix.lower() in _TORCH


def read_state(path: Path) -> Mapping[str, Tensor]:
    """The state in a file, as `load_weights` reads it, before it is held against a network.

    Raises:
        FileNotFoundError, ValueError: see `load_weights`.

    Examples:
        >>> torch.save({"epoch": 3, "model": {"weight": torch.ones(1, 2)}}, "checkpoint.pt")
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore")
        ...     read_state(Path("checkpoint.pt"))
        {'weight': tensor([[1., 1.]])}
    """
    return _state_of(weights_at(path).read_bytes(), path)


def _state_of(content: bytes, path: Path) -> Mapping[str, Tensor]:
    return _of_torch(content, path) if is_torch_file(path) else _safetensors(content, path)


def _safetensors(content: bytes, path: Path) -> Mapping[str, Tensor]:
    try:
        state: Mapping[str, Tensor] = load(content)
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a whole safetensors file ({shortened(str(error), 120)}); torch's own files must end in .pt "
            "or .pth"
        ) from error
    return state


def _of_torch(content: bytes, path: Path) -> Mapping[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch speaks of torch.jit.load
            found: Any = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch's reader stumbles over damaged files in many ways
        text = str(error)
        code = re.search(r"GLOBAL (\S+)", text)
        if code or isinstance(error, UnpicklingError) or "TorchScript" in text:
            holds = f" ({shortened(code[1], 60)})" if code else ""
            raise ValueError(
                f"{path} holds more than plain tensors{holds}, which could run code when it is read; if you trust it, "
                f"load it yourself and save its tensors alone: {_SAVED}"
            ) from error
        raise ValueError(
            f"{path} is damaged or none of torch's files ({type(error).__name__}); save it again: {_SAVED}"
        ) from error
    return _state_in(found, path)


def _state_in(found: Any, path: Path) -> Mapping[str, Tensor]:
    """What was read, if it is a state, or the one state in it, if it is a checkpoint."""
    if _is_state(found):
        return found
    if not isinstance(found, Mapping):
        raise ValueError(f"{path} holds {type(found).__name__}, expected the state of a network: {_SAVED}")
    parts = [name for name, part in found.items() if _is_state(part)]
    if len(parts) == 1:
        warnings.warn(f"{path} is a checkpoint: the weights are its {parts[0]!r}", stacklevel=2)
        part: Mapping[str, Tensor] = found[parts[0]]
        return part
    if parts:
        line = f"torch.save(torch.load({str(path)!r}, weights_only=True)[{parts[0]!r}], 'weights.pt')"
        raise ValueError(f"{path} holds several states ({_listed(parts)}); save the one to take: {line}")
    others = (f"{name!r}: {type(held).__name__}" for name, held in found.items() if not isinstance(held, Tensor))
    raise ValueError(f"{path} holds no state of plain tensors but {_listed(others) or 'nothing'}; save one: {_SAVED}")


def _is_state(found: Any) -> TypeGuard[Mapping[str, Tensor]]:
    return (
        isinstance(found, Mapping)
        and bool(found)
        and all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in found.items())
    )


def _unwrapped(state: Mapping[str, Tensor], own: Mapping[str, Tensor], path: Path) -> Mapping[str, Tensor]:
    """The state without the prefixes of wrappers that the network here does not have."""
    stripped: Any = OrderedDict(state)
    if (versions := getattr(state, "_metadata", None)) is not None:
        stripped._metadata = OrderedDict(versions)
    away = ""
    while set(stripped) != set(own):
        inner = set(stripped) - {_AVERAGED}
        prefix = next((each for each in _WRAPPERS if inner and all(name.startswith(each) for name in inner)), None)
        if prefix is None:
            break
        stripped.pop(_AVERAGED, None)
        consume_prefix_in_state_dict_if_present(stripped, prefix)
        away += prefix
    if not away:
        return state
    warnings.warn(f"{path} was saved from a wrapper: the {away!r} before its names was left away", stacklevel=2)
    unwrapped: Mapping[str, Tensor] = stripped
    return unwrapped


def _differences(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """The first few names that are missing, unknown, or of tensors of another shape."""
    found = {
        "missing": [name for name in own if name not in state],
        "unknown": [name for name in state if name not in own],
        "of another shape": [
            f"{name} {tuple(state[name].shape)}, expected {tuple(tensor.shape)}"
            for name, tensor in own.items()
            if name in state and state[name].shape != tensor.shape
        ],
    }
    return "; ".join(f"{what} are {_listed(names)}" for what, names in found.items() if names)


def _listed(names: Iterable[Any]) -> str:
    return listed(shortened(str(name), 60) for name in names)
