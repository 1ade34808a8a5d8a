"""Files of tensors: safetensors with texts about them, so that reading one runs no code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from scratchcard.artefacts.files import written_beside

if TYPE_CHECKING:
    from torch import Tensor


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> Path:
    """Write tensors by name, from whatever device, and texts about them; written beside and renamed.

    The file gets the mode that any new file of this process gets.

    Raises:
        OSError: `path` is a folder, or nothing can be written there.

    Examples:
        >>> import torch
        >>> write_tensors("mask.safetensors", {"kept": torch.tensor([True, False])}, {"density": "0.5"}).name
        'mask.safetensors'
    """
    from safetensors.torch import save_file

    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, expected the name of a file to write")
    # Copies where safetensors would refuse tensors that share memory; what is mapped from a file stays there.
    places = Counter(tensor.untyped_storage().data_ptr() for tensor in tensors.values())
    apart = {
        name: tensor.detach().to("cpu", copy=places[tensor.untyped_storage().data_ptr()] > 1).contiguous()
        for name, tensor in tensors.items()
    }
    with written_beside(path) as beside:
        beside.touch()
        mode = beside.stat().st_mode
        try:
            save_file(apart, beside, dict(texts) or None)
        except SafetensorError as error:
            raise OSError(f"cannot write {path}: {error}") from error
        beside.chmod(mode)  # safetensors makes files that only their owner can read
    return path


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and texts of a file, in memory of their own: the file may go away under its reader.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or of another kind.

    Examples:
        >>> import torch
        >>> path = write_tensors("weights.safetensors", {"weight": torch.tensor([1.0, 2.0])}, {"found by": "hand"})
        >>> read_tensors(path)
        ({'weight': tensor([1., 2.])}, {'found by': 'hand'})
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            return tensors, dict(file.metadata() or {})
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def read_texts(path: str | Path) -> dict[str, str]:
    """The texts of a file alone: nothing else of it is read, and torch is not imported.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or of another kind.

    Examples:
        >>> import tempfile
        >>> file = write_tensors(Path(tempfile.mkdtemp()) / "one.safetensors", {"a": torch.ones(2)}, {"about": "ones"})
        >>> read_texts(file)
        {'about': 'ones'}
    """
    try:
        with safe_open(path, framework="np") as file:
            return dict(file.metadata() or {})
    except SafetensorError as error:
        raise ValueError(str(error)) from error
