"""Sharpness against the eigenvalues of an explicit Hessian."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import functional_call

from scratchcard.scorers.sharpness import sharpness


def explicit(network: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> float:
    """The largest absolute eigenvalue of the loss's Hessian in the weights, without biases."""
    weights = {name: w.detach() for name, w in network.named_parameters() if w.ndim > 1}
    sizes, shapes = [w.numel() for w in weights.values()], [w.shape for w in weights.values()]

    def loss(flat: torch.Tensor) -> torch.Tensor:
        parts = [part.view(shape) for part, shape in zip(flat.split(sizes), shapes, strict=True)]
        outputs = functional_call(network, dict(zip(weights, parts, strict=True)), (batch[0],))
        return nn.functional.cross_entropy(outputs, batch[1])

    matrix = torch.autograd.functional.hessian(loss, torch.cat([w.reshape(-1) for w in weights.values()]))
    return float(torch.linalg.eigvalsh(matrix).abs().max())


@pytest.mark.parametrize("seed", range(5))
def test_it_is_just_below_the_largest_eigenvalue(seed: int) -> None:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    batch = torch.randn(60, 6), torch.randint(3, (60,))
    largest = explicit(network, batch)
    assert 0.8 * largest <= sharpness(network, batch, nn.functional.cross_entropy) <= largest * (1 + 1e-9)


def test_the_network_is_left_as_it_was() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Dropout(), nn.Flatten(), nn.LazyLinear(2))
    batch = torch.randn(20, 1, 5, 5), torch.arange(20) % 2
    network(batch[0])
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    drawn = torch.get_rng_state()
    first = sharpness(network, batch, nn.functional.cross_entropy)
    assert first == sharpness(network, batch, nn.functional.cross_entropy)
    assert all(tensor.equal(before[name]) for name, tensor in network.state_dict().items())
    assert torch.get_rng_state().equal(drawn)
    assert all(weight.grad is None for weight in network.parameters())


def test_examples_are_spread_over_the_batch() -> None:
    network = nn.Linear(2, 1, bias=False)
    inputs = torch.zeros(1000, 2)
    inputs[500:, 0] = 2.0  # the second half alone curves
    found = sharpness(network, (inputs, torch.ones(1000, 1)), nn.functional.mse_loss)
    assert found == pytest.approx(2 * 4 / 2)


@pytest.mark.parametrize("inputs", [torch.zeros(4, 2), torch.full((4, 2), torch.inf)])
def test_a_loss_that_does_not_curve_is_refused(inputs: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"no curvature at the initial weights.*give a search_learning_rate"):
        sharpness(nn.Linear(2, 1), (inputs, torch.ones(4, 1)), nn.functional.mse_loss)
