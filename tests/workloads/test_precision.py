"""Mixed precision and channels last: near the plain training, refused where they cannot be; the network as it was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from scratchcard.workloads.engines.checkpoint import Checkpoint
from scratchcard.workloads.engines.stacked_training import train_stacked
from scratchcard.workloads.engines.training import train
from scratchcard.workloads.recipe import Recipe
from tests.workloads.training_toys import convolutional, perceptron, random_mask, toy_task

TASK = toy_task()
RECIPE = Recipe(batch_size=32, max_steps=30, evaluation_interval=10, momentum=0.9, learning_rate=0.02)
DENSITIES = (0.6, 0.5, 0.3, 0.5)
cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def trained(recipe: Recipe, network: nn.Module, **how: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    mask = how.pop("mask", None) or random_mask(network, *DENSITIES)
    record = train(network, TASK, recipe, mask=mask, restore_best=False, **how)
    pruned = [
        network.get_parameter(name)[~kept.to(network.get_parameter(name).device)] for name, kept in mask.tensors.items()
    ]
    assert all(bool((weights == 0).all()) for weights in pruned)
    return record, {name: tensor.cpu() for name, tensor in network.state_dict().items()}


def test_channels_last_changes_nothing_but_rounding() -> None:
    _, wanted = trained(RECIPE, convolutional(), compact=False)
    network, seen = convolutional(), []
    network[4][0].register_forward_hook(
        lambda module, inputs, _: seen.append((inputs[0].stride(), module.weight.stride()))
    )
    record, state = trained(replace(RECIPE, channels_last=True), network, compact=False)
    torch.testing.assert_close(state, wanted, rtol=1e-9, atol=1e-11)
    _, compacted = trained(replace(RECIPE, channels_last=True), convolutional())
    torch.testing.assert_close(compacted, wanted, rtol=1e-9, atol=1e-11)
    assert record.engine == "autograd"
    assert ((54, 1, 18, 6), (24, 1, 12, 6)) in seen
    assert network[4][0].weight.is_contiguous()
    assert network[4][0].weight.stride() == convolutional()[4][0].weight.stride()


def test_bfloat16_trains_nearly_as_full_precision() -> None:
    build = lambda: convolutional().float()  # noqa: E731
    plain, _ = trained(RECIPE, build())
    mixed, state = trained(replace(RECIPE, precision="bfloat16"), build())
    assert state["0.weight"].dtype is torch.float32
    losses = [[entry.validation_loss for entry in record.history] for record in (plain, mixed)]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_float16_needs_a_gpu() -> None:
    with pytest.raises(ValueError, match="precision float16 needs a GPU, and this training is on cpu; use bfloat16"):
        trained(replace(RECIPE, precision="float16"), convolutional().float(), device="cpu")


@pytest.mark.parametrize("setting", [{"precision": "bfloat16"}, {"channels_last": True}])
def test_engines_that_do_not_know_them_leave_them_to_another(setting: dict[str, Any]) -> None:
    recipe, mask = replace(RECIPE, **setting), random_mask(perceptron(), 0.015, 0.1, 0.3)
    record, _ = trained(recipe, perceptron().float(), mask=mask, compact=False)
    assert record.engine == ("autograd" if "precision" in setting else "sparse")
    with pytest.raises(ValueError, match=f"the fused engine does not know {next(iter(setting))}"):
        trained(recipe, perceptron().float(), mask=mask, engine="fused")
    with pytest.warns(UserWarning, match=f"recipe's {next(iter(setting))} cannot be trained together"):
        train_stacked([convolutional()], TASK, recipe, masks=[None], seeds=[0])


def test_the_sparse_engine_has_full_precision() -> None:
    with pytest.raises(ValueError, match="the sparse engine does not know precision"):
        trained(
            replace(RECIPE, precision="bfloat16"), perceptron(), mask=random_mask(perceptron(), 0.015), engine="sparse"
        )


@cuda
@pytest.mark.cuda
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_on_a_gpu(precision: str, tmp_path: Any) -> None:
    recipe = replace(RECIPE, precision=precision, channels_last=True)
    plain, _ = trained(RECIPE, convolutional().float(), device="cuda")
    mixed, _ = trained(recipe, convolutional().float(), device="cuda")
    assert mixed.history[-1].validation_loss == pytest.approx(plain.history[-1].validation_loss, rel=0.1)

    def stop(step: int, most: int) -> None:
        if step == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(recipe, convolutional().float(), device="cuda", progress=stop, checkpoint=Checkpoint(tmp_path / "c"))
    checkpoint = Checkpoint(tmp_path / "c", resume=True)
    resumed, _ = trained(recipe, convolutional().float(), device="cuda", checkpoint=checkpoint)
    assert checkpoint.resumed == 20
    assert resumed.history[-1].validation_loss == pytest.approx(mixed.history[-1].validation_loss, rel=0.01)
