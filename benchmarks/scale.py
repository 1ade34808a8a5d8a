"""Time and memory at the size of ImageNet's networks: `python -m benchmarks.scale [--networks ...] [--steps ...]`.

For each network (torchvision's with 1,000 classes, random weights, evaluation mode) each step in a process of its own,
with a limit of time. A row is printed, and appended to `--out`, as soon as a step has ended. Steps:

- a scorer's name: one scoring of the batch. `passes` is its processor time in forward and backward passes of the same
  batch, 4 examples at a time, measured in the same process;
- `synflow_100`: a hundred rounds of SynFlow;
- `top`: `keep_top` of one score for each weight;
- `table`: a score table with all features, targets from magnitude in one round;
- `tree`: a ticket by a tree predictor of all features, fitted to the digits beforehand;
- `default`: a ticket by the shipped predictor `default`, 16 rounds;
- `prune`: a ticket as `prune` finds it where no method is named; for so few examples that is SynFlow-L2 with data in
  100 rounds, and a search from some thousand on.

`peak` is the peak of memory above the network and the batch, in MiB. The perceptrons of 1, 10 and 100 million weights
show what a weight costs: features and 200 trees. Linux only (/proc/self).
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.features import MEGABYTE, make_batch, make_network, make_predictor, memory
from scratchcard.apply.budget import USUAL, within
from scratchcard.apply.method import Method
from scratchcard.apply.pipeline import find_ticket
from scratchcard.apply.predicted import PredictedScorer
from scratchcard.clock import counted_reads
from scratchcard.dataset_builder.build import Recording, build
from scratchcard.meta.bundle import save_bundle
from scratchcard.meta.fit import fit
from scratchcard.pruning.cut import keep_top
from scratchcard.pruning.parameters import count, prunable
from scratchcard.pruning.scores import Scores
from scratchcard.regimes.upfront import prune_upfront
from scratchcard.scorers import make_scorer
from scratchcard.scorers.scorer import Batch
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.task import Task
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload

NETWORKS = ("vgg16", "resnet50", "vit_b_16")
PERCEPTRONS = {
    "1 million": (700, 700, 700, 10),
    "10 million": (2200, 2200, 2200, 10),
    "100 million": (7000, 7000, 7000),
}
SCORERS = ("magnitude", "snip", "synflow", "synflow_l2_data", "grasp", "gauss_newton")
STEPS = (*SCORERS, "synflow_100", "top", "tree", "prune", "default", "table")
ONLY = {"synflow_100": "resnet50", "top": "vgg16", "table": "vgg16"}
"""Steps that one network does where all are asked for."""
PASSES = dict.fromkeys(SCORERS, 1.3) | {"grasp": 3.0}
"""Gauss-Newton may take as many as it says itself (`note_reads`): 5, or 7 in pieces."""
SECONDS = {"synflow_100": 60.0, "top": 1.5, "tree": 300.0, "prune": 300.0, "default": 300.0}
PEAK = {"synflow_100": 1536.0, "table": 2048.0}
CHUNK, WATCHED = 4, 8
SIDE = 224


def main() -> int:
    """Print a row for each network and step as it comes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.split("\n")[0])
    parser.add_argument("--networks", nargs="+", default=[*NETWORKS, *PERCEPTRONS], help="of torchvision; perceptrons")
    parser.add_argument("--steps", nargs="+", default=STEPS, choices=STEPS)
    parser.add_argument("--examples", type=int, default=32, help="in a scorer's batch, 3 x 224 x 224 [default: 32]")
    parser.add_argument("--threads", type=int, default=2, help="of torch [default: 2]")
    parser.add_argument("--limit", type=float, default=900, help="of a step, in seconds [default: 900]")
    parser.add_argument("--out", type=Path, help="a file that rows are appended to, one JSON object a line")
    parser.add_argument("--json", action="store_true", help="a JSON object a row")
    parser.add_argument("--one", nargs=2, metavar=("NETWORK", "STEP"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        torch.set_num_threads(given.threads)
        torch.manual_seed(0)
        print(json.dumps(measure(*given.one, given.examples)))
        return 0
    if not given.json:
        print("| network | step | s | processor, s | passes | peak, MiB | asked for | reached |")
        print("|---|---|---|---|---|---|---|---|")
    failed = False
    for network in given.networks:
        chosen = [
            step for step in given.steps if ONLY.get(step, network) == network or list(given.steps) != list(STEPS)
        ]
        for step in ["weight"] if network in PERCEPTRONS else chosen:
            row = _apart(network, step, given)
            failed |= "failed" in row
            if given.out:
                with given.out.open("a") as file:
                    file.write(json.dumps(row) + "\n")
            print(json.dumps(row) if given.json else _shown(row), flush=True)
    return int(failed)


def _apart(network: str, step: str, given: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.scale", "--one", network, step, "--examples", str(given.examples)]
    command += ["--threads", str(given.threads)]
    row = {"network": network, "step": step}
    environment = os.environ | {"OMP_NUM_THREADS": str(given.threads)}
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, check=False, timeout=given.limit, env=environment
        )
    except subprocess.TimeoutExpired:
        return row | {"failed": f"not ended after {given.limit:.0f} s"}
    if done.returncode:
        return row | {"failed": (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]}
    return row | json.loads(done.stdout.splitlines()[-1])


def _shown(row: dict[str, Any]) -> str:
    if "failed" in row:
        return f"| {row['network']} | {row['step']} | {row['failed']} | | | | | no |"
    passes = "" if row["passes"] is None else f"{row['passes']:.2f}"
    times = f"{row['seconds']:.2f} | {row['processor']:.2f} | {passes}"
    return f"| {row['network']} | {row['step']} | {times} | {row['peak']:,.0f} | {row['asked']} | {row['reached']} |"


def measure(name: str, step: str, examples: int) -> dict[str, Any]:
    """One step; what is asked for and whether it was reached."""
    if name in PERCEPTRONS:
        return weight_cost(PERCEPTRONS[name])
    network = _network(name)
    weights = count(prunable(network))
    own = sum(parameter.numel() * 4 for parameter in network.parameters()) / MEGABYTE
    passes, says = None, None
    if step in SCORERS:
        batch = torch.randn(examples, 3, SIDE, SIDE), torch.arange(examples)
        plain(network, batch)  # the first pass chooses kernels
        scorer = make_scorer(step)
        with counted_reads() as reads:
            found = _measured(lambda: scorer(network, batch, F.cross_entropy))
        passes, says = found["processor"] / plain(network, batch), reads.examples / (3 * examples)
    elif step == "synflow_100":
        batch, scorer = (torch.randn(1, 3, SIDE, SIDE), torch.arange(1)), make_scorer("synflow")
        scorer(network, batch, F.cross_entropy)
        found = _measured(lambda: prune_upfront(network, batch, F.cross_entropy, scorer, 0.01, rounds=100))
    elif step == "top":
        scores = Scores({key: torch.randn(w.shape).abs() for key, w in prunable(network).items()}, "random numbers")
        found = _measured(lambda: keep_top(scores, 0.01))
    else:
        del network
        with tempfile.TemporaryDirectory() as folder:
            found = _pruned(name, step, Path(folder))
        found["peak"] -= own  # it builds the network itself
    most = says if step == "gauss_newton" else PASSES.get(step)
    asked = {"passes": most, "s": SECONDS.get(step), "peak": PEAK.get(step, 2 * own + 1024)}
    known = {"passes": passes, "s": found["seconds"], "peak": found["peak"]}
    missed = [key for key, most in asked.items() if most is not None and (known[key] or 0.0) > most]
    texts = [f"{key} {most:,.4g}" for key, most in asked.items() if most is not None]
    reached = "yes" if not missed else f"not {', '.join(missed)}"
    return found | {"weights": weights, "passes": passes, "asked": ", ".join(texts), "reached": reached}


def _pruned(name: str, step: str, folder: Path) -> dict[str, Any]:
    """A table, or a ticket by a predictor, from eight examples; of a network that the workload builds."""
    targets = torch.arange(4 * WATCHED) % 1000
    targets[-1] = 999
    task = Task.of(torch.randn(4 * WATCHED, 3, SIDE, SIDE), targets, outputs=1000)
    workload = Workload(f"benchmarks.scale:{name}", task, Recipe(scoring_examples=WATCHED))
    if step == "table":
        recording = Recording("USS", "magnitude", 0.01)
        found = _measured(lambda: build(workload, [0], folder / "table", recording))
        size = sum(file.stat().st_size for file in (folder / "table").glob("*.parquet"))
        return found | {"table": size / MEGABYTE}
    method = Method.of("predicted", predictor="default", statistics="running")
    if step == "prune":
        method = within(USUAL, workload)
    if step == "tree":
        small = build(Workload("lenet_300_100", load_task("digits")), [0, 1], folder / "small", _small())
        save_bundle(fit(small, "gbm", train_seeds=[0], held_out_seeds=[1]), folder / "tree")
        method = Method.of("predicted", predictor=str(folder / "tree"), statistics="running")
    return _measured(lambda: find_ticket(workload, method, 0.01))


def _small() -> Recording:
    return Recording("USS", "magnitude", 0.1)


def weight_cost(sizes: tuple[int, ...]) -> dict[str, Any]:
    """Features of a perceptron and their prediction by 200 trees, in microseconds a weight."""
    predictor = make_predictor()
    small = make_network(8, 6, 4), make_batch(8, 8, 4)
    PredictedScorer(predictor, 0.01)(*small, F.cross_entropy)  # compiles the kernel
    network, batch = make_network(*sizes), make_batch(64, sizes[0], sizes[-1])
    weights = count(prunable(network))
    found = _measured(lambda: PredictedScorer(predictor, 0.01)(network, batch, F.cross_entropy))
    each = 1e6 * found["processor"] / weights
    return found | {"weights": weights, "passes": None, "asked": f"{each:.2f} us a weight", "reached": ""}


def _measured(work: Callable[[], object]) -> dict[str, Any]:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what earlier work freed must not stand below the peak
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    begin, processor = time.perf_counter(), time.process_time()
    work()
    seconds, processor = time.perf_counter() - begin, time.process_time() - processor
    return {"seconds": seconds, "processor": processor, "peak": memory("VmHWM") - before}


def plain(network: nn.Module, batch: Batch) -> float:
    """Processor seconds of a forward and backward pass, a few examples at a time, as a loop would have it."""
    inputs, targets = batch
    assert isinstance(inputs, torch.Tensor)
    begin = time.process_time()
    for start in range(0, len(targets), CHUNK):
        part = slice(start, start + CHUNK)
        F.cross_entropy(network(inputs[part]), targets[part]).backward()
    seconds = time.process_time() - begin
    network.zero_grad(set_to_none=True)
    return seconds


def _network(name: str) -> nn.Module:
    import torchvision

    network: nn.Module = torchvision.models.get_model(name, weights=None)
    return network.eval()


def vgg16() -> nn.Module:
    """In evaluation mode, as a workload builds it."""
    return _network("vgg16")


def resnet50() -> nn.Module:
    """Likewise."""
    return _network("resnet50")


def vit_b_16() -> nn.Module:
    """Likewise."""
    return _network("vit_b_16")


if __name__ == "__main__":
    sys.exit(main())
