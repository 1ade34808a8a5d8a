"""The service beside calls in the process: pruning, inference, an upload's memory, many clients at once.

`python -m benchmarks.service [--seconds 60] [--clients 32] [--megabytes 500]`
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx2
import numpy as np
import torch
from safetensors.torch import save_file

import scratchcard as sc
from scratchcard.apply.shipped import shipped
from scratchcard.frontends.service.columns import HEADER
from scratchcard.score_tables.schema import FeatureBlock

ROWS = 400_000


@contextmanager
def _served(folder: Path, *options: str) -> Iterator[tuple[str, int]]:
    """The address and the process number of a service."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    words = ["serve", "--state", str(folder / "state"), "--port", str(port), *options]
    command = [sys.executable, "-c", "from scratchcard.frontends.cli import main; main()", *words]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log)  # noqa: S603
        address = f"http://127.0.0.1:{port}"
        while True:
            try:
                httpx2.get(f"{address}/v2/health/ready").raise_for_status()
                break
            except httpx2.HTTPError:
                time.sleep(0.2)
        try:
            yield address, process.pid
        finally:
            process.terminate()
            process.wait()


def _memory(process: int, what: str = "VmRSS") -> float:
    """Megabytes of a process."""
    return int(Path(f"/proc/{process}/status").read_text().partition(f"{what}:")[2].split()[0]) / 1000


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def _pruning(address: str, repeats: int) -> None:
    there: list[float] = []
    here: list[float] = []
    method = sc.Method("predicted", predictor="default")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # images of digits are smaller than those of the fit
    with sc.Client(address) as client:
        for seed in range(repeats + 1):  # in turn; the first of each warms up
            here.append(_seconds(partial(sc.prune, "lenet_300_100", "digits", 0.05, seed, method=method)))
            there.append(_seconds(partial(client.prune, "lenet_300_100", "digits", 0.05, seed, predictor="default")))
    local, http = statistics.median(here[1:]), statistics.median(there[1:])
    limit = 1.3 * local + 0.05
    print(f"prune with the default predictor: local {local:.3f} s, over HTTP {http:.3f} s; goal at most {limit:.3f} s")


def _trees(folder: Path) -> None:
    """A gradient-boosted predictor, 100 trees of 31 leaves."""
    recording = sc.Recording("USS", "snip", 0.1)
    table = sc.build(sc.Workload("lenet_300_100", sc.load_task("digits")), [0], folder / "table", recording)
    predictor = sc.fit(table, "gbm", features=["magnitude", "snip", "grasp", "synflow"], held_out_seeds=[])
    sc.save_bundle(predictor, folder / "predictors" / "trees")


def _inference(address: str, name: str, folder: Path, repeats: int) -> None:
    predictor = sc.load_bundle(folder)
    values = np.random.default_rng(0).random((ROWS, len(predictor.features)), dtype=np.float32)
    block = FeatureBlock("rows", np.arange(ROWS), predictor.features, values)
    columns = [np.ascontiguousarray(column) for column in values.T]
    inputs = [
        {"name": name, "datatype": "FP32", "shape": [ROWS], "parameters": {"binary_data_size": 4 * ROWS}}
        for name in predictor.features
    ]
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    content = head + b"".join(column.tobytes() for column in columns)
    here: list[float] = []
    there: list[float] = []
    with httpx2.Client(base_url=address, timeout=60) as client:

        def ask() -> None:
            answer = client.post(f"/v2/models/{name}/infer", content=content, headers={HEADER: str(len(head))})
            scores = np.frombuffer(answer.content[int(answer.headers[HEADER]) :], dtype="<f8")
            assert len(scores) == ROWS

        for _ in range(repeats + 1):
            here.append(_seconds(lambda: predictor.predict(block)))
            there.append(_seconds(ask))
    local, http = ROWS / statistics.median(here[1:]), ROWS / statistics.median(there[1:])
    told = f"bundle {local:,.0f}, V2 infer {http:,.0f}, ratio {http / local:.2f}"
    print(f"rows a second, {name}: {told}; goal at least 0.8")


_SINK = """
import socket
with socket.create_server(("127.0.0.1", 0)) as found:
    print(found.getsockname()[1], flush=True)
    one, _ = found.accept()
    room = bytearray(1 << 20)
    while one.recv_into(room):
        pass
"""


def _bare(width: int, repeats: int) -> None:
    """What a bare connection to another process carries, which no service can pass by."""
    content = bytes(4 * width * ROWS)
    with subprocess.Popen([sys.executable, "-c", _SINK], stdout=subprocess.PIPE, text=True) as sink:  # noqa: S603
        assert sink.stdout is not None
        with socket.create_connection(("127.0.0.1", int(sink.stdout.readline()))) as connection:
            seconds = _seconds(lambda: [connection.sendall(content) for _ in range(4 * repeats)])
    print(f"rows a second of {width} numbers through a bare connection: {4 * repeats * ROWS / seconds:,.0f}")


def _upload(address: str, process: int, folder: Path, megabytes: int) -> None:
    path = folder / "large.safetensors"
    save_file({"weight": torch.zeros(megabytes * 250_000)}, path)
    before = _memory(process)
    with sc.Client(address) as client:
        took = _seconds(lambda: client.upload_network(path))
    more = _memory(process, "VmHWM") - before
    print(f"upload of {megabytes} MB: {took:.1f} s, {more:.0f} MB more memory at the most; goal at most 150 MB")


def _crowd(address: str, process: int, clients: int, seconds: float) -> None:
    """Many clients that describe, infer and prune as fast as they are answered."""
    found: Counter[int | str] = Counter()
    columns = httpx2.get(f"{address}/v2/models/policy").json()["inputs"]
    body = {"inputs": [each | {"shape": [4], "data": [0.1, 0.2, 0.3, 0.4]} for each in columns]}
    until, memory = time.monotonic() + seconds, []

    def visit() -> None:
        with httpx2.Client(base_url=address, timeout=60) as client:
            while time.monotonic() < until:
                for method, path, sent in (
                    ("GET", "/v2/models/policy", None),
                    ("POST", "/v2/models/policy/infer", body),
                    ("POST", "/jobs", {"task": "digits", "scorer": "magnitude"}),
                    ("GET", "/jobs?limit=2", None),
                ):
                    try:
                        found[client.request(method, path, json=sent).status_code] += 1
                    except httpx2.HTTPError as error:
                        found[type(error).__name__] += 1

    threads = [threading.Thread(target=visit) for _ in range(clients)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        memory.append(_memory(process))
        time.sleep(seconds / 20)
    told = ", ".join(f"{count:,} × {status}" for status, count in found.most_common())
    half = memory[len(memory) // 2]
    print(f"{clients} clients for {seconds:g} s: {told}; goal nothing but 2xx, 429 and 503")
    print(f"memory of the server: {half:.0f} MB after half of the time, {max(memory[-3:]):.0f} MB at the end")


def main() -> int:
    """Print all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _trees(folder)
        with _served(folder, "--predictors", f"{name}/predictors") as (address, process):
            _pruning(address, given.repeats)
            _inference(address, "trees", folder / "predictors" / "trees", given.repeats)
            _inference(address, "policy", shipped("policy")[0], given.repeats)
            _bare(len(sc.load_bundle(shipped("policy")[0]).features), given.repeats)
            _upload(address, process, folder, given.megabytes)
            _crowd(address, process, given.clients, given.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
