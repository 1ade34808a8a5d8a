"""The predictors that come with the package, by name."""

from __future__ import annotations

import json
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scratchcard.artefacts.tensor_file import read_texts
from scratchcard.meta.bundle import read_manifest
from scratchcard.regimes import REGIMES, Regime, make_regime
from scratchcard.registry import lookup
from scratchcard.settings import settings_of
from scratchcard.words import quoted, shortened

if TYPE_CHECKING:
    from scratchcard.apply.ticket_library import TicketLibrary

SHIPPED = {
    "default": "SynFlow-like products whose exponents were searched for; stored tickets where it knows the task.",
    "policy": "The same without stored tickets.",
    "early": "A criterion of early searches, with their rate and decay: fitted by the accuracy of the tickets found.",
}
"""Names, and what they are."""

TICKETS = "tickets"
"""Folder of ticket paths within a bundle's folder."""

FALLBACK = "Method('synflow_l2_data')"
"""What needs no fitting and serves any network, for what lies outside of what a predictor saw."""


def shipped(predictor: str) -> tuple[Path, bool]:
    """The bundle's folder, and whether its tickets are used: of a shipped name, or of a folder.

    Raises:
        FileNotFoundError: neither; says which name is nearest.
        ValueError: an empty name.

    Examples:
        >>> folder, with_tickets = shipped("policy")
        >>> folder.name, with_tickets
        ('default', False)
    """
    if not predictor:
        raise ValueError(f"the predictor's name is empty: expected a bundle's folder or {' or '.join(SHIPPED)}")
    if predictor in SHIPPED:
        folder = "early" if predictor == "early" else "default"
        return Path(__file__).parent / folder, predictor == "default"
    if not Path(predictor).exists():
        near = get_close_matches(predictor, SHIPPED, 1)
        raise FileNotFoundError(
            f"no predictor at {predictor}: expected a bundle's folder or a shipped predictor, {' or '.join(SHIPPED)}"
            + (f"; did you mean {near[0]!r}?" if near else "")
        )
    return Path(predictor), True


def own_regime(predictor: str) -> Regime | None:
    """The regime that a predictor was made for, as its manifest has it; None where it names none.

        >>> own_regime("policy").label
        'UMS 16'

    Raises:
        FileNotFoundError, ValueError: no usable bundle.

    """
    folder = shipped(predictor)[0]
    options = read_manifest(folder).get("options")
    if not isinstance(options, dict) or "regime" not in options:
        return None
    try:
        if not isinstance(options["regime"], str):
            raise ValueError(f"its regime is {quoted(options['regime'])}, expected a name")
        known = settings_of(lookup(REGIMES, "regimes", options["regime"]))
        return make_regime(options["regime"], **{name: options[name] for name in known if name in options})
    except ValueError as error:
        raise ValueError(f"{folder} is no usable predictor bundle: {error}") from error


def opened(predictor: str) -> tuple[Path, TicketLibrary | None]:
    """The folder of a predictor and the tickets that it scores with; errors as of `shipped`.

    Examples:
        >>> opened("policy")[1] is None
        True
    """
    folder, with_tickets = shipped(predictor)
    return folder, load_tickets(folder) if with_tickets else None


def load_tickets(folder: Path) -> TicketLibrary | None:
    """The tickets of a bundle's folder, read once as long as its files stay the same; None if it has none.

    Examples:
        >>> [*load_tickets(shipped("default")[0]).paths]
        ['mnist-lenet_300_100']
    """
    files = _ticket_files(folder)
    state = tuple((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files)
    return _load(folder / TICKETS, state) if state else None


@lru_cache(maxsize=4)
def _load(folder: Path, _state: tuple[tuple[str, int, int], ...]) -> TicketLibrary:
    from scratchcard.apply.ticket_library import TicketLibrary

    return TicketLibrary.load(folder)


def describe_tickets(folder: Path) -> dict[str, dict[str, Any]]:
    """Where each ticket of a bundle's folder comes from, by name: read from the files' heads, without torch.

    Raises:
        ValueError: a file is damaged or no ticket path.

    Examples:
        >>> describe_tickets(shipped("default")[0])["mnist-lenet_300_100"]["regime"]
        'ISS'
    """
    found = {}
    for file in _ticket_files(folder):
        try:
            about = json.loads(read_texts(file)["about"])
            if not isinstance(about, dict):
                raise ValueError("what is said about it is no JSON object")
        except (KeyError, ValueError, RecursionError) as error:
            raise ValueError(f"{file} is no usable ticket path: {shortened(str(error))}") from error
        found[file.stem] = about
    return found


def _ticket_files(folder: Path) -> list[Path]:
    return sorted((folder / TICKETS).glob("*.safetensors"))
