"""Which code made a result."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

RESULTS_VERSION = 1
"""Raised with every change that alters results; CHANGELOG.md lists them under their own heading."""

LIBRARIES = ("scratchcard", "torch", "numpy", "numba", "scikit-learn", "lightgbm", "pyarrow", "safetensors")


def versions() -> dict[str, str]:
    """The versions of this package, its results, Python and the libraries that numbers depend on."""
    found = {"results": str(RESULTS_VERSION), "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
