"""What becomes of kept weights between the search and the ticket, and initial weights of one size."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from scratchcard.apply.method import Method
from scratchcard.apply.pipeline import find_ticket, train_ticket
from scratchcard.pruning.parameters import prunable
from scratchcard.pruning.ticket import Ticket
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload

RECIPE = Recipe(max_steps=20, evaluation_interval=20)


@pytest.fixture(scope="module")
def workload() -> Workload:
    return Workload("lenet_300_100", load_task("digits"), RECIPE)


def found(workload: Workload, **words: object) -> Ticket:
    return find_ticket(workload, Method.of("magnitude", **words), 0.1, seed=3, check=False)


@pytest.fixture(scope="module")
def rewound(workload: Workload) -> Ticket:
    return found(workload)


def kept(ticket: Ticket, state: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    return {name: (state or ticket.initial)[name][where] for name, where in ticket.mask.tensors.items()}


@pytest.mark.parametrize("signs", [True, False])
@pytest.mark.parametrize("action", ["constant", "reinitialised", "reshuffled"])
def test_each_action_by_hand(workload: Workload, rewound: Ticket, action: str, signs: bool) -> None:
    ticket = found(workload, kept_weights=action, kept_signs=signs)
    assert ticket.mask == rewound.mask
    before, after = kept(rewound), kept(ticket)
    for name, where in ticket.mask.tensors.items():
        old, new = before[name], after[name]
        assert not torch.equal(new, old)
        assert bool((new.sign() == old.sign()).all()) == signs
        if action == "constant":
            size = rewound.initial[name].double().square().mean().sqrt()  # of the whole layer
            torch.testing.assert_close(new.abs().double(), size.expand(new.shape), rtol=1e-6, atol=0)
        elif action == "reshuffled":
            assert torch.equal(new.abs().sort().values, old.abs().sort().values)
        else:
            fan_in = rewound.initial[name].shape[1]
            assert 0.5 < float(new.std() / math.sqrt(2 / fan_in)) < 1.5  # a kept weight is no large one any more
            assert float(old.abs().min()) > float(new.abs().min())
        assert torch.equal(ticket.initial[name][~where], rewound.initial[name][~where])
    assert all(torch.equal(ticket.initial[name], rewound.initial[name]) for name in ticket.initial if "bias" in name)
    again = found(workload, kept_weights=action, kept_signs=signs)
    assert all(torch.equal(tensor, ticket.initial[name]) for name, tensor in again.initial.items())


def test_an_action_is_part_of_the_method_and_of_the_training(workload: Workload, rewound: Ticket) -> None:
    method = Method.of("magnitude", kept_weights="constant", kept_signs=True)
    assert method.label == "magnitude, kept constant by sign"
    assert Method("magnitude").describe() | {"kept_weights": "constant", "kept_signs": True} == method.describe()
    trained, _ = train_ticket(find_ticket(workload, method, 0.1, seed=3, check=False), workload, seed=3)
    other, _ = train_ticket(rewound, workload, seed=3)
    assert trained.trained is not None
    assert other.trained is not None
    assert any(not torch.equal(tensor, other.trained[name]) for name, tensor in trained.trained.items())


def test_what_cannot_be_is_refused() -> None:
    fixed = Workload(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), load_task("digits"), RECIPE)
    with pytest.raises(ValueError, match="the same weights for every seed"):
        found(fixed, kept_weights="reinitialised")
    assert found(fixed, kept_weights="reshuffled").mask.kept == 64
    with pytest.raises(ValueError, match="kept_signs is for kept weights that change"):
        Method.of("magnitude", kept_signs=True)


def test_what_is_left_out_of_pruning_keeps_its_weights(workload: Workload, rewound: Ticket) -> None:
    ticket = found(workload, kept_weights="constant", exclude=("3",))
    assert torch.equal(ticket.initial["3.weight"], rewound.initial["3.weight"])


def test_initial_weights_of_one_size_and_scaled_by_the_density(workload: Workload) -> None:
    given = prunable(workload.build(3))
    constant = found(workload, initial="constant").initial
    scaled = found(workload, initial="scaled_kaiming").initial
    for name, weight in given.items():
        size = weight.detach().square().mean().sqrt()
        torch.testing.assert_close(constant[name], weight.detach().sign() * size)
        assert float(size) == pytest.approx(math.sqrt(2 / weight.shape[1]), rel=0.1)
        assert float(scaled[name].std()) == pytest.approx(math.sqrt(2 / (0.1 * weight.shape[1])), rel=0.1)
