"""Files of tensors: safetensors with texts about them, so that reading one runs no code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from scratchcard.artefacts.files import written_beside


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> Path:
    """Write tensors by name, from whatever device, and texts about them; written beside and renamed.

    The file gets the mode that any new file of this process gets.

    Raises:
        OSError: `path` is a folder, or nothing can be written there.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, expected the name of a file to write")
    # Copies: safetensors refuses tensors that share memory.
    apart = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    with written_beside(path) as beside:
        beside.touch()
        mode = beside.stat().st_mode
        try:
            save_file(apart, beside, dict(texts))
        except SafetensorError as error:
            raise OSError(f"cannot write {path}: {error}") from error
        beside.chmod(mode)  # safetensors makes files that only their owner can read
    return path


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and texts of a file, in memory of their own: the file may go away under its reader.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or of another kind.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            return tensors, dict(file.metadata() or {})
    except SafetensorError as error:
        raise ValueError(str(error)) from error
