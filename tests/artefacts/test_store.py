"""Store: round trips, keys by content, damaged files, two processes at once."""

from __future__ import annotations

import errno
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from scratchcard.artefacts.files import written_beside
from scratchcard.artefacts.store import Store, Stored, content_key


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
    monkeypatch.setattr("scratchcard.artefacts.store.RESULTS_VERSION", 10**6)
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
        "import sys, time\nfrom pathlib import Path\nfrom scratchcard.artefacts.store import Store\n"
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


def test_a_claim_leaves_no_file_behind(tmp_path: Path) -> None:
    store, key = Store(tmp_path), content_key("kind", {})
    with store.claim(key):
        assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".lock"]
        store.put(key, Stored({"a": torch.ones(1)}))
    with pytest.raises(RuntimeError), store.claim(key):
        raise RuntimeError
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".safetensors"]


@pytest.mark.slow
def test_many_that_want_one_key_compute_it_once_though_its_lock_is_removed(tmp_path: Path) -> None:
    code = (
        "import sys, time, torch\nfrom pathlib import Path\nfrom scratchcard.artefacts.store import Store, Stored\n"
        "store, key = Store(Path(sys.argv[1])), 'ab' * 32\nsys.stdin.readline()\n"
        "with store.claim(key):\n"
        "    if store.get(key) is None:\n"
        "        time.sleep(0.3)\n        store.put(key, Stored({'a': torch.ones(1)}))\n        print('computed')\n"
    )
    start = [sys.executable, "-c", code, str(tmp_path)]
    processes = [subprocess.Popen(start, stdin=-1, stdout=-1, text=True) for _ in range(4)]
    said = []
    for process in processes:  # all are told before any is waited for
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        said.append(process.communicate(timeout=60)[0])
        assert process.returncode == 0
    assert "".join(said) == "computed\n"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_on_a_disk_without_locks_nobody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def none(_: FileLock) -> None:
        raise OSError(number, "no locks available")

    monkeypatch.setattr("scratchcard.artefacts.store.FileLock.acquire", none)
    store, key = Store(tmp_path), content_key("kind", {})
    with store.claim(key), store.claim(key):
        store.put(key, Stored({"a": torch.ones(1)}))
    assert store.get(key) is not None


def test_a_folder_without_the_right_to_write_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_: FileLock) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("scratchcard.artefacts.store.FileLock.acquire", denied)
    with pytest.raises(PermissionError), Store(tmp_path).claim("ab" * 32):
        pass


def test_what_was_got_needs_its_file_no_more(tmp_path: Path) -> None:
    store, key = Store(tmp_path), content_key("kind", {})
    store.put(key, Stored({"a": torch.arange(100_000.0)}))
    found = store.get(key)
    assert found is not None
    file = next(tmp_path.rglob("*.safetensors"))
    with file.open("r+b") as opened:  # as if it went away under its readers
        opened.seek(-4096, 2)
        opened.write(b"\xff" * 4096)
    assert torch.equal(found.tensors["a"], torch.arange(100_000.0))


def test_two_processes_of_one_number_write_beside_each_other(tmp_path: Path) -> None:
    """As in two containers that share a disk."""
    store, key = Store(tmp_path), content_key("kind", {})
    with written_beside(store._path(key)) as first, written_beside(store._path(key)) as second:
        assert first != second
        assert {first.suffix, second.suffix} == {".safetensors"}
        first.write_text("1")
        second.write_text("2")
    assert store._path(key).read_text() in "12"


@pytest.mark.parametrize(
    ("error", "stays"), [(ValueError("refused"), False), (KeyboardInterrupt(), True), (OSError(), True)]
)
def test_a_store_stays_where_the_same_work_can_go_on(tmp_path: Path, error: BaseException, stays: bool) -> None:
    store = Store(tmp_path / "rounds")

    def work() -> None:
        with store.until_done():
            store.put("ab" * 32, Stored({"weight": torch.ones(2)}))
            raise error

    with pytest.raises(type(error)):
        work()
    assert store.folder.exists() == stays
    assert (store.get("ab" * 32) is not None) == stays
