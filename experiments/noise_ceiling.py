"""How much two IMP tickets of one initialisation share when only the data order differs, by the scale of the inputs.

    python -m experiments.noise_ceiling --jobs 2

`normalised` inputs have mean 0 and deviation 1 over all pixels, as published pruning code has it, so that constant
border pixels are -0.42; `raw` inputs are pixels / 255, so that they are 0 and their weights get no gradient.
"""

from __future__ import annotations

from functools import partial

import torch

from experiments.options import arguments, run_command
from scratchcard.regimes import make_regime
from scratchcard.scorers import make_scorer
from scratchcard.workers.pool import open_pool, ordered
from scratchcard.workloads.task import Split, Task, task_digest
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload

DENSITY = 0.005
MEAN, STD = 0.1307, 0.3081  # of `workloads.tasks.mnist.mnist`


def raw_mnist(data_dir: str | None = None) -> Task:
    """MNIST with its normalisation undone: pixels / 255."""
    task = load_task("mnist", data_dir)
    train, validation, test = (
        Split(split.inputs * STD + MEAN, split.targets) for split in (task.train, task.validation, task.test)
    )
    digest = task_digest(train, validation, test)
    return Task("mnist_raw", train, validation, test, task.classes, digest, (raw_mnist, (data_dir,)))


def shared(data_dir: str | None, scale: str, seed: int) -> tuple[str, int, int, int]:
    """(scale, seed, weights kept by both tickets, weights kept by one)."""
    torch.set_num_threads(1)
    task = load_task("mnist", data_dir) if scale == "normalised" else raw_mnist(data_dir)
    workload = Workload("lenet_300_100", task)
    masks = [
        make_regime("ISS").find(workload, make_scorer("magnitude"), DENSITY, seed, data_seed=order).mask
        for order in (seed, seed + 1_000_003)
    ]
    return scale, seed, (masks[0] & masks[1]).kept, masks[0].kept


def main() -> None:
    """Print a line for each pair."""
    options = arguments(__doc__, task="mnist", seeds="100-101")
    data_dir = None if options.data_dir is None else str(options.data_dir)
    work = [(scale, seed) for scale in ("normalised", "raw") for seed in options.seeds]
    print("| inputs | seed | kept by both | kept | share |\n|---|---|---|---|---|")
    with open_pool(options.jobs) as pool:
        for scale, seed, both, kept in ordered([partial(shared, data_dir, *pair) for pair in work], pool):
            print(f"| {scale} | {seed} | {both} | {kept} | {both / kept:.3f} |", flush=True)


if __name__ == "__main__":
    run_command(main)
