"""Time and memory of scoring large networks: `python -m benchmarks.scale [--networks ...] [--json]`.

For each network (torchvision's, random weights, evaluation mode) and scorer, in a process of its own on one thread:

- seconds of one scoring of the batch, against one plain forward and backward pass of the same batch, in the same
  process, in chunks of 4 examples;
- peak memory above the network and the batch, in MiB, and in multiples of the network's own weights.

`--memory` is the scorers' (see `scoring_memory`). Linux only (/proc/self).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.features import MEGABYTE, memory
from scratchcard.pruning.parameters import count, prunable
from scratchcard.scorers import make_scorer
from scratchcard.scorers.pieces import scoring_memory
from scratchcard.scorers.scorer import Batch

NETWORKS = ("vgg16", "resnet50", "vit_b_16")
SCORERS = ("magnitude", "snip", "synflow", "synflow_l2_data", "grasp", "gauss_newton")
CHUNK = 4


def main() -> int:
    """Print a row for each network and scorer as it comes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.split("\n")[0])
    parser.add_argument("--networks", nargs="+", default=NETWORKS, help="of torchvision")
    parser.add_argument("--scorers", nargs="+", default=SCORERS)
    parser.add_argument("--examples", type=int, default=16, help="in the batch, of 3 x 224 x 224 [default: 16]")
    parser.add_argument("--memory", type=int, default=512, help="in MiB [default: 512]")
    parser.add_argument("--json", action="store_true", help="a JSON object a row")
    parser.add_argument("--one", nargs=2, metavar=("NETWORK", "SCORER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(*given.one, given.examples, given.memory)))
        return 0
    if not given.json:
        print(
            "| network | weights | scorer | seconds | passes | peak, MiB | / weights |\n|---|---|---|---|---|---|---|"
        )
    failed = False
    for network in given.networks:
        for scorer in given.scorers:
            asked = ["--examples", str(given.examples)] + (["--memory", str(given.memory)] if given.memory else [])
            command = [sys.executable, "-m", "benchmarks.scale", "--one", network, scorer, *asked]
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
            failed |= done.returncode != 0
            if done.returncode:
                print(f"{network} {scorer}: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
                continue
            found = json.loads(done.stdout)
            row = "| {network} | {weights:,} | {scorer} | {seconds:.1f} | {passes:.2f} | {peak:,.0f} | {share:.2f} |"
            print(json.dumps(found) if given.json else row.format(**found), flush=True)
    return int(failed)


def measure(name: str, scorer: str, examples: int, limit: int | None) -> dict[str, float | int | str]:
    """One scoring, then the plain passes that it is compared with."""
    import torchvision

    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = torchvision.models.get_model(name, weights=None).eval()
    batch = torch.randn(examples, 3, 224, 224), torch.arange(examples) % 1000
    weights = count(prunable(network))
    before = memory("VmRSS")
    begin = time.perf_counter()
    with scoring_memory(None if limit is None else limit * MEGABYTE):
        make_scorer(scorer)(network, batch, F.cross_entropy)
    seconds, peak = time.perf_counter() - begin, memory("VmHWM") - before
    own = sum(parameter.numel() * 4 for parameter in network.parameters()) / MEGABYTE
    passes = seconds / plain(network, batch)
    return {
        "network": name,
        "weights": weights,
        "scorer": scorer,
        "seconds": seconds,
        "passes": passes,
        "peak": peak,
        "share": peak / own,
    }


def plain(network: nn.Module, batch: Batch) -> float:
    """Seconds of a forward and backward pass, a few examples at a time, as a loop would have it."""
    inputs, targets = batch
    assert isinstance(inputs, torch.Tensor)
    begin = time.perf_counter()
    for start in range(0, len(targets), CHUNK):
        part = slice(start, start + CHUNK)
        F.cross_entropy(network(inputs[part]), targets[part]).backward()
    return time.perf_counter() - begin


if __name__ == "__main__":
    sys.exit(main())
