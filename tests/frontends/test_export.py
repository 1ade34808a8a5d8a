"""`export` and `evaluate --untrained --recalibrate`: what the command writes computes what the ticket computes."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

import scratchcard as sc
from scratchcard.pruning.export import FORMATS, to_torch_prune
from tests.frontends.calls import as_json, refused, run

NETWORKS = """
import torch
from torch import nn
def chain():
    return nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(54, 10))
class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(64, 64), nn.Linear(64, 10)
    def forward(self, x):
        x = x.flatten(1)
        return self.last(x + torch.relu(self.first(x)))
"""
CHAIN = ("--network", "export_networks:chain")
INPUTS = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> sc.Ticket:
    """A trained ticket of a chain with batch norm, in the working folder beside an untrained one of no chain."""
    (tmp_path / "export_networks.py").write_text(NETWORKS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "export_networks", raising=False)
    recipe = sc.Recipe(max_steps=40, evaluation_interval=20)
    task = sc.load_task("digits")
    chain = sc.Workload("export_networks:chain", task, recipe)
    ticket, _ = sc.train(sc.prune(chain, density=0.2, method="magnitude"), chain)
    ticket.save("ticket.safetensors")
    sc.prune("export_networks:Residual", task, 0.2, method="magnitude").save("residual.safetensors")
    return ticket


def network_of(ticket: sc.Ticket, *, trained: bool = True) -> nn.Module:
    network: nn.Module = sys.modules["export_networks"].chain()
    ticket.apply_to(network, trained=trained)
    return network.eval()


def from_state(state: dict[str, Tensor]) -> nn.Module:
    network: nn.Module = sys.modules["export_networks"].chain()
    network.load_state_dict(state)
    return network.eval()


def from_torch_prune(path: Path) -> nn.Module:
    blank: nn.Module = sys.modules["export_networks"].chain()
    network = to_torch_prune(blank, sc.Mask.dense(blank))
    network.load_state_dict(torch.load(path, weights_only=True))
    for module in network.modules():
        if hasattr(module, "weight_mask"):
            torch_prune.remove(module, "weight")
    return network.eval()


def from_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda inputs: torch.from_numpy(session.run(None, {name: inputs.numpy()})[0])


READERS: dict[str, Callable[[Path], Callable[[Tensor], Tensor]]] = {
    "safetensors": lambda path: from_state(load_file(path)),
    "pt": lambda path: from_state(torch.load(path, weights_only=True)),
    "torch-prune": from_torch_prune,
    "torch-export": lambda path: torch.export.load(path).module(),
    "onnx": from_onnx,
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", FORMATS)
def test_each_format_computes_what_the_ticket_computes(name: str, trained: sc.Ticket) -> None:
    before = Path("ticket.safetensors").read_bytes()
    told = as_json("export", "ticket.safetensors", "--as", name, *CHAIN)
    ending = "-network.safetensors" if name == "safetensors" else FORMATS[name].ending
    assert told["exported"] == f"ticket{ending}"
    assert told["weights"] == "trained"
    path = Path(told["exported"])
    assert told["bytes"] == path.stat().st_size
    expected = network_of(trained)(INPUTS)
    assert torch.allclose(READERS[name](path)(INPUTS), expected, atol=1e-5)
    assert not torch.allclose(network_of(trained, trained=False)(INPUTS), expected, atol=1e-2)
    assert Path("ticket.safetensors").read_bytes() == before


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_program_says_what_its_reader_must_know(trained: sc.Ticket) -> None:
    """The exported network had nameless inputs and classes, and nothing said how to make its inputs."""
    known = sc.load_task("digits").encoding.to_json()
    assert trained.provenance["encoding"] == known
    for name in ("ticket", "residual"):  # trained, and untrained
        assert sc.Ticket.load(f"{name}.safetensors").provenance["encoding"] == known
    for name in ("onnx", "torch-export", "safetensors"):
        assert as_json("export", "ticket.safetensors", "--as", name, *CHAIN)["encoding"] == known
    found = {"about.json": ""}
    torch.export.load(Path("ticket.pt2"), extra_files=found)
    assert json.loads(found["about.json"]) == known | {"objective": "classification"}
    with safe_open("ticket-network.safetensors", "pt") as opened:
        assert json.loads(opened.metadata()["classes"]) == known["classes"]
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession("ticket.onnx", providers=["CPUExecutionProvider"])
    texts = session.get_modelmeta().custom_metadata_map
    assert texts.pop("objective") == "classification"
    assert {name: json.loads(text) for name, text in texts.items()} == known
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.shape) == ("inputs", ["batch", 1, 8, 8])
    assert (given.name, given.shape) == ("outputs", ["batch", 10])
    # A reader who has the file alone, and scikit-learn's raw digits, finds the classes.
    raw = load_digits()
    inputs = (raw.images[:, None] / known["scale"] - known["mean"]) / known["std"]
    (outputs,) = session.run(None, {"inputs": inputs.astype(np.float32)})
    expected = network_of(trained)(torch.from_numpy(inputs).float()).argmax(1)
    assert [known["classes"][place] for place in outputs.argmax(1)] == [str(int(place)) for place in expected]


def test_a_ticket_without_an_encoding_loads_and_is_exported(trained: sc.Ticket) -> None:
    old = {name: value for name, value in trained.provenance.items() if name != "encoding"}
    dataclasses.replace(trained, provenance=old).save("old.safetensors")
    assert "encoding" not in sc.Ticket.load("old.safetensors").provenance
    assert as_json("export", "old.safetensors", "--as", "torch-export", *CHAIN)["encoding"]["scale"] == 16.0


def test_export_and_train_say_whether_they_compacted(trained: sc.Ticket) -> None:
    whole = sum(p.numel() for p in network_of(trained).parameters())
    told = as_json("export", "ticket.safetensors", "--as", "torch-export", *CHAIN)["compacted"]
    program = torch.export.load(Path("ticket.pt2")).module()
    assert told == {"parameters": sum(p.numel() for p in program.parameters()), "before": whole}
    call = ("export", "ticket.safetensors", "--as", "torch-export", "--overwrite", *CHAIN)
    line = f"not compacted: it keeps its {whole} parameters"
    if told["parameters"] < whole:
        line = f"compacted to {told['parameters']} of {whole} parameters"
    assert line in run(*call).stdout
    assert "not compacted: a state of the whole network" in run("export", "--as", "pt", *CHAIN).stdout
    run("prune", "--density", "0.003", "--scorer", "snip", "--max-steps", "20", "--out", "thin.safetensors")
    trained_thin = as_json("train", "thin.safetensors", "--max-steps", "20")["compacted"]
    assert 0 < trained_thin["parameters"] < 5000 < trained_thin["before"]
    small = f"; compacted to {trained_thin['parameters']:,} of {trained_thin['before']:,} parameters"
    assert small in run("train", "thin.safetensors", "--max-steps", "20", "--overwrite").stdout
    run("prune", "--density", "1", "--scorer", "magnitude", "--out", "whole.safetensors")
    dense = run("train", "whole.safetensors", "--max-steps", "20").stdout
    assert "not compacted: trained at its full size" in dense


def test_the_initial_weights_are_asked_for_and_an_untrained_ticket_has_no_others(trained: sc.Ticket) -> None:
    as_json("export", "ticket.safetensors", "--as", "pt", "--initial", "--out", "init.pt", *CHAIN)
    expected = network_of(trained, trained=False)(INPUTS)
    assert torch.equal(from_state(torch.load("init.pt", weights_only=True))(INPUTS), expected)
    residual = ("residual.safetensors", "--network", "export_networks:Residual")
    message = "residual.safetensors holds no trained weights: train it first (scratchcard train residual.safetensors)"
    assert f"{message}, or take its initial weights (--initial)" in refused("export", *residual, "--as", "pt")
    assert f"{message}, or take its initial weights (--untrained)" in refused("evaluate", *residual)
    result = run("export", *residual, "--as", "pt", "--initial")
    assert "residual.pt: the initial weights of residual.safetensors as pt, " in result.stdout


def test_what_is_no_chain_becomes_a_program_too(trained: sc.Ticket) -> None:
    call = ("export", "residual.safetensors", "--initial", "--network", "export_networks:Residual", "--as")
    for name in ("torch-export", "safetensors", "pt", "torch-prune"):
        as_json(*call, name)
    network: nn.Module = sys.modules["export_networks"].Residual()
    sc.Ticket.load("residual.safetensors").apply_to(network)
    found = torch.export.load(Path("residual.pt2")).module()(INPUTS)
    assert torch.allclose(found, network.eval()(INPUTS), atol=1e-5)


def test_inputs_by_name_are_refused_where_a_program_needs_a_place() -> None:
    task = sc.Task.of({"input": torch.randn(60, 4)}, torch.arange(60) % 2)
    workload = sc.Workload(nn.Linear(4, 2), task)
    ticket = sc.prune(workload, density=0.5, method="magnitude")
    with pytest.raises(ValueError, match=r"inputs by name \(input\), which torch-export and onnx cannot"):
        sc.export(ticket, workload, "torch-export", "absent.pt2", trained=False)


def test_onnx_without_its_packages_says_what_to_install(trained: sc.Ticket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    message = refused("export", "ticket.safetensors", "--as", "onnx", *CHAIN)
    assert "pip install 'scratchcard[onnx]'" in message


def test_the_ticket_is_never_written_over(trained: sc.Ticket) -> None:
    Path("link.safetensors").symlink_to("ticket.safetensors")
    for out in ("ticket.safetensors", "./ticket.safetensors", "link.safetensors"):
        call = ("export", "ticket.safetensors", "--as", "safetensors", "--out", out, *CHAIN)
        assert "is the ticket itself" in refused(*call)
    assert sc.Ticket.load("ticket.safetensors").mask == trained.mask


def test_formats_are_completed_listed_and_the_nearest_is_named(trained: sc.Ticket) -> None:
    listed = as_json("list", "formats")["formats"]
    assert listed.keys() == FORMATS.keys()
    assert listed["onnx"]["ending"] == ".onnx"
    assert "did you mean 'onnx'?" in refused("export", "ticket.safetensors", "--as", "onxx", *CHAIN)
    from scratchcard.frontends.cli.export import export

    (option,) = (each for each in export.params if each.name == "format_")
    context = export.make_context("export", ["--as", "pt"])
    assert [item.value for item in option.shell_complete(context, "torch")] == ["torch-prune", "torch-export"]


def test_evaluate_says_which_weights_and_takes_the_initial_ones_when_told(trained: sc.Ticket) -> None:
    workload = sc.Workload("export_networks:chain", sc.load_task("digits"))
    told = as_json("evaluate", *CHAIN)
    assert told["weights"] == "trained"
    assert told["loss"] == sc.evaluate(trained, workload).loss
    initial = as_json("evaluate", *CHAIN, "--untrained")
    assert initial["weights"] == "initial"
    assert initial["loss"] == sc.evaluate(trained, workload, trained=False).loss != told["loss"]
    assert "ticket.safetensors, initial weights: test accuracy" in run("evaluate", *CHAIN, "--untrained").stdout
    assert "ticket.safetensors, trained weights: test accuracy" in run("evaluate", *CHAIN).stdout
    residual = as_json("evaluate", "residual.safetensors", "--network", "export_networks:Residual", "--untrained")
    assert residual["examples"] == 360


def test_recalibrate_reaches_evaluate_and_export(trained: sc.Ticket) -> None:
    workload = sc.Workload("export_networks:chain", sc.load_task("digits"))
    plain = as_json("evaluate", *CHAIN, "--untrained")
    told = as_json("evaluate", *CHAIN, "--untrained", "--recalibrate")
    assert told["recalibrate"]
    assert told["loss"] != plain["loss"]
    assert told["loss"] == sc.evaluate(trained, workload, trained=False, recalibrate=True).loss
    as_json("export", "--as", "pt", "--initial", "--recalibrate", *CHAIN)
    network = from_state(torch.load("ticket.pt", weights_only=True))
    test = workload.task.test
    with torch.no_grad():
        loss = nn.functional.cross_entropy(network(test.tensor), test.targets)
    assert float(loss) == pytest.approx(told["loss"], rel=1e-5)


@pytest.mark.usefixtures("trained")
def test_a_file_that_is_there_is_kept() -> None:
    """An export replaced whatever lay there, also where no --out named it."""
    Path("ticket.pt").write_text("precious")
    call = ("export", "ticket.safetensors", "--as", "pt", *CHAIN)
    assert "ticket.pt is there already" in refused(*call)
    assert Path("ticket.pt").read_text() == "precious"
    assert as_json(*call, "--overwrite")["exported"] == "ticket.pt"


@pytest.mark.usefixtures("trained")
def test_a_changed_network_is_exported_where_that_is_meant() -> None:
    """The refusal named a way that the command did not have."""
    Path("export_networks.py").write_text(NETWORKS.replace("nn.ReLU()", "nn.Tanh()"))
    sys.modules.pop("export_networks", None)
    call = ("export", "ticket.safetensors", "--as", "pt", *CHAIN)
    assert "--network-changed" in refused(*call)
    assert as_json(*call, "--network-changed")["weights"] == "trained"
