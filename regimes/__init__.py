"""Regimes: when scores are taken and whether the network is trained in between."""

from __future__ import annotations

from regimes.iterative import Iterative
from regimes.regime import Found, Regime
from regimes.upfront import Upfront

REGIMES: dict[str, Regime] = {
    "USS": Upfront(rounds=1),
    "UMS": Upfront(rounds=100),
    "ISS": Iterative(rounds=10, shots=1),
    "IMS": Iterative(rounds=10, shots=10),
}

__all__ = ["REGIMES", "Found", "Iterative", "Regime", "Upfront"]
