"""What every scorer promises; a new member of SCORERS is tested here without a new line."""

from __future__ import annotations

import copy
import dataclasses
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn

from scratchcard import scorers
from scratchcard.pruning.cut import keep_top
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.scorers import SCORERS, NoEffectWarning, make_scorer
from tests.scorers.toys import CASES, begun, case, cross_entropy, mlp, random_mask

everywhere = pytest.mark.parametrize("kind", CASES)
every_scorer = pytest.mark.parametrize("name", SCORERS)


def equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of tensors agree bit for bit."""
    return list(found) == list(expected) and all(torch.equal(found[name], expected[name]) for name in found)


@every_scorer
@everywhere
def test_scores_have_the_layout_of_the_prunable_weights(name: str, kind: str) -> None:
    network, batch = case(kind)
    scores = begun(name, network)(network, batch, cross_entropy)
    weights = prunable(network)
    assert list(scores.tensors) == list(weights)
    for key, tensor in scores.tensors.items():
        assert tensor.shape == weights[key].shape
        assert tensor.device == weights[key].device
        assert tensor.dtype.is_floating_point
        assert not tensor.requires_grad
        assert torch.isfinite(tensor).all()
        assert tensor.abs().sum() > 0
        assert tensor.data_ptr() != weights[key].data_ptr()


@every_scorer
@everywhere
@pytest.mark.parametrize("training", [True, False])
def test_leaves_the_network_as_it_was(name: str, kind: str, training: bool) -> None:
    network, batch = case(kind)
    network.train(training)
    list(network.modules())[-1].train(not training)
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    parameters = dict(network.named_parameters())
    state = copy.deepcopy(network.state_dict())
    modes = [module.training for module in network.modules()]
    needs = [parameter.requires_grad for parameter in network.parameters()]
    hooks = [len(module._forward_hooks) for module in network.modules()]
    inputs, targets = batch[0].clone(), batch[1].clone()
    torch.manual_seed(5)
    generator_state = torch.get_rng_state()
    for mask in (None, random_mask(network)):
        begun(name, network)(network, batch, cross_entropy, mask=mask)
    assert torch.equal(torch.get_rng_state(), generator_state)
    assert equal(dict(network.state_dict()), dict(state))
    assert all(tensor.dtype == state[key].dtype for key, tensor in network.state_dict().items())
    assert all(parameter is parameters[key] for key, parameter in network.named_parameters())
    assert [module.training for module in network.modules()] == modes
    assert [parameter.requires_grad for parameter in network.parameters()] == needs
    assert [len(module._forward_hooks) for module in network.modules()] == hooks
    assert all(bool((parameter.grad == 3.0).all()) for parameter in network.parameters())
    assert torch.equal(batch[0], inputs)
    assert torch.equal(batch[1], targets)


@every_scorer
@everywhere
def test_repeats_are_bit_equal(name: str, kind: str) -> None:
    network, batch = case(kind)
    first = begun(name, network)(network, batch, cross_entropy)
    second = begun(name, network)(network, batch, cross_entropy)
    assert equal(first.tensors, second.tensors)
    assert first.criterion == second.criterion == repr(make_scorer(name))


@every_scorer
@everywhere
def test_old_gradients_frozen_weights_and_the_callers_grad_mode_do_not_matter(name: str, kind: str) -> None:
    network, batch = case(kind)
    expected = begun(name, network)(network, batch, cross_entropy).tensors
    cross_entropy(copy.deepcopy(network)(batch[0]), batch[1]).backward()
    for parameter in network.parameters():
        parameter.grad = torch.randn_like(parameter)
    assert equal(begun(name, network)(network, batch, cross_entropy).tensors, expected)
    for parameter in list(network.parameters())[::2]:
        parameter.requires_grad_(False)
    assert equal(begun(name, network)(network, batch, cross_entropy).tensors, expected)
    network.requires_grad_(False)
    with torch.no_grad():
        assert equal(begun(name, network)(network, batch, cross_entropy).tensors, expected)
    with torch.inference_mode():
        inner = (batch[0].clone(), batch[1].clone())
        assert equal(begun(name, network)(network, inner, cross_entropy).tensors, expected)
        made = copied(network)
    assert all(tensor.is_inference() for tensor in made.state_dict().values())
    assert equal(begun(name, made)(made, batch, cross_entropy).tensors, expected)


def copied(network: nn.Module) -> nn.Module:
    """The network with new tensors throughout, made in the caller's mode."""
    found = copy.deepcopy(network)
    made = {parameter: nn.Parameter(parameter.detach().clone()) for parameter in found.parameters()}
    for module in found.modules():
        for key, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, key, made[parameter])
        for key, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, key, buffer.clone())
    return found


@every_scorer
@everywhere
def test_pruned_weights_score_zero_and_the_full_mask_changes_nothing(name: str, kind: str) -> None:
    network, batch = case(kind)
    scorer = begun(name, network)
    mask = random_mask(network)
    scores = scorer(network, batch, cross_entropy, mask=mask)
    for key, kept in mask.tensors.items():
        assert bool((scores.tensors[key][~kept] == 0).all())
        assert bool((scores.tensors[key][kept] != 0).any())
    dense = scorer(network, batch, cross_entropy)
    assert equal(scorer(network, batch, cross_entropy, mask=Mask.dense(network)).tensors, dense.tensors)


@every_scorer
@everywhere
def test_a_mask_hides_the_values_of_pruned_weights(name: str, kind: str) -> None:
    network, batch = case(kind)
    mask = random_mask(network)
    expected = begun(name, network)(network, batch, cross_entropy, mask=mask).tensors
    with torch.no_grad():
        for key, weight in prunable(network).items():
            weight[~mask.tensors[key]] = 1e3
    assert equal(begun(name, network)(network, batch, cross_entropy, mask=mask).tensors, expected)


@every_scorer
def test_non_contiguous_weights_score_as_contiguous_ones(name: str) -> None:
    network, batch = case("mlp")
    expected = begun(name, network)(network, batch, cross_entropy)
    for module in network.modules():
        if isinstance(module, nn.Linear):
            module.weight = nn.Parameter(module.weight.detach().T.contiguous().T)
            assert not module.weight.is_contiguous()
    found = begun(name, network)(network, batch, cross_entropy)
    torch.testing.assert_close(found.flat(), expected.flat(), rtol=1e-12, atol=0)


@every_scorer
def test_a_shared_weight_is_scored_once_with_all_its_uses(name: str) -> None:
    network, batch = case("everything")
    scores = begun(name, network)(network, batch, cross_entropy)
    assert "first.weight" in scores.tensors
    assert "second.weight" not in scores.tensors


@every_scorer
def test_float32_data_meets_a_float64_network(name: str) -> None:
    network, (inputs, targets) = case("mlp")
    inputs = inputs.float()
    found = begun(name, network)(network, (inputs, targets), cross_entropy)
    expected = begun(name, network)(network, (inputs.double(), targets), cross_entropy)
    assert equal(found.tensors, expected.tensors)


@every_scorer
def test_many_rounds_nest(name: str) -> None:
    network, batch = case("mlp")
    mask = Mask.dense(network)
    for density in (0.8, 0.5, 0.3):
        smaller = keep_top(begun(name, network)(network, batch, cross_entropy, mask=mask), density, within=mask)
        assert mask.contains(smaller)
        assert smaller.kept == round(density * mask.total)
        mask = smaller


@every_scorer
def test_the_scorer_is_frozen_and_its_repr_makes_it_again(name: str) -> None:
    scorer = make_scorer(name, seed=3)
    assert dataclasses.is_dataclass(scorer)
    assert eval(repr(scorer), vars(scorers)) == scorer  # noqa: S307
    for field in dataclasses.fields(scorer):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(scorer, field.name, 1)


@every_scorer
def test_refuses_a_mask_of_another_network(name: str) -> None:
    network, batch = case("mlp")
    with pytest.raises(ValueError, match=r"the mask: '0\.weight' has shape"):
        begun(name, network)(network, batch, cross_entropy, mask=Mask.dense(mlp(sizes=(5, 4, 6, 3))))


@every_scorer
def test_refuses_a_network_with_nothing_to_prune(name: str) -> None:
    empty = nn.Sequential(nn.ReLU())
    with pytest.raises(ValueError, match="nothing to prune"):
        begun(name, empty)(empty, (torch.ones(2, 3), torch.zeros(2).long()), cross_entropy)


@every_scorer
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_refuses_weights_that_are_not_finite(name: str, bad: float) -> None:
    network, batch = case("mlp")
    with torch.no_grad():
        network[2].weight[0, 0] = bad
    with pytest.raises(ValueError, match=r"'2\.weight' holds NaN or infinity"):
        begun(name, network)(network, batch, cross_entropy)


@every_scorer
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_a_network_in_half_precision_scores_as_the_same_network_in_float32(name: str, half: torch.dtype) -> None:
    network, batch = case("everything")
    network = network.to(half)
    before = copy.deepcopy(network.state_dict())
    found = begun(name, network)(network, batch, cross_entropy)
    single = copy.deepcopy(network).float()
    expected = begun(name, single)(single, batch, cross_entropy)
    assert equal(dict(found.tensors), dict(expected.tensors))
    assert len(found.flat().unique()) > 100  # GraSP's were all zeros
    assert equal(network.state_dict(), before)


class Activated(nn.Module):
    """Layers with a function between them."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.function = nn.Linear(5, 7), nn.Linear(7, 3), function

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.second(self.function(self.first(inputs)))
        return found


@every_scorer
@pytest.mark.parametrize("inplace", [nn.ReLU(inplace=True), nn.functional.relu_])
def test_an_activation_in_place_changes_no_score(name: str, inplace: Callable[[torch.Tensor], torch.Tensor]) -> None:
    batch = torch.randn(20, 5), torch.arange(20) % 3
    networks = Activated(inplace), Activated(nn.ReLU())
    found, expected = (begun(name, network)(network, batch, cross_entropy) for network in networks)
    assert equal(dict(found.tensors), dict(expected.tensors))


@pytest.mark.parametrize("name", ["snip", "grasp", "grasp_abs", "prospr", "synflow_l2_data"])
def test_refuses_a_batch_that_is_not_finite(name: str) -> None:
    network, (inputs, targets) = case("mlp")
    with pytest.raises(ValueError, match="hold NaN or infinity"):
        begun(name, network)(network, (inputs * float("nan"), targets), cross_entropy)


@pytest.mark.parametrize("name", ["snip", "grasp", "gauss_newton"])
def test_refuses_a_batch_without_examples(name: str) -> None:
    inputs, targets = case("mlp")[1]
    with pytest.raises(ValueError, match="the scoring batch has no examples, expected at least one"):
        make_scorer(name)(mlp(), (inputs[:0], targets[:0]), cross_entropy)


@pytest.mark.parametrize("name", ["snip", "grasp", "grasp_abs", "prospr"])
def test_warns_when_the_gradient_is_zero(name: str) -> None:
    network, batch = case("mlp")
    with pytest.warns(NoEffectWarning, match="same score"):
        scores = begun(name, network)(network, batch, lambda outputs, targets: (outputs * 0).sum())
    assert bool((scores.flat() == 0).all())


@pytest.mark.parametrize("name", ["synflow", "synflow_l2_data"])
def test_warns_when_a_layer_has_collapsed(name: str) -> None:
    network, batch = case("mlp")
    mask = Mask.dense(network)
    collapsed = Mask({key: tensor & (key != "2.weight") for key, tensor in mask.tensors.items()})
    with pytest.warns(NoEffectWarning):
        begun(name, network)(network, batch, cross_entropy, mask=collapsed)


@pytest.mark.parametrize("name", ["synflow", "synflow_l2_data"])
@pytest.mark.parametrize("dead", [0, 6, 13])
def test_scores_zeros_and_warns_where_a_layer_is_zero_and_flows_overflow(name: str, dead: int) -> None:
    network = nn.Sequential(*(nn.Linear(4, 4) for _ in range(14)))
    for layer in network:
        nn.init.constant_(layer.get_parameter("weight"), 1e30)
    nn.init.zeros_(network[dead].get_parameter("weight"))
    batch = torch.rand(5, 4), torch.arange(5) % 4
    with pytest.warns(NoEffectWarning):
        scores = begun(name, network)(network, batch, cross_entropy)
    assert not scores.flat().any()


def test_warns_when_all_magnitudes_are_equal_or_nothing_is_kept() -> None:
    network, batch = case("mlp")
    nothing = Mask({key: torch.zeros_like(tensor) for key, tensor in Mask.dense(network).tensors.items()})
    with pytest.warns(NoEffectWarning):
        make_scorer("magnitude")(network, batch, cross_entropy, mask=nothing)
    with torch.no_grad():
        for weight in prunable(network).values():
            weight.fill_(-0.5)
    with pytest.warns(NoEffectWarning):
        make_scorer("magnitude")(network, batch, cross_entropy)


def test_one_kept_weight_is_no_reason_to_warn() -> None:
    network, batch = case("mlp")
    one = Mask({key: torch.zeros_like(tensor) for key, tensor in Mask.dense(network).tensors.items()})
    one.tensors["2.weight"][1, 1] = True
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_scorer("magnitude")(network, batch, cross_entropy, mask=one)


def test_an_unknown_scorer_is_named_with_its_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown scorer 'synflw'.*did you mean 'synflow'\?"):
        make_scorer("synflw")


def test_only_random_takes_the_seed() -> None:
    assert make_scorer("random", seed=4) == SCORERS["random"](seed=4)
    assert make_scorer("snip", seed=4) == SCORERS["snip"]()


@pytest.mark.cuda
@every_scorer
@everywhere
def test_on_cuda_scores_agree_with_the_cpu_and_the_generators_stay(name: str, kind: str) -> None:
    network, batch = case(kind)
    network.eval()
    mask = random_mask(network)
    expected = begun(name, network)(network, batch, cross_entropy, mask=mask)
    network.to("cuda")
    cpu, cuda = torch.get_rng_state(), torch.cuda.get_rng_state()
    found = begun(name, network)(network, batch, cross_entropy, mask=mask)
    assert all(tensor.is_cuda for tensor in found.tensors.values())
    torch.testing.assert_close(found.flat().cpu(), expected.flat(), rtol=1e-8, atol=1e-30)
    network.train()
    begun(name, network)(network, batch, cross_entropy)
    assert torch.equal(torch.get_rng_state(), cpu)
    assert torch.equal(torch.cuda.get_rng_state(), cuda)


@every_scorer
def test_a_wrapped_network_scores_as_the_one_inside(name: str) -> None:
    network, batch = case("mlp")
    wrapped = nn.DataParallel(network)
    found = begun(name, wrapped)(wrapped, batch, cross_entropy).tensors
    assert equal(found, begun(name, network)(network, batch, cross_entropy).tensors)
