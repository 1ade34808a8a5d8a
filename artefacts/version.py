"""Which code made a result."""

from __future__ import annotations

import contextlib
import os
import platform
import re
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

RESULTS_VERSION = 1
"""Raised with every change that alters results; CHANGELOG.md lists them under their own heading."""

LIBRARIES = (
    "scratchcard",
    "torch",
    "torchvision",
    "numpy",
    "numba",
    "scikit-learn",
    "lightgbm",
    "pyarrow",
    "safetensors",
)


def versions() -> dict[str, str]:
    """The versions of this package, its results, Python and the libraries that numbers depend on.

    Examples:
        >>> versions()["results"] == str(RESULTS_VERSION)
        True
    """
    found = {"results": str(RESULTS_VERSION), "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


@lru_cache(maxsize=1)
def machine() -> str:
    """The machine in words: architecture, cores that this process may use, the processor's name where it is known.

    Examples:
        >>> "cores" in machine()
        True
    """
    name = ""
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        name = found.group(1).strip() if found else ""
    usable = getattr(os, "sched_getaffinity", None)
    cores = len(usable(0)) if usable else os.cpu_count()
    return ", ".join(filter(None, (platform.machine(), f"{cores} cores", name or platform.processor())))
