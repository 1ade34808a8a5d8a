"""The study of `mnist_predictors` for LightGBM alone, on inputs that are not normalised (pixels / 255).

    python -m experiments.raw_inputs --jobs 2

Is a predictor better where slow tickets agree better? Held out for its figures are the initialisations that its tickets
are compared on.
"""

from __future__ import annotations

from experiments.mnist_predictors import FITS
from experiments.noise_ceiling import DENSITY, raw_mnist
from experiments.options import arguments, publish, run_command
from scratchcard.apply.experiment import Experiment
from scratchcard.apply.method import Method
from scratchcard.dataset_builder.build import Recording, build
from scratchcard.meta.bundle import save_bundle
from scratchcard.meta.fit import fit
from scratchcard.sweeps.sweep import run_all
from scratchcard.workloads.workload import Workload

TRAIN = (0, 1, 2, 3, 4, 5)


def main() -> None:
    """Run what is missing, print and publish."""
    options = arguments(__doc__, task="mnist", seeds="100-102")
    data_dir = None if options.data_dir is None else str(options.data_dir)
    workload = Workload("lenet_300_100", raw_mnist(data_dir))
    root = options.runs / "raw_inputs"
    table = build(
        workload,
        (*TRAIN, *options.seeds),
        root / "table",
        Recording("ISS", "magnitude", DENSITY),
        jobs=options.jobs,
        progress=options.progress("table"),
    )
    settings = next(wanted for wanted in FITS if wanted.name == "imp-gbm")
    predictor = fit(
        table,
        settings.family,
        objective=settings.objective,
        target=settings.target,
        train_seeds=TRAIN,
        held_out_seeds=options.seeds,
        threads=options.jobs,
        **settings.options,
    )
    bundle = str(save_bundle(predictor, root / "bundle"))
    held = predictor.metrics["held_out"]
    print(f"held out: average precision {held['average_precision']:.3f}, overlap {held['overlap']:.3f}\n")
    methods = [
        Method("predicted", predictor=bundle),
        Method.of("predicted", predictor=bundle, scope="expected"),
        Method("synflow", on="predicted", predictor=bundle, regime="UMS"),
        Method("synflow_l2_data", regime="UMS"),
        Method("magnitude", regime="ISS"),
    ]
    experiments = [Experiment(workload, method, DENSITY, seed) for method in methods for seed in options.seeds]
    results = run_all(experiments, root / "records", jobs=options.jobs, progress=options.progress("tickets"))
    publish(results, options.results, "raw_inputs", f"MNIST not normalised, LeNet-300-100, density {DENSITY}")


if __name__ == "__main__":
    run_command(main)
