"""Files whose content was changed and whose checksum is right again, as somebody with intent would write them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from scratchcard.artefacts.tensor_file import CHECKSUM, write_tensors


def rewritten(
    path: Path, texts: Mapping[str, str | None] | None = None, tensors: Mapping[str, Tensor | None] | None = None
) -> Path:
    """The file with other texts and tensors; None drops one."""
    with safe_open(path, framework="pt") as file:
        old_texts = {name: text for name, text in file.metadata().items() if name != CHECKSUM}
        old_tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    new_texts = {**old_texts, **(texts or {})}
    new_tensors = {**old_tensors, **(tensors or {})}
    return write_tensors(
        path,
        {name: tensor for name, tensor in new_tensors.items() if tensor is not None},
        {name: text for name, text in new_texts.items() if text is not None},
    )
