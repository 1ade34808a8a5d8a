"""Samples of layers and features of pairs: exact identities, explicit sums, what they must not depend on."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from scratchcard.clock import counted_reads
from scratchcard.dataset_builder import layer_inputs
from scratchcard.dataset_builder.features import FEATURES, PAIR_FEATURES, column, compute_features
from scratchcard.dataset_builder.layer_inputs import LayerInputs
from scratchcard.dataset_builder.pairs import SAMPLES, STEPS, LayerPairs, Pairs
from scratchcard.dataset_builder.samples import Samples, by_pair, take_samples
from scratchcard.pruning.cut import keep_top
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.scorers.gradients import loss_gradients
from scratchcard.scorers.magnitude import Magnitude
from scratchcard.scorers.pieces import scoring_memory
from scratchcard.scorers.scorer import Batch
from scratchcard.scorers.synflow_l2_data import SynFlowL2Data
from tests.scorers.toys import case, cross_entropy, filled, mlp, random_mask

PAIRS = tuple(column.name for column in PAIR_FEATURES)


EXAMPLES = {
    "linear": lambda: case("mlp"),
    "padded": lambda: _lazy(nn.Conv2d(4, 6, 3, padding=1), 4, 7, 8),
    "strided": lambda: _lazy(nn.Conv2d(4, 6, (3, 2), stride=(2, 1), dilation=(1, 2)), 4, 7, 8),
    "grouped": lambda: _lazy(nn.Conv2d(4, 6, 3, groups=2, padding="same"), 4, 7, 8),
    "reflecting": lambda: _lazy(nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), 4, 7, 8),
    "line": lambda: _lazy(nn.Conv1d(2, 4, 3, stride=2, padding=1), 2, 9),
}


def _lazy(layer: nn.Module, *shape: int) -> tuple[nn.Module, Batch]:
    inputs = torch.randn(6, *shape, dtype=torch.float64)
    with torch.no_grad():
        features = layer.double()(inputs)[0].numel()
    network = nn.Sequential(layer, nn.ReLU(), nn.Flatten(), nn.Linear(features, 3)).double()
    return filled(network), (inputs, torch.arange(6) % 3)


@pytest.mark.parametrize("kind", EXAMPLES)
@pytest.mark.parametrize("masked", [False, True])
def test_a_layer_is_its_weight_times_its_samples(kind: str, masked: bool) -> None:
    network, batch = EXAMPLES[kind]()
    mask = random_mask(network) if masked else None
    found = take_samples(network, batch, cross_entropy, mask)
    gradients = loss_gradients(network, batch, cross_entropy, mask).gradients
    for name, weight in prunable(network).items():
        layer = found[name]
        kept = weight.detach() if mask is None else weight.detach() * mask.tensors[name]
        bias = network.get_parameter(name.replace("weight", "bias")).detach()
        outputs = torch.bmm(by_pair(kept, layer), layer.inputs) + bias.reshape(len(layer.outputs), -1, 1)
        torch.testing.assert_close(layer.outputs, outputs)
        # Slopes are of one example's loss: their products with the inputs, averaged over examples, are the gradient.
        gradient = torch.bmm(layer.slopes, layer.inputs.mT) / len(batch[1])
        torch.testing.assert_close(by_pair(gradients[name], layer), gradient)


def test_of_large_maps_some_positions_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    network, batch = EXAMPLES["padded"]()
    whole = take_samples(network, batch, cross_entropy, None)["0.weight"]
    monkeypatch.setattr("scratchcard.dataset_builder.samples.SAMPLES", 6 * 14)
    monkeypatch.setattr("scratchcard.dataset_builder.samples._ELEMENTS", 1)  # one example at a time
    some = take_samples(network, batch, cross_entropy, None)["0.weight"]
    assert some.inputs.shape == (1, 36, 84)
    for part, all_ in ((some.inputs, whole.inputs), (some.outputs, whole.outputs), (some.slopes, whole.slopes)):
        places = torch.arange(14) * 56 // 14
        torch.testing.assert_close(
            part.reshape(*part.shape[:2], 14, 6), all_.reshape(*all_.shape[:2], 56, 6)[:, :, places]
        )


def test_other_layers_are_refused_by_name() -> None:
    network, batch = case("text")
    with pytest.raises(ValueError, match="linear and 1d and 2d convolution layers, embedding"):
        take_samples(network, batch, cross_entropy, None)


def test_a_layer_whose_weight_a_function_takes_is_refused_by_name() -> None:
    class Functional(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.linear(self[0](x), self[1].weight)

    network = Functional(nn.Linear(4, 3), nn.Linear(3, 2))
    with pytest.raises(ValueError, match=r"what flows through each layer, and that of 1\.weight is not called"):
        take_samples(network, (torch.rand(6, 4), torch.arange(6) % 2), cross_entropy, None)


def layer_of(seed: int = 0) -> tuple[LayerPairs, Samples, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs, outputs, slopes = (torch.randn(1, n, 50, generator=generator, dtype=torch.float64) for n in (5, 3, 3))
    inputs[0, 1] = 0.7 * inputs[0, 0] + 0.3 * inputs[0, 1]
    inputs[0, 4] = 2.0  # never varies
    weight = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    weight[0, 2] = 0.0  # pruned
    step = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    samples = Samples(inputs, outputs, slopes)
    return LayerPairs(weight, step, samples, None), samples, weight, step


def test_correlations_are_pearsons() -> None:
    layer, samples, weight, _ = layer_of()
    x, z, d = (part[0].numpy() for part in (samples.inputs, samples.outputs, samples.slopes))
    found = layer.number("output_correlation").reshape(3, 5)
    slope = layer.number("slope_correlation").reshape(3, 5)
    for j in range(3):
        for i in range(5):
            sign = float(weight[j, i].sign())
            varies = i != 4
            expected = sign * np.corrcoef(x[i], z[j])[0, 1] if varies else 0.0
            assert found[j, i] == pytest.approx(expected, abs=1e-6)
            about = np.mean(d[j] * (x[i] - x[i].mean())) / x[i].std() / math.sqrt(np.mean(d[j] ** 2)) if varies else 0.0
            assert slope[j, i] == pytest.approx(-sign * about, abs=1e-6)
    assert layer.number("input_spread")[:5] == pytest.approx(x.std(axis=1), abs=1e-6)
    assert layer.number("slope_size").reshape(3, 5)[:, 0] == pytest.approx(np.sqrt((d**2).mean(axis=1)))


def test_the_correlation_with_other_kept_inputs_is_an_explicit_sum() -> None:
    layer, samples, weight, _ = layer_of()
    x = samples.inputs[0].numpy()
    correlation = np.zeros((5, 5))
    correlation[:4, :4] = np.corrcoef(x[:4])
    for j in range(3):
        for i in range(5):
            others = [float(weight[j, k].sign()) * correlation[i, k] ** 3 for k in range(5) if k != i]
            expected = float(weight[j, i].sign()) * sum(others)
            assert layer.number("kept_correlation").reshape(3, 5)[j, i] == pytest.approx(expected, abs=1e-6)


def columns(network: nn.Module, batch: Batch, mask: Mask | None = None, density: float = 0.1) -> dict[str, np.ndarray]:
    blocks = compute_features(network, batch, cross_entropy, mask=mask, density=density, names=PAIRS)
    values = np.concatenate([block.values for block in blocks])
    return {name: values[:, place] for place, name in enumerate(PAIRS)}


def test_features_are_what_their_descriptions_say() -> None:
    network, batch = case("mlp")
    mask = random_mask(network)
    found = columns(network, batch, mask)
    pairs = Pairs.take(network, batch, cross_entropy, mask, {STEPS})
    kept = torch.cat([pairs.weights[name][mask.tensors[name]] for name in pairs.weights]).numpy()
    step = torch.cat([pairs.steps[name][mask.tensors[name]] for name in pairs.weights]).numpy()
    flow = SynFlowL2Data()(network, batch, cross_entropy, mask=mask).tensors
    flows = torch.cat([flow[name][mask.tensors[name]] for name in flow]).numpy()
    assert found["magnitude_ln"] == pytest.approx(np.log(np.abs(kept)), rel=1e-4)
    assert found["step_ln"] == pytest.approx(np.log(np.maximum(np.abs(step), 1e-9)), rel=1e-3)
    assert found["stepped_ln"] == pytest.approx(np.log(np.abs(kept + step)), rel=1e-3)
    assert found["growth"] == pytest.approx(np.tanh(step / kept), abs=1e-5)
    live = flows > 0
    paths = 0.5 * np.log(flows[live] / kept[live] ** 2)
    assert found["path_ln"][live] - paths == pytest.approx(found["path_ln"][live][0] - paths[0], abs=1e-4)
    last = int(mask.tensors["4.weight"].sum())
    assert found["last_layer"].tolist() == [0.0] * (len(kept) - last) + [1.0] * last
    rows = torch.where(mask.tensors["4.weight"], flow["4.weight"], 0.0).sum(1, keepdim=True)
    share = (flow["4.weight"] / rows)[mask.tensors["4.weight"]].clamp_min(1e-30).log() / 2
    assert found["row_share_ln"][-last:] == pytest.approx(share.numpy(), abs=1e-4)


def test_progress_goes_from_the_first_round_to_the_last() -> None:
    network, batch = case("mlp")
    assert set(columns(network, batch)["progress"].tolist()) == {0.0}
    half = keep_top(Magnitude()(network, batch, cross_entropy), 0.1**0.5)
    assert columns(network, batch, half)["progress"] == pytest.approx(0.5, abs=0.02)
    assert set(columns(network, batch, half, density=1.0)["progress"].tolist()) == {0.0}
    assert set(columns(network, batch, half, density=0.9)["progress"].tolist()) == {1.0}


def test_hidden_units_in_another_order_have_the_same_features() -> None:
    network, batch = mlp(), case("mlp")[1]
    order = torch.randperm(7)
    other = copy.deepcopy(network)
    with torch.no_grad():
        other[0].weight.copy_(network[0].weight[order])
        other[0].bias.copy_(network[0].bias[order])
        other[2].weight.copy_(network[2].weight[:, order])
    one, two = columns(network, batch), columns(other, batch)
    for name in PAIRS:
        assert two[name][:35].reshape(7, 5) == pytest.approx(one[name][:35].reshape(7, 5)[order.numpy()], abs=2e-4)
        assert two[name][35:77].reshape(6, 7) == pytest.approx(
            one[name][35:77].reshape(6, 7)[:, order.numpy()], abs=2e-4
        )


@pytest.mark.parametrize("kind", ["linear", "grouped"])
def test_rounds_that_know_the_inputs_find_what_one_alone_finds(kind: str) -> None:
    network, batch = EXAMPLES[kind]()
    known: dict[str, LayerInputs] = {}
    for density, data in ((0.7, batch), (0.3, batch), (0.5, batch), (0.5, (batch[0].flip(0) * 2 + 1, batch[1]))):
        how = {"mask": random_mask(network, density=density), "density": 0.1, "names": PAIRS}
        together = compute_features(network, data, cross_entropy, known=known, **how)
        for one, two in zip(compute_features(network, data, cross_entropy, **how), together, strict=True):
            np.testing.assert_allclose(one.values, two.values, rtol=1e-5, atol=1e-5)


def test_of_pruned_weights_nothing_is_seen() -> None:
    network, batch = case("mlp")
    mask = random_mask(network)
    found = columns(network, batch, mask)
    mask.apply_to(network)
    for name, values in columns(network, batch, mask).items():
        np.testing.assert_array_equal(values, found[name])


@pytest.mark.parametrize("kind", ["linear", "grouped"])
@pytest.mark.parametrize("memory", [None, 2000])
def test_samples_beside_a_step_are_those_of_a_pass_of_their_own(kind: str, memory: int | None) -> None:
    network, batch = EXAMPLES[kind]()
    mask = random_mask(network)
    wanted = take_samples(network, batch, cross_entropy, mask)
    with scoring_memory(memory):
        pairs = Pairs.take(network, batch, cross_entropy, mask, {SAMPLES, STEPS})
    for name, found in pairs.samples.items():
        for part in ("inputs", "outputs", "slopes"):
            torch.testing.assert_close(getattr(found, part), getattr(wanted[name], part))
    assert set(pairs.steps) == set(wanted)


def test_features_of_the_weights_alone_read_no_data() -> None:
    network, batch = case("mlp")
    for names, reads in ((["magnitude_ln"], 0), (["growth"], 15), (["growth", "company"], 15)):
        with counted_reads() as counted:
            list(compute_features(network, batch, cross_entropy, density=0.1, names=names))
        assert counted.examples == reads * len(batch[1])


@pytest.mark.parametrize("kind", ["mlp", "everything"])
def test_the_network_is_left_as_it_was(kind: str) -> None:
    network, batch = case(kind)
    state, hooks = copy.deepcopy(network.state_dict()), [len(m._forward_hooks) for m in network.modules()]
    for mask in (None, random_mask(network)):
        first, second = columns(network, batch, mask), columns(network, batch, mask)
        assert all(np.array_equal(first[name], second[name]) for name in PAIRS)
        assert all(np.isfinite(values).all() for values in first.values())
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    assert [len(m._forward_hooks) for m in network.modules()] == hooks
    assert all(parameter.grad is None for parameter in network.parameters())


def test_tables_have_them_only_if_named() -> None:
    network, batch = case("mlp")
    block = next(compute_features(network, batch, cross_entropy, density=0.1))
    assert block.names == tuple(feature.name for feature in FEATURES)
    assert not set(PAIRS) & set(block.names)
    assert column("company") in PAIR_FEATURES
    with pytest.raises(ValueError, match="compani"):
        column("compani")


class Activated(nn.Module):
    def __init__(self, first: nn.Module) -> None:
        super().__init__()
        self.first, self.last, self.functions = first, nn.LazyLinear(3), [nn.functional.relu]

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.last(self.functions[0](self.first(inputs)).flatten(1))
        return found


@pytest.mark.parametrize("inplace", [nn.ReLU(inplace=True), nn.functional.relu_])
@pytest.mark.parametrize("first", [nn.Linear(5, 8), nn.Conv1d(6, 8, 3)])
def test_an_activation_in_place_changes_no_feature(first: nn.Module, inplace: Callable[[Tensor], Tensor]) -> None:
    batch = torch.randn(20, 6, 5), torch.arange(20) % 3
    network = Activated(filled(first.float()))
    network(batch[0])
    names = [*(feature.name for feature in FEATURES), *PAIRS]
    found = []
    for function in (nn.ReLU(), inplace):
        network.functions = [function]
        blocks = compute_features(network, batch, cross_entropy, density=0.1, names=names)
        found.append(np.concatenate([block.values for block in blocks]))
    assert np.array_equal(*found)


def test_features_of_a_network_in_half_precision_are_those_of_float32() -> None:
    network, batch = case("mlp")
    network = network.half()
    names = [*(feature.name for feature in FEATURES), *PAIRS]
    found, expected = (
        np.concatenate([b.values for b in compute_features(each, batch, cross_entropy, density=0.1, names=names)])
        for each in (network, copy.deepcopy(network).float())
    )
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("samples", [1, 3, 40])
def test_the_company_of_many_inputs_is_that_of_few(samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether their correlations are made at once, by blocks, or by cubes of the samples."""
    inputs = LayerInputs(torch.randn(2, 60, samples, dtype=torch.float64))
    inputs.samples[:, 7] = 2.0  # does not vary
    live = torch.arange(0, 60, 2) if samples == 40 else torch.arange(60)
    signs = torch.randint(-1, 2, (2, 5, len(live))).double()
    expected = signs @ inputs.near(live)
    monkeypatch.setattr(layer_inputs, "_MOST", 8)
    torch.testing.assert_close(inputs.company(signs, live), expected, rtol=1e-9, atol=1e-12)
