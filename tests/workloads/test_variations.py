"""Variations of MNIST: what changes, what stays, and that the same files give the same task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scratchcard.workloads.task import Split, Task, task_digest
from scratchcard.workloads.tasks import variations
from scratchcard.workloads.tasks.variations import clouds, mnist_background, mnist_blurred, mnist_textured, mnist_thick

ALL = [mnist_blurred, mnist_thick, mnist_background, mnist_textured]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Task:
    """A bright square at a place of its class in place of MNIST's digits."""
    splits = []
    for count in (60, 20, 20):
        targets = torch.arange(count) % 10
        images = torch.full((count, 1, 28, 28), -0.42)
        for image, target in zip(images, targets, strict=True):
            image[0, 5 + target : 11 + target, 10:16] = 2.8
        splits.append(Split(images, targets))
    task = Task("mnist", splits[0], splits[1], splits[2], 10, task_digest(*splits))
    monkeypatch.setattr(variations, "mnist", lambda data_dir: task)
    return task


@pytest.mark.parametrize("make", ALL)
def test_targets_stay_and_pixels_are_normalised(make: Callable[[Path | None], Task], small: Task) -> None:
    task = make(None)
    assert task.name == make.__name__
    for split, before in ((task.train, small.train), (task.validation, small.validation), (task.test, small.test)):
        assert torch.equal(split.targets, before.targets)
        assert split.inputs.shape == before.inputs.shape
        assert not torch.equal(split.inputs, before.inputs)
    assert float(task.train.inputs.mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(task.train.inputs.std()) == pytest.approx(1.0, abs=1e-5)
    assert make(None).digest == task.digest
    assert len({replace(make(None)).digest for make in ALL}) == len(ALL)


def roughness(images: torch.Tensor) -> float:
    """Mean square of neighbouring pixels' differences."""
    return float((images[..., 1:] - images[..., :-1]).square().mean())


def test_each_does_what_it_says(small: Task) -> None:
    images = small.train.inputs / small.train.inputs.std()
    assert roughness(mnist_blurred(None).train.inputs) < 0.5 * roughness(images)
    thick = mnist_thick(None).train.inputs
    assert float((thick > 0).float().mean()) > 1.5 * float((images > 0).float().mean())
    assert bool((mnist_background(None).train.inputs.var(dim=0) > 0).all())
    assert bool((small.train.inputs.var(dim=0) == 0).any())
    strokes = mnist_textured(None).train.inputs[small.train.inputs > 0]
    assert float(strokes.std()) > 0.2


def test_clouds_are_smooth_and_drawn_from_their_generator() -> None:
    one, two = (clouds(torch.zeros(50, 1, 28, 28), torch.Generator().manual_seed(seed)) for seed in (1, 2))
    assert float(one.std()) == pytest.approx(1.0, abs=1e-5)
    assert roughness(one) < 0.2
    assert not torch.equal(one, two)
    assert torch.equal(one, clouds(torch.zeros(50, 1, 28, 28), torch.Generator().manual_seed(1)))
