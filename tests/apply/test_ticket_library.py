"""Stored tickets: known tasks are known again, matched weights are found again, everything else is left to others."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from scratchcard.apply.method import Method
from scratchcard.apply.pipeline import find_ticket
from scratchcard.apply.predicted import OutsideWarning, PredictedScorer, Seen
from scratchcard.apply.shipped import TICKETS, load_tickets, own_regime, shipped
from scratchcard.apply.ticket_library import TicketLibrary, Transplanted, class_means, put_signs, put_values, similarity
from scratchcard.artefacts.json_file import read_json, write_json
from scratchcard.dataset_builder.features import column, compute_features
from scratchcard.meta.bundle import save_bundle
from scratchcard.meta.predictor import Predictor
from scratchcard.meta.predictors.multishot import arrays
from scratchcard.pruning.cut import keep_top
from scratchcard.pruning.parameters import prunable
from scratchcard.pruning.ticket_path import TicketPath
from scratchcard.regimes import UMS
from scratchcard.regimes.upfront import prune_upfront
from scratchcard.scorers.magnitude import Magnitude
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload

DENSITIES = (0.5, 0.2, 0.1)
NAMES = ("stepped_ln", "path_ln", "progress")


def network(seed: int = 0, hidden: int = 12, inputs: int = 6) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, 8), nn.ReLU(), nn.Linear(8, 3))


def batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(60) % 3
    means = torch.tensor([[2.0, 0, 0, 0, 0, 0], [0, 2.0, 0, 0, 0, 0], [0, 0, 2.0, 0, 0, 0]])
    return means[targets] + 0.3 * torch.randn(60, 6, generator=generator), targets


@pytest.fixture(scope="module")
def path() -> TicketPath:
    found = network()
    masks = {d: keep_top(Magnitude()(found, batch(), cross_entropy), d) for d in DENSITIES}
    return TicketPath.of(masks, found.state_dict(), class_means(batch(), 3), {"seed": 0})


@pytest.fixture(scope="module")
def library(path: TicketPath) -> TicketLibrary:
    return TicketLibrary({"toy": path})


def predictor(training: dict[str, object] | None = None) -> Predictor:
    columns = tuple(column(name) for name in NAMES)
    found = arrays(np.array([1.0, 1.0, 0.0]), np.zeros(3), 2)
    return Predictor("multishot", "regression", "kept", columns, found, {"regime": "UMS", "rounds": 4}, training or {})


@pytest.fixture(scope="module")
def bundle(path: TicketPath, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_bundle(predictor(), tmp_path_factory.mktemp("bundles") / "toy")
    path.save(folder / TICKETS / "toy.safetensors")
    return folder


def test_similarity_knows_a_task_by_its_class_means() -> None:
    means = class_means(batch(), 3)
    assert similarity(means, batch(1)) > 0.95
    inputs, targets = batch(1)
    assert similarity(means, (inputs, (targets + 1) % 3)) < 0
    assert similarity(means, (inputs[:, [3, 4, 5, 0, 1, 2]], targets)) < 0.1
    assert similarity(means, (inputs[:, :5], targets)) == 0.0
    assert similarity(means, (inputs[targets < 2], targets[targets < 2])) == 0.0
    assert similarity(means, (inputs, targets + 1)) == 0.0
    assert similarity(means, (torch.zeros(60, 6), targets)) == 0.0
    assert similarity(means, (torch.zeros(60, 6, dtype=torch.int64), targets)) == 0.0


def test_class_means_by_hand() -> None:
    inputs = torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]], [[10.0, 20.0]]])
    assert class_means((inputs, torch.tensor([0, 0, 1])), 2).tolist() == [[2.0, 3.0], [10.0, 20.0]]
    with pytest.raises(ValueError, match="class 1 has no example"):
        class_means((inputs, torch.tensor([0, 0, 2])), 3)


def test_a_network_with_shuffled_units_gets_its_ticket_back(library: TicketLibrary) -> None:
    first, order = network(), torch.randperm(12)
    second = copy.deepcopy(first)
    with torch.no_grad():
        second[0].weight.copy_(first[0].weight[order])
        second[2].weight.copy_(first[2].weight[:, order])
    laid = library.lay(second, batch(1), 0.2)
    assert laid is not None
    assert (laid.agreement, laid.source) == (1.0, "toy")
    mask = keep_top(laid(second, batch(1), cross_entropy), 0.1)
    expected = keep_top(Magnitude()(second, batch(), cross_entropy), 0.1)
    assert all(torch.equal(mask.tensors[name], expected.tensors[name]) for name in mask.tensors)
    scores = laid(second, batch(1), cross_entropy, mask=mask)
    assert all(not scores.tensors[name][~mask.tensors[name]].any() for name in mask.tensors)


def test_levels_come_before_signs(library: TicketLibrary) -> None:
    other = network(5)
    laid = library.lay(other, batch(1), 0.5)
    assert laid is not None
    weights = prunable(other)
    for name, scores in laid(other, batch(1), cross_entropy).tensors.items():
        agrees = weights[name].sign() == laid.signs[name]
        assert set((scores - 0.5 * (agrees & (scores > 0))).unique().tolist()) <= {0.0, 1.0, 2.0, 3.0}


def test_other_tasks_networks_and_densities_get_none(library: TicketLibrary) -> None:
    inputs, targets = batch(1)
    assert library.lay(network(1), (inputs, targets.flip(0)), 0.2) is None
    assert library.lay(network(1), batch(1), 0.7) is None
    assert library.lay(network(1), batch(1), 0.01) is None
    assert library.lay(network(1, hidden=2), batch(1), 0.2) is None
    deeper = nn.Sequential(*network(1), nn.ReLU(), nn.Linear(3, 3))
    assert library.lay(deeper, batch(1), 0.2) is None

    class Foreign(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = network(1)

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x)

    assert library.lay(Foreign(), batch(1), 0.2) is None


def test_a_wider_network_takes_the_ticket_too(library: TicketLibrary) -> None:
    wide = network(3, hidden=40)
    total = sum(weight.numel() for weight in prunable(wide).values())
    laid = library.lay(wide, batch(1), 32 / total)
    assert laid is not None
    assert laid.signs["0.weight"].shape == (40, 6)
    assert laid.agreement > 0.8


def test_a_predictor_uses_its_tickets_where_it_can(library: TicketLibrary, path: TicketPath) -> None:
    scorer = PredictedScorer(predictor(), 0.1, tickets=library)
    known, unknown = batch(1), (batch(1)[0].flip(1), batch(1)[1])
    laid = library.lay(network(2), known, 0.1)
    assert laid is not None
    mask, scores, *_ = prune_upfront(network(2), known, cross_entropy, scorer, 0.1, rounds=4)
    expected = keep_top(laid(network(2), known, cross_entropy), 0.1)
    assert sum(int((mask.tensors[n] & expected.tensors[n]).sum()) for n in mask.tensors) >= path.kept[-1] - 2
    assert "LaidTicket" in scores.criterion
    alone = PredictedScorer(predictor(), 0.1)
    found = [prune_upfront(network(2), unknown, cross_entropy, s, 0.1, rounds=4)[0] for s in (scorer, alone)]
    assert all(torch.equal(found[0].tensors[name], found[1].tensors[name]) for name in found[0].tensors)
    assert torch.equal(
        scorer(network(2), known, cross_entropy).tensors["0.weight"],
        laid(network(2), known, cross_entropy).tensors["0.weight"],
    )


def test_prepared_for_a_sequence_it_scores_the_same_with_less_work(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = tuple(column(name) for name in ("stepped_ln", "path_ln", "magnitude_ln", "progress"))
    found = Predictor("multishot", "regression", "kept", columns, arrays(np.ones(4), np.full(4, 0.5), 3))
    scorer, task = PredictedScorer(found, 0.1), batch()
    own = network(1)
    mask = keep_top(scorer(own, task, cross_entropy), 0.4)
    plain = scorer(own, task, cross_entropy, mask=mask)
    prepared = scorer.prepare(own, task, cross_entropy)
    variances = []
    monkeypatch.setattr(Tensor, "var", lambda *args, **kwargs: variances.append(args) or torch.var(*args, **kwargs))
    scores = prepared(own, task, cross_entropy, mask=mask)
    assert not [values for values in variances if values[0].shape == task[0].shape]
    assert all(torch.equal(scores.tensors[name], plain.tensors[name]) for name in plain.tensors)
    assert repr(prepared) == repr(scorer)
    with pytest.raises(ValueError, match="prepared for another network"):
        prepared(network(2), task, cross_entropy)


def test_a_transplanted_mask_lies_as_it_lay(library: TicketLibrary, path: TicketPath) -> None:
    other = network(7)
    mask = keep_top(Transplanted(library, 0.1)(other, batch(), cross_entropy), 0.1)
    assert all(torch.equal(mask.tensors[name], path.levels[name] == 3) for name in mask.tensors)
    layers = keep_top(Transplanted(library, 0.1, layers_only=True, seed=1)(other, batch(), cross_entropy), 0.1)
    again = keep_top(Transplanted(library, 0.1, layers_only=True, seed=2)(other, batch(), cross_entropy), 0.1)
    for name, tensor in layers.tensors.items():
        assert int(tensor.sum()) == int((path.levels[name] == 3).sum())
    assert any(not torch.equal(layers.tensors[name], again.tensors[name]) for name in layers.tensors)
    put_values(other, path)
    assert torch.equal(
        other[0].weight[path.levels["0.weight"] > 0], path.values["0.weight"][path.levels["0.weight"] > 0]
    )
    with pytest.raises(ValueError, match="none of the tickets toy"):
        Transplanted(library, 0.1)(network(1, hidden=13), batch(), cross_entropy)


def test_signs_are_put_and_sizes_stay(library: TicketLibrary) -> None:
    other = network(9)
    before = other[0].weight.detach().clone()
    laid = library.lay(other, batch(1), 0.2)
    assert laid is not None
    put_signs(other, laid.signs)
    asked = laid.signs["0.weight"] != 0
    assert torch.equal(other[0].weight.abs(), before.abs())
    assert torch.equal(other[0].weight.sign()[asked].to(torch.int8), laid.signs["0.weight"][asked])
    assert torch.equal(other[0].weight[~asked], before[~asked])


def test_library_digests_tell_tickets_apart(path: TicketPath, library: TicketLibrary) -> None:
    levels = {name: level.clone() for name, level in path.levels.items()}
    levels["0.weight"][0, 0] = 3 if levels["0.weight"][0, 0] != 3 else 2
    other = TicketLibrary({"toy": TicketPath(path.densities, levels, path.values, path.inputs)})
    assert other.digest != library.digest
    assert TicketLibrary({"toy": path}).digest == library.digest


@pytest.mark.parametrize(("name", "value"), [("regime", 3), ("rounds", "4"), ("rounds", True)])
def test_a_bundle_with_a_foreign_regime_is_refused(bundle: Path, tmp_path: Path, name: str, value: object) -> None:
    manifest = read_json(bundle / "manifest.json")
    manifest["options"][name] = value
    write_json(tmp_path / "manifest.json", manifest)
    with pytest.raises(ValueError, match=f"no usable predictor bundle: .*{name}"):
        own_regime(str(tmp_path))


def test_methods_know_bundles_with_tickets(bundle: Path, tmp_path: Path) -> None:
    method = Method.of("predicted", predictor=str(bundle), regime="UMS", rounds=4)
    without = save_bundle(predictor(), tmp_path / "without")
    other = Method.of("predicted", predictor=str(without), regime="UMS", rounds=4)
    assert method.describe()["predictor_digest"] != other.describe()["predictor_digest"]
    assert own_regime(str(bundle)) == UMS(rounds=4)
    assert Method("predicted", predictor=str(bundle)).make_regime() == UMS(rounds=4)
    assert shipped("policy")[0] == shipped("default")[0]
    with pytest.raises(ValueError, match="holds no tickets"):
        Method("transplanted", predictor=str(without)).make_scorer(0.1, 0)
    with pytest.raises(ValueError, match="'signed' needs a predictor"):
        Method("snip", initial="signed")
    with pytest.raises(ValueError, match="'transplanted' needs a predictor"):
        Method("transplanted")
    with pytest.raises(FileNotFoundError, match="no ticket path in"):
        TicketLibrary.load(tmp_path)


def test_networks_unlike_those_seen_are_told() -> None:
    blocks = list(compute_features(network(), batch(), cross_entropy, density=0.1, names=NAMES))
    found = PredictedScorer(predictor({"seen": Seen.ranges(blocks)}), 0.1, "toy")
    with warnings.catch_warnings():
        warnings.simplefilter("error", OutsideWarning)
        found(network(1), batch(1), cross_entropy)
    large = network(1)
    with torch.no_grad():
        large[0].weight.mul_(100)
    with pytest.warns(OutsideWarning, match=r"'toy' was fitted on: \d+ % .* Method\('synflow_l2_data'\)"):
        found(large, batch(1), cross_entropy)
    mask = keep_top(Magnitude()(large, batch(), cross_entropy), 0.5)
    with warnings.catch_warnings():  # only whole networks are judged
        warnings.simplefilter("error", OutsideWarning)
        found(large, batch(1), cross_entropy, mask=mask)


@pytest.mark.parametrize("initial", ["given", "signed"])
def test_the_shipped_default_prunes_what_it_never_saw(initial: str) -> None:
    workload = Workload("lenet_300_100", load_task("digits"), Recipe(scoring_examples=200))
    method = Method("predicted", predictor="default", initial=initial)  # type: ignore[arg-type]
    assert method.make_regime() == own_regime("default")
    with pytest.warns(OutsideWarning, match="'fan_in'"):  # 64 inputs are fewer than it ever saw
        ticket = find_ticket(workload, method, 0.02, seed=1)
    assert ticket.mask.kept == 1004
    assert all(int(tensor.sum()) for tensor in ticket.mask.tensors.values())
    assert "multishot" in ticket.provenance["scorer"]


def test_what_is_shipped_is_small_and_says_what_it_was_fitted_on() -> None:
    folder = shipped("default")[0]
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) <= 3_000_000
    tickets = load_tickets(folder)
    assert tickets is not None
    for path in tickets.paths.values():
        assert {"network", "task", "recipe"} <= set(path.about)
