"""The command line, as a user meets it: the job end to end, and one clear line for every error."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import save_file

from frontends.cli import COMMANDS, cli
from pruning.ticket import Ticket

FAST = ["--max-steps", "60", "--evaluation-interval", "20", "--scoring-examples", "200"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def refused(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)
    return result.stderr.strip().splitlines()[-1]


def as_json(*arguments: object) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table, a predictor, a ticket and a trained ticket."""
    folder = tmp_path_factory.mktemp("job")
    slow = ["--regime", "ISS", "--scorer", "magnitude", "--rounds", "2", "--density", "0.05"]
    built = as_json("build", "--seeds", "0-2", *slow, *FAST, "--out", folder / "table")
    assert built["rows"] == 3 * 50_200
    fitted = as_json("fit", folder / "table", "--family", "tree", "--out", folder / "predictor")
    assert 0 <= fitted["metrics"]["held_out"]["overlap"] <= 1
    stacked = ["--predictor", folder / "predictor", "--scorer", "synflow", "--on", "predicted", "--rounds", "5"]
    pruned = as_json("prune", "--seed", 9, "--density", 0.05, *stacked, *FAST, "--out", folder / "ticket.safetensors")
    assert pruned["kept"] == round(0.05 * 50_200)
    trained = as_json("train", folder / "ticket.safetensors", "--out", folder / "trained.safetensors")
    assert trained["steps"] <= 60
    return folder


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
    ticket = as_json("show", job / "trained.safetensors")
    assert ticket["trained"] is True
    assert ticket["provenance"]["workload"]["task"] == "digits"
    assert "kept" in run("show", job / "ticket.safetensors").output


def test_the_predicted_scorer_is_the_default_with_a_predictor(job: Path) -> None:
    pruned = as_json(
        "prune", "--predictor", job / "predictor", "--density", 0.05, *FAST, "--out", job / "predicted.safetensors"
    )
    assert pruned["method"] == "predicted"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples_and_every_option_a_text(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert result.output.startswith("Usage: ")
    found = cli.get_command(None, command)  # type: ignore[arg-type]
    assert found is not None
    for parameter in found.params:
        if parameter.param_type_name == "option":
            assert getattr(parameter, "help", None) or parameter.name in ("scope", "split"), parameter.name


@pytest.mark.parametrize("family", ["scorers", "regimes", "schedules", "networks", "tasks", "predictors", "features"])
def test_list_gives_each_member_a_line(family: str) -> None:
    members = as_json("list", family)[family]
    assert members
    assert all(members.values())


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom frontends.cli import cli\n"
        "try: cli(['--help'])\nexcept SystemExit: pass\n"
        "heavy = [m for m in ('torch', 'numpy', 'pandas', 'sklearn', 'rich') if m in sys.modules]\n"
        "print(heavy, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "evaluate" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prunee"], "did you mean 'prune'"),
        (["prune", "--scorer", "snipp"], "did you mean 'snip'"),
        (["prune", "--regime", "UMSS"], "unknown regime"),
        (["prune", "--schedule", "cubik"], "did you mean 'cubic'"),
        (["prune", "--task", "digit"], "did you mean 'digits'"),
        (["prune", "--network", "lenet_300"], "did you mean 'lenet_300_100'"),
        (["prune", "--network", "no.such.module:net"], "cannot import"),
        (["prune", "--density", "0"], "density must lie in (0, 1]"),
        (["prune", "--density", "1.2"], "density must lie in (0, 1]"),
        (["prune", "--density", "many"], "is not a valid float"),
        (["prune", "--scorer", "predicted"], "needs a predictor"),
        (["prune", "--rounds", "0"], "rounds must be at least 1"),
        (["prune", "--initial", "saw"], "need an initial scorer"),
        (["prune", "--device", "tpu"], "unknown device"),
        (["prune", "--weights", "absent.safetensors"], "no weights at"),
        (["prune", "--predictor", "absent"], "absent"),
        (["fit", "absent"], "no score table at"),
        (["train", "absent.safetensors"], "no ticket at"),
        (["evaluate", "absent.safetensors"], "no ticket at"),
        (["show", "absent"], "nothing at"),
        (["build", "--seeds", "a-b"], "no list of seeds"),
    ],
)
def test_each_error_is_one_clear_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refused(*arguments)
    assert [path.name for path in tmp_path.iterdir()] == []


def truncated(source: Path, target: Path, share: float = 0.6) -> Path:
    data = source.read_bytes()
    target.write_bytes(data[: int(share * len(data))])
    return target


def test_truncated_files_are_refused(job: Path, tmp_path: Path) -> None:
    ticket = truncated(job / "trained.safetensors", tmp_path / "ticket.safetensors")
    for command in ("train", "evaluate", "show"):
        assert "damaged or truncated" in refused(command, ticket)
    table = tmp_path / "table"
    table.mkdir()
    truncated(next((job / "table").glob("*.parquet")), table / "lenet_300_100-digits-seed0.parquet")
    assert "seed0.parquet" in refused("fit", table)
    bundle = tmp_path / "predictor"
    bundle.mkdir()
    (bundle / "manifest.json").write_bytes((job / "predictor" / "manifest.json").read_bytes())
    truncated(job / "predictor" / "model.safetensors", bundle / "model.safetensors")
    assert "model.safetensors" in refused("prune", "--predictor", bundle)
    data = tmp_path / "mnist"
    data.mkdir()
    for stem in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (data / f"{stem}-ubyte").write_bytes(b"\x00\x00\x08\x01" + struct.pack(">I", 100) + b"12345")
    assert "promises" in refused("prune", "--task", "mnist", "--data-dir", tmp_path)


def test_a_ticket_that_was_not_trained_cannot_be_evaluated(job: Path) -> None:
    assert "no trained weights" in refused("evaluate", job / "ticket.safetensors")


OWN = """
import torch
from torch import nn
def small(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.Tanh(), nn.Linear(20, 10))
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
    assert "nothing to prune" in refused("prune", "--network", "own_networks:nothing")
    assert "NaN or infinity" in refused("prune", "--network", "own_networks:broken")
    weights = Ticket.load("ticket.safetensors").initial
    save_file({name: tensor * 2 for name, tensor in weights.items()}, "double.safetensors")
    as_json("prune", *small, "--weights", "double.safetensors", "--scorer", "snip", "--out", "two.safetensors", *FAST)
    assert torch.equal(Ticket.load("two.safetensors").initial["1.weight"], 2 * weights["1.weight"])


def test_a_folder_that_cannot_be_written_is_one_line(job: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert "file" in refused("prune", "--scorer", "magnitude", *FAST, "--out", blocked / "ticket.safetensors")


@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_stops_soon_and_says_how_to_go_on(tmp_path: Path, jobs: int) -> None:
    table = tmp_path / "table"
    arguments = ["build", "--seeds", "0-9", "--regime", "ISS", "--scorer", "magnitude", "--max-steps", "200000"]
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "frontends.cli",
            *arguments,
            "--patience",
            "1000",
            "--jobs",
            str(jobs),
            "--out",
            str(table),
        ],
        cwd=Path(__file__).resolve().parents[2],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not (table / "manifest.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.startswith("scratchcard: interrupted; ")
    assert "Traceback" not in errors
    assert not list(table.glob("*.parquet"))


def test_a_scorer_without_effect_warns_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "flat_networks.py").write_text(
        "from torch import nn\n"
        "def zero():\n"
        "    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
        "    nn.init.zeros_(net[1].weight)\n"
        "    return net\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    code = "import sys; from frontends.cli import main; main()"
    arguments = ["prune", "--network", "flat_networks:zero", "--scorer", "magnitude", *FAST]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=tmp_path, check=False,
        env={"PYTHONPATH": f"{tmp_path}:{Path(__file__).resolve().parents[2]}", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("scratchcard: warning: ")
    assert "same score" in done.stderr
