"""Compaction: exact forward equality, what is removed and what must stay, writing back."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from scratchcard.pruning.compaction import compact
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable


def linear(weight: list[list[float]], bias: list[float] | None = None) -> nn.Linear:
    layer = nn.Linear(len(weight[0]), len(weight), bias=bias is not None).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight, dtype=torch.float64))
        if bias is not None:
            layer.bias.copy_(torch.tensor(bias, dtype=torch.float64))
    return layer


def mask_of(*kept: list[list[int]]) -> Mask:
    return Mask({f"{2 * k}.weight": torch.tensor(rows, dtype=torch.bool) for k, rows in enumerate(kept)})


def sizes(network: nn.Module) -> list[tuple[int, int]]:
    return [tuple(weight.shape[:2]) for weight in prunable(network).values()]


def hand_made(bias: list[float], activation: nn.Module | None = None) -> tuple[nn.Sequential, Mask]:
    """4 inputs, 3 hidden units, 2 outputs. Unit 1 has no outgoing weight, unit 2 no incoming one."""
    network = nn.Sequential(
        linear([[1, 2, 3, 4], [5, 6, 7, 8], [9, 9, 9, 9]], bias),
        activation or nn.ReLU(),
        linear([[1, 2, 3], [4, 5, 6]], [0.5, -0.5]),
    )
    return network, mask_of([[0, 1, 0, 1], [1, 1, 0, 0], [0, 0, 0, 0]], [[1, 0, 1], [1, 0, 0]])


def masked_forward(network: nn.Module, mask: Mask, x: Tensor) -> Tensor:
    weights = {name: weight.detach() * mask.tensors[name] for name, weight in prunable(network).items()}
    return torch.func.functional_call(network, weights, (x,)).detach()


def test_useless_inputs_and_units_go_and_a_live_constant_stays() -> None:
    network, mask = hand_made([0.1, 0.2, 0.3])
    small = compact(network, mask)
    assert small.inputs.tolist() == [1, 3]
    assert sizes(small.network) == [(2, 2), (2, 2)]
    assert small.network[0].weight.tolist() == [[2, 4], [0, 0]]
    assert small.network[2].weight.tolist() == [[1, 3], [4, 0]]
    assert small.network[0].bias.tolist() == [0.1, 0.3]
    assert small.mask == mask_of([[1, 1], [0, 0]], [[1, 1], [1, 0]])


@pytest.mark.parametrize(
    ("bias", "activation", "decay", "hidden"),
    [
        (0.3, nn.ReLU(), False, 2),  # a live constant
        (0.0, nn.ReLU(), False, 1),
        (-0.3, nn.ReLU(), False, 1),
        (-0.3, nn.ReLU6(), False, 1),
        (-0.3, nn.ReLU(), True, 2),  # Adam's decay could carry it over zero
        (0.0, nn.ReLU(), True, 1),
        (0.0, nn.Tanh(), False, 2),  # the derivative at zero is one: the bias is trained
        (-0.3, nn.LeakyReLU(), False, 2),
        (0.0, nn.Identity(), False, 2),
    ],
)
def test_a_unit_without_inputs_goes_only_if_it_is_dead_for_good(
    bias: float, activation: nn.Module, decay: bool, hidden: int
) -> None:
    network, mask = hand_made([0.1, 0.2, bias], activation)
    assert sizes(compact(network, mask, decay=decay).network)[0][0] == hidden


def test_without_a_bias_the_activation_at_zero_decides() -> None:
    for activation, hidden in ((nn.Tanh(), 1), (nn.ReLU(), 1), (nn.Sigmoid(), 2)):
        network, mask = hand_made([0, 0, 0], activation)
        network[0].bias = None
        assert sizes(compact(network, mask).network)[0][0] == hidden


def test_folding_moves_the_constant_into_the_next_bias() -> None:
    network, mask = hand_made([0.1, 0.2, 0.3])
    small = compact(network, mask, constants="fold")
    assert sizes(small.network) == [(1, 2), (2, 1)]
    assert small.network[2].bias.tolist() == pytest.approx([0.5 + 3 * 0.3, -0.5])
    with pytest.raises(ValueError, match="folded constants cannot be expanded"):
        small.expand_into(network)


def test_folding_makes_a_bias_where_there_was_none() -> None:
    network, mask = hand_made([0.1, 0.2, 0.3])
    network[2].bias = None
    small = compact(network, mask, constants="fold").network
    assert small[2].bias.tolist() == pytest.approx([3 * 0.3, 0])


def test_deadness_travels() -> None:
    # Unit 0 of layer 1 is dead, so unit 0 of layer 2, fed by it alone and with bias -1, is dead too.
    network = nn.Sequential(
        linear([[1.0], [1.0]], [-1, 1]), nn.ReLU(),
        linear([[2.0, 0.0], [0.0, 3.0]], [-1, 1]), nn.ReLU(),
        linear([[1.0, 1.0]], [0]),
    )  # fmt: skip
    mask = mask_of([[0], [1]], [[1, 0], [0, 1]], [[1, 1]])
    assert sizes(compact(network, mask).network) == [(1, 1), (1, 1), (1, 1)]
    network[2].bias.data[0] = 1
    assert sizes(compact(network, mask).network) == [(1, 1), (2, 1), (1, 2)]


def test_a_collapsed_layer_keeps_one_masked_unit() -> None:
    network, _ = hand_made([0.1, 0.2, 0.3])
    mask = mask_of([[0] * 4] * 3, [[0] * 3] * 2)
    small = compact(network, mask)
    assert sizes(small.network) == [(1, 1), (2, 1)]
    x = torch.randn(5, 4, dtype=torch.float64)
    assert torch.equal(small.network(small.gather(x)), masked_forward(network, mask, x))


BLOCKS = {
    "perceptron": lambda: [
        nn.Flatten(), nn.Linear(36, 9), nn.ReLU(), nn.Linear(9, 7), nn.ReLU(), nn.Linear(7, 3),
    ],
    "nested": lambda: [
        nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36), nn.Linear(36, 9)),
        nn.Sequential(nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 7, bias=False), nn.Identity()),
        nn.GELU(), nn.Linear(7, 3),
    ],
    "convolutional": lambda: [
        nn.Conv2d(1, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(5, 6, 2), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.BatchNorm1d(24),
        nn.Linear(24, 8), nn.Tanh(), nn.Linear(8, 3),
    ],
    "pooled": lambda: [
        nn.Conv2d(1, 5, 2), nn.Sigmoid(), nn.Conv2d(5, 6, 2), nn.ReLU(), nn.AvgPool2d(2, 1, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3),
    ],
    "pooled inputs": lambda: [
        nn.BatchNorm2d(1), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(9, 6), nn.ReLU(), nn.Linear(6, 3),
    ],
}  # fmt: skip


def built(name: str, seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    network = nn.Sequential(*BLOCKS[name]()).double()
    for tensor in network.state_dict().values():
        if tensor.dim() == 1 and tensor.is_floating_point():
            tensor.copy_(torch.randn_like(tensor))
    for key, tensor in network.state_dict().items():
        if "running_var" in key:
            tensor.abs_().add_(0.1)
    return network.eval()


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(sorted(BLOCKS)),
    seed=st.integers(0, 10**6),
    density=st.floats(0, 0.5),
    fold=st.booleans(),
)
def test_small_and_masked_network_compute_the_same(name: str, seed: int, density: float, fold: bool) -> None:
    network = built(name, seed)
    mask = Mask({key: torch.rand(w.shape) < density for key, w in prunable(network).items()})
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    x = torch.randn(4, 1, 6, 6, dtype=torch.float64)
    small = compact(network, mask, x, constants="fold" if fold else "keep")
    wanted = masked_forward(network, mask, x)
    torch.testing.assert_close(small.network(small.gather(x)).detach(), wanted, rtol=1e-11, atol=1e-11)
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())
    again = compact(small.network, small.mask, small.gather(x), constants="fold" if fold else "keep")
    assert sizes(again.network) == sizes(small.network)


@pytest.mark.parametrize("name", sorted(BLOCKS))
def test_written_back_the_full_network_computes_what_the_small_one_does(name: str) -> None:
    network = built(name, 0)
    mask = Mask({key: torch.rand(w.shape) < 0.2 for key, w in prunable(network).items()})
    mask.apply_to(network)
    x = torch.randn(4, 1, 6, 6, dtype=torch.float64)
    small = compact(network, mask, x)
    with torch.no_grad():
        for tensor in small.network.state_dict().values():
            if tensor.is_floating_point():
                tensor.mul_(1.5)
    small.mask.apply_to(small.network)
    shared = {tensor.data_ptr() for tensor in network.state_dict().values()}
    assert not shared & {tensor.data_ptr() for tensor in small.network.state_dict().values()}
    small.expand_into(network)
    # BatchNorm behind a constant: removed units keep their statistics, but nothing reads them.
    torch.testing.assert_close(network(x), small.network(small.gather(x)), rtol=1e-11, atol=1e-11)
    for key, weight in prunable(network).items():
        assert not bool(weight[~mask.tensors[key]].any())


def test_a_constant_through_padding_is_not_folded() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Conv2d(2, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(32, 2)
    ).double()
    with torch.no_grad():
        network[0].bias.fill_(0.5)
        network[2].weight.abs_()
    mask = Mask.dense(network)
    mask.tensors["0.weight"][1] = False  # channel 1 is the constant 0.5
    mask.tensors["2.weight"][1, 0] = False  # and all that feeds channel 1 of the next convolution
    small = compact(network, mask, constants="fold")
    assert sizes(small.network) == [(2, 1), (2, 2), (2, 32)]
    x = torch.randn(3, 1, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(small.network(x).detach(), masked_forward(network, mask, x), rtol=1e-12, atol=0)


def test_a_running_mean_keeps_a_unit_alive() -> None:
    network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.BatchNorm1d(2), nn.ReLU(), nn.Linear(2, 1)).double()
    mask = Mask.dense(network)
    mask.tensors["0.weight"][1] = False
    assert sizes(compact(network, mask).network) == [(1, 2), (1, 1)]
    network[1].running_mean.fill_(-1)
    assert sizes(compact(network, mask).network) == [(2, 2), (1, 2)]


def test_convolutions_keep_all_inputs_and_lose_channels() -> None:
    network = built("convolutional", 0)
    mask = Mask.dense(network)
    mask.tensors["4.weight"][:, 2] = False  # nothing reads channel 2 of the first convolution
    mask.tensors["9.weight"][:, 4:8] = False  # nothing reads channel 1 of the second (2 x 2 places)
    small = compact(network, mask)
    assert small.inputs is None
    assert sizes(small.network) == [(4, 1), (5, 4), (8, 20), (3, 8)]
    assert small.network[1].num_features == 4
    assert small.network[8].num_features == 20


def test_a_dense_mask_changes_nothing() -> None:
    network = built("perceptron", 0)
    small = compact(network, Mask.dense(network))
    assert sizes(small.network) == sizes(network)
    assert small.inputs.tolist() == list(range(36))


def test_wrong_arguments_are_refused() -> None:
    network = built("perceptron", 0)
    with pytest.raises(ValueError, match="unknown constants 'drop'"):
        compact(network, Mask.dense(network), constants="drop")
    with pytest.raises(ValueError, match="the mask"):
        compact(network, Mask({}))
    small = compact(network, Mask.dense(network))
    with pytest.raises(ValueError, match="not the network that was compacted"):
        small.expand_into(nn.Linear(3, 3))


def test_where_no_example_is_given_and_none_is_found_one_is_asked_for() -> None:
    network = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(9, 2))
    with pytest.raises(ValueError, match=r"no inputs were found that Sequential takes; give a few examples"):
        compact(network, Mask.dense(network))
    assert sizes(compact(network, Mask.dense(network), torch.randn(1, 1, 6, 6)).network) == [(2, 9)]
