"""GPUs: which of them the processes of a pool are given, one each, in turn."""

from __future__ import annotations

import os
from typing import Any

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""What CUDA looks at when a process begins: the GPUs that it sees, by number or name."""


def gpus_for(device: Any) -> tuple[str, ...]:
    """The GPUs over which work on a device is spread, as `CUDA_VISIBLE_DEVICES` names them.

    None where there is no choice: on the CPU, on one GPU by its number, and on a machine with fewer than two.

    Examples:
        >>> gpus_for("cpu"), gpus_for("cuda:1")
        ((), ())
    """
    if str(device) != "cuda":
        return ()
    import torch

    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
    found = named[:count] if named else [str(number) for number in range(count)]
    return tuple(found) if len(found) > 1 else ()
