"""What a worker process hands back besides its work: the warnings that it met."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class WorkerWarnings:
    """Warnings as (text, category), each once; they can be pickled and shown in the parent process."""

    found: list[tuple[str, type[Warning]]] = field(default_factory=list)

    def show_again(self) -> None:
        """Warn again, here; Python's own filters decide what is shown, and how often."""
        for text, category in self.found:
            warnings.warn(text, category, stacklevel=3)


@contextmanager
def worker_warnings() -> Iterator[WorkerWarnings]:
    """Collect the warnings of a block instead of printing them on a worker's stderr, where they look raw."""
    result = WorkerWarnings()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield result
    result.found = list(dict.fromkeys((str(warning.message), warning.category) for warning in caught))
