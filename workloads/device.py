"""Device: where a network is scored and trained."""

from __future__ import annotations

import torch


def choose_device(name: str = "auto") -> torch.device:
    """`auto` takes CUDA where there is one and the CPU otherwise.

    Raises:
        ValueError: an unknown device, or CUDA asked for where there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.partition(":")[0] not in ("cpu", "cuda"):
        raise ValueError(f"unknown device {name!r}, expected auto, cpu or cuda")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError("device cuda was asked for but torch sees no CUDA device; use --device cpu or auto")
    return torch.device(name)
