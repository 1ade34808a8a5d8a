"""Ticket paths: nested masks in, the same masks out; what is damaged is refused in a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from scratchcard.pruning.cut import keep_top
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.scores import Scores
from scratchcard.pruning.ticket_path import TicketPath
from tests.artefacts.rewritten import rewritten

SHAPES = {"0.weight": (8, 5), "2.weight": (3, 8)}
DENSITIES = (0.5, 0.25, 0.125)


def masks() -> dict[float, Mask]:
    scores = Scores({name: torch.rand(shape) for name, shape in SHAPES.items()}, "random")
    return {density: keep_top(scores, density) for density in DENSITIES}


def state() -> dict[str, Tensor]:
    return {name: torch.randn(shape) for name, shape in SHAPES.items()} | {"0.bias": torch.zeros(8)}


@pytest.fixture
def path() -> TicketPath:
    return TicketPath.of(masks(), state(), torch.rand(3, 5), {"seed": 4})


def test_levels_hold_all_masks() -> None:
    given, initial = masks(), state()
    path = TicketPath.of(given, initial, torch.rand(3, 5))
    assert path.densities == DENSITIES
    assert path.kept == (32, 16, 8)
    for level, density in enumerate(DENSITIES, start=1):
        for name, tensor in given[density].tensors.items():
            assert torch.equal(path.levels[name] >= level, tensor)
            assert torch.equal(path.signs(density)[name], (initial[name].sign() * tensor).to(torch.int8))
    outside = ~given[0.5].tensors["0.weight"]
    assert not path.values["0.weight"][outside].any()


def test_masks_that_are_not_nested_are_refused() -> None:
    given = masks()
    given[0.125] = Mask({name: ~tensor for name, tensor in given[0.125].tensors.items()})
    with pytest.raises(ValueError, match=r"density 0\.125 does not lie within that of 0\.25"):
        TicketPath.of(given, state(), torch.rand(3, 5))


def test_between_two_densities_the_larger_ticket_serves(path: TicketPath) -> None:
    kept = sum(int((tensor != 0).sum()) for tensor in path.signs(0.2).values())
    assert kept == 16
    # Of a network twice as large half the density is asked for.
    assert sum(int((tensor != 0).sum()) for tensor in path.signs(0.125, 128).values()) == 16
    with pytest.raises(ValueError, match="38 weights are asked for, the path begins with 32"):
        path.signs(0.6)


def test_it_reaches_from_its_largest_ticket_to_half_its_smallest(path: TicketPath) -> None:
    assert [path.reaches(density) for density in (0.6, 0.5, 0.07, 0.05)] == [False, True, True, False]
    assert path.reaches(0.6, 20)


def test_saved_and_read_it_is_the_same_but_for_half_precision(path: TicketPath, tmp_path: Path) -> None:
    again = TicketPath.load(path.save(tmp_path / "new" / "path.safetensors"))
    assert again.densities == path.densities
    assert again.about == {"seed": 4}
    for name in SHAPES:
        assert torch.equal(again.levels[name], path.levels[name])
        assert torch.equal(again.values[name], path.values[name].half().float())
    assert torch.equal(again.inputs, path.inputs.half().float())
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["path.safetensors"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "other"}, "metadata"),
        ({"version": "9"}, "metadata"),
        ({"shapes": "{"}, "no usable ticket path"),
        ({"shapes": json.dumps({"0.weight": [2, 2], "2.weight": [3, 8]})}, "no usable ticket path"),
        ({"shapes": json.dumps({"other": [8, 5]})}, "no usable ticket path"),
        ({"densities": "[0.5]"}, "levels"),
        ({"densities": "[0.1, 0.5, 0.7]"}, "must fall"),
        ({"about": "["}, "no usable ticket path"),
        ({"about": "[[1, 2]]"}, "no JSON object"),
    ],
)
def test_what_was_tampered_with_is_refused(path: TicketPath, tmp_path: Path, change: dict[str, str], said: str) -> None:
    file = rewritten(path.save(tmp_path / "path.safetensors"), change)
    with pytest.raises(ValueError, match=said):
        TicketPath.load(file)


def test_damage_and_absence_are_said(path: TicketPath, tmp_path: Path) -> None:
    file = path.save(tmp_path / "path.safetensors")
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ValueError, match="no usable ticket path"):
        TicketPath.load(file)
    with pytest.raises(FileNotFoundError, match="no ticket path at"):
        TicketPath.load(tmp_path / "none.safetensors")


def test_numbers_that_are_not_finite_are_refused(path: TicketPath) -> None:
    values = dict(path.values) | {"0.weight": torch.full((8, 5), float("nan"))}
    with pytest.raises(ValueError, match="NaN"):
        TicketPath(path.densities, path.levels, values, path.inputs)
    with pytest.raises(ValueError, match="mean input of each class"):
        TicketPath(path.densities, path.levels, path.values, torch.full((3, 5), float("inf")))
