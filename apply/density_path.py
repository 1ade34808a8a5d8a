"""Tickets of several densities from one search: the path down to the lowest passes all of them."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from scratchcard.apply.method import Method
from scratchcard.apply.pipeline import find_ticket
from scratchcard.artefacts.store import Store
from scratchcard.pruning.schedules import check_density
from scratchcard.pruning.ticket_html import Tickets
from scratchcard.regimes import EMS, Found, Iterative
from scratchcard.workloads.session import Session
from scratchcard.workloads.workload import Workload


def find_tickets(
    workload: Workload,
    method: Method,
    densities: Sequence[float],
    seed: int = 0,
    session: Session | None = None,
    *,
    data_seed: int | None = None,
    on_found: Callable[[float, Found], None] | None = None,
) -> Tickets:
    """Tickets of several densities, the lowest first; what they have in common is trained once.

    A regime that trains (ISS, IMS, EMS) goes one way down to the lowest density, as its setting `towards` says, and the
    other tickets leave it where it passes them: each is the ticket that the same method with that `towards` finds
    alone, equal to the bit, and its bill is what it would have cost alone. Upfront regimes go a way of their own to
    each density.

    Args:
        workload, method, seed, session, data_seed, on_found: as of `find_ticket`. Without a store in the session,
            trainings are kept in a temporary folder until all tickets are found.
        densities: kept weights / prunable weights, each in (0, 1].

    Raises:
        ValueError: no density, one twice, or what `find_ticket` refuses.

    Examples:
        >>> workload = sc.Workload("lenet_300_100", sc.load_task("digits"))
        >>> method = Method.of("magnitude", regime="EMS", rounds=4, search_steps=40)
        >>> [ticket.mask.kept for ticket in find_tickets(workload, method, [0.1, 0.02]).values()]
        [1004, 5020]
    """
    if not isinstance(workload, Workload) or not isinstance(method, Method):
        raise ValueError(
            f"got {type(workload).__name__} and {type(method).__name__}, expected a Workload and a Method, such as "
            "find_tickets(Workload(network, task), Method('snip'), [0.05, 0.1])"
        )
    if not isinstance(densities, list | tuple):
        raise ValueError(f"the densities are {densities!r}, expected a list of numbers, such as [0.05, 0.1]")
    for density in densities:
        check_density(density)
    if not densities or len(set(densities)) < len(densities):
        raise ValueError(f"the densities are {list(densities)}, expected one or several different ones")
    regime = method.make_regime()
    if len(densities) > 1 and isinstance(regime, Iterative | EMS) and regime.towards is None:
        regime = replace(regime, towards=min(densities))
        method = replace(method, regime=regime)
    for density in densities:
        regime.check(workload.recipe, density)
    session = session or Session()
    with contextlib.ExitStack() as stack:
        if session.store is None and len(densities) > 1 and regime.trains:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scratchcard-")))
            session = replace(session, store=Store(folder / "rounds", brief=True))
        return Tickets(
            (density, find_ticket(workload, method, density, seed, session, data_seed=data_seed, on_found=on_found))
            for density in sorted(densities)
        )
