"""Session: where and how work is done, which changes no result but its rounding, in one value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from scratchcard.artefacts.store import Store

Progress = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""


@dataclass(frozen=True)
class Session:
    """What every function that scores and trains is told beside what to do.

        >>> Session(threads=2).placement
        {'device': 'cpu', 'dtype': torch.float32}

    Attributes:
        device: where to score and train.
        dtype: precision of networks.
        store: where finished trainings and scores of whole networks are kept, so that a second call goes on and other
            work shares them; None keeps nothing.
        threads: of fits and of workers; runs themselves use one.
        progress: called as the work proceeds.
    """

    device: torch.device | str = "cpu"
    dtype: torch.dtype = torch.float32
    store: Store | None = None
    threads: int = 1
    progress: Progress | None = None

    @property
    def placement(self) -> dict[str, Any]:
        """Device and dtype, as keyword arguments."""
        return {"device": self.device, "dtype": self.dtype}

    def part(self, number: int, of: int) -> Session:
        """For one part, from 0 on, of so many equal ones: it reports in thousandths of a part."""
        report = self.progress
        if report is None:
            return self
        return replace(self, progress=lambda done, n: report(1000 * number + 1000 * done // max(1, n), 1000 * of))
