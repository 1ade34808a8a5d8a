"""The command line, as a user meets it: the job end to end, help, a network of the user's own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from scratchcard.frontends.cli import COMMANDS, cli
from scratchcard.frontends.cli.listing import FAMILIES
from scratchcard.pruning.ticket import Ticket
from tests.frontends.calls import FAST, as_json, refused, run


def test_the_job_end_to_end(job: Path) -> None:
    tested = as_json("evaluate", job / "trained.safetensors")
    assert tested["examples"] == 360
    assert tested["accuracy"] > 0.5
    validated = as_json("evaluate", job / "trained.safetensors", "--split", "validation")
    assert validated["examples"] == 180


def test_a_second_build_does_nothing(job: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in (job / "table").iterdir()}
    slow = ["--regime", "ISS", "--scorer", "magnitude", "--rounds", "2", "--density", "0.05"]
    as_json("build", "--seeds", "0-2", *slow, *FAST, "--out", job / "table")
    assert {path.name: path.stat().st_mtime_ns for path in (job / "table").iterdir()} == before


def test_a_table_of_other_settings_is_refused(job: Path) -> None:
    slow = ["--regime", "ISS", "--scorer", "magnitude", "--rounds", "3", "--density", "0.05"]
    assert "another recording" in refused("build", "--seeds", "0-2", *slow, *FAST, "--out", job / "table")


def test_show_explains_each_kind(job: Path) -> None:
    assert as_json("show", job / "table")["kind"] == "score table"
    assert as_json("show", next((job / "table").glob("*.parquet")))["rows"] == 50_200
    assert as_json("show", job / "predictor")["family"] == "tree"
    correlations = as_json("show", job / "table", "--target", "kept")
    assert {row["feature"] for row in correlations} == set(as_json("show", job / "table")["features"])
    found = [abs(row["roc_auc"] - 0.5) for row in correlations if row["roc_auc"] is not None]
    assert found == sorted(found, reverse=True)
    assert f"kept, {correlations[0]['rows']:,} weights" in run("show", job / "table", "--target", "kept").stdout
    ticket = as_json("show", job / "trained.safetensors")
    assert ticket["trained"] is True
    assert ticket["provenance"]["workload"]["task"] == "digits"
    text = run("show", job / "trained.safetensors").stdout
    assert "\ntrained: yes\n" in text
    assert "diverged: no\n" in text
    assert "history: 3 entries, see --json\n" in text
    assert "held_out: 1 entry, see --json\n" in run("show", job / "predictor").stdout
    assert "0.05000" not in text


def test_a_trained_ticket_says_how_it_was_trained(job: Path, tmp_path: Path) -> None:
    out = tmp_path / "again.safetensors"
    as_json("train", job / "ticket.safetensors", "--learning-rate", 0.05, "--patience", 3, "--out", out)
    ticket = Ticket.load(out)
    training = ticket.provenance["training"]
    assert training["recipe"]["learning_rate"] == 0.05
    assert training["recipe"]["patience"] == 3
    assert training["recipe"]["max_steps"] == 60
    assert ticket.provenance["workload"]["recipe"]["learning_rate"] == 0.1
    assert training["data_digest"] == ticket.provenance["workload"]["data_digest"]
    assert [entry[0] for entry in training["history"]] == [20, 40, 60]
    assert training["diverged"] is False
    assert ticket.provenance["scoring_batch"] == {"examples": 200, "seed": 9, "balanced": False}


def test_a_ticket_is_shown_whatever_its_file_is_called(job: Path, tmp_path: Path) -> None:
    named, other = tmp_path / "ticket.st", tmp_path / "notes.txt"
    named.write_bytes((job / "ticket.safetensors").read_bytes())
    assert as_json("show", named) == as_json("show", job / "ticket.safetensors")
    other.write_text("no ticket at all")
    assert "is no table" in run("show", other).stderr


def test_a_training_that_diverges_is_told(job: Path, tmp_path: Path) -> None:
    out = tmp_path / "diverged.safetensors"
    result = run("train", job / "ticket.safetensors", "--learning-rate", 1e9, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    assert result.stderr.count("\n") == 1
    assert "warning: the training diverged" in result.stderr
    told = json.loads(result.stdout)
    assert told["diverged"] is True
    assert told["validation_loss"] is None
    shown = as_json("show", out)
    assert shown["provenance"]["training"]["diverged"] is True
    tested = run("evaluate", out, "--json")
    assert "diverged: these are the weights before it did" in tested.stderr
    assert json.loads(tested.stdout)["diverged"] is True


def test_fit_takes_what_the_library_takes(job: Path, tmp_path: Path) -> None:
    table = job / "table"
    linear = run("fit", table, "--family", "linear", "--out", tmp_path / "linear")
    assert linear.exit_code == 0, linear.output
    assert "linear (regression of score)" in linear.stdout
    assert "  train: round 0, rows 100,400, " in linear.stdout
    tree = ["--family", "tree", "--option", "leaves=8", "--option", "balanced=true", "--rounds", "0"]
    arguments = [*tree, "--objective", "regression", "--target", "rounds_survived", "--out", tmp_path / "tree"]
    result = run("fit", table, *arguments, "--held-out-seeds", "none")
    assert result.exit_code == 0, result.output
    assert "held out: nothing" in result.stdout
    shown = as_json("show", tmp_path / "tree")
    assert shown["target"] == "rounds_survived"
    assert shown["training"]["rounds"] == [0]
    assert "held_out" not in shown["metrics"]
    assert [seed for _, seed in shown["training"]["train"]] == [0, 1, 2]
    train_only = run("fit", table, "--family", "tree", "--train-seeds", "1", "--out", tmp_path / "one")
    assert train_only.exit_code == 0, train_only.output
    assert [seed for _, seed in as_json("show", tmp_path / "one")["training"]["held_out"]] == [0, 2]


def test_the_predicted_scorer_is_the_default_with_a_predictor(job: Path) -> None:
    pruned = as_json(
        "prune", "--predictor", job / "predictor", "--density", 0.05, *FAST, "--out", job / "predicted.safetensors"
    )
    assert pruned["method"] == "predicted"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples_and_every_option_an_example_and_its_default(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert result.output.startswith("Usage: ")
    assert f"scratchcard {command}" in result.output.partition("Options:")[0]
    found = cli.get_command(None, command)  # type: ignore[arg-type]
    assert found is not None
    for option in found.params:
        if option.param_type_name == "option":
            text = str(getattr(option, "help", None))
            assert "e.g." in text.lower(), option.name
            assert "default: " in text or getattr(option, "show_default", False), option.name


def test_without_a_command_the_help_is_shown() -> None:
    result = run()
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: ")


def test_the_usage_of_list_is_one_line_and_its_help_names_every_family() -> None:
    usage, _, text = run("list", "--help").stdout.partition("\n")
    assert usage.endswith(" list [OPTIONS] [FAMILY]")
    assert set(FAMILIES) <= set(re.findall(r"\w+", text.partition("[default: all]")[0]))


def test_show_says_the_short_facts_first_and_folds_the_features(job: Path) -> None:
    for place, features in ((job / "table", 46), (job / "predictor", None)):
        text = run("show", place).stdout
        lines, columns = text.splitlines(), as_json("show", place)["features"]
        assert features in (None, len(columns))
        at = lines.index(f"features, {len(columns)}:")
        assert at > next(k for k, line in enumerate(lines) if line.startswith("digest: "))
        listed = " ".join(line.strip() for line in lines[at + 1 :])
        assert sorted(listed.split(", ")) == sorted(f"{name} ({how})" for name, how in columns.items())
        assert max(map(len, lines[at:])) <= 110
        assert len(lines) - at <= 2 + len(columns) // 3


@pytest.mark.parametrize("family", ["scorers", "regimes", "schedules", "networks", "tasks", "predictors", "features"])
def test_list_gives_each_member_a_line(family: str) -> None:
    members = as_json("list", family)[family]
    assert members
    assert all(members.values())


@pytest.mark.parametrize(
    ("command", "heavy", "said"),
    [
        (["--help"], ("torch", "numpy", "pandas", "sklearn", "rich"), "evaluate"),
        (["show", "default"], ("torch", "pandas", "sklearn", "rich"), "mnist-lenet_300_100"),
    ],
    ids=["help", "show"],
)
def test_what_only_reads_imports_nothing_heavy(command: list[str], heavy: tuple[str, ...], said: str) -> None:
    code = (
        "import sys\nfrom scratchcard.frontends.cli import cli\n"
        f"try: cli({command!r})\nexcept SystemExit: pass\n"
        f"print([m for m in {heavy!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert said in done.stdout


OWN = """
import torch
from torch import nn
def small(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.Tanh(), nn.Linear(20, 10))
def other(): return small()
def nothing(): return nn.Flatten()
def broken():
    net = small()
    nn.init.constant_(net[1].weight, float("nan"))
    return net
"""


def test_a_network_of_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_networks.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    small = ["--network", "own_networks:small"]
    pruned = as_json("prune", *small, "--scorer", "snip", "--density", 0.2, *FAST)
    assert pruned["kept"] == round(0.2 * (64 * 20 + 200))
    # A ticket never makes the command import the code that it names.
    assert "name it with --network" in refused("train", "ticket.safetensors")
    as_json("train", "ticket.safetensors", *small)
    assert as_json("evaluate", "ticket.safetensors", *small)["accuracy"] > 0.3
    assert "one of the network" in refused("train", "ticket.safetensors", "--network", "own_networks:other")
    assert "one of the network" in refused("evaluate", "ticket.safetensors", "--network", "lenet_300_100")
    for name, message in (("nothing", "nothing to prune"), ("broken", "NaN or infinity")):
        assert message in refused("prune", "--network", f"own_networks:{name}", "--out", "none.safetensors")
    weights = Ticket.load("ticket.safetensors").initial
    save_file({name: tensor * 2 for name, tensor in weights.items()}, "double.safetensors")
    as_json("prune", *small, "--weights", "double.safetensors", "--scorer", "snip", "--out", "two.safetensors", *FAST)
    assert torch.equal(Ticket.load("two.safetensors").initial["1.weight"], 2 * weights["1.weight"])


def test_a_folder_that_cannot_be_written_is_one_line(job: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert "file" in refused("prune", "--scorer", "magnitude", *FAST, "--out", blocked / "ticket.safetensors")


def test_a_scorer_without_effect_warns_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "flat_networks.py").write_text(
        "from torch import nn\n"
        "def zero():\n"
        "    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
        "    nn.init.zeros_(net[1].weight)\n"
        "    return net\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    code = "import sys; from scratchcard.frontends.cli import main; main()"
    arguments = ["prune", "--network", "flat_networks:zero", "--scorer", "magnitude", *FAST]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=tmp_path, check=False,
        env={"PYTHONPATH": f"{tmp_path}:{Path(__file__).resolve().parents[2]}", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("scratchcard: warning: ")
    assert "same score" in done.stderr


@pytest.mark.filterwarnings("always")  # the command line shows them in its own way
def test_the_shipped_predictor_works_out_of_the_box_and_says_what_it_never_saw(tmp_path: Path) -> None:
    prune = ["prune", "--task", "digits", "--out", tmp_path / "ticket.safetensors", *FAST, "--predictor"]
    result = run(*prune, "default", "--json")
    assert "lies outside of what the predictor 'default' was fitted on" in result.stderr
    found = json.loads(result.stdout)
    assert found["method"].startswith("default, UMS ")
    assert found["kept"] == 1004
    assert found["effective_density"] > 0.019
    shown = as_json("show", "default")
    assert shown["family"] == "multishot"
    assert shown["stored tickets"]
    assert shown["training"]["search"]["tasks"]
    assert as_json(*prune, "policy", "--overwrite")["method"].startswith("policy, ")


def test_a_list_may_be_given_in_parts(tmp_path: Path) -> None:
    """Only the last part counted."""
    out = tmp_path / "ticket.safetensors"
    made = as_json("prune", "--scorer", "magnitude", "--exclude", "1", "--exclude", "5.weight", "--out", out)
    assert made["prunable"] == 30_000


@pytest.mark.parametrize(("text", "size"), [("2GiB", 2**31), ("500 MB", 5 * 10**8), ("1.5kB", 1500), ("4096 b", 4096)])
def test_memory_is_given_as_a_size(text: str, size: int, tmp_path: Path) -> None:
    out = tmp_path / "ticket.safetensors"
    as_json("prune", "--scorer", "snip", *FAST, "--memory", text, "--out", out)
    assert Ticket.load(out).provenance["scoring_memory"] == size


@pytest.mark.parametrize("text", ["0B", "-1B", "2 gibs", "much", "1e9", "4", "0.2B"])
def test_what_is_no_size(text: str, tmp_path: Path) -> None:
    assert "is no size with a unit, such as 2GiB" in refused(
        "prune", f"--memory={text}", "--out", tmp_path / "ticket.safetensors"
    )


@pytest.mark.parametrize("network", ["torchvision:shufflenet_v2_x0_5", "timm:mobilenetv4_conv_small_035"])
def test_a_ticket_of_a_network_of_another_package_needs_no_name(network: str, tmp_path: Path) -> None:
    inputs, targets = np.random.default_rng(0).random((60, 3, 32, 32), np.float32), np.arange(60) % 3
    np.savez(tmp_path / "images.npz", train_inputs=inputs, train_targets=targets)
    ticket, task = tmp_path / "ticket.safetensors", f"tensors:{tmp_path / 'images.npz'}"
    named = ("--network", network, "--task", task)
    as_json("prune", *named, "--scorer", "synflow", "--rounds", 2, "--density", 0.5, "--out", ticket)
    assert 0 <= as_json("evaluate", ticket, "--untrained")["accuracy"] <= 1
    package = network.partition(":")[0]
    assert "did you mean 'resnet18'" in refused("prune", "--network", f"{package}:resnet81", "--task", task)
