"""Files of tensors: round trips, tensors that share memory, damage."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from scratchcard.artefacts.tensor_file import UncheckedWarning, read_tensors, read_texts, write_tensors


def test_tensors_and_texts_come_back_to_the_bit(tmp_path: Path) -> None:
    one = torch.randn(3, 4, dtype=torch.float64)
    tensors = {"one": one, "turned": one.T, "part": one[1:], "none": torch.zeros(0), "mask": one > 0}
    path = write_tensors(tmp_path / "new" / "file.safetensors", tensors, {"format": "toy", "é": "ü"})
    found, texts = read_tensors(path)
    assert texts == {"format": "toy", "é": "ü"}
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


def test_a_file_without_texts_has_none(tmp_path: Path) -> None:
    assert read_tensors(write_tensors(tmp_path / "file", {"a": torch.ones(1)}, {}))[1] == {}


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_it_gets_the_mode_of_any_new_file(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        path = write_tensors(tmp_path / "file", {"a": torch.ones(1)}, {})
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize("damage", [b"", b"no tensors", None])
def test_damage_is_a_value_error(tmp_path: Path, damage: bytes | None) -> None:
    path = write_tensors(tmp_path / "file", {"a": torch.ones(100)}, {})
    path.write_bytes(path.read_bytes()[:-40] if damage is None else damage)
    with pytest.raises(ValueError, match=r"."):
        read_tensors(path)


def test_a_missing_file_and_a_folder_are_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_tensors(tmp_path / "none")
    with pytest.raises(IsADirectoryError, match="is a folder, expected the name of a file to write"):
        write_tensors(tmp_path, {}, {})


def test_a_file_without_a_checksum_is_refused_or_said(tmp_path: Path) -> None:
    path = tmp_path / "file"
    save_file({"a": torch.ones(1)}, path, {"version": "2"})
    with pytest.raises(ValueError, match="has no checksum"):
        read_tensors(path)
    save_file({"a": torch.ones(1)}, path, {"version": "1"})
    with pytest.warns(UncheckedWarning, match="damage to its numbers cannot be told"):
        assert read_tensors(path)[1] == {"version": "1"}
    with pytest.warns(UncheckedWarning):
        assert read_texts(path) == {"version": "1"}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0.0, 1.0, exclude_max=True), bit=st.integers(0, 7))
def test_every_flipped_bit_is_found(tmp_path: Path, place: float, bit: int) -> None:
    told = {"odd": '"sha256":"' + "0" * 64 + '"', "version": "2"}  # a text cannot stand for the checksum
    path = write_tensors(tmp_path / "file", {"a": torch.arange(20.0), "b": torch.ones(3, dtype=torch.bool)}, told)
    assert read_texts(path) == told
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content)
    for read in (read_tensors, read_texts):
        with pytest.raises(ValueError, match=r"."):
            read(path)
