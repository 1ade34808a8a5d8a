"""Published figures: the source's words as ours, and who stands beside whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from scratchcard.analysis import published as module
from scratchcard.analysis.published import ACCURACIES, PUBLISHED, SETTINGS, beside, published
from scratchcard.apply.method import Method


@pytest.fixture(scope="module")
def composite() -> pd.DataFrame:
    return published("composite_pruning_mnist")


# Magnitude, then SynFlow stacked on it, from weights that are SNIP's scores.
HEADLINE = Method("synflow", on="magnitude", regime="UMS", restack=True, initial="saw", initial_scorer="snip")


def accuracy(frame: pd.DataFrame, table: str, label: str, density: float) -> float:
    (value,) = frame[(frame["table"] == table) & (frame["label"] == label) & (frame["density"] == density)][
        "test_accuracy"
    ]
    return float(value)


@pytest.mark.parametrize(
    ("table", "method", "density", "expected"),
    [
        (
            "combined",
            Method("synflow", on="magnitude", regime="UMS", restack=True, initial="saw", initial_scorer="snip"),
            0.005,
            0.9186,
        ),
        ("combined", Method("magnitude", regime="ISS"), 0.005, 0.9091),
        ("combined", Method("snip", on="snip", regime="UMS", restack=True, initial="bimodal"), 0.005, 0.8958),
        ("stacked", Method("magnitude", on="grasp", regime="UMS", restack=True), 0.005, 0.9051),
        ("stacked", Method("grasp", on="magnitude", regime="UMS", restack=True), 0.005, 0.2053),
        ("stacked", Method("snip"), 0.5, 0.9805),
        ("stacked", Method("synflow", regime="UMS"), 0.005, 0.8889),
        ("saw", Method("synflow", regime="UMS", initial="saw", initial_scorer="snip"), 0.005, 0.9075),
        ("saw", Method("magnitude"), 0.005, 0.6417),
    ],
)
def test_a_published_figure_goes_by_our_label(
    composite: pd.DataFrame, table: str, method: Method, density: float, expected: float
) -> None:
    assert accuracy(composite, table, method.label, density) == expected


def test_the_first_scorer_of_a_stack_stands_in_for_the_weights(composite: pd.DataFrame) -> None:
    """Magnitude on magnitude is magnitude, and magnitude on SynFlow is SynFlow: so are the figures, at few points."""
    for density in (0.005, 0.007, 0.01, 0.015):
        for on, label in (("magnitude", "magnitude"), ("synflow", "synflow, UMS 100")):
            stacked = accuracy(composite, "stacked", f"magnitude on {on} every round, UMS 100", density)
            assert abs(stacked - accuracy(composite, "stacked", label, density)) < 0.01
        # The other way round it is GraSP of other weights, which has lost all at few weights.
    other_way = accuracy(composite, "stacked", "grasp on synflow every round, UMS 100", 0.005)
    assert abs(other_way - accuracy(composite, "stacked", "grasp", 0.005)) > 0.5


def test_the_headlines_lead_over_snip(composite: pd.DataFrame) -> None:
    best = accuracy(composite, "combined", "synflow on magnitude every round, UMS 100, saw snip", 0.005)
    assert best - accuracy(composite, "combined", "snip, UMS 100", 0.005) == pytest.approx(0.0203)
    assert best == composite[composite["density"] == 0.005]["test_accuracy"].max()


def test_every_table_has_twenty_methods_at_seven_densities(composite: pd.DataFrame) -> None:
    densities = {0.005, 0.007, 0.01, 0.015, 0.1, 0.2, 0.5}
    for _, table in composite.groupby("table"):
        assert set(table["density"]) == densities
        assert (table.groupby("label")["density"].nunique() == 7).all()
        assert table["label"].nunique() == 20
        assert len(table) == 140
    assert composite["test_accuracy"].between(0.1, 0.99).all()
    assert (composite["runs"] == 3).all()


def test_stars_are_said_where_the_source_has_them(composite: pd.DataFrame) -> None:
    by_table = composite.groupby("table")["starred"]
    assert by_table.count().to_dict() == {"combined": 140, "saw": 140, "stacked": 0}
    assert by_table.sum().sum() == 146


def test_snip_stands_under_two_regimes_with_the_same_figures(composite: pd.DataFrame) -> None:
    """A slip of the source that both of its labels keep."""
    for density in (0.005, 0.1, 0.5):
        assert accuracy(composite, "combined", "snip, UMS 100", density) == accuracy(composite, "saw", "snip", density)


def test_labels_are_those_of_the_settings(composite: pd.DataFrame) -> None:
    for row in composite.drop_duplicates("label").to_dict("records"):
        settings: dict[str, Any] = {
            name: None if pd.isna(row[name]) else row[name] for name in ("on", "initial_scorer", "regime", "initial")
        }
        settings["restack"] = settings["on"] is not None
        assert Method.of(row["scorer"], **settings).label == row["label"]


def test_dense_networks_have_weights_but_no_method() -> None:
    frame = published("saw_dense_training").set_index(["initial", "initial_scorer"])
    assert frame["label"].isna().all()
    assert (frame["density"] == 1.0).all()
    assert frame.loc[("saw", "grasp"), "test_accuracy"] == pytest.approx(0.80833333)
    assert frame.loc[("saw", "grasp"), "steps"] == 22512.0


def test_compression_ratios_are_densities() -> None:
    frame = published("cifar10_pruning_at_init")
    assert sorted(set((1 / frame["density"]).round(9))) == [10, 100, 316, 1000]
    found = frame[
        (frame["network"] == "vgg16_bn") & (frame["label"] == "synflow, UMS 100") & (frame["density"] == 0.01)
    ]
    assert found["test_accuracy"].tolist() == [0.901]
    assert set(frame["regime"][frame["scorer"] != "synflow"]) == {"USS"}


def test_predictors_go_by_our_families() -> None:
    from scratchcard.meta.predictors import PREDICTORS

    frame = published("meta_model_metrics")
    assert set(frame["family"]) <= set(PREDICTORS)
    assert frame.set_index("family").loc["forest", "r2_test"] == 0.010510


@pytest.mark.parametrize("name", PUBLISHED)
def test_all_facts_have_a_source(name: str) -> None:
    frame = published(name)
    assert frame["citation"].notna().all()
    assert frame["settings"].notna().all()
    assert not frame.duplicated().any()


def test_every_file_is_named_and_every_name_has_a_file() -> None:
    assert {path.stem for path in Path(module.FOLDER).glob("*.csv")} == {*PUBLISHED, "sources"}
    with pytest.raises(ValueError, match=r"unknown published figure 'saw_dense'.*did you mean 'saw_dense_training'"):
        published("saw_dense")


def test_figures_of_untrained_networks_stand_by_themselves() -> None:
    frame = published("supermasks").set_index(["task", "table", "trained"])["test_accuracy"]
    assert frame["mnist", "supermasks", False] == 0.86
    assert frame["cifar10", "supermasks", False] == 0.41
    assert frame["mnist", "dense", True] == 0.977
    assert "supermasks" not in ACCURACIES  # no trained ticket stands beside them


@pytest.mark.parametrize(
    ("name", "value"), [("same_sign", True), ("kept_weights", "constant"), ("rounds", 11), ("round_steps", 859)]
)
def test_a_method_that_no_source_has_stands_beside_none(name: str, value: object) -> None:
    published = ours(scorer="magnitude", regime="ISS")
    assert len(beside(pd.DataFrame([published]))) > 0
    usual = {"same_sign": None, "kept_weights": None, "rounds": 10, "round_steps": None}
    assert len(beside(pd.DataFrame([published | usual]))) == len(beside(pd.DataFrame([published])))
    assert len(beside(pd.DataFrame([published | usual | {name: value}]))) == 0


def ours(**changed: Any) -> dict[str, Any]:
    row = dict.fromkeys(SETTINGS) | {"task": "mnist", "network": "lenet_300_100", "density": 0.005, "scorer": "snip"}
    row |= {"regime": "USS", "initial": "given", "schedule": "exponential", "scope": "global", "rewind_step": 0}
    return row | {"label": "ours", "restack": None} | changed


def test_published_figures_stand_beside_runs_of_the_same_settings() -> None:
    stack = {"scorer": "synflow", "on": "magnitude", "restack": True, "regime": "UMS"}
    stack |= {"initial": "saw", "initial_scorer": "snip"}
    frame = pd.DataFrame(
        [
            ours(label="snip"),
            ours(label="snip"),  # another seed
            ours(**stack, label="headline"),
            ours(**stack | {"restack": None}, label="the first scorer scores once"),
            ours(scorer="magnitude", regime="ISS", label="magnitude, ISS 10 towards 0.005"),
            ours(density=1.0, scorer="random", initial="saw", initial_scorer="snip", label="dense"),
            ours(task="fashion_mnist"),
            ours(density=0.006),
            ours(scope="layer"),
            ours(rewind_step=100),
            ours(scorer="synflow"),
            ours(on="random"),
        ]
    )
    found = beside(frame)
    assert found[["table", "label", "test_accuracy"]].values.tolist() == [
        ["stacked", "snip", 0.8983],
        ["saw", "snip", 0.8983],
        ["combined", "headline", 0.9186],
        ["combined", "magnitude, ISS 10 towards 0.005", 0.9091],
        ["5.4", "dense", pytest.approx(0.978633)],
    ]
    assert list(found.columns) == list(published(ACCURACIES[0]).columns)


def test_only_the_recipe_of_the_source_stands_beside_it() -> None:
    same = {"optimizer": "sgd", "learning_rate": 0.1}
    frame = pd.DataFrame(
        [
            ours(label="the same") | same,
            ours(label="unknown", density=0.01) | dict.fromkeys(same),
            ours(label="another optimiser", density=0.05) | same | {"optimizer": "adam"},
            ours(label="another rate", density=0.2) | same | {"learning_rate": 0.0012},
        ]
    )
    assert set(beside(frame)["label"]) == {"the same", "unknown"}


def test_nothing_published_is_an_empty_frame() -> None:
    assert len(beside(pd.DataFrame([ours(task="digits")]))) == 0
