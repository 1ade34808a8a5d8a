"""A table of a trajectory on the command line: built, shown, learned from, applied; and its page."""

from __future__ import annotations

import re
from pathlib import Path

from scratchcard.dataset_builder.features import MOVEMENT_FEATURES
from scratchcard.dataset_builder.targets import LOOK_TARGETS
from tests.frontends.calls import FAST, as_json, refused, run

PAGE = (Path(__file__).parents[2] / "docs" / "tables.md").read_text(encoding="utf-8")
SEARCH = ["--regime", "EMS", "--rounds", "2", "--search-steps", "10", "--density", "0.05"]


def test_from_the_table_to_the_ticket(tmp_path: Path) -> None:
    table, bundle, ticket = tmp_path / "looks", tmp_path / "looked", tmp_path / "early.safetensors"
    slow = ["--slow-rounds", "1", "--tickets", "2", "--looks", "2"]
    built = as_json("build", "--seeds", "0", *SEARCH, "--scorer", "magnitude", *slow, *FAST, "--out", table)
    assert (built["rows"], built["features"]) == (round(0.05**0.5 * 50_200), 56)
    shown = as_json("show", table)
    assert shown["kind"] == "score table of a trajectory"
    assert shown["looks"] == [2]
    assert (shown["search"]["regime"], shown["search"]["tickets"], shown["slow regime"]["regime"]) == ("EMS", 2, "ISS")
    assert "moved (start_layer)" in run("show", table).stdout
    learn = ["--objective", "regression", "--family", "linear", "--target", "kept", "--features", "moved,magnitude"]
    fitted = as_json("fit", table, *learn, "--held-out-seeds", "none", "--out", bundle)
    assert fitted["metrics"]["train"]["round"] == 2
    assert as_json("prune", "--predictor", bundle, *SEARCH, *FAST, "--out", ticket)["kept"] == round(0.05 * 50_200)
    told = refused("prune", "--predictor", bundle, "--density", "0.05", "--out", tmp_path / "other.safetensors")
    assert "take a regime that trains in between (EMS, ESS, ISS or IMS), or features without moved" in told


def test_what_is_refused_is_said_by_its_option() -> None:
    assert "--tickets is for early regimes" in refused("build", "--regime", "ISS", "--tickets", "2")
    assert "--looks are [7]" in refused("build", *SEARCH, "--looks", "7")


def test_the_page_has_every_feature_of_movement_and_every_target() -> None:
    table = PAGE.partition("| feature | formula | range |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE) == [column.name for column in MOVEMENT_FEATURES]
    targets = PAGE.partition("| target | meaning |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", targets, flags=re.MULTILINE) == [column.name for column in LOOK_TARGETS]
