"""Compaction of networks of every kind: the same outputs and gradients; what is not followed stays."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from scratchcard.pruning.compaction import Compacted, compact
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from tests.pruning.unit_networks import UNIT_NETWORKS, conv, lived_in, thinned, unit_network

INPUTS = torch.randn(7, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def masked(network: nn.Module, mask: Mask) -> nn.Module:
    network = copy.deepcopy(network)
    mask.apply_to(network)
    return network


@pytest.mark.parametrize("name", UNIT_NETWORKS)
def test_every_kind_gets_smaller(name: str) -> None:
    network = unit_network(name)
    small = compact(network, thinned(network, 0.1), INPUTS)
    assert parameters(small.network) < 0.9 * parameters(network)


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(sorted(UNIT_NETWORKS)),
    seed=st.integers(0, 10**6),
    density=st.floats(0, 0.9),
    fold=st.booleans(),
    old=st.booleans(),
)
def test_the_same_outputs_in_evaluation_and_the_same_gradients_in_training(
    name: str, seed: int, density: float, fold: bool, old: bool
) -> None:
    network = unit_network(name, seed)
    network = lived_in(network) if old else network
    mask = thinned(network, density, seed)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    small = compact(network, mask, INPUTS, constants="fold" if fold else "keep")
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())
    full = masked(network, mask)
    wanted, found = full.eval()(INPUTS), small.network.eval()(small.gather(INPUTS))
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-11)
    if fold:
        return
    same_step(full, mask, small)


def same_step(full: nn.Module, mask: Mask, small: Compacted) -> None:
    """Losses in training, every parameter's gradient (of kept weights), and statistics after it."""
    targets = torch.arange(len(INPUTS)) % 5
    losses = []
    for network, inputs in ((full, INPUTS), (small.network, small.gather(INPUTS))):
        loss = F.cross_entropy(network.train()(inputs), targets)
        loss.backward()
        losses.append(loss.detach())
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-10, atol=0)
    whole = {key: torch.zeros_like(tensor) for key, tensor in full.state_dict().items()}
    of_small = {key: torch.zeros_like(tensor) for key, tensor in small.network.state_dict().items()}
    for key, parameter in small.network.named_parameters():
        of_small[key] = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
    small.expand_state(whole, of_small)
    for key, parameter in full.named_parameters():
        wanted = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
        kept = mask.tensors.get(key, torch.ones_like(wanted, dtype=torch.bool))
        torch.testing.assert_close(whole[key] * kept, wanted * kept, rtol=1e-7, atol=1e-10)


def test_a_grouped_convolution_keeps_as_many_channels_in_each_group() -> None:
    network = unit_network("grouped")
    network.after = conv(16, 8).double()
    mask = Mask.dense(network)
    mask.tensors["grouped.weight"][[0, 1, 2, 3, 4, 8]] = False  # a whole group, and one channel of two others
    small = compact(network, mask, INPUTS).network
    assert (small.grouped.groups, tuple(small.grouped.weight.shape)) == (3, (12, 3, 3, 3))
    assert small.after.in_channels == 12
    mask.tensors["grouped.weight"][12] = False
    assert tuple(compact(network, mask, INPUTS).network.grouped.weight.shape) == (9, 3, 3, 3)


def test_a_depthwise_channel_goes_with_its_expansion() -> None:
    network = unit_network("separable")
    mask = Mask.dense(network)
    mask.tensors["deep.weight"][[4, 5, 6]] = False  # both channels of the third, one of the fourth
    small = compact(network, mask, INPUTS).network
    assert (small.deep.groups, small.deep.out_channels, small.wide.out_channels) == (11, 22, 11)
    assert (small.squeeze.in_channels, small.excite.out_channels, small.narrow.in_channels) == (22, 22, 22)


def test_a_channel_of_a_sum_stays_while_one_summand_lives() -> None:
    network = unit_network("residual")
    mask = Mask.dense(network)
    mask.tensors["second.weight"][:4] = False
    mask.tensors["third.weight"][:3] = False
    assert compact(network, mask, INPUTS).network.last.in_features == 10
    mask.tensors["short.weight"][:2] = False  # nothing is left of two channels
    small = compact(network, mask, INPUTS).network
    assert (small.last.in_features, small.short_norm.num_features, small.third.in_channels) == (8, 8, 8)


@pytest.mark.parametrize("when", ["always", "in training", "as a tensor"])
def test_units_whose_number_a_network_reckons_with_stay(when: str) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.last = nn.Linear(36, 8), nn.Linear(8, 8), nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(self.first(x.flatten(1)))
            if when == "as a tensor":
                x = x / torch.tensor(float(x.shape[1]))
            elif self.training or when == "always":
                x = x * x.shape[1] ** -0.5
            return self.last(torch.tanh(self.second(x)))

    torch.manual_seed(0)
    network = Scaled().double()
    network.first.bias.data.fill_(-1e-3)  # without an input units are shut
    mask = Mask.dense(network)
    mask.tensors["first.weight"][:3] = False
    mask.tensors["second.weight"][:, 3] = False
    inputs = torch.cat([torch.zeros_like(INPUTS[:2]), INPUTS])  # the two that are looked at show no scale
    small, full = compact(network, mask, inputs), masked(network, mask)
    torch.testing.assert_close(small.network.eval()(small.gather(INPUTS)), full.eval()(INPUTS), rtol=1e-9, atol=1e-11)
    same_step(full, mask, small)
    assert small.network.first.out_features == 8


@pytest.mark.parametrize("fold", [True, False])
def test_units_are_taken_together_over_the_batch(fold: bool) -> None:
    class Centred(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.last = nn.Linear(36, 8), nn.Linear(8, 8), nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(self.first(x.flatten(1)))
            x = F.relu(self.second(x - x.mean(0)))
            return self.last(x / (1 + x.sum(0)))

    torch.manual_seed(0)
    network = Centred().double()
    network.second.bias.data.abs_()  # units that nothing feeds are constants, of sums that grow with the batch
    mask = thinned(network, 0.5)
    small, full = compact(network, mask, INPUTS, constants="fold" if fold else "keep"), masked(network, mask)
    assert parameters(small.network) < 0.9 * parameters(network)
    torch.testing.assert_close(small.network.eval()(small.gather(INPUTS)), full.eval()(INPUTS), rtol=1e-9, atol=1e-11)
    if not fold:
        same_step(full, mask, small)


def test_a_closed_unit_that_something_else_reads_is_trained_and_stays() -> None:
    class Two(nn.Module):
        def __init__(self, both: bool) -> None:
            super().__init__()
            self.first, self.one, self.two, self.both = nn.Linear(4, 6), nn.Linear(6, 3), nn.Linear(6, 3), both

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            return self.one(F.relu(x)) + (self.two(x) if self.both else 0)

    for both, left in ((False, 5), (True, 6)):
        network = Two(both)
        network.first.bias.data.fill_(-1)
        mask = Mask.dense(network)
        mask.tensors["first.weight"][2] = False
        assert compact(network, mask, torch.randn(2, 4)).network.first.out_features == left


def test_a_bias_that_another_use_of_the_layer_trains_keeps_its_unit() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.last = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.layer(F.relu(self.layer(x))))

    network = Twice()
    network.layer.bias.data.fill_(-1)
    mask = Mask.dense(network)
    mask.tensors["layer.weight"][1] = False
    assert compact(network, mask, torch.randn(2, 4)).network.layer.out_features == 4


@pytest.mark.parametrize(("mean", "bias", "decay", "left"), [
    (0.0, 0.0, False, 3), (0.0, 0.0, True, 3), (0.0, -1.0, False, 3), (0.0, -1.0, True, 4), (0.0, 0.1, False, 4),
    (0.5, 0.0, False, 3),  # in evaluation it is below zero, and comes up to it
    (0.5, 0.0, True, 4), (-0.5, 0.0, False, 4), (-0.5, -1.0, False, 3),
])  # fmt: skip
def test_behind_a_normalisation_a_unit_is_dead_only_if_it_is_in_both_modes(
    mean: float, bias: float, decay: bool, left: int
) -> None:
    network = nn.Sequential(nn.Linear(4, 4, bias=False), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    mask = Mask.dense(network)
    mask.tensors["0.weight"][1] = False
    network[1].running_mean.data[1], network[1].bias.data[1] = mean, bias
    assert compact(network, mask, torch.randn(3, 4), decay=decay).network[0].out_features == left


class Halved(nn.Module):
    """Takes the first three channels, whatever is left."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.last, self.change = nn.Linear(4, 6), nn.LazyLinear(2), change

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.change(F.relu(self.first(x))))


NOT_FOLLOWED: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "a slice by number": (lambda x: x[:, 1:4], 6),
    "the first by number": (lambda x: x[:, :3], 2),
    "every second": (lambda x: x[:, ::2], 6),
    "a shape by number": (lambda x: x.view(-1, 6), 6),
    "halves": (lambda x: x.chunk(2, 1)[0], 6),
    "channels mixed": (lambda x: x.view(len(x), 2, -1).transpose(1, 2).reshape(len(x), -1), 6),
    "softmax": (lambda x: x.softmax(1), 6),
    "sorted": (lambda x: x.sort(1).values, 6),
    "a matrix by number": (lambda x: x @ torch.arange(36.0).reshape(6, 6).sin(), 6),
    "in place of a view": (lambda x: (x.view(-1, 6)[:, 1:3].mul_(2), x)[1], 6),
    "turned round": (lambda x: x.flip(1), 4),
    "twice": (lambda x: torch.cat([x, 2 * x], 1), 4),
}


@pytest.mark.parametrize("what", NOT_FOLLOWED)
def test_what_cannot_be_followed_keeps_its_units_and_computes_the_same(what: str) -> None:
    change, left = NOT_FOLLOWED[what]
    inputs = torch.randn(5, 4)
    network = Halved(change)
    network(inputs)
    mask = Mask.dense(network)
    mask.tensors["first.weight"][[1, 4]] = False
    network.first.bias.data.fill_(-0.1)
    small = compact(network, mask, inputs)
    assert small.network.first.out_features == left
    assert torch.allclose(small.network(small.gather(inputs)), masked(network, mask)(inputs), atol=1e-6)


def test_what_hooks_see_stays_whole() -> None:
    network = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2))
    mask = Mask.dense(network)
    for name in ("0.weight", "2.weight"):
        mask.tensors[name][2] = False
    for layer in (network[0], network[2]):
        layer.bias.data.fill_(-1)
    seen = []
    network[1].register_forward_hook(lambda *things: seen.append(things[2].shape[1]))
    small = compact(network, mask, torch.randn(2, 4)).network
    seen.clear()
    small(torch.randn(2, 4))
    assert (small[0].out_features, small[2].out_features, seen) == (6, 5, [6])


def test_a_weight_that_is_used_otherwise_too_stays_whole() -> None:
    class Penalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(F.relu(self.first(x))) + self.first.weight.std()

    network = Penalised()
    mask = Mask.dense(network)
    mask.tensors["last.weight"][:, 3] = False
    assert compact(network, mask, torch.randn(2, 4)).network.first.out_features == 6


def test_inputs_by_name_and_tokens() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.over, self.last = nn.Embedding(9, 6), nn.Conv1d(6, 5, 2), nn.Linear(5, 2)

        def forward(self, ids: Tensor) -> Tensor:
            return self.last(F.relu(self.over(self.table(ids).permute(0, 2, 1))).amax(-1))

    network = Tokens()
    mask = Mask.dense(network)
    mask.tensors["table.weight"][:, 1] = False
    mask.tensors["over.weight"][:, 3] = False
    ids = torch.randint(0, 9, (4, 7))
    small = compact(network, mask, {"ids": ids})
    assert (small.network.table.embedding_dim, small.network.over.in_channels) == (4, 4)
    assert torch.allclose(small.network(ids), masked(network, mask)(ids), atol=1e-6)


def test_a_single_channel_that_is_left_is_followed_through_flattening() -> None:
    layers = (nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 6), nn.Unflatten(1, (6, 1)), nn.Flatten())
    network = nn.Sequential(*layers, nn.Linear(6, 2))
    mask = Mask.dense(network)
    mask.tensors["3.weight"][:, 16:] = False
    mask.tensors["6.weight"][:, 1:] = False
    small = compact(network, mask, torch.randn(2, 1, 6, 6)).network
    assert [(layer.in_features, layer.out_features) for layer in (small[3], small[6])] == [(16, 6), (6, 2)]
    network[4], mask.tensors["3.weight"][1:] = nn.Identity(), False  # a shape by number no more
    network[3].bias.data.fill_(-1)
    small = compact(network, mask, torch.randn(2, 1, 6, 6)).network
    assert [(layer.in_features, layer.out_features) for layer in (small[3], small[6])] == [(16, 1), (1, 2)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::scratchcard.pruning.parameters.NotPrunableWarning")
@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("resnet18", 0.6), ("vgg11_bn", 0.9), ("densenet121", 0.2), ("mobilenet_v3_small", 0.9),
        ("efficientnet_b0", 1.0), ("shufflenet_v2_x0_5", 1.0), ("resnext50_32x4d", 1.0), ("convnext_tiny", 0.5),
        ("squeezenet1_1", 0.2), ("regnet_y_400mf", 1.0), ("swin_t", 0.7), ("vit_b_16", 0.7), ("googlenet", 0.3),
    ],
)  # fmt: skip
def test_torchvisions_networks(name: str, share: float) -> None:
    import torchvision

    torch.manual_seed(0)
    side = 224 if name in ("swin_t", "vit_b_16") else 96
    extra = {"init_weights": False} if name == "googlenet" else {}
    network = torchvision.models.get_model(name, weights=None, num_classes=10, **extra).double()
    generator = torch.Generator().manual_seed(0)
    mask = Mask(
        {
            key: torch.rand(weight.shape, generator=generator) < (1.2 / weight[0].numel() if len(weight) > 10 else 0.2)
            for key, weight in prunable(network).items()
        }
    )
    inputs = torch.randn(2, 3, side, side, dtype=torch.float64)
    small = compact(network, mask, inputs)
    assert parameters(small.network) < share * parameters(network)
    folded = compact(network, mask, inputs, constants="fold")
    full = masked(network, mask).eval()
    with torch.no_grad():
        wanted = full(inputs)
        for found in (small, folded):
            outputs = found.network.eval()(inputs)
            assert float((outputs - wanted).abs().max()) <= 1e-9 * float(wanted.abs().max())
