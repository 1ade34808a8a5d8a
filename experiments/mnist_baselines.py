"""Table 1: LeNet-300-100 on MNIST at density 0.005, every criterion, upfront and iterative.

    python -m experiments.mnist_baselines --jobs 2

Runs that are done are not run again; the records lie in `runs/mnist_baselines`. Prints the table and writes it, with
a line for each run and a picture, to `results/`.
"""

from __future__ import annotations

from apply.experiment import Experiment
from apply.method import Method
from apply.sweep import run_all
from experiments.options import arguments, publish
from workloads.tasks import load_task
from workloads.workload import Workload

DENSITY = 0.005
MULTI_SHOT = ("snip", "grasp", "grasp_abs", "synflow", "synflow_l2_data")


def methods() -> list[Method]:
    """Random and magnitude do not look at the mask, so that one shot and many are the same for them."""
    upfront = [Method("random"), Method("magnitude")]
    upfront += [Method(scorer, regime=regime) for scorer in MULTI_SHOT for regime in ("USS", "UMS")]
    slow = [Method("magnitude", regime="ISS"), Method("synflow", regime="IMS"), Method("snip", regime="IMS")]
    return upfront + slow


def main() -> None:
    """Run what is missing, print and publish."""
    options = arguments(__doc__, task="mnist", seeds="100-104")
    workload = Workload("lenet_300_100", load_task(options.task, options.data_dir))
    experiments = [Experiment(workload, method, DENSITY, seed) for method in methods() for seed in options.seeds]
    name = f"{options.task}_baselines"
    results = run_all(
        experiments, options.runs / name, jobs=options.jobs, device=options.device, progress=options.progress(name)
    )
    publish(results, options.results, name, f"{options.task}, LeNet-300-100, density {DENSITY}")


if __name__ == "__main__":
    main()
