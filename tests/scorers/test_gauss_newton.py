"""GaussNewton against least squares, an explicit Gauss-Newton matrix, and what it must not depend on."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from scratchcard.pruning.cut import keep_top
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.scorers.gauss_newton import GaussNewton, conjugate_gradients, gauss_newton_step, spread
from scratchcard.scorers.shelf import Shelf
from tests.scorers.toys import case, cross_entropy, half_square, mlp, random_mask, single, two_layers


def batch_of(inputs: list[list[float]], targets: list[list[float]]) -> tuple[Tensor, Tensor]:
    return torch.tensor(inputs, dtype=torch.float64), torch.tensor(targets, dtype=torch.float64)


def test_a_linear_unit_goes_to_its_least_squares_solution() -> None:
    # Mean of (w - 2)^2 / 2, ((v - 3) 2)^2 / 2: the solution is (2, 3) from anywhere.
    batch = batch_of([[1.0, 0.0], [0.0, 2.0]], [[2.0], [6.0]])
    scores = GaussNewton(steps=2, damping=0.0)(single(0.5, -1.0), batch, half_square)
    torch.testing.assert_close(scores.tensors["0.weight"], torch.tensor([[2.0, 3.0]], dtype=torch.float64))


def test_one_iteration_is_the_best_step_along_the_gradient() -> None:
    # At w = 0: g = -x y = -6, G = x^2 = 4, step g^2 / g G g * 6 = 1.5 = y / x; damped: 6 / (4 + 2) = 1.
    batch = batch_of([[2.0]], [[3.0]])
    for damping, expected in ((0.0, 1.5), (2.0, 1.0)):
        _, step = gauss_newton_step(single(0.0), batch, half_square, steps=1, damping=damping)
        assert float(step["0.weight"]) == pytest.approx(expected)


def explicit(network: nn.Module, batch: tuple[Tensor, Tensor], mask: Mask | None, damping: float) -> dict[str, Tensor]:
    """`-(G + damping I)^-1 g` over kept weights and biases, from Jacobians one output at a time and softmax by hand."""
    network = copy.deepcopy(network)
    parameters = dict(network.named_parameters())
    free = {name: torch.ones_like(p, dtype=torch.bool) for name, p in parameters.items()}
    if mask is not None:
        free |= dict(mask.tensors)
        mask.apply_to(network)
    chosen = torch.cat([free[name].reshape(-1) for name in parameters])
    matrix, gradient = 0.0, 0.0
    for x, target in zip(*batch, strict=True):
        outputs = network(x[None])[0]
        rows = [torch.autograd.grad(output, list(parameters.values()), retain_graph=True) for output in outputs]
        jacobian = torch.stack([torch.cat([part.reshape(-1) for part in row]) for row in rows])[:, chosen]
        p = torch.softmax(outputs.detach(), 0)
        slope = p - nn.functional.one_hot(target, len(p)).to(p)
        matrix = matrix + jacobian.T @ (torch.diag(p) - torch.outer(p, p)) @ jacobian / len(batch[1])
        gradient = gradient + jacobian.T @ slope / len(batch[1])
    assert isinstance(matrix, Tensor)
    solution = -torch.linalg.solve(matrix + damping * torch.eye(len(matrix), dtype=matrix.dtype), gradient)
    found, start = {}, 0
    for name, places in free.items():
        found[name] = torch.zeros_like(parameters[name]).detach()
        found[name][places] = solution[start : start + int(places.sum())]
        start += int(places.sum())
    return found


@pytest.mark.parametrize("masked", [False, True])
def test_many_iterations_solve_with_the_explicit_matrix(masked: bool) -> None:
    network, batch = mlp(), case("mlp")[1]
    mask = random_mask(network) if masked else None
    weights, step = gauss_newton_step(network, batch, cross_entropy, mask, steps=400, damping=0.05)
    expected = explicit(network, batch, mask, 0.05)
    for name in prunable(network):
        torch.testing.assert_close(step[name], expected[name], rtol=1e-6, atol=1e-9)
        if mask is not None:
            assert not step[name][~mask.tensors[name]].any()
            assert not weights[name][~mask.tensors[name]].any()


def test_more_iterations_lower_the_linearised_loss() -> None:
    network, batch = mlp(), case("mlp")[1]
    expected = explicit(network, batch, None, 0.05)
    distances = []
    for steps in (1, 3, 10, 100):
        _, step = gauss_newton_step(network, batch, cross_entropy, steps=steps, damping=0.05)
        distances.append(sum(float((step[name] - expected[name]).square().sum()) for name in step))
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 1e-6 * distances[0]


def test_a_loss_without_curvature_leaves_gradient_descent() -> None:
    def linear(outputs: Tensor, targets: Tensor) -> Tensor:
        return -outputs.sum(dim=1).mean()

    # d = -g / damping; g = -(1, 1) here.
    batch = batch_of([[1.0, 1.0]], [[0.0]])
    _, step = gauss_newton_step(single(0.0, 0.0), batch, linear, damping=0.5)
    torch.testing.assert_close(step["0.weight"], torch.tensor([[2.0, 2.0]], dtype=torch.float64))


def test_a_dead_network_stays_where_it_is() -> None:
    network = two_layers()
    with torch.no_grad():
        network[0].weight.fill_(-1.0)
    batch = batch_of([[1.0, 2.0]], [[3.0]])
    _, step = gauss_newton_step(network, batch, half_square)
    assert not any(bool(tensor.any()) for tensor in step.values())


def test_examples_are_spread_over_a_batch_sorted_by_class() -> None:
    inputs, targets = torch.arange(10.0)[:, None], torch.arange(10)
    assert spread((inputs, targets), 5)[1].tolist() == [0, 2, 4, 6, 8]
    assert spread((inputs, targets), 10)[1].tolist() == list(range(10))
    network, (x, y) = case("mlp")
    few = GaussNewton(examples=3)(network, (x, y), cross_entropy)
    places = torch.arange(3) * len(y) // 3
    same = GaussNewton()(network, (x[places], y[places]), cross_entropy)
    assert all(torch.equal(few.tensors[name], same.tensors[name]) for name in few.tensors)


def test_conjugate_gradients_end_where_nothing_is_left() -> None:
    calls = []

    def product(vector: list[Tensor], found: list[Tensor]) -> None:
        calls.append(1)
        found[0].copy_(2.0 * vector[0])

    found = conjugate_gradients(product, [torch.tensor([4.0, -2.0])], 50, Shelf(2))
    assert found[0].tolist() == [2.0, -1.0]
    assert len(calls) == 1


def test_rounds_prune_to_a_ticket_with_paths() -> None:
    network, batch = mlp(sizes=(5, 30, 20, 3)), case("mlp")[1]
    mask = None
    for density in (0.5, 0.2, 0.1):
        mask = keep_top(GaussNewton()(network, batch, cross_entropy, mask=mask), density, within=mask)
    assert mask is not None
    assert all(int(tensor.sum()) for tensor in mask.tensors.values())


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [({"steps": 0}, "steps is 0"), ({"damping": -1.0}, "damping is -1.0"), ({"examples": 0}, "examples is 0")],
)
def test_senseless_settings_are_refused(settings: dict[str, float], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        GaussNewton(**settings)  # type: ignore[arg-type]
