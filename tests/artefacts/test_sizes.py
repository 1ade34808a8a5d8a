"""Foreign files: no more memory than they deserve, no more of their text than a sentence holds."""

from __future__ import annotations

import gzip
import json
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from scratchcard.artefacts.tensor_file import read_tensors, write_tensors
from scratchcard.frontends.cli import cli
from scratchcard.frontends.cli.show import _lines
from scratchcard.meta.bundle import load_bundle, read_manifest
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.ticket_path import TicketPath
from scratchcard.registry import lookup
from scratchcard.words import QUOTED, printable, quoted, said, shortened
from scratchcard.workloads.tasks.idx import read_idx
from scratchcard.workloads.tasks.tensors import tensors_task

LIMIT = 64 * 2**20


@pytest.fixture(autouse=True)
def little_memory() -> object:
    tracemalloc.start()
    yield
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < LIMIT


def idx(path: Path, shape: tuple[int, ...], zeros: int) -> Path:
    with gzip.open(path, "wb", compresslevel=9) as file:
        file.write(bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape))
        for _ in range(zeros // 2**20):
            file.write(bytes(2**20))
    return path


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ((10, 28, 28), "holds more bytes of data"),  # unpacked no further than that
        ((10**6, 28, 280), "declares 7,840,000,000 bytes"),
        ((2**31, 2**31, 4), "declares 18,446,744,073,709,551,616 bytes"),  # 0 where sizes wrap around
        ((1,) * 9, "declares 9 dimensions"),
    ],
)
def test_gzip_that_inflates(shape: tuple[int, ...], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=sentence):
        read_idx(idx(tmp_path / "train-images-idx3-ubyte.gz", shape, 200 * 2**20))


def test_an_archive_that_inflates(tmp_path: Path) -> None:
    path = tmp_path / "task.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train_inputs.npy", bytes(1000))
    content = path.read_bytes()
    place = content.index(b"PK\x01\x02") + 24  # the unpacked size in the archive's list
    path.write_bytes(content[:place] + struct.pack("<I", 3 * 2**30) + content[place + 4 :])
    with pytest.raises(ValueError, match="would unpack to 3,221,225,472 bytes"):
        tensors_task("task", path)


@pytest.mark.parametrize("side", [28_000, 2**33])
def test_a_stored_ticket_that_claims_more_than_it_stores(side: int, tmp_path: Path) -> None:
    mask = Mask({"weight": torch.eye(40, dtype=torch.bool)})
    path = TicketPath.of({0.025: mask}, {"weight": torch.ones(40, 40)}, torch.zeros(2, 4)).save(
        tmp_path / "t.safetensors"
    )
    assert TicketPath.load(path).total == 1600
    tensors, texts = read_tensors(path)
    write_tensors(path, tensors, texts | {"shapes": json.dumps({"weight": [side, side]})})
    with pytest.raises(ValueError, match=f"claims {side * side:,} weights and stores 40"):
        TicketPath.load(path)


def test_text_that_steers_a_terminal_is_shown_without_that() -> None:
    assert _lines({"a\x1b[2J": {"b\n": "c\x07\r\nd\u202e"}, "e": ["\x9b1m"]}) == ["a[2J:", "  b: c d", "e: 1m"]
    assert printable("\x1b]0;title\x07") == "]0;title"


def test_sentences_quote_a_little_of_foreign_text(tmp_path: Path) -> None:
    long = "x\x1b" * 100_000
    for text in (shortened(long), quoted(long), said(ValueError(long)).removeprefix("ValueError: ")):
        assert len(text) <= QUOTED + 5
        assert text.isprintable()
    (tmp_path / "manifest.json").write_text(json.dumps({"format": "scratchcard-predictor", "schema_version": long}))
    with pytest.raises(ValueError, match="schema version") as caught:
        read_manifest(tmp_path)
    assert len(str(caught.value)) < 500
    with pytest.raises(ValueError, match="unknown example") as caught:
        lookup({"snip": 1}, "examples", long)
    assert len(str(caught.value)) < 500
    with pytest.raises(FileNotFoundError):
        load_bundle(tmp_path / "missing")


def test_the_command_line_prints_no_control_characters() -> None:
    done = CliRunner().invoke(cli, ["list\x1b[31m"])
    assert done.exit_code != 0
    assert "\x1b" not in done.output + str(done.stderr)
