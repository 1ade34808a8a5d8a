"""Mixed precision: products of a step in half precision, weights and moments in full."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from scratchcard.workloads.engines.engine import State


class Mixed:
    """How a step's forward pass, backward pass and update are done in a recipe's `precision`.

    `"full"` leaves all as it is. The others let `torch.autocast` choose what is computed in half precision; under
    `"float16"` the loss is scaled by a factor that `torch.amp.GradScaler` finds, and a step whose gradients overflow is
    left out.

    Raises:
        ValueError: `"float16"` on the CPU, whose scaled gradients need a GPU.

    Examples:
        >>> weight = nn.Parameter(torch.ones(4, 4))
        >>> mixed = Mixed("bfloat16", torch.device("cpu"))
        >>> with mixed.products():
        ...     product = weight @ weight
        >>> product.dtype
        torch.bfloat16
    """

    def __init__(self, precision: str, device: torch.device) -> None:
        if precision == "float16" and device.type != "cuda":
            raise ValueError(
                f"the recipe's precision float16 needs a GPU, and this training is on {device.type}; use bfloat16"
            )
        self._dtype = None if precision == "full" else getattr(torch, precision)
        self._device = device
        self._scaler = torch.amp.GradScaler(device.type) if precision == "float16" else None

    def products(self) -> AbstractContextManager[Any]:
        """Of the forward pass and the loss."""
        return nullcontext() if self._dtype is None else torch.autocast(self._device.type, self._dtype)

    def backward(self, loss: Tensor) -> None:
        """The gradients of a loss, perhaps scaled."""
        (loss if self._scaler is None else self._scaler.scale(loss)).backward()  # type: ignore[no-untyped-call]

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """A step of the optimiser by those gradients."""
        if self._scaler is None:
            optimizer.step()
        else:
            self._scaler.step(optimizer)
            self._scaler.update()

    def standing(self) -> State:
        """The scale and what it follows, for `restore`."""
        found = {} if self._scaler is None else self._scaler.state_dict()
        return {f"scaler/{name}": torch.tensor(float(value), dtype=torch.float64) for name, value in found.items()}

    def restore(self, standing: State) -> None:
        """Go on from what `standing` gave."""
        if self._scaler is not None:
            usual = self._scaler.state_dict()
            self._scaler.load_state_dict({name: type(v)(standing[f"scaler/{name}"]) for name, v in usual.items()})
