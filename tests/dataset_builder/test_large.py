"""Large networks: the same features, from files and in portions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from scratchcard.dataset_builder import feature_layer
from scratchcard.dataset_builder import share_ranks as ranks
from scratchcard.dataset_builder.features import FEATURES, compute_features
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.scorers import make_scorer
from scratchcard.scorers import shelf as shelf_module
from scratchcard.scorers.shelf import Shelf


@pytest.mark.parametrize("masked", [False, True])
def test_features_of_a_large_network_are_the_same_to_the_bit(masked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 6, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(96, 30), nn.Linear(30, 3))
    with torch.no_grad():
        network[3].weight[:4] = 0.0  # ties
    batch = torch.randn(9, 2, 6, 6), torch.arange(9) % 3
    mask = Mask({name: torch.rand(w.shape) < 0.5 for name, w in prunable(network).items()}) if masked else None
    needed: dict[str, Any] = {"mask": mask, "density": 0.1, "rows": 100}
    usual = [block.values for block in compute_features(network, batch, F.cross_entropy, **needed)]
    monkeypatch.setattr(shelf_module, "LARGE", 1)
    monkeypatch.setattr(shelf_module, "CHUNK", 64)
    monkeypatch.setattr(ranks, "_AT_ONCE", 200)
    monkeypatch.setattr(ranks, "MANY", 200)
    monkeypatch.setattr(feature_layer, "MANY", 200)
    large = [block.values for block in compute_features(network, batch, F.cross_entropy, **needed)]
    names = [column.name for column in FEATURES]
    for one, other in zip(usual, large, strict=True):
        same = [name for place, name in enumerate(names) if np.array_equal(one[:, place], other[:, place])]
        assert same == names


@pytest.mark.parametrize("masked", [False, True])
def test_grasp_of_a_large_network_is_the_same_and_takes_the_gradient_first(
    masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropout and batch statistics too: both passes draw the same numbers."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.Tanh(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(96, 3))
    network, batch = nn.Sequential(*layers), (torch.randn(9, 2, 6, 6), torch.arange(9) % 3)
    mask = Mask({name: torch.rand(w.shape) < 0.5 for name, w in prunable(network).items()}) if masked else None
    calls: list[int] = []
    network.register_forward_hook(lambda *_: calls.append(1))
    usual = make_scorer("grasp")(network, batch, F.cross_entropy, mask=mask)
    assert len(calls) == 1
    monkeypatch.setattr(shelf_module, "LARGE", 1)
    large = make_scorer("grasp")(network, batch, F.cross_entropy, mask=mask)
    assert len(calls) == 3
    for name, tensor in usual.tensors.items():
        assert torch.equal(tensor, large.tensors[name])


@pytest.mark.parametrize("kind", ["distinct", "ties", "alike", "zeros", "signed zeros"])
@pytest.mark.parametrize("units", [None, 1, 7])
def test_ranks_in_portions(kind: str, units: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=5000).astype(np.float32)
    sparse = np.where(random.random(5000) < 0.7, 0.0, values).astype(np.float32)
    kinds = {"distinct": values, "ties": values.round(1), "alike": np.zeros_like(values), "zeros": np.abs(sparse)}
    values = (kinds | {"signed zeros": np.where(random.random(5000) < 0.5, -sparse, sparse)})[kind]
    groups = None if units is None else random.integers(0, units, 5000)
    wanted = ranks.share_ranks(values, ranks.ascending(values), groups)
    monkeypatch.setattr(ranks, "MANY", 600)
    assert ranks.ascending(values) is None
    for at_once in (600, 10):  # more than 256 portions
        monkeypatch.setattr(ranks, "_AT_ONCE", at_once)
        assert np.array_equal(ranks.share_ranks(values, None, groups), wanted)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("axis", [0, 1])
def test_ranks_within_units_of_a_whole_layer(axis: int, ties: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=(13, 17, 9)).astype(np.float32)
    values = values.round(1) if ties else values
    groups = np.broadcast_to(np.indices(values.shape)[axis], values.shape).reshape(-1)
    wanted = ranks.share_ranks(values.reshape(-1), ranks.ascending(values.reshape(-1)), groups)
    for at_once in (1, 400, 10_000):
        monkeypatch.setattr(ranks, "_AT_ONCE", at_once)
        assert np.array_equal(ranks.unit_ranks(values, axis), wanted)


def test_a_shelf_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    shelf = Shelf(shelf_module.LARGE)
    kept = shelf.put(np.arange(1000.0))
    shelf.tidy()
    assert not list(tmp_path.iterdir())
    assert np.array_equal(kept, np.arange(1000.0))


MEASURED = """
import sys, torch
from torch.nn import functional as F
from scratchcard.scorers import shelf
from scratchcard.dataset_builder.features import compute_features
shelf.LARGE = int(sys.argv[1])
torch.set_num_threads(1)
def memory(field):
    return next(int(line.split()[1]) // 1024 for line in open("/proc/self/status") if line.startswith(field))
network = torch.nn.Sequential(torch.nn.Linear(3000, 3000), torch.nn.Linear(3000, 10))
batch = torch.randn(8, 3000), torch.arange(8)
names = [f"{what}_rank_{scope}" for what in ("magnitude", "saliency") for scope in ("layer", "row", "column")]
names += ["synflow_log", "synflow_l2_data_log", "grasp_asinh", "grasp_rank_layer"]
before = memory("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
for block in compute_features(network, batch, F.cross_entropy, density=0.1, names=names):
    pass
print(memory("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self")
def test_features_of_a_large_network_take_less_memory() -> None:
    """Nine million weights, 34 MiB: their gradients, criteria and ranks are 12 times that."""

    def peak(large: int) -> int:
        command = [sys.executable, "-c", MEASURED, str(large)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert peak(1) < 0.75 * peak(2**40)
