"""Features of movement: by hand on a toy that is trained in three looks, and what they must not depend on."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from scratchcard.dataset_builder.features import FEATURES, MOVEMENT_FEATURES, column, compute_features, looks_for
from scratchcard.dataset_builder.looks import LOOKED, Looks
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.scorers.gradients import loss_gradients
from scratchcard.scorers.scorer import Batch
from tests.dataset_builder.test_features import rank_of
from tests.scorers.toys import case, cross_entropy, mlp, random_mask

NAMES = [feature.name for feature in MOVEMENT_FEATURES]
SHARES = 0.25, 0.5, 1.0
Columns = dict[str, dict[str, np.ndarray]]


def shaken(network: nn.Module, number: int) -> None:
    """What stands for training: each weight is moved by a wave, the same for a weight at the same place."""
    with torch.no_grad():
        for weight in prunable(network).values():
            places = torch.arange(weight.numel(), dtype=weight.dtype).reshape(weight.shape)
            weight.add_(0.8 * torch.sin(3 * places + number))


def masks(network: nn.Module) -> list[Mask | None]:
    """Of three looks, each within the one before."""
    first = random_mask(network)
    second = Mask(
        {name: kept & (torch.arange(kept.numel()).reshape(kept.shape) % 3 > 0) for name, kept in first.tensors.items()}
    )
    return [None, first, second]


def columns(
    network: nn.Module, batch: Batch, mask: Mask | None, looks: Looks | None, names: list[str] = NAMES
) -> Columns:
    """Of each parameter the columns of its kept weights."""
    blocks = compute_features(network, batch, cross_entropy, mask=mask, density=0.1, names=names, looks=looks)
    return {block.parameter: dict(zip(block.names, block.values.T, strict=True)) for block in blocks}


def looked(network: nn.Module, batch: Batch) -> list[Columns]:
    """The columns of three looks of a search that begins at the network."""
    shares = iter(SHARES)
    looks = looks_for(NAMES, network, lambda: next(shares))
    found = []
    for number, mask in enumerate(masks(network)):
        shaken(network, number)
        found.append(columns(network, batch, mask, looks))
    return found


def test_features_are_what_their_formulas_say() -> None:
    network, batch = case("mlp")
    by_hand = copy.deepcopy(network)
    found = looked(network, batch)
    weights = [{name: weight.detach().clone() for name, weight in prunable(by_hand).items()}]
    gradients = []
    total = sum(weight.numel() for weight in weights[0].values())
    for number, (mask, share) in enumerate(zip(masks(by_hand), SHARES, strict=True)):
        shaken(by_hand, number)
        weights.append({name: weight.detach().clone() for name, weight in prunable(by_hand).items()})
        gradients.append(loss_gradients(by_hand, batch, cross_entropy, mask).gradients)
        mask = mask or Mask.dense(by_hand)
        for name, kept in mask.tensors.items():
            start, last, now = (weights[when][name][kept].numpy() for when in (0, -2, -1))
            g = np.stack([each[name][kept].numpy() for each in gradients])
            unit = np.sqrt((g**2).mean())
            scale = np.sqrt((start**2).mean())
            before, then, here, moved = (
                [rank_of(own, values.tolist()) for own in values]
                for values in (np.abs(start), np.abs(last), np.abs(now), np.abs(now - start))
            )
            expected = {
                "moved": (now - start) / scale,
                "movement_rank_layer": moved,
                "magnitude_increase": (np.abs(now) - np.abs(start)) / scale,
                "sign_kept": (now * start >= 0).astype(float),
                "gradient_mean": g.mean(0) / unit,
                "gradient_variance": g.var(0) / unit**2,
                "rank_change_look": np.subtract(here, then),
                "rank_change_start": np.subtract(here, before),
                "search_share": np.full(len(now), share),
                "density_now": np.full(len(now), np.log10(mask.kept / total)),
            }
            assert list(expected) == NAMES
            for feature, values in expected.items():
                assert found[number][name][feature] == pytest.approx(values, abs=2e-6), (number, name, feature)
    assert 0 < np.mean([found[2][name]["sign_kept"].mean() for name in weights[0]]) < 1  # some signs have changed


def test_hidden_units_in_another_order_have_the_same_features() -> None:
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    one, batch = mlp(), case("mlp")[1]
    two = copy.deepcopy(one)
    after = copy.deepcopy(one)
    shaken(after, 0)

    def reorder(network: nn.Sequential, given: nn.Sequential) -> None:
        with torch.no_grad():
            network[0].weight.copy_(given[0].weight[order])
            network[0].bias.copy_(given[0].bias[order])
            network[2].weight.copy_(given[2].weight[:, order])
            network[2].bias.copy_(given[2].bias)
            network[4].weight.copy_(given[4].weight)

    reorder(two, one)
    both = [Looks(network, lambda: 0.5) for network in (one, two)]
    one.load_state_dict(after.state_dict())
    reorder(two, after)
    first, second = (columns(network, batch, None, looks) for network, looks in zip((one, two), both, strict=True))
    for name in NAMES:
        rows, back = second["0.weight"][name].reshape(7, 5), second["2.weight"][name].reshape(6, 7)
        assert rows == pytest.approx(first["0.weight"][name].reshape(7, 5)[order.numpy()], abs=1e-5), name
        assert back == pytest.approx(first["2.weight"][name].reshape(6, 7)[:, order.numpy()], abs=1e-5), name
        assert second["4.weight"][name] == pytest.approx(first["4.weight"][name], abs=1e-5), name


def test_several_scorings_of_a_look_are_one_look() -> None:
    network, batch = case("mlp")
    now = [0.5]
    looks = Looks(network, lambda: now[0])
    shaken(network, 0)
    first = columns(network, batch, None, looks)
    smaller = random_mask(network)
    columns(network, batch, smaller, looks)  # another shot
    again = columns(network, batch, None, looks)
    assert looks.number == 1
    for name, found in first.items():
        assert all(np.array_equal(found[feature], again[name][feature]) for feature in NAMES)
    now[0] = 1.0
    columns(network, batch, smaller, looks)
    assert (looks.number, looks.share) == (2, 1.0)


def test_what_nothing_moved_or_has_no_scale_is_zero() -> None:
    network, batch = case("mlp")
    with torch.no_grad():
        network[0].weight.zero_()
    looks = Looks(network, lambda: 1.0)
    still = compute_features(
        network, batch, lambda outputs, _: (outputs * 0).sum(), density=0.1, names=NAMES, looks=looks
    )
    for block in still:
        found = dict(zip(block.names, block.values.T, strict=True))
        for name in (
            "moved",
            "magnitude_increase",
            "gradient_mean",
            "gradient_variance",
            "rank_change_start",
            "density_now",
        ):
            assert not found[name].any()
        assert found["sign_kept"].all()


def test_only_a_search_has_them_and_only_if_named() -> None:
    network, batch = case("mlp")
    assert not set(NAMES) & {feature.name for feature in FEATURES}
    assert column("moved") in MOVEMENT_FEATURES
    assert looks_for(["snip", "weight"], network, lambda: 1.0) is None
    with pytest.raises(ValueError, match=r"here is none: take a regime that trains .* or features without moved$"):
        columns(network, batch, None, None, ["snip", "moved"])
    plain = [feature.name for feature in FEATURES]
    looks = Looks(network, lambda: 1.0)
    one, two = columns(network, batch, None, None, plain), columns(network, batch, None, looks, [*plain, *NAMES])
    assert all(np.array_equal(one[name][feature], two[name][feature]) for name in one for feature in plain)


def test_gradients_are_taken_only_for_those_who_read_them() -> None:
    network, batch = case("mlp")
    looks = looks_for(["moved"], network, lambda: 1.0)
    assert looks is not None
    looks.see(network, batch, lambda *_: 1 / 0, None)  # type: ignore[arg-type, return-value]
    assert not looks.values("moved", "0.weight").any()
    with pytest.raises(ValueError, match="gradient_mean needs the gradients of the looks"):
        looks.values("gradient_mean", "0.weight")
    assert all(looks.values(what, "0.weight").shape == (35,) for what in LOOKED if "gradient" not in what)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_a_network_in_half_precision_has_finite_features(half: torch.dtype) -> None:
    network, batch = case("everything")
    network = network.to(half)
    looks = Looks(network, lambda: 1.0)
    shaken(network, 0)
    for found in columns(network, batch, random_mask(network), looks).values():
        assert all(np.isfinite(values).all() for values in found.values())
        assert found["moved"].any()
