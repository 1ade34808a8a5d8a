"""Device: where a network is scored and trained."""

from __future__ import annotations

import torch

from scratchcard.words import counted


def choose_device(name: str = "auto") -> torch.device:
    """`auto` takes CUDA where there is one and the CPU otherwise.

    Raises:
        ValueError: an unknown device, or a CUDA device that is not there.

    Examples:
        >>> choose_device("cpu")
        device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    unknown = f"unknown device {name!r}, expected auto, cpu, cuda or cuda and a number such as cuda:1"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(unknown) from error
    if device.type not in ("cpu", "cuda"):
        raise ValueError(unknown)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise ValueError(f"device {name} was asked for but torch sees no CUDA device; take the device cpu or auto")
        if device.index is not None and device.index >= count:
            raise ValueError(
                f"device {name} was asked for but torch sees {counted(count, 'CUDA device')}, the last is "
                f"cuda:{count - 1}"
            )
    return device
