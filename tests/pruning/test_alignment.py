from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from scratchcard.pruning.alignment import align
from scratchcard.pruning.parameters import prunable


def mlp(*widths: int, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = [nn.Flatten()]
    for width, following in itertools.pairwise(widths):
        layers += [nn.Linear(width, following), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def convolutions(channels: int = 5, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, channels, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(channels * 9, 6),
        nn.ReLU(),
        nn.Linear(6, 3),
    )


def signs(network: nn.Module, density: float = 0.3, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: weight.detach().sign() * (torch.rand(weight.shape, generator=generator) < density)
        for name, weight in prunable(network).items()
    }


def total(placed: dict[str, Tensor], network: nn.Module) -> float:
    return sum(float((placed[name] * weight.detach().sign()).sum()) for name, weight in prunable(network).items())


def test_a_network_with_its_units_shuffled_is_found_again() -> None:
    first = mlp(20, 30, 12, 4)
    template = signs(first)
    second = mlp(20, 30, 12, 4)
    one, two = torch.randperm(30), torch.randperm(12)
    with torch.no_grad():
        second[1].weight.copy_(first[1].weight[one])
        second[3].weight.copy_(first[3].weight[two][:, one])
        second[5].weight.copy_(first[5].weight[:, two])
    found = align(template, second)
    assert found.agreement == 1.0
    assert torch.equal(found.signs["1.weight"], template["1.weight"][one].to(torch.int8))
    assert torch.equal(found.signs["5.weight"], template["5.weight"][:, two].to(torch.int8))


def test_one_hidden_layer_is_matched_as_well_as_can_be() -> None:
    network = mlp(6, 5, 3)
    template = signs(mlp(6, 5, 3, seed=1), 0.6)
    found = align(template, network, power=0.0)
    weights = {name: weight.detach().sign() for name, weight in prunable(network).items()}
    best = max(
        float((template["1.weight"] * weights["1.weight"][list(order)]).sum())
        + float((template["3.weight"] * weights["3.weight"][:, list(order)]).sum())
        for order in itertools.permutations(range(5))
    )
    assert total(dict(found.signs), network) == best


def test_another_initialisation_agrees_far_beyond_chance() -> None:
    template = signs(mlp(50, 80, 40, 10, seed=1), 0.04)
    found = align(template, mlp(50, 80, 40, 10, seed=2))
    assert found.agreement > 0.85
    for name, tensor in template.items():
        assert int((found.signs[name] != 0).sum()) == int((tensor != 0).sum())
        assert torch.equal(found.signs[name].float().sum(), tensor.sum())


def test_wider_networks_take_smaller_templates() -> None:
    template = signs(mlp(50, 20, 10, 4, seed=1), 0.2)
    same, wide = (align(template, mlp(50, *widths, 4, seed=2)) for widths in ((20, 10), (200, 60)))
    assert wide.agreement > same.agreement
    assert wide.signs["1.weight"].shape == (200, 50)
    assert len(set(wide.units[0].tolist())) == 20


def test_units_without_weights_need_no_place() -> None:
    template = signs(mlp(50, 20, 10, 4, seed=1), 0.2)
    template["1.weight"][5:] = 0
    template["3.weight"][:, 5:] = 0
    found = align(template, mlp(50, 5, 10, 4, seed=2))
    assert sorted(found.units[0][:5].tolist()) == [0, 1, 2, 3, 4]
    assert (found.units[0][5:] == -1).all()
    assert found.signs["1.weight"].shape == (5, 50)
    for name, tensor in template.items():
        assert int((found.signs[name] != 0).sum()) == int((tensor != 0).sum())


def test_channels_of_convolutions_move_with_their_maps() -> None:
    first, second = convolutions(), convolutions(seed=1)
    template = signs(first, 0.4)
    order = torch.randperm(5)
    with torch.no_grad():
        second[0].weight.copy_(first[0].weight[order])
        second[4].weight.copy_(first[4].weight.reshape(6, 5, 9)[:, order].reshape(6, 45))
        second[6].weight.copy_(first[6].weight)
    found = align(template, second)
    assert found.agreement == 1.0
    assert torch.equal(found.signs["0.weight"], template["0.weight"][order].to(torch.int8))
    wide = align(template, convolutions(12, seed=3))
    assert wide.signs["4.weight"].shape == (6, 108)


def test_large_weights_count_more_with_a_power() -> None:
    template, network = signs(mlp(50, 80, 40, 10, seed=1), 0.1), mlp(50, 80, 40, 10, seed=2)

    def reached(power: float) -> tuple[float, float]:
        found = align(template, network, power=power)
        weights = {name: weight.detach() / weight.detach().abs().mean() for name, weight in prunable(network).items()}
        return found.agreement, sum(float((weights[name] * tensor).sum()) for name, tensor in found.signs.items())

    counted, weighed = reached(0.0), reached(1.0)
    assert counted[0] > weighed[0]
    assert counted[1] < weighed[1]


def test_other_numbers_go_where_the_signs_go() -> None:
    template, network = signs(mlp(20, 12, 8, 4, seed=1), 0.3), mlp(20, 30, 12, 4)
    found = align(template, network)
    numbers = {name: (tensor != 0) * torch.rand(tensor.shape) for name, tensor in template.items()}
    for name, placed in found.placed(numbers).items():
        assert torch.equal(placed != 0, found.signs[name] != 0)
        assert torch.equal(placed[placed > 0].sort().values, numbers[name][numbers[name] > 0].sort().values)


def test_the_same_seed_gives_the_same_alignment() -> None:
    template, network = signs(mlp(20, 30, 12, 4, seed=1), 0.1), mlp(20, 30, 12, 4)
    one, two = align(template, network), align(template, network)
    assert all(torch.equal(one.signs[name], two.signs[name]) for name in one.signs)


def test_an_empty_template_fits_everywhere() -> None:
    network = mlp(6, 5, 3)
    found = align({name: torch.zeros_like(weight) for name, weight in prunable(network).items()}, network)
    assert found.agreement == 1.0
    assert not any(bool(tensor.any()) for tensor in found.signs.values())


@pytest.mark.parametrize(
    ("template", "network", "said"),
    [
        (mlp(6, 5, 3), mlp(6, 5, 4, 3), "2 layers, the network 3"),
        (mlp(6, 8, 3), mlp(6, 5, 3), "too large"),
        (mlp(7, 5, 3), mlp(6, 5, 3), "other inputs"),
        (mlp(6, 5, 2), mlp(6, 5, 3), "other inputs, outputs"),
        # Was torch's own error: 5 inputs of the last layer are no 4 places of a map.
        (
            mlp(36, 5, 3),
            nn.Sequential(nn.Conv2d(1, 8, 5), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)),
            "places of a map",
        ),
    ],
)
def test_what_does_not_fit_is_said(template: nn.Module, network: nn.Module, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        align(signs(template), network)
