"""Digests: the bytes that they are taken of are fixed, as committed results are named by them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from scratchcard.artefacts.digest import canonical, file_digest, json_digest, sha256, tensor_bytes


def test_plain_json_has_one_digest_whatever_the_order_of_its_keys() -> None:
    text = '{"a": [1, 2.5, null], "b": {"x": "\\u00e9"}}'
    assert canonical({"b": {"x": "é"}, "a": (1, 2.5, None)}) == text
    assert json_digest({"b": {"x": "é"}, "a": [1, 2.5, None]}) == hashlib.sha256(text.encode()).hexdigest()
    assert json_digest({"a": [2.5, 1, None], "b": {"x": "é"}}) != json_digest({"b": {"x": "é"}, "a": [1, 2.5, None]})


def test_texts_and_bytes_follow_each_other() -> None:
    assert sha256(["é", b"\x00", memoryview(b"z")]) == hashlib.sha256("é\x00z".encode()).hexdigest()
    assert sha256([]) == hashlib.sha256().hexdigest()


def test_a_file_has_the_digest_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc" * 100_000)
    assert file_digest(tmp_path / "file") == sha256([b"abc" * 100_000])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool])
def test_a_tensor_counts_by_its_numbers_in_order(dtype: torch.dtype) -> None:
    tensor = torch.tensor([[0, 1, 2], [0, 0, 5]]).to(dtype)
    assert bytes(tensor_bytes(tensor.T.contiguous().T)) == bytes(tensor_bytes(tensor))
    assert bytes(tensor_bytes(tensor.T)) != bytes(tensor_bytes(tensor))
    assert len(tensor_bytes(tensor)) == tensor.element_size() * 6
    assert bytes(tensor_bytes(torch.zeros(0, dtype=dtype))) == b""
    if dtype != torch.bfloat16:
        assert bytes(tensor_bytes(tensor)) == np.asarray(tensor).tobytes()
