"""No command takes anything from the user: what is there is replaced only with --overwrite, what is not ours never."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from scratchcard.meta.bundle import load_bundle
from scratchcard.pruning.ticket import Ticket
from tests.frontends.calls import FAST, as_json, refused, run

MAGNITUDE = ["prune", "--scorer", "magnitude", "--density", "0.1", *FAST]


def test_a_ticket_is_replaced_only_with_overwrite(tmp_path: Path) -> None:
    out = tmp_path / "ticket.safetensors"
    as_json(*MAGNITUDE, "--out", out)
    before = out.read_bytes()
    line = refused("prune", "--scorer", "random", *FAST, "--out", out)
    assert line == f"scratchcard: {out} is there already; choose another --out, or add --overwrite to replace it"
    assert out.read_bytes() == before
    as_json("prune", "--scorer", "random", *FAST, "--out", out, "--overwrite")
    assert out.read_bytes() != before
    out.write_bytes(b"")  # as `mktemp` makes it
    as_json(*MAGNITUDE, "--out", out)


def test_a_training_is_replaced_only_with_overwrite(job: Path, tmp_path: Path) -> None:
    ticket = tmp_path / "ticket.safetensors"
    shutil.copy(job / "ticket.safetensors", ticket)
    as_json("train", ticket)  # there was no training yet
    before = ticket.read_bytes()
    assert "holds a training already; choose another --out, or add --overwrite" in refused("train", ticket)
    assert "holds a training already" in refused(
        "train", ticket, "--out", tmp_path / ".." / tmp_path.name / ticket.name
    )
    assert ticket.read_bytes() == before
    other = tmp_path / "other.safetensors"
    as_json("train", ticket, "--seed", 3, "--out", other)
    assert ticket.read_bytes() == before
    assert "other.safetensors is there already" in refused("train", ticket, "--seed", 4, "--out", other)
    as_json("train", ticket, "--overwrite", "--seed", 3)
    assert ticket.read_bytes() != before
    trained, again = Ticket.load(ticket).trained, Ticket.load(other).trained
    assert trained is not None
    assert again is not None
    assert all(trained[name].equal(tensor) for name, tensor in again.items())


def test_an_export_is_replaced_only_with_overwrite(job: Path, tmp_path: Path) -> None:
    out = tmp_path / "init.pt"
    out.write_text("mine")
    call = ("export", job / "ticket.safetensors", "--as", "pt", "--initial", "--out", out)
    assert refused(*call) == (
        f"scratchcard: {out} is there already; choose another --out, or add --overwrite to replace it"
    )
    assert out.read_text() == "mine"
    assert as_json(*call, "--overwrite")["bytes"] == out.stat().st_size > 1000


def test_a_predictor_is_replaced_only_with_overwrite_and_what_lies_beside_it_stays(job: Path, tmp_path: Path) -> None:
    out = tmp_path / "predictor"
    shutil.copytree(job / "predictor", out)
    (out / "notes.txt").write_text("mine")
    before = load_bundle(out).digest
    fit = ["fit", job / "table", "--family", "linear", "--features", "thesis", "--out", out]
    assert "holds a predictor already; choose another --out, or add --overwrite" in refused(*fit)
    assert load_bundle(out).digest == before
    as_json(*fit, "--overwrite")
    assert load_bundle(out).family == "linear"
    assert (out / "notes.txt").read_text() == "mine"


def test_a_file_that_came_there_during_the_work_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scratchcard.apply import density_path

    out = tmp_path / "ticket.safetensors"
    find = density_path.find_ticket

    def slow(*arguments: object, **how: object) -> object:
        out.write_text("mine")
        return find(*arguments, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(density_path, "find_ticket", slow)
    iterative = ["prune", "--regime", "ISS", "--scorer", "magnitude", "--rounds", "2", *FAST, "--out", out]
    assert "is there already" in refused(*iterative)
    assert out.read_text() == "mine"
    assert list((tmp_path / ".ticket.safetensors.rounds").rglob("*.safetensors"))  # finished rounds are kept


@pytest.mark.parametrize("command", ["prune", "train", "anatomy", "report", "results"])
def test_no_command_writes_into_a_named_pipe(command: str, job: Path, tmp_path: Path) -> None:
    arguments = {
        "prune": [*MAGNITUDE, "--out", "PIPE.safetensors"],
        "train": ["train", job / "ticket.safetensors", "--out", "PIPE.safetensors"],
        "anatomy": ["anatomy", job / "ticket.safetensors", "--out", "PIPE.parquet"],
        "report": ["report", tmp_path, "--out", "PIPE.html"],
        "results": ["results", tmp_path, "--out", "PIPE.csv"],
    }[command]
    *others, name = arguments
    pipe = tmp_path / str(name)
    os.mkfifo(pipe)
    assert f"{pipe} is a named pipe, expected the name of a file to write" in refused(*others, pipe, "--overwrite")
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("command", ["build", "demo", "fit", "sweep", "prune"])
def test_no_command_fills_a_folder_of_somebody_else(command: str, job: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("precious")
    grid = tmp_path / "grid.toml"
    grid.write_text(
        'name = "g"\ntitle = "g"\ndensities = 0.1\nseeds = "0"\nworkload = { task = "digits" }\n'
        'methods = [{ scorer = "random" }]\n'
    )
    iterative = ["prune", "--regime", "ISS", "--scorer", "magnitude", *FAST, "--out", tmp_path / "t.safetensors"]
    arguments = {
        "build": ["build", "--regime", "USS", "--scorer", "snip", "--out"],
        "demo": ["demo", "--out"],
        "fit": ["fit", job / "table", "--overwrite", "--out"],
        "sweep": ["sweep", grid, "--out"],
        "prune": [*iterative, "--rounds-dir"],
    }[command]
    line = refused(*arguments, mine)
    assert "mine is not a" in line
    assert "but holds 1 file of another kind (notes.txt); choose another folder" in line
    assert [(path.name, path.read_text()) for path in mine.iterdir()] == [("notes.txt", "precious")]


def test_two_searches_for_one_ticket_keep_each_others_rounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second search ends while the first is at work; what the first has found so far is still there."""
    from scratchcard.apply import density_path

    hidden = tmp_path / ".ticket.safetensors.rounds"
    out = tmp_path / "ticket.safetensors"
    command = ["prune", "--regime", "ISS", "--scorer", "magnitude", "--rounds", "2", *FAST, "--out", out, "--overwrite"]
    find = density_path.find_ticket
    seen: list[int] = []

    def both(*arguments: object, **how: object) -> object:
        found = find(*arguments, **how)  # type: ignore[arg-type]
        if not seen:
            seen.append(len(list(hidden.rglob("*.safetensors"))))
            assert run(*command, "--seed", 5).exit_code == 0
            seen.append(len(list(hidden.rglob("*.safetensors"))))
        return found

    monkeypatch.setattr(density_path, "find_ticket", both)
    as_json(*command)
    assert seen[0] > 0
    assert seen[1] > seen[0]
    assert [path.name for path in tmp_path.iterdir()] == [out.name]  # the last one has removed them


def test_a_users_files_among_the_rounds_stay(tmp_path: Path) -> None:
    hidden = tmp_path / ".ticket.safetensors.rounds"
    (hidden / "ab").mkdir(parents=True)
    for name in ("notes.txt", "ab/notes.txt"):
        (hidden / name).write_text("mine")
    out = tmp_path / "ticket.safetensors"
    as_json("prune", "--regime", "ISS", "--scorer", "magnitude", "--rounds", "2", *FAST, "--out", out)
    left = sorted(str(path.relative_to(hidden)) for path in hidden.rglob("*") if path.is_file())
    assert left == ["ab/notes.txt", "notes.txt"]
