"""Tickets of several densities from one search are those of as many searches of the same path."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from scratchcard.apply.density_path import find_tickets
from scratchcard.apply.method import Method
from scratchcard.apply.pipeline import find_ticket
from scratchcard.artefacts.store import Store
from scratchcard.workloads.engines.trajectory import Trajectory
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.session import Session
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload

DENSITIES = (0.3, 0.05, 0.1)
REGIMES: list[dict[str, Any]] = [
    {"regime": "EMS", "rounds": 4, "search_steps": 40},
    {"regime": "ESS", "search_steps": 20},
    {"regime": "ISS", "rounds": 3},
    {"regime": "UMS", "rounds": 3},
]


@pytest.fixture(scope="module")
def workload() -> Workload:
    return Workload("lenet_300_100", load_task("digits"), Recipe(max_steps=20, scoring_examples=64))


@pytest.mark.parametrize("regime", REGIMES, ids=lambda regime: regime["regime"])
def test_each_is_the_ticket_of_its_own_search(workload: Workload, regime: dict[str, Any]) -> None:
    together = find_tickets(workload, Method.of("snip", **regime), DENSITIES, seed=3)
    assert list(together) == sorted(DENSITIES)
    path = {"towards": min(DENSITIES)} if regime["regime"] in ("EMS", "ISS") else {}
    for density, ticket in together.items():
        alone = find_ticket(workload, Method.of("snip", **regime, **path), density, seed=3)
        assert all(kept.equal(alone.mask.tensors[name]) for name, kept in ticket.mask.tensors.items())
        assert ticket.provenance["passes"] == alone.provenance["passes"]
        assert ticket.provenance["method"] == alone.provenance["method"]
    if regime["regime"] != "UMS":  # whose rounds to each density are its own
        nested = [together[density].mask for density in sorted(DENSITIES)]
        assert all((low & high).kept == low.kept for low, high in pairwise(nested))


def test_every_density_is_checked_before_the_search(workload: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trajectory, "advance", None)
    method = Method.of("magnitude", regime="EMS", rounds=4, search_steps=40, rewind_step=30)
    with pytest.raises(ValueError, match=r"cannot rewind to step 30: the search for density 0\.5"):
        find_tickets(workload, method, [0.5, 0.1])


@pytest.mark.parametrize(
    "arguments",
    [("snip", [0.1]), (None, [0.1]), (Method("snip"), 0.1), (Method("snip"), None), (Method("snip"), "0.1")],
)
def test_what_is_no_method_and_no_list_is_said(workload: Workload, arguments: Any) -> None:
    with pytest.raises(ValueError, match=r"expected a Workload and a Method|expected a list of numbers"):
        find_tickets(workload, *arguments)


def test_steps_in_common_are_trained_once(workload: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[int] = []
    advance = Trajectory.advance

    def counted(self: Trajectory, steps: int, *rest: Any) -> float:
        trained.append(steps)
        return advance(self, steps, *rest)

    monkeypatch.setattr(Trajectory, "advance", counted)
    find_tickets(workload, Method.of("snip", regime="EMS", rounds=4, search_steps=40), DENSITIES)
    assert sum(trained) == 40


def test_one_density_keeps_its_method(workload: Workload, tmp_path: Path) -> None:
    method = Method.of("snip", regime="EMS", rounds=4, search_steps=40)
    (ticket,) = find_tickets(workload, method, [0.1], session=Session(store=Store(tmp_path))).values()
    assert ticket.provenance["method"] == method.describe()


@pytest.mark.parametrize("densities", [(), (0.1, 0.1), (0.1, 0.0), (1.5,)])
def test_no_list_of_densities_is_refused_before_the_search(workload: Workload, densities: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"densit"):
        find_tickets(workload, Method("snip"), densities)
