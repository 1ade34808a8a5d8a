"""What is odd about a ticket: each kind is found where it is, told with what to do, and not where it is not."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import scratchcard as sc
from scratchcard.pruning.findings import TicketWarning, findings
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import NotPrunableWarning

RECIPE = sc.Recipe(max_steps=20, scoring_examples=40, batch_size=32)


def task(classes: int = 3) -> sc.Task:
    generator = torch.Generator().manual_seed(0)
    return sc.Task.of(torch.randn(90, 4, generator=generator), torch.arange(90) % classes)


def network(width: int = 6, outputs: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, outputs))


def pruned(made: nn.Module, density: float, method: Any = "snip", **settings: Any) -> tuple[sc.Ticket, list[str]]:
    """The ticket and what it warned of, as one who prunes sees them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ticket = sc.prune(made, task(), density, method=sc.Method.of(method, **settings), recipe=RECIPE)
    return ticket, [str(w.message) for w in caught if w.category is TicketWarning]


def kinds(ticket: sc.Ticket) -> list[str]:
    return [finding.kind for finding in ticket.check()]


def test_nothing_is_found_where_all_is_well() -> None:
    ticket, said = pruned(network(), 0.5, "synflow")
    assert (kinds(ticket), said) == ([], [])
    assert ticket.provenance["checks"]["effective_density"] == ticket.mask.density


def test_a_collapsed_layer_is_named_and_a_floor_helps() -> None:
    made = network()
    made[2].weight.data /= 1e6
    ticket, said = pruned(made, 0.2, "magnitude")
    assert kinds(ticket) == ["collapsed"]
    assert len(said) == 1
    assert "nothing is kept of 2.weight" in said[0]
    helped, said = pruned(made, 0.2, "magnitude", floor=2)
    assert int(helped.mask.tensors["2.weight"].sum()) == 2
    assert helped.mask.kept == ticket.mask.kept
    assert "collapsed" not in kinds(helped)


def test_kept_weights_that_lead_nowhere_are_found() -> None:
    made = network()
    with torch.no_grad():  # the largest weights of one layer meet the smallest of the other
        made[0].weight.copy_(torch.arange(6.0).repeat(4, 1).T + 1)
        made[2].weight.copy_(6 - torch.arange(6.0).repeat(3, 1))
    ticket, said = pruned(made, 0.3, "magnitude", scope="layer")
    assert kinds(ticket)[0] == "effective_density"
    assert "lie on a path of kept ones" in said[0]


def test_a_choice_by_lot_is_counted() -> None:
    made = network()
    nn.init.constant_(made[0].weight, 0.5)
    nn.init.zeros_(made[2].weight)
    ticket, said = pruned(made, 0.2, "magnitude")
    known = ticket.provenance["checks"]
    assert known["by_lot"] == ticket.mask.kept
    assert known["only_zeros"] == ["2.weight"]
    assert "100 % of the kept weights were chosen by lot" in said[0]


def test_a_layer_whose_scores_are_all_zero_is_named() -> None:
    made = network()
    nn.init.zeros_(made[2].weight)  # so that no gradient reaches the first layer
    ticket, said = pruned(made, 0.9, "snip")
    assert "the criterion gives only zeros to 0.weight, 2.weight" in " ".join(said)
    assert "only_zeros" in kinds(ticket)


def test_matrices_of_unknown_layers_are_counted_and_said_once() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.gains = network(), nn.Parameter(torch.ones(2, 3))

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x) * self.gains.sum(0)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ticket = sc.prune(Scaled(), task(), 0.5, method="snip", recipe=RECIPE)
    assert [w.category for w in caught] == [NotPrunableWarning]
    assert kinds(ticket) == ["not_prunable"]
    assert "6 weights in matrices of unknown layers" in ticket.check()[0].text


def test_classes_that_the_scoring_batch_lacks_are_named() -> None:
    few = sc.Recipe(max_steps=20, scoring_examples=2)
    with pytest.warns(TicketWarning, match="the scoring batch has no example of"):
        ticket = sc.prune(network(), task(), 0.5, method="snip", recipe=few)
    seen = set(sc.Workload(network(), task(), few).scoring_batch(0)[1].tolist())
    assert ticket.provenance["checks"]["missing_classes"] == sorted({0, 1, 2} - seen)


def test_frozen_layers_are_left_whole_unless_they_are_included() -> None:
    made = network()
    made[0].requires_grad_(False)
    ticket, said = pruned(made, 0.5)
    assert ticket.mask.excluded == {"0.weight"}
    assert (ticket.mask.total, ticket.mask.kept) == (18, 9)
    assert "0.weight is frozen and was left whole and uncounted; include it to prune it" in said[0]
    assert ticket.provenance["checks"]["frozen"] == ["0.weight"]
    trained, _ = sc.train(ticket, made, task(), recipe=RECIPE)
    assert trained.trained is not None
    assert torch.equal(trained.trained["0.weight"], made[0].weight)
    included, said = pruned(made, 0.5, include=("0",))
    assert included.mask.excluded == frozenset()
    assert (included.mask.total, said) == (42, [])
    mask = Mask({"0.weight": torch.ones(1, 1).bool()})
    (several,) = findings(mask, {"frozen": ["0.weight", "2.weight"]})
    assert several.text.endswith("are frozen and were left whole and uncounted; include them to prune them")


@pytest.mark.parametrize("regime", ["USS", "UMS", "ISS", "IMS"])
def test_excluded_layers_stay_whole_in_every_regime(regime: str) -> None:
    settings = {} if regime == "USS" else {"rounds": 2}
    ticket, said = pruned(network(), 0.5, "magnitude", regime=regime, exclude=("2.*",), floor=3, **settings)
    assert bool(ticket.mask.tensors["2.weight"].all())
    assert (ticket.mask.total, ticket.mask.kept, said) == (24, 12, [])
    assert ticket.provenance["method"]["exclude"] == ("2.*",)
    assert ticket.provenance["checks"]["excluded"] == ["2.weight"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"exclude": ("0", "2")}, "has no weight left to prune: all are excluded or frozen"),
        ({"exclude": ("head",)}, "'head' names no prunable weight of the network; they are 0.weight, 2.weight"),
        ({"include": ("head",)}, "'head' names no prunable weight"),
        ({"exclude": 0}, "exclude is 0, expected a list of texts"),
        ({"floor": 15}, "a floor of 15 weights in each layer needs 30 weights, but the density keeps 21"),
        ({"floor": -1}, "floor is -1"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pruned(network(), 0.5, **settings)


@pytest.mark.parametrize("regime", ["UMS", "ISS", "IMS", "EMS"])
def test_an_unmeetable_floor_is_refused_before_any_search(regime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was found at the last look, where the weights that were left made the count another."""
    method = sc.Method.of("magnitude", regime=regime, floor=15)
    monkeypatch.setattr(type(method.make_regime()), "_search", None)
    with pytest.raises(ValueError, match="a floor of 15 weights in each layer needs 30 weights, but the density keeps"):
        sc.prune(network(), task(), 0.1, method=method, recipe=RECIPE)


def test_a_floor_that_layers_of_their_own_density_meet_is_taken() -> None:
    """Each layer's share is rounded by itself: half of three weights are two, twice; half of six are three."""
    made = nn.Sequential(nn.Linear(3, 1), nn.Linear(1, 3))
    rows = sc.Task.of(torch.randn(40, 3), torch.arange(40) % 3)
    ticket = sc.prune(made, rows, 0.5, method=sc.Method.of("magnitude", scope="layer", floor=2))
    assert [int(kept.sum()) for kept in ticket.mask.tensors.values()] == [2, 2]


@pytest.mark.parametrize("initial", ["saw", "bimodal"])
def test_what_is_left_out_of_pruning_keeps_its_initial_values(initial: str) -> None:
    made = network()
    by: dict[str, Any] = {"initial_scorer": "magnitude"} if initial == "saw" else {}
    method = sc.Method.of("snip", initial=initial, exclude=("0",), **by)
    ticket = sc.prune(made, task(), 0.5, method=method, recipe=sc.Recipe(max_steps=2))
    assert torch.equal(ticket.initial["0.weight"], made[0].weight)
    assert not torch.equal(ticket.initial["2.weight"], made[2].weight)


def test_an_empty_layer_is_not_collapsed() -> None:
    mask = Mask({"0.weight": torch.ones(3, 0, dtype=torch.bool), "1.weight": torch.ones(1, 3, dtype=torch.bool)})
    assert sc.Ticket({name: kept.float() for name, kept in mask.tensors.items()}, mask).check() == ()


def test_all_frozen_is_refused_with_what_to_do() -> None:
    made = network()
    for layer in (made[0], made[2]):
        layer.weight.requires_grad_(False)
    with pytest.raises(ValueError, match="all are frozen; include some"):
        pruned(made, 0.5)
