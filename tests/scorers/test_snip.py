"""SNIP: closed form, explicit gates, invariances."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.scorers import SNIP
from tests.scorers.toys import case, cross_entropy, half_square, mlp, random_mask, single
from tests.scorers.transformations import permuted, permuted_back, rescaled


def test_closed_form() -> None:
    # y = 1 * 3 - 2 * 1 = 1; L = y^2 / 2; g = y x = (3, 1); |w g| = (3, 2).
    batch = (torch.tensor([[3.0, 1.0]]), torch.zeros(1, 1))
    scores = SNIP()(single(1.0, -2.0), batch, half_square)
    assert scores.tensors["0.weight"].tolist() == [[3.0, 2.0]]


def test_closed_form_masked() -> None:
    # Without the second weight y = 3, so g = 3 x = (9, 3) and the first scores 9.
    batch = (torch.tensor([[3.0, 1.0]]), torch.zeros(1, 1))
    mask = Mask({"0.weight": torch.tensor([[True, False]])})
    assert SNIP()(single(1.0, -2.0), batch, half_square, mask=mask).tensors["0.weight"].tolist() == [[9.0, 0.0]]


@pytest.mark.parametrize("masked", [False, True])
def test_is_the_derivative_with_respect_to_explicit_gates(masked: bool) -> None:
    network, (inputs, targets) = case("mlp")
    mask = random_mask(network) if masked else Mask.dense(network)
    gates = {name: kept.double().requires_grad_() for name, kept in mask.tensors.items()}
    hidden = inputs
    for number in (0, 2, 4):
        layer = network[number]
        gated = layer.weight.detach() * gates[f"{number}.weight"]
        hidden = F.linear(hidden, gated, layer.bias)
        hidden = hidden if number == 4 else hidden.relu()
    cross_entropy(hidden, targets).backward()
    scores = SNIP()(network, (inputs, targets), cross_entropy, mask=mask)
    for name, gate in gates.items():
        expected = torch.where(mask.tensors[name], gate.grad.abs(), 0.0)
        torch.testing.assert_close(scores.tensors[name], expected, rtol=1e-12, atol=1e-15)


def test_predicts_the_change_of_the_loss_when_a_gate_closes_a_little() -> None:
    network, (inputs, targets) = case("mlp")
    scores = SNIP()(network, (inputs, targets), cross_entropy)
    weight, step = network[2].weight, 1e-6
    with torch.no_grad():
        for place in ((0, 0), (3, 2), (5, 6)):
            kept = weight[place].clone()
            losses = []
            for factor in (1 - step, 1 + step):
                weight[place] = kept * factor
                losses.append(float(cross_entropy(network(inputs), targets)))
            weight[place] = kept
            slope = abs(losses[1] - losses[0]) / (2 * step)
            assert float(scores.tensors["2.weight"][place]) == pytest.approx(slope, rel=1e-5, abs=1e-9)


def test_trap_gradients_are_summed_before_the_absolute_value() -> None:
    # Two examples that pull in opposite directions: g = 0, though each alone gives |w g| = 3.
    network = single(1.0, 0.5)
    batch = (torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[4.0], [-2.0]]))
    parts = [SNIP()(network, (batch[0][i : i + 1], batch[1][i : i + 1]), half_square) for i in (0, 1)]
    assert [float(part.tensors["0.weight"][0, 0]) for part in parts] == [3.0, 3.0]
    batch = (batch[0] + torch.tensor([[0.0, 0.0], [0.0, 1.0]]), batch[1])
    # With the second input alive in example two: y = (1, 1.5), g_1 = mean(-3, 3.5) = 0.25.
    assert float(SNIP()(network, batch, half_square).tensors["0.weight"][0, 0]) == 0.25


def test_equivariant_under_permutation_of_hidden_units() -> None:
    network, batch = case("mlp")
    expected = SNIP()(network, batch, cross_entropy)
    found = permuted_back(SNIP()(permuted(network), batch, cross_entropy).tensors)
    for name in prunable(network):
        torch.testing.assert_close(found[name], expected.tensors[name], rtol=1e-10, atol=1e-14)


def test_invariant_under_rescaling_of_hidden_units() -> None:
    network, batch = case("mlp")
    expected, found = (SNIP()(net, batch, cross_entropy).flat() for net in (network, rescaled(network)))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-14)


def test_the_temperature_of_a_mean_loss_is_the_callers() -> None:
    network, batch = mlp(), case("mlp")[1]
    doubled = SNIP()(network, batch, lambda outputs, targets: 2 * cross_entropy(outputs, targets))
    torch.testing.assert_close(doubled.flat(), 2 * SNIP()(network, batch, cross_entropy).flat())
