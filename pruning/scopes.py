"""Scopes: which weights are compared with each other when the highest scores are kept; see `keep_top`."""

from __future__ import annotations

from typing import Literal

Scope = Literal["global", "layer", "expected", "erk"]
SCOPES: dict[Scope, str] = {
    "global": "All weights are compared with each other.",
    "layer": "Each layer's weights among themselves; all layers are as dense as each other.",
    "expected": "Each layer's weights among themselves; layers are as dense as their share of the scores.",
    "erk": "Each layer's weights among themselves; densities by Erdos-Renyi-Kernel.",
}
"""What each is."""
