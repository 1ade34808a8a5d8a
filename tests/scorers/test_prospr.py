"""ProsPr: closed form, finite differences of explicit gates through trainings of copies, and its parts of the batch."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.scorers import SNIP, ProsPr
from scratchcard.scorers.prospr import parts
from scratchcard.scorers.scorer import Batch
from tests.scorers.toys import case, cross_entropy, half_square, mlp, random_mask, single
from tests.scorers.transformations import permuted, permuted_back


def test_closed_form() -> None:
    # L = w^2 / 2 on each example: w_1 = w (1 - r) = 1, dL/dw_0 = w_1 (1 - r); to first order it would be w_1.
    batch = (torch.ones(2, 1), torch.zeros(2, 1))
    scores = ProsPr(steps=1, learning_rate=0.5)(single(2.0), batch, half_square)
    assert scores.tensors["0.weight"].tolist() == [[2.0 * 1.0 * 0.5]]


def after_training(
    network: nn.Module, batch: Batch, scorer: ProsPr, mask: Mask, name: str, place: int, gate: float
) -> float:
    """The loss after plain SGD of a copy whose weight at a place was multiplied by a gate before."""
    network = copy.deepcopy(network)
    mask.apply_to(network)
    with torch.no_grad():
        network.get_parameter(name).view(-1)[place] *= gate
    optimizer = torch.optim.SGD(network.parameters(), lr=scorer.learning_rate)
    *before, (inputs, targets) = parts(batch, scorer.steps + 1)
    for each in before:
        optimizer.zero_grad()
        cross_entropy(network(each[0]), each[1]).backward()
        optimizer.step()
        mask.apply_to(network)
    with torch.no_grad():
        return float(cross_entropy(network(inputs), targets))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("steps", [1, 3])
def test_is_what_gates_before_the_training_do_to_the_loss_after_it(masked: bool, steps: int) -> None:
    network, batch = mlp(sizes=(4, 5, 3)), (torch.randn(9, 4).double(), torch.arange(9) % 3)
    mask = random_mask(network) if masked else Mask.dense(network)
    scorer, width = ProsPr(steps=steps, learning_rate=0.3), 1e-5
    scores = scorer(network, batch, cross_entropy, mask=mask)
    for name, found in scores.tensors.items():
        for place in range(0, found.numel(), 3):
            low, high = (after_training(network, batch, scorer, mask, name, place, 1 + d) for d in (-width, width))
            assert float(found.view(-1)[place]) == pytest.approx(abs(high - low) / (2 * width), rel=1e-5, abs=1e-8)


def test_with_steps_of_no_length_it_is_snip_on_the_last_part() -> None:
    network, batch = case("mlp")
    expected = SNIP()(network, parts(batch, 3)[-1], cross_entropy)
    found = ProsPr(steps=2, learning_rate=1e-30)(network, batch, cross_entropy)
    torch.testing.assert_close(found.flat(), expected.flat(), rtol=1e-12, atol=1e-15)


def test_equivariant_under_permutation_of_hidden_units() -> None:
    network, batch = case("mlp")
    expected = ProsPr()(network, batch, cross_entropy)
    found = permuted_back(ProsPr()(permuted(network), batch, cross_entropy).tensors)
    for name in prunable(network):
        torch.testing.assert_close(found[name], expected.tensors[name], rtol=1e-10, atol=1e-14)


def test_each_example_is_in_one_part() -> None:
    cut = parts((torch.arange(11.0)[:, None], torch.arange(11)), 4)
    assert sorted(torch.cat([targets for _, targets in cut]).tolist()) == list(range(11))
    assert all(inputs[:, 0].equal(targets.float()) for inputs, targets in cut)
    assert [len(targets) for _, targets in cut] == [3, 3, 3, 2]


def test_refuses_fewer_examples_than_parts() -> None:
    network, (inputs, targets) = case("mlp")
    ProsPr(steps=7)(network, (inputs, targets), cross_entropy)
    with pytest.raises(ValueError, match=r"prospr with 8 steps needs 9 examples at least.*the scoring batch has 8"):
        ProsPr(steps=8)(network, (inputs, targets), cross_entropy)
