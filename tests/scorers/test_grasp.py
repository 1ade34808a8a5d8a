"""GraSP and its absolute value: closed form, full Hessian, sign, invariances."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, hessian

from scratchcard.pruning.cut import keep_top
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import flatten, prunable, unflatten
from scratchcard.scorers import GraSP, GraSPAbs
from scratchcard.scorers.scorer import Batch
from tests.scorers.toys import case, cross_entropy, half_square, random_mask, single
from tests.scorers.transformations import permuted, permuted_back, rescaled

# torch's own forward mode goes through torch.jit.script the first time.
forward_mode = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:FutureWarning")


def by_hessian(network: nn.Module, batch: Batch, temperature: float, mask: Mask) -> Tensor:
    """`w * (H g)` as a vector, from the whole Hessian over the kept weights."""
    weights = {name: weight.detach() for name, weight in prunable(network).items()}
    kept = mask.flat().double()

    def loss(vector: Tensor) -> Tensor:
        outputs = functional_call(network, unflatten(vector * kept, weights), (batch[0],))
        return cross_entropy(outputs / temperature, batch[1])

    vector = flatten(weights)
    gradient = torch.func.grad(loss)(vector)  # zero where pruned
    return (vector * kept * (hessian(loss)(vector) @ gradient)).detach()


@pytest.mark.parametrize("temperature", [1.0, 2.0, 200.0])
def test_closed_form(temperature: float) -> None:
    # y = 1, z = y / T, L = z^2 / 2: g = y x / T^2, H = x x^T / T^2, so H g = x |x|^2 y / T^4 and
    # w * Hg = (30, -20) / T^4.
    batch = (torch.tensor([[3.0, 1.0]]), torch.zeros(1, 1))
    expected = torch.tensor([[30.0, -20.0]], dtype=torch.float64) / temperature**4
    scores = GraSP(temperature)(single(1.0, -2.0), batch, half_square)
    torch.testing.assert_close(scores.tensors["0.weight"], expected)
    scores = GraSPAbs(temperature)(single(1.0, -2.0), batch, half_square)
    torch.testing.assert_close(scores.tensors["0.weight"], expected.abs())


@forward_mode
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 200.0])
def test_agrees_with_the_whole_hessian(masked: bool, temperature: float) -> None:
    network, batch = case("mlp")
    mask = random_mask(network) if masked else Mask.dense(network)
    expected = by_hessian(network, batch, temperature, mask)
    scale = float(expected.abs().max())
    found = GraSP(temperature)(network, batch, cross_entropy, mask=mask).flat()
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-13 * scale)
    found = GraSPAbs(temperature)(network, batch, cross_entropy, mask=mask).flat()
    torch.testing.assert_close(found, expected.abs(), rtol=1e-9, atol=1e-13 * scale)


@forward_mode
def test_agrees_with_the_whole_hessian_of_an_embedding() -> None:
    network, batch = case("text")
    expected = by_hessian(network, batch, 1.0, Mask.dense(network))
    torch.testing.assert_close(GraSP(1.0)(network, batch, cross_entropy).flat(), expected, rtol=1e-9, atol=1e-14)


def test_trap_sign_removing_a_high_score_costs_gradient_norm() -> None:
    network, batch = case("mlp")
    scores = GraSP(temperature=1.0)(network, batch, cross_entropy).tensors["2.weight"]
    weight, step = network[2].weight, 1e-5

    def half_norm() -> float:
        gradients = torch.autograd.grad(cross_entropy(network(batch[0]), batch[1]), list(prunable(network).values()))
        return 0.5 * sum(float(gradient.square().sum()) for gradient in gradients)

    for place in (divmod(int(scores.argmax()), 7), divmod(int(scores.argmin()), 7)):
        kept = weight[place].clone()
        norms = []
        for factor in (1 - step, 1 + step):
            with torch.no_grad():
                weight[place] = kept * factor
            norms.append(half_norm())
        with torch.no_grad():
            weight[place] = kept
        # Shrinking the weight by a share s loses s * score of |g|^2 / 2: keep what scores high.
        assert (norms[1] - norms[0]) / (2 * step) == pytest.approx(float(scores[place]), rel=1e-5)
    assert scores.max() > 0 > scores.min()


def test_trap_zeros_of_pruned_weights_do_not_beat_negative_scores() -> None:
    network, batch = case("mlp")
    mask = random_mask(network, density=0.5)
    scores = GraSP()(network, batch, cross_entropy, mask=mask)
    live = scores.flat()[mask.flat()]
    assert bool((live < 0).any())
    density = (int((live > 0).sum()) + int((live < 0).sum()) // 2) / mask.total
    smaller = keep_top(scores, density, within=mask)
    assert mask.contains(smaller)
    assert smaller.kept == round(density * mask.total)
    # Without `within`, zeros of pruned weights come before negative live scores.
    assert not mask.contains(keep_top(scores, density))


def test_trap_one_batch_serves_gradient_and_hessian_and_is_read_once() -> None:
    network, batch = case("mlp")
    calls: list[int] = []

    def counted(outputs: Tensor, targets: Tensor) -> Tensor:
        calls.append(len(targets))
        return cross_entropy(outputs, targets)

    GraSP()(network, batch, counted)
    assert calls == [8]


def test_equivariant_under_permutation_of_hidden_units() -> None:
    network, batch = case("mlp")
    expected = GraSP()(network, batch, cross_entropy)
    found = permuted_back(GraSP()(permuted(network), batch, cross_entropy).tensors)
    scale = float(expected.flat().abs().max())
    for name in prunable(network):
        torch.testing.assert_close(found[name], expected.tensors[name], rtol=1e-9, atol=1e-13 * scale)


def test_counterexample_rescaling_of_hidden_units_changes_the_ranking() -> None:
    network, batch = case("mlp")
    before, after = (GraSP()(net, batch, cross_entropy) for net in (network, rescaled(network)))
    assert keep_top(before, 0.3) != keep_top(after, 0.3)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("scorer", [GraSP, GraSPAbs])
def test_refuses_a_temperature_that_is_not_positive(temperature: float, scorer: type) -> None:
    with pytest.raises(ValueError, match=r"temperature is .*, expected a positive number"):
        scorer(temperature)
