"""Perceptrons that early searches are fitted on: of other widths and depths than those that they are judged on."""

from __future__ import annotations

from scratchcard.workloads.networks.mlp import mlp

narrow = mlp(200, 60)
deep = mlp(200, 150, 100)
