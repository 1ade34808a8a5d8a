"""ESS and EMS: one short training, pruned as it goes; and the trajectory that they train on."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from torch import nn

from scratchcard.apply.method import Method
from scratchcard.apply.pipeline import find_ticket
from scratchcard.artefacts.store import Store
from scratchcard.pruning.cut import keep_top
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.scores import Scores
from scratchcard.regimes import EMS, ESS, UMS, USS
from scratchcard.scorers import make_scorer
from scratchcard.workloads import stored_training
from scratchcard.workloads.engines.training import train
from scratchcard.workloads.engines.trajectory import Trajectory
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.session import Session
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload

RECIPE = Recipe(max_steps=60, evaluation_interval=60, learning_rate=0.2)


@pytest.fixture(scope="module")
def workload() -> Workload:
    return Workload("lenet_300_100", load_task("digits"), RECIPE)


def networks() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {
        "perceptron": nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, 10)),
        "convolutions": nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 6, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(96, 10),
        ),
        "no layers alone": nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.Tanh(), nn.Linear(20, 10)),
    }


def few(network: nn.Module, density: float, seed: int = 0) -> Mask:
    scores = make_scorer("random", seed=seed)(network, (torch.zeros(1), torch.zeros(1)), lambda *_: torch.zeros(()))
    return keep_top(scores, density)


@pytest.mark.parametrize("kind", networks())
@pytest.mark.parametrize("density", [1.0, 0.3, 0.03])
def test_stretches_are_one_training(kind: str, density: float) -> None:
    """Under plain SGD a trajectory in stretches is the training that it is cut from, to rounding."""
    task = load_task("digits")
    one, two = networks()[kind].double(), networks()[kind].double()
    mask = None if density == 1 else few(one, density)
    train(one, task, RECIPE, mask=mask, seed=3, restore_best=False)
    trajectory = Trajectory(two, task, RECIPE, seed=3)
    for steps in (1, 19, 25, 15):  # 19 steps and more pass the end of an epoch of 19 batches
        trajectory.advance(steps, mask)
    assert trajectory.step == 60
    for (name, left), (_, right) in zip(one.state_dict().items(), two.state_dict().items(), strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=1e-9, msg=name)


def test_a_search_that_does_not_move_finds_what_upfront_regimes_find() -> None:
    still = 1e-30  # the weights stay what they are, in float32; there are no biases, which start at zero
    layers = [nn.Flatten(), nn.Linear(64, 20, bias=False), nn.ReLU(), nn.Linear(20, 10, bias=False)]
    workload, scorer = Workload(nn.Sequential(*layers), load_task("digits"), RECIPE), make_scorer("snip")
    layerwise = {"schedule": "cubic", "scope": "layer"}
    for density, upfront, early in (
        (0.1, USS(), ESS(search_steps=3, search_learning_rate=still)),
        (0.05, UMS(rounds=4), EMS(rounds=4, search_steps=8, search_learning_rate=still)),
        (0.05, UMS(rounds=4, **layerwise), EMS(rounds=4, search_steps=8, search_learning_rate=still, **layerwise)),
        (0.05, UMS(rounds=5), EMS(rounds=1, shots=5, search_steps=8, search_learning_rate=still)),
    ):
        assert (
            early.find(workload, scorer, density, seed=2).mask == upfront.find(workload, scorer, density, seed=2).mask
        )


def test_the_search_by_hand(workload: Workload) -> None:
    """Two looks of magnitude: train, cut, train what is left from where it stands, cut."""
    found = EMS(rounds=2, search_steps=20).find(workload, make_scorer("magnitude"), 0.04, seed=5)
    network = workload.build(5)
    trajectory = Trajectory(network, workload.task, RECIPE, seed=5)
    mask = None
    for target in (0.2, 0.04):
        trajectory.advance(10, mask)
        scores = {n: p.detach().abs() for n, p in network.named_parameters() if n.endswith("weight")}
        mask = keep_top(Scores(scores, "by hand"), target, within=mask, seed=5)
    assert found.mask == mask
    for name, tensor in workload.build(5).state_dict().items():  # the ticket starts from the initial weights
        assert torch.equal(found.start[name], tensor)
    assert [look["steps"] for look in found.training] == [10, 10]
    assert found.mask_after(1).contains(found.mask)


def test_masks_are_nested_and_counts_exact(workload: Workload) -> None:
    found = EMS(rounds=4, search_steps=20, pace=1.5).find(workload, make_scorer("synflow_l2_data"), 0.02, seed=0)
    for number, density in enumerate(found.densities, start=1):
        assert found.mask_after(number).kept == round(density * found.mask.total)
        assert found.mask_after(number - 1).contains(found.mask_after(number))


def test_a_ticket_may_start_from_an_early_step(workload: Workload) -> None:
    """At a look, between looks, and before the first one: always the weights of that step of the search."""
    scorer = make_scorer("magnitude")
    plain = EMS(rounds=2, search_steps=20).find(workload, scorer, 0.1, seed=0)
    for step in (4, 10, 13):
        found = EMS(rounds=2, search_steps=20, rewind_step=step).find(workload, scorer, 0.1, seed=0)
        assert found.mask == plain.mask  # where the ticket starts is no matter to the search
        network = workload.build(0)
        trajectory = Trajectory(network, workload.task, RECIPE, seed=0)
        trajectory.advance(min(step, 10))
        if step > 10:
            trajectory.advance(step - 10, plain.mask_after(1))
        for name, tensor in network.state_dict().items():
            torch.testing.assert_close(found.start[name], tensor, rtol=0, atol=1e-6)


@pytest.mark.parametrize("density", [0.1, 0.01])
def test_a_ticket_that_is_not_rewound_starts_from_the_searchs_last_weights(workload: Workload, density: float) -> None:
    """Gradual pruning (Zhu & Gupta 2017): what is left goes on from where it stands, and nothing else is left."""
    settings = {"rounds": 4, "schedule": "cubic", "search_steps": 20, "towards": 0.01}
    regime, scorer = EMS(**settings, rewind_step=20), make_scorer("magnitude")
    found = regime.find(workload, scorer, density, seed=0)
    assert found.mask == EMS(**settings).find(workload, scorer, density, seed=0).mask
    network = workload.build(0)
    trajectory, mask = Trajectory(network, workload.task, RECIPE, seed=0), None
    assert found.rounds == (3 if density == 0.1 else 4)
    for number in range(1, found.rounds + 1):
        trajectory.advance(5, mask)
        mask = found.mask_after(number)
    assert trajectory.step == 5 * found.rounds < 20 * (1 + (density == 0.01))
    for name, tensor in network.state_dict().items():
        last = tensor.where(found.mask.tensors[name], 0.0) if name in found.mask.tensors else tensor
        assert torch.equal(found.start[name], last)
    for name, kept in found.mask.tensors.items():
        assert not bool(found.start[name][~kept].any())


def test_a_ticket_says_what_it_starts_from(workload: Workload) -> None:
    short = {"regime": "EMS", "rounds": 2, "search_steps": 8}
    told = {
        Method.of("magnitude", **short): ("magnitude, EMS 2, 8 steps", None),
        Method.of("magnitude", **short, rewind_step=3): ("magnitude, EMS 2, 8 steps, rewind 3", "step 3 of the search"),
        Method.of("magnitude", **short, rewind_step=8): (
            "magnitude, EMS 2, 8 steps, not rewound",
            "the weights at the end of the search",
        ),
        Method.of("magnitude", regime="ISS", rounds=1, round_steps=9, rewind_step=7): (
            "magnitude, ISS 1, rewind 7, 9 steps a round",
            "step 7 of the first training",
        ),
    }
    for method, (label, start) in told.items():
        provenance = find_ticket(workload, method, 0.1).provenance
        assert (provenance["label"], provenance.get("starts_from")) == (label, start)


def test_all_densities_of_a_path_share_its_looks(workload: Workload) -> None:
    regime, scorer = EMS(rounds=4, search_steps=40, towards=0.01), make_scorer("magnitude")
    found = {density: regime.find(workload, scorer, density, seed=0) for density in (0.2, 0.05, 0.01)}
    for high, low in itertools.pairwise(found.values()):
        assert high.mask.contains(low.mask_after(high.rounds))
        for number in range(high.rounds):
            assert high.mask_after(number) == low.mask_after(number)
    with pytest.raises(ValueError, match=r"never reaches 0\.001"):
        regime.find(workload, scorer, 0.001, seed=0)


def test_the_search_has_a_rate_of_its_own(workload: Workload) -> None:
    scorer = make_scorer("magnitude")
    own = EMS(rounds=2, search_steps=20, search_learning_rate=0.05).find(workload, scorer, 0.1, seed=0)
    slow = Workload("lenet_300_100", workload.task, Recipe(max_steps=60, learning_rate=0.05))
    assert own.mask == EMS(rounds=2, search_steps=20).find(slow, scorer, 0.1, seed=0).mask
    cosine = Workload("lenet_300_100", workload.task, Recipe(learning_rate=0.05, learning_rate_schedule="cosine"))
    assert own.mask == EMS(rounds=2, search_steps=20).find(cosine, scorer, 0.1, seed=0).mask


@pytest.mark.parametrize(
    ("regime", "told"),
    [
        (EMS(rounds=50, search_steps=20), "50 looks at a pace of 1 do not fit into 20 steps"),
        (EMS(rounds=10, search_steps=20, pace=4), "do not fit into 20 steps"),
        (EMS(search_steps=200, rewind_step=201), "cannot rewind to step 201: the search for density 0.1 has 200 steps"),
        (ESS(search_steps=200, rewind_step=300), "or a longer search, or 200 to start from the search's last weights"),
        (EMS(rounds=4, search_steps=40, towards=0.01, rewind_step=35), "cannot rewind to step 35: .* has 20 steps"),
        (ESS(search_steps=20, search_learning_rate=1e30), "diverged before step 20; take a lower rate"),
    ],
)
def test_what_cannot_be_is_refused(workload: Workload, regime: EMS | ESS, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        regime.find(workload, make_scorer("magnitude"), 0.1, seed=0)


def test_progress_is_told_in_steps(workload: Workload) -> None:
    said: list[tuple[int, int]] = []
    session = Session(progress=lambda done, total: said.append((done, total)))
    EMS(rounds=3, search_steps=30).find(workload, make_scorer("magnitude"), 0.1, seed=0, session=session)
    assert said == [(10, 30), (20, 30), (30, 30)]


def test_the_network_is_pruned_while_it_trains_and_modes_are_kept() -> None:
    task, network = load_task("digits"), networks()["convolutions"].eval()
    mask = few(network, 0.1)
    trajectory = Trajectory(network, task, RECIPE, seed=0)
    trajectory.advance(5)
    trajectory.advance(5, mask)
    assert not network.training
    for name, kept in mask.tensors.items():
        weight = network.get_parameter(name)
        assert not bool(weight[~kept].any())
        assert bool(weight[kept].any())


def test_a_search_goes_on_where_it_was_broken_off(
    workload: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_training, "WORTH_KEEPING", 0.0)
    regime, scorer = EMS(rounds=3, search_steps=30, rewind_step=15), make_scorer("magnitude")
    whole = regime.find(workload, scorer, 0.05, seed=0)

    def stop(done: int, _: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    store, trained = Store(tmp_path / "rounds"), []
    with pytest.raises(KeyboardInterrupt):
        regime.find(workload, scorer, 0.05, seed=0, session=Session(store=store, progress=stop))
    advance = Trajectory.advance
    monkeypatch.setattr(Trajectory, "advance", lambda self, *given: trained.append(given[0]) or advance(self, *given))
    again = regime.find(workload, scorer, 0.05, seed=0, session=Session(store=store))
    assert trained == [10]  # the last stretch alone
    assert again.mask == whole.mask
    for name, tensor in whole.start.items():
        assert torch.equal(again.start[name], tensor)
    other = EMS(rounds=3, search_steps=30, search_learning_rate=0.05).find(
        workload, scorer, 0.05, seed=0, session=Session(store=store)
    )
    assert trained == [10, 10, 10, 10]  # another rate is another search
    assert other.mask != whole.mask


def test_short_stretches_are_not_kept(workload: Workload, tmp_path: Path) -> None:
    store = Store(tmp_path / "rounds")
    EMS(rounds=2, search_steps=4).find(workload, make_scorer("magnitude"), 0.1, seed=0, session=Session(store=store))
    assert not list(tmp_path.rglob("*.safetensors"))
