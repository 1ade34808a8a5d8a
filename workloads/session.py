"""Session: where and how work is done, which changes no result but its rounding, in one value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from scratchcard.artefacts.store import Store
from scratchcard.workloads.device import choose_device

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
        memory: bytes that scorers may take for a batch, which goes through the network in pieces where it needs more;
            None is the default, see `default_memory`. For one ticket, whose provenance says it; runs and tables that
            are compared have no such choice.

    Raises:
        ValueError: a device that is not there, or a value of another type; one sentence.
    """

    device: torch.device | str = "cpu"
    dtype: torch.dtype = torch.float32
    store: Store | None = None
    progress: Progress | None = None
    jobs: int = 1
    dask: str | None = None
    memory: int | None = None

    @classmethod
    def of(cls, session: Session | None, **changes: Any) -> Session:
        """The session, or the default one, with some changes.

        Raises:
            TypeError: a change that is no field of a session; says where settings of methods and recipes go.

        Examples:
            >>> Session.of(None, jobs=2).jobs
            2
        """
        if session is not None and not isinstance(session, Session):
            raise ValueError(
                f"the session is {type(session).__name__}, expected a Session, such as Session(device='cuda')"
            )
        known = [field.name for field in fields(cls)]
        unknown = next((name for name in changes if name not in known), None)
        if unknown is not None:
            raise TypeError(
                f"unexpected argument {unknown!r}: beside those that are listed, a session's are taken "
                f"({', '.join(known)}); a method's settings go into method=Method.of('snip', floor=1), a training's "
                "into recipe=Recipe(max_steps=500)"
            )
        return replace(session or cls(), **changes)

    def __post_init__(self) -> None:
        device = choose_device(str(self.device))
        if self.device == "auto":
            object.__setattr__(self, "device", device)
        if not isinstance(self.dtype, torch.dtype) or not self.dtype.is_floating_point:
            raise ValueError(
                f"a session's dtype is {self.dtype!r}, expected a floating torch.dtype, such as torch.float64"
            )
        if self.store is not None and not isinstance(self.store, Store):
            raise ValueError(f"a session's store is {self.store!r}, expected a Store, such as Store(Path('rounds'))")
        if isinstance(self.jobs, bool) or not isinstance(self.jobs, int) or self.jobs < 1:
            raise ValueError(f"jobs must be at least 1, got {self.jobs!r}")

    @property
    def placement(self) -> dict[str, Any]:
        """Device and dtype, as keyword arguments."""
        return {"device": self.device, "dtype": self.dtype}

    def without_memory(self, what: str) -> Session:
        """This session, for what is to be comparable.

        Raises:
            ValueError: it has a memory of its own.

        Examples:
            >>> Session(memory=2**30).without_memory("a run")
            Traceback (most recent call last):
                ...
            ValueError: a run is scored like all that it is compared with, so memory cannot be given: take fewer ...
        """
        if self.memory is not None:
            raise ValueError(
                f"{what} is scored like all that it is compared with, so memory cannot be given: take fewer "
                "scoring_examples in the recipe"
            )
        return self

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
