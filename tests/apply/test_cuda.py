"""On a CUDA device: what finds, scores, predicts and trains tickets mixes no devices and agrees with the CPU.

In float64, so that agreement can be asked for to many digits.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from scratchcard.apply.method import Method
from scratchcard.apply.pipeline import evaluate_ticket, find_ticket, train_ticket
from scratchcard.apply.predicted import PredictedScorer
from scratchcard.apply.saw import bimodal
from scratchcard.apply.stacked import StackedScorer
from scratchcard.dataset_builder.build import Recording, build
from scratchcard.dataset_builder.features import compute_features
from scratchcard.meta.bundle import save_bundle
from scratchcard.meta.fit import fit
from scratchcard.pruning.compaction import compact
from scratchcard.pruning.connectivity import Connectivity
from scratchcard.pruning.cut import keep_top
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.regimes import REGIMES, owners
from scratchcard.regimes.upfront import prune_upfront
from scratchcard.scorers import Magnitude, make_scorer
from scratchcard.workloads.engines.training import Recipe, train
from scratchcard.workloads.session import Session
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload
from tests.scorers.toys import UPFRONT

pytestmark = pytest.mark.cuda

DEVICE = "cuda"
DOUBLE = torch.float64
RECIPE = Recipe(max_steps=30, evaluation_interval=10, scoring_examples=200)


@pytest.fixture(scope="module")
def workload() -> Workload:
    return Workload("lenet_300_100", load_task("digits"), RECIPE)


@pytest.fixture(scope="module")
def bundle(workload: Workload, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predictor")
    recording = Recording.of("ISS", "magnitude", 0.05, rounds=2, every_round=True)
    table = build(workload, [0, 1], folder / "table", recording, device=DEVICE)
    predictor = fit(table, "tree", objective="classification", train_seeds=[0], held_out_seeds=[1])
    save_bundle(predictor, folder / "bundle")
    return folder / "bundle"


def both(workload: Workload) -> list[tuple[nn.Module, tuple[Tensor, Tensor]]]:
    """Network and scoring batch on the CPU and on the device."""
    return [
        (workload.build(3, dtype=DOUBLE, device=device), workload.scoring_batch(3, dtype=DOUBLE, device=device))
        for device in ("cpu", DEVICE)
    ]


def cpu_mask(network: nn.Module, workload: Workload, batch: tuple[Tensor, Tensor]) -> Mask:
    return keep_top(Magnitude()(network, batch, workload.task.loss), 0.3).to("cpu")


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("scorer", ["magnitude", "snip", "synflow"])
def test_every_regime_finds_trains_and_evaluates(workload: Workload, regime: str, scorer: str) -> None:
    few = {"rounds": 2, "shots": 2, "search_steps": 20, "update_steps": 5}
    settings = {name: value for name, value in few.items() if regime in owners(name)}
    ticket = find_ticket(workload, Method.of(scorer, regime=regime, **settings), 0.05, 3, Session(DEVICE))
    most = round(0.05 * ticket.mask.total)
    assert ticket.mask.kept <= most if REGIMES[regime].chooses else ticket.mask.kept == most  # type: ignore[attr-defined]
    assert all(tensor.device.type == "cpu" for tensor in ticket.mask.tensors.values())
    assert all(tensor.device.type == "cpu" for tensor in ticket.initial.values())
    trained, _ = train_ticket(ticket, workload, 3, Session(DEVICE))
    assert evaluate_ticket(trained, workload, session=Session(DEVICE)).accuracy == pytest.approx(
        evaluate_ticket(trained, workload).accuracy, abs=0.02
    )


@pytest.mark.parametrize("masked", [False, True])
def test_features_agree_with_the_cpu(workload: Workload, masked: bool) -> None:
    (network, batch), (placed, placed_batch) = both(workload)
    mask = cpu_mask(network, workload, batch) if masked else None
    expected = compute_features(network, batch, workload.task.loss, mask=mask, density=0.05)
    # The mask on either device.
    for given in (mask, None if mask is None else mask.to(DEVICE)):
        found = compute_features(placed, placed_batch, workload.task.loss, mask=given, density=0.05)
        expected = list(expected)
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.parameter == theirs.parameter
            assert np.array_equal(ours.indices, theirs.indices)
            # Ranks of numbers that are equal but for rounding may change places.
            assert (np.isclose(ours.values, theirs.values, rtol=1e-4, atol=1e-5)).mean() > 0.999


@pytest.mark.parametrize("masked", [False, True])
def test_predicted_scores_lie_on_the_device_and_agree(workload: Workload, bundle: Path, masked: bool) -> None:
    (network, batch), (placed, placed_batch) = both(workload)
    mask = cpu_mask(network, workload, batch) if masked else None
    scorer = PredictedScorer.from_bundle(bundle, 0.2)
    expected = scorer(network, batch, workload.task.loss, mask=mask)
    found = scorer(placed, placed_batch, workload.task.loss, mask=mask)
    assert all(tensor.device.type == DEVICE for tensor in found.tensors.values())
    assert float((found.flat().cpu() == expected.flat()).double().mean()) > 0.99
    pruned, *_ = prune_upfront(placed, placed_batch, workload.task.loss, scorer, 0.2, rounds=2, within=mask)
    assert pruned.kept == round(0.2 * pruned.total)


@pytest.mark.parametrize("first", ["random", "snip", "synflow", "predicted"])
@pytest.mark.parametrize("second", [*UPFRONT, "predicted"])
def test_stacked_scores(workload: Workload, bundle: Path, first: str, second: str) -> None:
    predictor = str(bundle) if "predicted" in (first, second) else None
    (network, batch), (placed, placed_batch) = both(workload)
    mask = cpu_mask(network, workload, batch)
    scorer = Method(second, on=first, predictor=predictor).make_scorer(0.2, 3)
    for given in (None, mask, mask.to(DEVICE)):
        scores = scorer(placed, placed_batch, workload.task.loss, mask=given)
        assert all(tensor.device.type == DEVICE for tensor in scores.tensors.values())
    if "predicted" not in (first, second):
        expected = scorer(network, batch, workload.task.loss, mask=mask).flat()
        torch.testing.assert_close(scores.flat().cpu(), expected, rtol=1e-6, atol=1e-9 * float(expected.abs().max()))


def test_stacked_scores_that_need_scaling(workload: Workload) -> None:
    class Huge:
        def __call__(self, network, batch, loss, *, mask=None):  # type: ignore[no-untyped-def]
            scores = make_scorer("snip")(network, batch, loss, mask=mask)
            return type(scores)({n: t.cpu().double() * 1e80 for n, t in scores.tensors.items()}, "Huge")

    network, batch = workload.build(3, device=DEVICE), workload.scoring_batch(3, device=DEVICE)
    scores = StackedScorer(Huge(), make_scorer("synflow"))(network, batch, workload.task.loss)
    assert float(scores.flat().max()) > 0


@pytest.mark.parametrize("name", ["synflow", "synflow_l2_data"])
def test_a_prepared_scorer_takes_masks_and_batches_from_the_cpu(workload: Workload, name: str) -> None:
    (network, batch), (placed, _) = both(workload)
    mask = cpu_mask(network, workload, batch)
    expected = make_scorer(name)(network, batch, workload.task.loss, mask=mask).flat()
    prepared = make_scorer(name).prepare(placed, batch, workload.task.loss)  # type: ignore[attr-defined]
    found = prepared(placed, batch, workload.task.loss, mask=mask).flat()
    assert found.device.type == DEVICE
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("engine", ["auto", "autograd"])
def test_compact_training_is_masked_training(workload: Workload, engine: str) -> None:
    (network, batch), (placed, _) = both(workload)
    mask = keep_top(make_scorer("synflow")(network, batch, workload.task.loss), 0.02).to("cpu")
    for net in (network, placed):
        mask.apply_to(net)
    train(network, workload.task, RECIPE, mask=mask, engine="autograd", compact=False)
    record = train(placed, workload.task, RECIPE, mask=mask, device=DEVICE, engine=engine, compact=True)
    assert record.steps == RECIPE.max_steps
    for name, tensor in network.state_dict().items():
        assert placed.state_dict()[name].device.type == DEVICE
        torch.testing.assert_close(placed.state_dict()[name].cpu(), tensor, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("constants", ["keep", "fold"])
def test_compaction_and_connectivity_take_a_mask_from_either_device(workload: Workload, constants: str) -> None:
    (network, batch), (placed, placed_batch) = both(workload)
    mask = cpu_mask(network, workload, batch)
    for given in (mask, mask.to(DEVICE)):
        given.apply_to(placed)
        small = compact(placed, given, constants=constants)  # type: ignore[arg-type]
        assert all(tensor.device.type == DEVICE for tensor in small.network.state_dict().values())
        found = small.network(small.gather(placed_batch[0]))
        torch.testing.assert_close(found, placed(placed_batch[0]), rtol=1e-9, atol=1e-9)
        if constants == "keep":
            small.expand_into(placed)
        assert Connectivity.of(placed, given, (1, 8, 8)) == Connectivity.of(network, mask, (1, 8, 8))


@pytest.mark.parametrize("initial", ["saw", "saw_variance", "bimodal"])
def test_initial_weights_are_those_of_the_cpu(workload: Workload, initial: str) -> None:
    method = Method(
        "magnitude",
        initial=initial,  # type: ignore[arg-type]
        initial_scorer=None if initial == "bimodal" else "snip",
    )
    expected = prunable(method.start(workload, 0.05, 3, dtype=DOUBLE))
    for name, weight in prunable(method.start(workload, 0.05, 3, dtype=DOUBLE, device=DEVICE)).items():
        assert weight.device.type == DEVICE
        torch.testing.assert_close(weight.detach().cpu(), expected[name].detach(), rtol=1e-6, atol=1e-9)


def test_a_bimodal_generator_may_live_on_the_device(workload: Workload) -> None:
    for device in ("cpu", DEVICE):
        network = workload.build(0, device=device)
        bimodal(network, generator=torch.Generator(DEVICE).manual_seed(0))


def test_a_predictor_trained_on_the_device_predicts_without_it(workload: Workload, tmp_path: Path) -> None:
    table = build(workload, [0], tmp_path, Recording("USS", "snip", 0.05), device=DEVICE)
    predictor = fit(table, "mlp", objective="classification", epochs=1, device=DEVICE)
    assert predictor.metrics["train"]["average_precision"] > 0


@pytest.mark.parametrize("scorer", ["magnitude", "small_init_small_final"])
def test_same_sign_and_actions_on_kept_weights(workload: Workload, scorer: str) -> None:
    method = Method.of(
        scorer, regime="ISS", rounds=1, same_sign=True, kept_weights="constant", initial="scaled_kaiming"
    )
    found = [find_ticket(workload, method, 0.05, 3, Session(device, DOUBLE)) for device in (DEVICE, "cpu")]
    assert found[0].mask == found[1].mask
    for name, tensor in found[0].initial.items():
        torch.testing.assert_close(tensor, found[1].initial[name])
