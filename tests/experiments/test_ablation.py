"""The ablation leaves out what it says, and nothing else."""

from __future__ import annotations

import tomllib
from pathlib import Path

from experiments.ablation import GROUPS, TOGETHER, variants
from scratchcard.apply.policy_search import SCALES, START, PolicySearch

GRID = Path(__file__).resolve().parents[2] / "experiments" / "ours_ablation.toml"


def test_the_groups_hold_every_feature_but_magnitude_once() -> None:
    grouped = [name for group in GROUPS.values() for name in group]
    assert sorted([*grouped, "magnitude_ln"]) == sorted(SCALES)


def test_each_variant_leaves_out_its_own_part() -> None:
    found = variants()
    whole = found["all"]
    assert whole == PolicySearch(generations=whole.generations)
    left_out = {group: set(names) for group, names in GROUPS.items()}
    left_out |= {name: {feature for group in groups for feature in GROUPS[group]} for name, groups in TOGETHER.items()}
    for name, names in left_out.items():
        search = found[f"without-{name}"]
        assert set(whole.features) - set(search.features) == names
        assert set(search.start) <= set(search.features)
        assert search.start.keys() >= START.keys() - names
        assert (search.generations, search.rounds, search.drift) == (whole.generations, whole.rounds, True)


def test_the_grid_compares_every_variant_in_its_own_rounds() -> None:
    methods = tomllib.loads(GRID.read_text())["methods"]
    rounds = {}
    for method in methods:
        names = method["predictor"] if isinstance(method["predictor"], list) else [method["predictor"]]
        rounds |= {Path(name).name: method.get("rounds") for name in names if "/" in name}
    assert rounds == {name: search.rounds for name, search in variants().items()}
