"""The predictors that come with the package, by name."""

from __future__ import annotations

from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

from scratchcard.apply.tickets import TicketLibrary
from scratchcard.meta.bundle import read_manifest

SHIPPED = {"default": True, "policy": False}
"""Names, and whether stored tickets are laid into networks of tasks that they know. `policy` is `default` without."""

TICKETS = "tickets"
"""Folder of ticket paths within a bundle's folder."""

FALLBACK = "--scorer synflow_l2_data --regime UMS"
"""What needs no fitting and serves any network, for what lies outside of what a predictor saw."""


def shipped(predictor: str) -> tuple[Path, bool]:
    """The bundle's folder, and whether its tickets are used: of a shipped name, or of a folder.

    Raises:
        FileNotFoundError: neither; says which name is nearest.

    Examples:
        >>> folder, with_tickets = shipped("policy")
        >>> folder.name, with_tickets
        ('default', False)
    """
    if predictor in SHIPPED:
        return Path(__file__).parent / "default", SHIPPED[predictor]
    if not Path(predictor).exists():
        near = get_close_matches(predictor, SHIPPED, 1)
        raise FileNotFoundError(
            f"no predictor at {predictor}: expected a bundle's folder or a shipped predictor, {' or '.join(SHIPPED)}"
            + (f"; did you mean {near[0]!r}?" if near else "")
        )
    return Path(predictor), True


def own_regime(predictor: str) -> dict[str, Any]:
    """Regime and rounds that a predictor was made for, as its manifest has them; empty where it has none.

    Raises:
        FileNotFoundError, ValueError: no usable bundle.

    Examples:
        >>> own_regime("default")
        {'regime': 'UMS', 'rounds': 16}
    """
    folder = shipped(predictor)[0]
    options = read_manifest(folder).get("options")
    own = {name: options[name] for name in _OWN if name in options} if isinstance(options, dict) else {}
    for name, value in own.items():
        if type(value) is not _OWN[name]:
            raise ValueError(
                f"{folder} is no usable predictor bundle: its {name} is {value!r}, expected {_OWN[name].__name__}"
            )
    return own


_OWN = {"regime": str, "rounds": int}


def load_tickets(folder: Path) -> TicketLibrary | None:
    """The tickets of a bundle's folder, read once as long as its files stay the same; None if it has none.

    Examples:
        >>> [*load_tickets(shipped("default")[0]).paths]
        ['mnist-lenet_300_100']
    """
    files = sorted((folder / TICKETS).glob("*.safetensors")) if (folder / TICKETS).is_dir() else []
    return (
        _load(folder / TICKETS, tuple((f.name, f.stat().st_mtime_ns, f.stat().st_size) for f in files))
        if files
        else None
    )


@lru_cache(maxsize=4)
def _load(folder: Path, _state: tuple[tuple[str, int, int], ...]) -> TicketLibrary:
    return TicketLibrary.load(folder)
