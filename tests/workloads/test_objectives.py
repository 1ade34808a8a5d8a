"""Objectives: every member of the family against scikit-learn, over several ways to cut the batches."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, r2_score
from torch import Tensor, nn
from torch.func import vmap
from torch.nn import functional as F

from scratchcard.workloads.objectives import (
    OBJECTIVES,
    MultiLabel,
    Objective,
    OwnObjective,
    PerPosition,
    Regression,
    make_objective,
)


def mean_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).abs().mean()


def minus_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return -mean_error(outputs, targets)


def data(name: str, n: int = 60) -> tuple[Tensor, Tensor]:
    """Outputs that are better than chance, and targets, float64."""
    generator = torch.Generator().manual_seed(3)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    if name == "classification":
        outputs = draw(n, 4)
        return outputs, (outputs + draw(n, 4)).argmax(1)
    if name == "multi_label":
        outputs = draw(n, 5)
        targets = (outputs + draw(n, 5) > 0).double()
        targets[:, 3], outputs[:, 3] = 0, -1  # a label that is neither there nor predicted
        return outputs, targets
    if name == "per_position":
        outputs = draw(n, 3, 4, 2)
        return outputs, (outputs + draw(n, 3, 4, 2)).argmax(1)
    outputs = draw(n, 2)
    return outputs, outputs + draw(n, 2)


EXPECTED: dict[str, Callable[[Any, Any], dict[str, float]]] = {
    "classification": lambda o, t: {"accuracy": accuracy_score(t, o.argmax(1))},
    "multi_label": lambda o, t: {
        "micro_f1": f1_score(t, o > 0, average="micro"),
        "macro_f1": f1_score(t, o > 0, average="macro", zero_division=0),
    },
    "regression": lambda o, t: {"r2": r2_score(t, o)},
    "per_position": lambda o, t: {"accuracy": accuracy_score(t.ravel(), o.argmax(1).ravel())},
}


def test_every_member_has_a_reference() -> None:
    assert set(EXPECTED) == set(OBJECTIVES)


@pytest.mark.parametrize("cut", [60, 25, 1])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_metrics_are_those_of_scikit_learn_however_the_batches_are_cut(name: str, cut: int) -> None:
    objective, (outputs, targets) = make_objective(name), data(name)
    parts = [objective.statistics(o, t) for o, t in zip(outputs.split(cut), targets.split(cut), strict=True)]
    assert all(part.dtype == torch.float64 and part.ndim == 1 for part in parts)
    found = objective.metrics(torch.stack(parts).sum(0))
    assert tuple(found) == objective.metric_names
    assert found == pytest.approx(EXPECTED[name](outputs.numpy(), targets.numpy()), rel=1e-12)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_many_networks_at_once_have_the_statistics_of_each(name: str) -> None:
    objective, (outputs, targets) = make_objective(name), data(name)
    both = torch.stack([outputs, outputs.flip(0)])
    found = vmap(objective.statistics, in_dims=(0, None))(both, targets)
    losses = vmap(objective.loss, in_dims=(0, None))(both, targets)
    for one, statistics, loss in zip(both, found, losses, strict=True):
        assert torch.equal(statistics, objective.statistics(one, targets))
        torch.testing.assert_close(loss, objective.loss(one, targets))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_member_is_plain_data_with_checks_of_its_own(name: str) -> None:
    objective, (outputs, targets) = make_objective(name), data(name)
    assert objective == make_objective(name)
    assert objective.loss is make_objective(name).loss
    assert objective.name == name
    assert make_objective(json.loads(json.dumps(objective.describe()))) == objective
    wanted = objective.outputs_of(targets)
    objective.check_targets(targets, outputs=wanted, what="they")
    objective.check_outputs(outputs, targets, outputs_expected=wanted, what="it")
    with pytest.raises(ValueError, match=r"^it returns"):
        objective.check_outputs(outputs[:, :-1], targets, outputs_expected=wanted, what="it")
    with pytest.raises(ValueError, match=r"^they hold|^they have"):
        objective.check_targets(targets, outputs=wanted - 1, what="they")
    with pytest.raises(ValueError, match=r"^they are torch"):
        objective.check_targets(targets[..., None, None].to(torch.int32), outputs=wanted, what="they")
    loss = objective.loss(outputs.requires_grad_(), targets)
    loss.backward()
    assert torch.isfinite(loss)


def test_losses_are_the_closed_forms() -> None:
    outputs, targets = data("multi_label")
    p = torch.sigmoid(outputs)
    torch.testing.assert_close(MultiLabel().loss(outputs, targets), F.binary_cross_entropy(p, targets))
    outputs, targets = data("regression")
    torch.testing.assert_close(Regression().loss(outputs, targets), ((outputs - targets) ** 2).mean())


def test_trap_a_regression_of_one_number_does_not_broadcast() -> None:
    with pytest.raises(ValueError, match=r"\(examples, 1\) for one number"):
        Regression().check_targets(torch.zeros(3), outputs=1, what="they")


@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_r2_far_from_zero_and_of_constant_targets(offset: float) -> None:
    outputs, targets = data("regression")
    outputs, targets = outputs + offset, targets + offset
    found = Regression().metrics(Regression().statistics(outputs, targets))["r2"]
    assert found == pytest.approx(r2_score(targets.numpy(), outputs.numpy()), rel=1e-5)
    same = torch.full_like(targets, 3.0 + offset)
    assert Regression().metrics(Regression().statistics(same, same)) == {"r2": 1.0}
    assert Regression().metrics(Regression().statistics(outputs, same)) == {"r2": 0.0}


def test_ignored_positions_count_neither_in_the_loss_nor_in_the_accuracy() -> None:
    objective = PerPosition(ignore=255)
    outputs, targets = data("per_position")
    part = targets.clone()
    part[:, 2:] = 255
    torch.testing.assert_close(objective.loss(outputs, part), F.cross_entropy(outputs[:, :, :2], targets[:, :2]))
    found = objective.metrics(objective.statistics(outputs, part))
    assert found["accuracy"] == pytest.approx(float((outputs.argmax(1) == targets)[:, :2].double().mean()))
    objective.check_targets(part, outputs=3, what="they")
    assert objective.outputs_of(part) == 3
    # A batch without any position has the loss 0, not 0 / 0, which would end the training.
    assert float(objective.loss(outputs, torch.full_like(part, 255))) == 0.0
    with pytest.raises(ValueError, match="nothing but the ignored index 255"):
        objective.check_targets(torch.full_like(part, 255), outputs=3, what="they")
    with pytest.raises(ValueError, match="class index 255; 3 classes go from 0 to 2"):
        PerPosition().check_targets(part, outputs=3, what="they")


@pytest.mark.parametrize("value", [-100, -1, 4, 10**6])
def test_labels_out_of_range_are_refused(value: int) -> None:
    targets = data("classification")[1]
    targets[7] = value
    with pytest.raises(ValueError, match=rf"class index {value}; 4 classes go from 0 to 3"):
        make_objective("classification").check_targets(targets, outputs=4, what="they")


def test_a_loss_and_a_metric_of_ones_own() -> None:
    objective = OwnObjective(mean_error, minus_error, metric_name="minus_error")
    outputs, targets = data("regression")
    parts = [objective.statistics(o, t) for o, t in zip(outputs.split(7), targets.split(7), strict=True)]
    assert objective.metrics(torch.stack(parts).sum(0))["minus_error"] == pytest.approx(
        -float((outputs - targets).abs().mean())
    )
    described = objective.describe()
    assert described["loss"].endswith(":mean_error")
    assert len(described["loss_code"]) == 64
    assert OwnObjective(nn.L1Loss()).describe()["loss"] == "torch.nn.modules.loss:L1Loss L1Loss()"
    assert "loss_code" not in OwnObjective(F.l1_loss).describe()
    assert OwnObjective(mean_error).metrics(OwnObjective(mean_error).statistics(outputs, targets))["metric"] < 0
    with pytest.raises(ValueError, match=r"the loss .*raised RuntimeError"):
        objective.check_outputs(outputs[:, :1].repeat(1, 3), targets, outputs_expected=2, what="it")
    with pytest.raises(ValueError, match=r"returns \(60, 2\) for outputs of it, expected a tensor of one number"):
        OwnObjective(lambda o, t: o - t).check_outputs(outputs, targets, outputs_expected=2, what="it")


def test_names_and_settings_that_are_none() -> None:
    with pytest.raises(ValueError, match="did you mean 'regression'"):
        make_objective("regresion")
    with pytest.raises(ValueError, match="does not take"):
        make_objective({"name": "regression", "ignore": 1})
    assert make_objective({"name": "per_position", "ignore": 0}) == PerPosition(0)
    own: Objective = OwnObjective(mean_error)
    assert make_objective(own) is own
    with pytest.raises(ValueError, match="cannot import the objective"):
        make_objective("no_such_module:objective")
