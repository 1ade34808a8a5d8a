"""Features beyond chains of linear layers: convolutions, groups, embeddings, shortcuts, shared layers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scratchcard.dataset_builder.activations import UnitStatistics, observe
from scratchcard.dataset_builder.features import FEATURES, compute_features
from scratchcard.dataset_builder.units import Units
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable, prunable_layers

NAMES = tuple(column.name for column in FEATURES)
Batch = tuple[Tensor, Tensor]


def by_name(network: nn.Module, batch: Batch, **options: object) -> dict[str, dict[str, np.ndarray]]:
    """`[parameter][feature]`, `(n,)` each."""
    blocks = compute_features(network, batch, F.cross_entropy, density=0.1, **options)  # type: ignore[arg-type]
    return {block.parameter: dict(zip(block.names, block.values.T, strict=True)) for block in blocks}


def units_of(network: nn.Module) -> dict[str, Units]:
    return {name: Units.of(layer) for name, layer in prunable_layers(network).items()}


@pytest.fixture
def conv_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, (2, 1), groups=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 2 * 3, 3),
    ).double()


@pytest.fixture
def images() -> Batch:
    generator = torch.Generator().manual_seed(5)
    return (
        torch.randn(7, 2, 6, 6, generator=generator, dtype=torch.float64),
        torch.randint(0, 3, (7,), generator=generator),
    )


def per_channel(tensor: Tensor) -> np.ndarray:
    """`(channels, examples x positions)`."""
    return tensor.detach().transpose(0, 1).flatten(1).numpy()


def test_convolutions_count_channels_over_examples_and_positions(conv_net: nn.Sequential, images: Batch) -> None:
    found = by_name(conv_net, images)
    before = [images[0]]
    for layer in conv_net:
        before.append(layer(before[-1].clone()))
    first, second, last = found["0.weight"], found["4.weight"], found["7.weight"]
    assert {len(rows["snip"]) for rows in found.values()} == {4 * 2 * 9, 6 * 2 * 2, 3 * 36}

    pixels, pooled, leaving = per_channel(before[0]), per_channel(before[4]), per_channel(before[6])
    out0, in0 = np.divmod(np.arange(72) // 9, 2)
    np.testing.assert_allclose(first["input_mean"], pixels.mean(1)[in0], rtol=1e-6)
    np.testing.assert_allclose(first["input_std"], pixels.std(1)[in0], rtol=1e-6)
    np.testing.assert_allclose(first["output_mean"], pooled.mean(1)[out0], rtol=1e-6)
    np.testing.assert_allclose(first["output_max"], pooled.max(1)[out0], rtol=1e-6)
    np.testing.assert_allclose(first["output_std"], pooled.std(1)[out0], rtol=1e-6)

    # Two groups: output channels 0-2 see input channels 0-1, output channels 3-5 see 2-3.
    out4 = np.arange(24) // 4
    in4 = out4 // 3 * 2 + np.arange(24) // 2 % 2
    np.testing.assert_allclose(second["input_mean"], pooled.mean(1)[in4], rtol=1e-6)
    np.testing.assert_allclose(second["input_zero_rate"], (pooled == 0).mean(1)[in4], rtol=1e-6)
    # Behind it a flattened block of 6 positions a channel.
    np.testing.assert_allclose(second["output_mean"], leaving.mean(1)[out4], rtol=1e-6)
    np.testing.assert_allclose(second["output_std"], leaving.std(1)[out4], rtol=1e-6)
    np.testing.assert_allclose(second["output_max"], leaving.max(1)[out4], rtol=1e-6)
    np.testing.assert_allclose(second["output_zero_rate"], (leaving == 0).mean(1)[out4], rtol=1e-6)
    np.testing.assert_allclose(last["output_mean"], before[8].detach().mean(0).numpy()[np.arange(108) // 36], rtol=1e-6)


def test_convolution_sums_and_strengths(conv_net: nn.Sequential, images: Batch) -> None:
    found = by_name(conv_net, images)
    w0, w4, w7 = (weight.detach().abs().numpy() for weight in prunable(conv_net).values())
    rows0, rows4 = w0.sum((1, 2, 3)), w4.sum((1, 2, 3))
    columns4 = w4.reshape(2, 3, 2, 2).sum((1, 3)).reshape(4)
    columns7 = w7.sum(0).reshape(6, 6).sum(1)
    out0 = np.arange(72) // 18
    out4 = np.arange(24) // 4
    in4 = out4 // 3 * 2 + np.arange(24) // 2 % 2
    in7 = np.arange(108) % 36
    np.testing.assert_allclose(found["0.weight"]["row_magnitude"], (rows0 / rows0.mean())[out0], rtol=1e-6)
    np.testing.assert_allclose(found["0.weight"]["output_outgoing"], (columns4 / columns4.mean())[out0], rtol=1e-6)
    np.testing.assert_allclose(found["4.weight"]["column_magnitude"], (columns4 / columns4.mean())[in4], rtol=1e-6)
    np.testing.assert_allclose(found["4.weight"]["input_incoming"], (rows0 / rows0.mean())[in4], rtol=1e-6)
    np.testing.assert_allclose(found["4.weight"]["output_outgoing"], (columns7 / columns7.mean())[out4], rtol=1e-6)
    np.testing.assert_allclose(found["7.weight"]["input_incoming"], (rows4 / rows4.mean())[in7 // 6], rtol=1e-6)
    np.testing.assert_array_equal(found["0.weight"]["input_incoming"], 0.0)
    np.testing.assert_array_equal(found["7.weight"]["output_outgoing"], 0.0)
    np.testing.assert_allclose(found["0.weight"]["fan_in"], math.log10(18), rtol=1e-6)
    np.testing.assert_allclose(found["0.weight"]["fan_out"], math.log10(36), rtol=1e-6)
    np.testing.assert_allclose(found["4.weight"]["fan_in"], math.log10(4), rtol=1e-6)
    np.testing.assert_allclose(found["4.weight"]["fan_out"], math.log10(6), rtol=1e-6)


def test_convolution_ranks_in_rows_and_columns(conv_net: nn.Sequential, images: Batch) -> None:
    mask = Mask.dense(conv_net)
    generator = torch.Generator().manual_seed(3)
    for tensor in mask.tensors.values():
        tensor.copy_(torch.rand(tensor.shape, generator=generator) < 0.7)
    found = by_name(conv_net, images, mask=mask)["4.weight"]
    kept = mask.tensors["4.weight"].flatten().nonzero().flatten().numpy()
    w = conv_net[4].weight.detach().abs().flatten().numpy()[kept]
    out = kept // 4
    inputs = out // 3 * 2 + kept // 2 % 2
    for feature, units in {"magnitude_rank_row": out, "magnitude_rank_column": inputs}.items():
        expected = [np.mean(w[units == units[i]] <= w[i]) for i in range(len(w))]
        np.testing.assert_allclose(found[feature], expected, rtol=1e-6)
    np.testing.assert_allclose(found["fan_in"], [math.log10((out == o).sum()) for o in out], rtol=1e-6)
    np.testing.assert_allclose(found["fan_out"], [math.log10((inputs == i).sum()) for i in inputs], rtol=1e-6)


def test_gradients_at_channels(conv_net: nn.Sequential, images: Batch) -> None:
    found = by_name(conv_net, images, names=["output_gradient_mean", "output_gradient_std"])["0.weight"]
    z = F.conv2d(images[0], conv_net[0].weight.detach(), conv_net[0].bias.detach(), padding=1).requires_grad_()
    F.cross_entropy(conv_net[1:](z.clone()), images[1]).backward()
    assert z.grad is not None
    deltas = per_channel(z.grad * 7)
    out = np.arange(72) // 18
    np.testing.assert_allclose(found["output_gradient_mean"], deltas.mean(1)[out], rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(found["output_gradient_std"], deltas.std(1)[out], rtol=1e-5)


def test_weights_know_their_units() -> None:
    for layer, shape in [
        (nn.Linear(3, 2), (2, 3)),
        (nn.Conv1d(4, 6, 5, groups=2), (6, 2, 5)),
        (nn.ConvTranspose2d(4, 6, (1, 2), groups=2), (4, 3, 1, 2)),
        (nn.Embedding(5, 3), (5, 3)),
    ]:
        units = Units.of(layer)
        assert tuple(layer.weight.shape) == shape
        values = layer.weight.detach().flatten().double().numpy()
        outputs, inputs = units.of_weights(np.arange(values.size))
        rows, columns = units.sums(values)
        assert (rows.shape, columns.shape) == ((units.outputs,), (units.inputs,))
        np.testing.assert_allclose(rows, np.bincount(outputs, values, units.outputs), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(columns, np.bincount(inputs, values, units.inputs), rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match="features are defined for"):
        Units.of(nn.ReLU())


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("transposed", [False, True])
def test_units_of_a_convolution_are_where_its_gradient_flows(groups: int, transposed: bool) -> None:
    """A weight joins exactly those two channels: only they make its gradient differ from 0."""
    kind = nn.ConvTranspose1d if transposed else nn.Conv1d
    layer = kind(4, 6, 2, groups=groups, bias=False).double()
    outputs, inputs = Units.of(layer).of_weights(np.arange(layer.weight.numel()))
    for o in range(6):
        for i in range(4):
            x = torch.zeros(1, 4, 3, dtype=torch.float64)
            x[:, i] = 1.0
            (gradient,) = torch.autograd.grad(layer(x)[:, o].sum(), layer.weight)
            np.testing.assert_array_equal(gradient.flatten().numpy() != 0, (outputs == o) & (inputs == i))


class Words(nn.Module):
    """Mean of embedded tokens, then a linear layer."""

    def __init__(self, flatten: bool = False) -> None:
        super().__init__()
        self.flatten = flatten
        self.table = nn.Embedding(6, 4)
        self.out = nn.Linear(4 * 3 if flatten else 4, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        vectors = F.relu(self.table(tokens))
        return self.out(vectors.flatten(1) if self.flatten else vectors.mean(1))


@pytest.mark.parametrize("flatten", [False, True])
def test_an_embedding_is_a_linear_layer_on_one_hot_vectors(flatten: bool) -> None:
    torch.manual_seed(0)
    network = Words(flatten).double()
    tokens = torch.tensor([[0, 1, 1], [2, 1, 0], [3, 3, 3], [0, 4, 1]])  # 5 never occurs
    found = by_name(network, (tokens, torch.tensor([0, 1, 2, 0])))["table.weight"]
    one_hot = F.one_hot(tokens, 6).double().reshape(-1, 6).numpy()
    entries, dimensions = np.divmod(np.arange(24), 4)
    np.testing.assert_allclose(found["input_mean"], one_hot.mean(0)[entries], rtol=1e-6)
    np.testing.assert_allclose(found["input_std"], one_hot.std(0)[entries], rtol=1e-6)
    np.testing.assert_allclose(found["input_max"], one_hot.max(0)[entries])
    np.testing.assert_allclose(found["input_zero_rate"], (one_hot == 0).mean(0)[entries], rtol=1e-6)
    vectors = F.relu(network.table(tokens)).detach()
    seen = (vectors if flatten else vectors.mean(1)).reshape(-1, 4).numpy()
    np.testing.assert_allclose(found["output_mean"], seen.mean(0)[dimensions], rtol=1e-6)
    np.testing.assert_allclose(found["output_std"], seen.std(0)[dimensions], rtol=1e-6)
    rows = network.table.weight.detach().abs().sum(0).numpy()
    np.testing.assert_allclose(found["row_magnitude"], (rows / rows.mean())[dimensions], rtol=1e-6)
    columns = network.out.weight.detach().abs().sum(0).reshape(-1, 4).sum(0).numpy()
    np.testing.assert_allclose(found["output_outgoing"], (columns / columns.mean())[dimensions], rtol=1e-6)
    np.testing.assert_allclose(found["fan_in"], math.log10(6), rtol=1e-6)
    assert all(np.isfinite(values).all() for values in found.values())


class Shortcut(nn.Module):
    """`c(relu(a x) + b relu(a x))`: the outputs of a and b both reach c; registered in another order."""

    def __init__(self) -> None:
        super().__init__()
        self.c, self.b, self.a = nn.Linear(4, 3), nn.Linear(4, 4), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu_(self.a(x))
        return self.c(hidden + self.b(hidden))  # type: ignore[no-any-return]


def test_layers_are_joined_as_the_data_flows() -> None:
    torch.manual_seed(0)
    network = Shortcut().double()
    batch = (torch.randn(6, 5, dtype=torch.float64), torch.randint(0, 3, (6,)))
    activity = observe(network, batch, F.cross_entropy, None, units_of(network))
    assert activity.layers["a.weight"].followers == ["b.weight", "c.weight"]
    assert activity.layers["b.weight"].followers == ["c.weight"]
    assert activity.layers["c.weight"].sources == ["a.weight", "b.weight"]
    assert activity.layers["c.weight"].followers == activity.layers["a.weight"].sources == []
    found = by_name(network, batch)
    a, b, c = (getattr(network, name).weight.detach().abs().numpy() for name in "abc")
    incoming = (a.sum(1) / a.sum(1).mean() + b.sum(1) / b.sum(1).mean()) / 2
    np.testing.assert_allclose(found["c.weight"]["input_incoming"], np.tile(incoming, 3), rtol=1e-6)
    outgoing = (b.sum(0) / b.sum(0).mean() + c.sum(0) / c.sum(0).mean()) / 2
    np.testing.assert_allclose(found["a.weight"]["output_outgoing"], np.repeat(outgoing, 5), rtol=1e-6)
    hidden = torch.relu(network.a(batch[0])).detach().numpy()
    np.testing.assert_allclose(found["a.weight"]["output_mean"], np.repeat(hidden.mean(0), 5), rtol=1e-6)


class Twice(nn.Module):
    """One layer, called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.out = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(self.layer(torch.relu(self.layer(x)))))  # type: ignore[no-any-return]


def test_a_layer_called_twice_is_seen_over_both_calls() -> None:
    torch.manual_seed(0)
    network = Twice().double()
    batch = (torch.randn(6, 4, dtype=torch.float64), torch.randint(0, 3, (6,)))
    found = by_name(network, batch)["layer.weight"]
    seen = torch.cat([batch[0], torch.relu(network.layer(batch[0])).detach()]).numpy()
    np.testing.assert_allclose(found["input_mean"], np.tile(seen.mean(0), 4), rtol=1e-6)
    np.testing.assert_allclose(found["input_std"], np.tile(seen.std(0), 4), rtol=1e-6)
    np.testing.assert_allclose(found["input_max"], np.tile(seen.max(0), 4), rtol=1e-6)


def test_units_that_do_not_fit_have_no_neighbours() -> None:
    """A concatenation: neither layer's units are the next layer's, nor a flattened block of them."""

    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 2), nn.Linear(4, 3), nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.c(torch.cat([torch.relu(self.a(x)), torch.relu(self.b(x))], 1))  # type: ignore[no-any-return]

    torch.manual_seed(0)
    network = Joined().double()
    batch = (torch.randn(6, 4, dtype=torch.float64), torch.randint(0, 3, (6,)))
    found = by_name(network, batch)
    for name in ("a.weight", "b.weight"):
        np.testing.assert_array_equal(found[name]["output_outgoing"], 0.0)
    np.testing.assert_array_equal(found["c.weight"]["input_incoming"], 0.0)
    own = network.a(batch[0]).detach().numpy()
    np.testing.assert_allclose(found["a.weight"]["output_mean"], np.repeat(own.mean(0), 4), rtol=1e-6)


def test_half_precision_networks_have_features() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).bfloat16()
    found = by_name(network, (torch.randn(6, 4), torch.randint(0, 3, (6,))))
    assert all(np.isfinite(values).all() for rows in found.values() for values in rows.values())
    np.testing.assert_array_equal(found["0.weight"]["weight"], network[0].weight.detach().float().flatten().numpy())


def test_joined_statistics_are_those_of_all_values() -> None:
    one, two = torch.randn(5, 3, dtype=torch.float64), torch.randn(8, 3, dtype=torch.float64) + 4
    joined = UnitStatistics.of(one, 0).joined(UnitStatistics.of(two, 0))
    everything = UnitStatistics.of(torch.cat([one, two]), 0)
    for name in ("count", "mean", "deviation", "maximum", "zeros", "spread", "zero_rate"):
        np.testing.assert_allclose(getattr(joined, name), getattr(everything, name), rtol=1e-12)
    assert joined.joined(UnitStatistics.none(3)) is joined
    assert UnitStatistics.none(3).joined(joined) is joined


class Wide(nn.Module):
    """Attention, recurrence and a bilinear layer, whose weights are not those of the layer's own inputs and outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.recurrent = nn.GRU(4, 3, batch_first=True)
        self.pair, self.head = nn.Bilinear(3, 4, 4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed = self.attention(x, x, x, need_weights=False)[0]
        return self.head(self.pair(self.recurrent(mixed)[0][:, -1], x[:, 0]))


def test_weights_of_all_kinds_have_features() -> None:
    torch.manual_seed(0)
    network = Wide()
    batch = (torch.randn(6, 5, 4), torch.arange(6) % 2)
    found = by_name(network, batch)
    assert list(found) == list(prunable(network))
    for name, weight in prunable(network).items():
        values = np.stack(list(found[name].values()))
        assert values.shape[1] == weight.numel()
        assert np.isfinite(values).all()
