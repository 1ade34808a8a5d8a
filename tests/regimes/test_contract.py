"""What holds for every regime: its settings, its names, and that it leaves the caller's network alone."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from scratchcard import regimes
from scratchcard.apply.method import Method
from scratchcard.dataset_builder.recording import Recording
from scratchcard.regimes import REGIMES, UMS, Regime, make_regime, owners, regime_settings
from scratchcard.scorers import GraSP, make_scorer
from scratchcard.setting import setting
from scratchcard.settings import settings_of
from scratchcard.sweeps import grid_docs
from scratchcard.sweeps.grid_file import GridFile
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload

REFUSED = {("BernoulliMask", "scope")}
"""Settings that a regime has with every other, and takes at their default alone."""
EXAMPLES = {name: next(iter(declared.values())).example for name, declared in regime_settings().items()}


@pytest.mark.parametrize("name", REGIMES)
def test_foreign_settings_are_refused_by_name(name: str) -> None:
    own = settings_of(REGIMES[name])
    assert name in owners("scope")
    for word, example in EXAMPLES.items():
        if (name, word) in REFUSED:
            with pytest.raises(ValueError, match=f"{name} .* leave the {word} {example} out"):
                make_regime(name, **{word: example})
        elif word in own:
            assert getattr(make_regime(name, **{word: example}), word) == example
        else:
            with pytest.raises(ValueError, match=rf"{name} has no setting {word} \({', '.join(owners(word))} ha"):
                make_regime(name, **{word: example})


@pytest.mark.parametrize("name", REGIMES)
def test_each_setting_says_what_it_is_and_counts(name: str) -> None:
    plain = make_regime(name)
    assert (plain.name, eval(repr(plain), vars(regimes))) == (name, plain)  # noqa: S307  (our own repr)
    for word, declared in settings_of(REGIMES[name]).items():
        assert declared.help
        assert declared.example not in (None, declared.default)
        if (name, word) in REFUSED:
            continue
        other = make_regime(name, **{word: declared.example})
        assert other.identity != plain.identity
        assert other.describe() != plain.describe()
        assert other.label != plain.label


@pytest.mark.parametrize("name", REGIMES)
def test_the_callers_network_is_left_as_it_was(name: str) -> None:
    workload = Workload("lenet_300_100", load_task("digits"), Recipe(max_steps=20, evaluation_interval=10))
    few: dict[str, int] = {"rounds": 2} if name in owners("rounds") else {}
    few |= {"search_steps": 20} if name in owners("mask_rate") else {}
    regime = make_regime(name, **few)
    network = workload.build(1)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    found = regime.find(workload, make_scorer("magnitude"), 0.1, 1, network=network)
    most = round(0.1 * found.mask.total)
    assert 0 < found.mask.kept <= most if regime.chooses else found.mask.kept == most
    assert found.rounds == regime.rounds
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())


def test_regimes_are_identified_as_they_were_when_the_first_tables_were_recorded() -> None:
    iterative = "Iterative(rounds=10, shots={}, schedule='exponential', scope='global', rewind_step=0)"
    early = (
        "Early(rounds={}, shots=1, schedule='exponential', scope='global', search_steps=2000, "
        "search_learning_rate=None, pace=1.0, rewind_step=0)"
    )
    assert {name: make_regime(name).identity for name in REGIMES} == {
        "USS": "Upfront(rounds=1, schedule='exponential', scope='global')",
        "UMS": "Upfront(rounds=100, schedule='exponential', scope='global')",
        "ISS": iterative.format(1),
        "IMS": iterative.format(10),
        "ESS": early.format(1),
        "EMS": early.format(20),
        "RigL": "RigL()",
        "Supermask": "Supermask()",
        "EdgePopup": "EdgePopup()",
        "BernoulliMask": "BernoulliMask()",
        "GemMiner": "GemMiner()",
    }
    first = {"shots": 10, "schedule": "exponential", "scope": "global", "rewind_step": 0}
    assert make_regime("ISS").describe() == first | {"regime": "ISS", "rounds": 10}
    assert Recording.of("ISS", "magnitude", towards=0.1).describe()["settings"].endswith("rewind_step=0, towards=0.1)")


@dataclass(frozen=True, kw_only=True)
class Cooled(UMS):
    """UMS with one setting more, which is all that is declared of it."""

    heat: float = setting(0.5, help="How warm it is", example=0.25, low=0, high=1)


def test_a_new_setting_is_one_field(monkeypatch: pytest.MonkeyPatch) -> None:
    """The option, the grid's key, the row of the documents, validation, label, digest and list follow from it."""
    before = Method("snip", regime="UMS").describe()
    monkeypatch.setitem(REGIMES, "UMS", Cooled)
    monkeypatch.setattr(Cooled, "name", "UMS")
    monkeypatch.setattr("scratchcard.regimes.own_code.own_code", lambda *_: {})
    assert Method("snip", regime="UMS").describe() == before  # no digest of what was done changes
    warm = Method.of("snip", regime="UMS", heat=0.25)
    assert warm.describe() == before | {"heat": 0.25}
    assert warm.label == "snip, UMS 100, heat 0.25"
    assert Recording.of("UMS", heat=0.25).describe()["settings"].endswith("heat=0.25)")
    for method in (lambda: Method.of("snip", regime="USS", heat=0.25), lambda: Method.of("snip", regime="UMS", heat=2)):
        with pytest.raises(ValueError, match="heat"):
            method()
    methods = [{"scorer": "snip", "regime": "UMS", "heat": [0.25, 0.5]}]
    file = {"name": "g", "title": "", "workload": {"task": "digits"}, "densities": 0.1, "seeds": 1, "methods": methods}
    words = list(GridFile.model_validate(file).methods[0].combinations())
    assert [Method.of(**each).make_regime() for each in words] == [Cooled(heat=0.25), Cooled()]
    assert "| `heat` | number or list | 0.5 | UMS: how warm it is, e.g. `0.25` |" in grid_docs.rows("methods")
    from scratchcard.frontends.cli.listing import list_
    from scratchcard.frontends.cli.options import regime_options

    listed = json.loads(CliRunner().invoke(list_, ["regimes", "--json"]).stdout)["regimes"]["UMS"]["settings"]
    assert listed["heat"] == {
        "type": "number", "default": 0.5, "help": "How warm it is", "example": 0.25, "low": 0, "high": 1,
    }  # fmt: skip
    command = regime_options(lambda: None)
    help_ = {option.name: option.help for option in command.__click_params__}["heat"]
    assert help_ == "UMS: how warm it is, e.g. 0.25. [default: 0.5]"


def test_a_scorers_own_settings_are_reachable_everywhere(tmp_path: Path) -> None:
    same = [
        Method(GraSP(temperature=1.0)),
        Method({"name": "grasp", "temperature": 1}),  # type: ignore[arg-type]
        Method.of({"name": "grasp", "temperature": 1.0}, regime="USS"),
    ]
    assert len(set(same)) == 1
    assert same[0].label == "grasp(temperature=1.0)"
    assert same[0].make_scorer(0.1, 0) == GraSP(temperature=1.0)
    assert Method(GraSP()) == Method("grasp")
    assert Method(GraSP()).describe() == Method("grasp").describe()
    assert same[0].describe()["scorer"] != Method("grasp").describe()["scorer"]
    assert "temperature=1.0" in Recording.of(scorer={"name": "grasp", "temperature": 1.0}).describe()["scorer"]
    with pytest.raises(ValueError, match="grasp has no setting heat"):
        Method({"name": "grasp", "heat": 1})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cannot be a method's scorer"):
        Method(lambda: None)  # type: ignore[arg-type]


def test_the_scorer_or_its_predictor_says_which_regime_it_wants() -> None:
    assert Method("synflow").make_regime() == UMS()
    assert Method("synflow_l2_data", on="snip").make_regime() == UMS()
    assert Method("snip", on="synflow").make_regime() == make_regime("USS")
    assert Method("predicted", predictor="policy").make_regime() == UMS(rounds=16)
    assert Method.of(predictor="default", rounds=5).make_regime() == UMS(rounds=5)
    assert Method.of("synflow", scope="layer").make_regime() == UMS(scope="layer")
    assert isinstance(replace(Method("synflow"), regime="ISS").make_regime(), Regime)
