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

        >>> Session(jobs=2).placement
        {'device': 'cpu', 'dtype': torch.float32}

    Attributes:
        device: where to score and train.
        dtype: precision of networks.
        store: where finished trainings and scores of whole networks are kept, so that a second call goes on and other
            work shares them; None keeps nothing.
        progress: called as the work proceeds.
        jobs: seeds or runs at once, each in a process with one torch thread; one job works in this process.
        dask: address of a Dask scheduler, whose workers then do the work; `jobs` is not used.
    """

    device: torch.device | str = "cpu"
    dtype: torch.dtype = torch.float32
    store: Store | None = None
    progress: Progress | None = None
    jobs: int = 1
    dask: str | None = None

    @classmethod
    def of(cls, session: Session | None, **changes: Any) -> Session:
        """The session, or the default one, with some changes."""
        return replace(session or cls(), **changes)

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


def shifted(progress: Progress | None, before: int, total: int) -> Progress | None:
    """What a part of the work is told to call, which begins after so many of the whole's steps.

    Examples:
        >>> shifted(lambda done, total: print(f"{done} of {total}"), before=100, total=300)(20, 100)
        120 of 300
    """
    return None if progress is None else lambda step, _: progress(before + step, total)
