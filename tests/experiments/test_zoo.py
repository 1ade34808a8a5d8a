"""The zoo: what becomes of a cell, what is done again, what the page says; and a handful of networks end to end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import torch
from torch import nn

from experiments.zoo.__main__ import known, networks, run, shape_of, undone, write
from experiments.zoo.cells import FAULT, REFUSED, WORKS, Case, Cell, Wrong, measured
from experiments.zoo.page import page
from scratchcard.pruning.parameters import prunable
from scratchcard.pruning.scores import Scores
from tests.sweeps.sweeping import ROOT


class Odd(Case):
    """Does what it is told to."""

    def __init__(self, does: Callable[[], Any]) -> None:
        super().__init__("odd:network", (1,))
        object.__setattr__(self, "does", does)

    @property
    def cells(self) -> dict[str, Any]:
        return {"odd": self.does}  # type: ignore[attr-defined]


def wrong() -> None:
    raise Wrong("it is not")


@pytest.mark.parametrize(
    ("does", "outcome", "said"),
    [
        (lambda: 0.5, WORKS, ""),
        (lambda: prunable(nn.ReLU()), REFUSED, "ReLU has nothing to prune"),
        (lambda: int("x"), FAULT, "ValueError: invalid literal"),  # not the product's sentence
        (lambda: torch.ones(2) @ torch.ones(3), FAULT, "RuntimeError: "),
        (wrong, FAULT, "it is not"),
    ],
)
def test_a_cell_works_or_is_refused_in_the_products_words_or_is_at_fault(
    does: Callable[[], Any], outcome: str, said: str
) -> None:
    found = measured(Odd(does), "odd")
    assert found.outcome == outcome
    assert found.said.startswith(said)
    assert "Traceback" not in found.said


def test_scores_of_zeros_that_nobody_speaks_of_are_a_fault() -> None:
    case = Case("experiments.zoo.networks.recurrent:gru", (9, 8))
    weights = prunable(case.built)
    zeros = Scores({name: torch.zeros_like(weight) for name, weight in weights.items()}, "zeros")
    with pytest.raises(Exception, match="the criterion gives only zeros to"):
        case.check_zeros(zeros)
    fine = Scores({name: torch.ones_like(weight) for name, weight in weights.items()}, "ones")
    case.check_zeros(fine)
    with pytest.raises(Wrong, match=r"1 layers are on no path, the first head\.weight"):
        case.check_zeros(fine, off=["head.weight"])


def test_what_did_not_work_is_done_once_more_and_the_latest_counts(tmp_path: Path) -> None:
    network = "torchvision:resnet18"
    file = tmp_path / "resnet18.jsonl"
    file.write_text(Cell(network, "snip", WORKS).line() + Cell(network, "grasp", FAULT, "died").line())
    found = known(tmp_path)
    assert "snip" not in undone(network, found, again=False)
    assert "grasp" not in undone(network, found, again=False)
    assert "grasp" in undone(network, found, again=True)
    with file.open("a") as out:
        out.write(Cell(network, "grasp", WORKS).line())
    assert "grasp" not in undone(network, known(tmp_path), again=True)


def test_what_was_kept_is_not_done_again_and_what_came_later_counts(tmp_path: Path) -> None:
    kept, network = tmp_path / "kept" / "cells.parquet", "torchvision:resnet18"
    cells = {(network, name): Cell(network, name, outcome) for name, outcome in (("snip", WORKS), ("grasp", FAULT))}
    write(cells, kept, tmp_path / "page.md")
    assert known(tmp_path, kept) == cells
    (tmp_path / "later.jsonl").write_text(Cell(network, "grasp", WORKS).line())
    found = known(tmp_path, kept)
    assert found[network, "grasp"].outcome == WORKS
    assert not {"snip", "grasp"} & set(undone(network, found, again=True))


def test_the_page_counts_and_quotes() -> None:
    cells = [
        Cell("a:b", "prunable", WORKS, value=0.5, weights=1234),
        Cell("a:b", "snip", REFUSED, "no | weights"),
        Cell("a:b", "grasp", FAULT, "died"),
    ]
    text = page(cells, {"a:b": (3, 64, 64)}, 7)
    assert "1 of 7 networks were run, 3 cells: 1 work (33.3 %), 1 are refused in a sentence, 1 are at fault." in text
    assert "| `a:b` | 3 x 64 x 64 | 1,234 | 0.500 | note 1 | FAULT 2 |" in text
    assert "| 1 | no \\| weights |" in text


def test_the_zoo_has_every_kind() -> None:
    found = networks()
    assert {"torchvision:resnet18", "timm:nfnet_l0", "experiments.zoo.networks.language:bert"} <= set(found)
    assert "torchvision:vgg16" not in found  # 138 million
    assert len(found) > 70
    assert shape_of("torchvision:convnext_base") == (3, 128, 128)


@pytest.mark.parametrize(
    ("minutes", "gigabytes", "said"),
    [(0.001, 8, "no answer within 0.001 minutes"), (1, 0.01, "the process ended with status ")],
)
def test_a_network_that_takes_too_much_is_at_fault_and_takes_nobody_with_it(
    minutes: float, gigabytes: float, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    gru = "experiments.zoo.networks.recurrent:gru"
    run(gru, ["snip", "grasp"], tmp_path, minutes, gigabytes)
    (cell,) = known(tmp_path).values()
    assert (cell.network, cell.cell, cell.outcome) == (gru, "snip", FAULT)
    assert cell.said.startswith(said)
    assert undone(gru, known(tmp_path), again=True)[:2] == ["prunable", "random"]


@pytest.mark.slow
def test_a_handful_of_networks_end_to_end(tmp_path: Path) -> None:
    chosen = ["lstm", "unet", "bert", "gpt_2", "squeezenet1_1", "mobilevit_xxs"]
    parquet, text = tmp_path / "cells.parquet", tmp_path / "zoo.md"
    command = [sys.executable, "-m", "experiments.zoo", "--folder", tmp_path / "cells", "--networks", *chosen]
    done = subprocess.run(
        [*command, "--parquet", parquet, "--text", text], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    table = pyarrow.parquet.read_table(parquet).to_pylist()
    assert len({cell["network"] for cell in table}) == len(chosen)
    assert not [cell for cell in table if cell["outcome"] == FAULT]
    works = {(cell["network"].rpartition(":")[2], cell["cell"]) for cell in table if cell["outcome"] == WORKS}
    for name in chosen:
        wanted = ("snip", "grasp", "synflow", "features", "connectivity", "Euler's identity", "ticket", "compaction")
        assert {(name, cell) for cell in wanted} <= works
    assert "networks were run, 90 cells" in text.read_text()
