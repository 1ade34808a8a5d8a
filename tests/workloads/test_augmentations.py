"""Augmentations: each example in its own way, as torchvision has them one by one, in training only, seeded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.transforms import v2

from scratchcard.workloads import augmentations
from scratchcard.workloads.augmentations import AUGMENTATIONS, crop_flip, crop_flip_cutout
from scratchcard.workloads.engines.stacked_training import train_stacked
from scratchcard.workloads.engines.training import evaluate, train
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.task import Task
from scratchcard.workloads.workload import Workload
from tests.workloads.training_toys import convolutional, perceptron, random_mask, toy_task

TASK = toy_task()
RECIPE = Recipe(batch_size=32, max_steps=30, evaluation_interval=10, augmentation="crop_flip", learning_rate=0.02)


def trained(recipe: Recipe = RECIPE, **how: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    network = how.pop("network", None) or convolutional()
    return train(network, TASK, recipe, **how), network.state_dict()


def test_each_image_is_a_crop_of_torchvisions_padded_one() -> None:
    torch.manual_seed(0)
    images = torch.randn(60, 3, 16, 24)
    padded = v2.functional.pad(images, [3, 2, 3, 2])
    seen = set()
    for image, around in zip(crop_flip(images), padded, strict=True):
        places = [
            (top, left, mirrored)
            for top in range(5)
            for left in range(7)
            for mirrored in (False, True)
            if torch.equal(_cropped(around, top, left, mirrored), image)
        ]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) > 20  # not one draw for all
    assert {mirrored for _, _, mirrored in seen} == {False, True}
    assert {top for top, _, _ in seen} == set(range(5))
    assert {left for _, left, _ in seen} == set(range(7))


def _cropped(image: torch.Tensor, top: int, left: int, mirrored: bool) -> torch.Tensor:
    crop = v2.functional.crop(image, top, left, 16, 24)
    return v2.functional.horizontal_flip(crop) if mirrored else crop


def test_a_square_of_each_image_is_hidden() -> None:
    torch.manual_seed(0)
    changed = crop_flip_cutout(torch.randn(400, 2, 16, 16) + 100)
    inner = (changed == 0)[:, 0, 2:14, 2:14]  # beyond the padding zeros are hidden pixels
    rows, columns = inner.any(2).sum(1), inner.any(1).sum(1)
    assert torch.equal(inner.sum((1, 2)), rows * columns)
    assert (rows.max(), columns.max()) == (8, 8)  # half of the side, and its middle
    assert torch.equal((changed == 0)[:, 0], (changed == 0)[:, 1])


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_same_seed_gives_the_same_training_whatever_the_random_state(name: str) -> None:
    found = []
    for state, seed in ((1, 0), (2, 0), (1, 5)):
        network = convolutional()
        torch.manual_seed(state)
        before = torch.get_rng_state()
        found.append(trained(replace(RECIPE, augmentation=name), seed=seed, network=network)[1])
        assert torch.equal(torch.get_rng_state(), before)
    plain = trained(replace(RECIPE, augmentation="none"))[1]
    first, again, other = (state["0.weight"] for state in found)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, plain["0.weight"])


def test_images_are_changed_in_training_only(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setitem(augmentations.AUGMENTATIONS, "crop_flip", lambda images: calls.append(len(images)) or images)
    record, _ = trained()
    assert calls == [32] * 30
    assert len(record.history) == 3
    plain, _ = trained(replace(RECIPE, augmentation="none"))
    assert record.history == plain.history
    network = convolutional()
    evaluate(network, TASK)
    Workload(network, TASK, RECIPE).scoring_batch(0)
    assert len(calls) == 30


@pytest.mark.parametrize("engine", ["auto", "dense"])
def test_engines_that_cannot_augment_leave_it_to_another(engine: Any) -> None:
    mask = random_mask(perceptron(), 0.05, 0.2, 0.5)
    record, state = trained(network=perceptron(), mask=mask, engine=engine)
    _, wanted = trained(network=perceptron(), mask=mask, engine="autograd", compact=False)
    assert record.engine == "autograd"
    torch.testing.assert_close(state, wanted, rtol=1e-9, atol=1e-12)
    with pytest.raises(ValueError, match="the fused engine does not know augmentation"):
        trained(network=perceptron(), mask=mask, engine="fused")


def test_networks_in_a_stack_go_one_after_another() -> None:
    networks = [convolutional(1), convolutional(2)]
    with pytest.warns(UserWarning, match="the recipe's augmentation cannot be trained together"):
        train_stacked(networks, TASK, RECIPE, masks=[None, None], seeds=[0, 1])
    _, wanted = trained(network=convolutional(2), seed=1, compact=False)
    torch.testing.assert_close(networks[1].state_dict(), wanted, rtol=0, atol=0)


@pytest.mark.parametrize("inputs", [torch.rand(60, 4), torch.randint(9, (60, 1, 4, 4)), {"a": torch.rand(60, 1, 4, 4)}])
def test_what_is_no_image_is_refused(inputs: Any) -> None:
    task = Task.of(inputs, torch.arange(60) % 2)
    with pytest.raises(ValueError, match=r"the recipe's augmentation is for images .* the inputs of own are"):
        Workload(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), task, RECIPE)
    with pytest.raises(ValueError, match="the recipe's channels_last is for images"):
        Workload(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), task, Recipe(channels_last=True))
