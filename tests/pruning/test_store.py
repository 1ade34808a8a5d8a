"""Store: round trips, keys by content, damaged files, two processes at once."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from pruning.store import Store, Stored, content_key


def test_what_is_put_is_got_to_the_bit(tmp_path: Path) -> None:
    store = Store(tmp_path)
    tensors = {"a": torch.randn(3, 4, dtype=torch.float64), "b/c": torch.zeros(0), "n": torch.tensor(3)}
    key = content_key("kind", {"x": 1}, state=tensors)
    assert store.get(key) is None
    store.put(key, Stored(tensors, {"seconds": 1.5, "loss": float("inf")}))
    found = store.get(key)
    assert found is not None
    assert found.about == {"seconds": 1.5, "loss": float("inf")}
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in tensors.items())
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [f"{key}.safetensors"]


def test_a_key_changes_with_everything_that_decides_the_content(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = torch.arange(6.0), torch.arange(6.0).reshape(2, 3)
    keys = {
        content_key("kind", {"x": 1}, state={"w": a}),
        content_key("other", {"x": 1}, state={"w": a}),
        content_key("kind", {"x": 2}, state={"w": a}),
        content_key("kind", {"x": 1}, mask={"w": a}),
        content_key("kind", {"x": 1}, state={"v": a}),
        content_key("kind", {"x": 1}, state={"w": b}),
        content_key("kind", {"x": 1}, state={"w": a.double()}),
        content_key("kind", {"x": 1}, state={"w": a + torch.eye(6)[0]}),
        content_key("kind", {"x": 1}, state={"w": -a}),  # -0.0 is another weight than 0.0
    }
    monkeypatch.setattr("pruning.store.RESULTS_VERSION", 10**6)
    keys.add(content_key("kind", {"x": 1}, state={"w": a}))
    assert len(keys) == 10
    assert content_key("kind", {"y": 2, "x": 1}, state={"w": b.T}) == content_key(
        "kind", {"x": 1, "y": 2}, state={"w": b.T.contiguous()}
    )


@pytest.mark.parametrize("damage", [b"", b"not safetensors", None])
def test_a_damaged_file_counts_as_missing(tmp_path: Path, damage: bytes | None) -> None:
    store, key = Store(tmp_path), content_key("kind", {})
    store.put(key, Stored({"a": torch.ones(100)}, {}))
    file = next(tmp_path.rglob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-40] if damage is None else damage)
    assert store.get(key) is None
    store.put(key, Stored({"a": torch.ones(100)}, {}))
    assert store.get(key) is not None


def test_a_claim_makes_others_wait_and_dies_with_its_process(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom pruning.store import Store\n"
        "with Store(Path(sys.argv[1])).claim('ab' * 32):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        waiting = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        try:
            time.sleep(0.5)
            holder.kill()
            assert waiting.stdout is not None
            assert waiting.stdout.readline() == "held\n"
        finally:
            waiting.kill()
            waiting.communicate()
    finally:
        holder.kill()
        holder.communicate()
