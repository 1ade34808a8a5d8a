"""What pruning with the shipped predictor takes beside SynFlow: `python -m benchmarks.default [--repeats N]`.

LeNet-300-100, density 0.005, one thread, interleaved repeats, medians: the predictor with its stored ticket (MNIST),
the same with signs set, the predictor without stored tickets (`policy`), against SynFlow in 100 rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics

import torch

from benchmarks.data import mnist_or_left_out
from scratchcard.apply.method import Method
from scratchcard.apply.pipeline import find_ticket
from scratchcard.workloads.workload import Workload

GOAL = 3.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5, help="timings of each, interleaved (default 5)")
    parser.add_argument("--data-dir", help="folder with the data files")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    workload = Workload("lenet_300_100", mnist_or_left_out(options.data_dir))
    methods = {
        "SynFlow, 100 rounds": Method("synflow"),
        "default": Method("predicted", predictor="default"),
        "default, signs set": Method("predicted", predictor="default", initial="signed"),
        "policy": Method("predicted", predictor="policy"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for seed in range(options.repeats + 1):  # the first warms up
        for name, method in methods.items():
            ticket = find_ticket(workload, method, 0.005, seed)
            seconds[name] += [float(ticket.provenance["pruning_seconds"])] if seed else []
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    base = medians["SynFlow, 100 rounds"]
    if options.json:
        print(json.dumps({"seconds": medians, "ratios": {name: value / base for name, value in medians.items()}}))
        return
    print("| method | s | / SynFlow | goal |\n|---|---|---|---|")
    for name, value in medians.items():
        goal = f"at most {GOAL:g}" if value != base else ""
        print(f"| {name} | {value:.2f} | {value / base:.2f} | {goal} |")


if __name__ == "__main__":
    main()
