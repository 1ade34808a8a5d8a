"""PolicySearch: coefficients of a multi-shot predictor, found by the accuracy of the tickets that it leads to."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from scratchcard.apply.predicted import PredictedScorer
from scratchcard.artefacts.json_file import as_read, parse_object, write_json
from scratchcard.artefacts.leases import Leases
from scratchcard.artefacts.version import versions
from scratchcard.dataset_builder.features import column
from scratchcard.meta.predictor import Predictor
from scratchcard.meta.predictors.multishot import CLOCK, arrays
from scratchcard.pruning.state import load_state
from scratchcard.regimes import make_regime
from scratchcard.settings import settings_of
from scratchcard.workers.pool import open_pool, ordered
from scratchcard.workloads.engines.training import train
from scratchcard.workloads.engines.trajectory import Diverged
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.session import Session
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload

START = {"stepped_ln": 1.0, "path_ln": 1.0}
"""Where the search begins: `|w + d|` times the paths through the weight, the same in all rounds."""

SCALES = {
    "magnitude_ln": 1.0,
    "step_ln": 1.0,
    "stepped_ln": 1.0,
    "growth": 3.0,
    "path_ln": 1.0,
    "row_share_ln": 1.0,
    "column_share_ln": 1.0,
    "slope_correlation": 5.0,
    "slope_correlation_ln": 1.0,
    "output_correlation": 3.0,
    "output_correlation_size": 3.0,
    "company": 1.0,
    "input_spread_ln": 1.0,
    "slope_size_ln": 1.0,
    "fan_in": 2.0,
    "fan_out": 2.0,
    "first_layer": 1.0,
    "last_layer": 1.0,
}
"""The features, and in which unit their coefficients are searched: about one over the feature's spread."""


@dataclass(frozen=True)
class PolicySearch:
    """CMA-ES (Hansen 2016, arXiv 1604.00772; the package `cmaes`) over coefficients and drift.

    What is maximised is `-ln(1 - accuracy)` on the validation splits of some tasks, of the tickets that the
    coefficients find, trained by the recipe; so one task's halved error counts as much as another's. All candidates of
    a generation meet the same initialisations, one a task, each generation others; none is used by an experiment. No
    test split is read. The result is the distribution's mean after the last generation: no choice of a best.

    A generation's accuracies are kept in a file, from which an interrupted search goes on.

    Attributes:
        tasks, network: of the workloads.
        networks: of each task's workload, where they differ; empty: all have `network`.
        recipe: of the tickets' training, where it is not the default one.
        regime: in which the coefficients are used, with its settings, such as `{"regime": "EMS", "rounds": 15}`; empty:
            UMS.
        tuned: settings of the regime that are searched too, in logarithms: where each begins, and its scale.
        density: of the tickets.
        rounds: pruning rounds.
        generations, population: of the search.
        first_seed, seeds: initialisations are drawn from `first_seed` on, among so many.
        sigma: first step size.
        seed: of the search.
        features: names and scales.
        start: coefficients to begin with; the others, and all drift, begin at 0.
        drift: whether coefficients may change from round to round.

    Examples:
        >>> PolicySearch(generations=2).population
        16
    """

    tasks: tuple[str, ...] = ("mnist", "mnist_blurred", "mnist_thick", "mnist_background", "mnist_textured")
    network: str = "lenet_300_100"
    density: float = 0.005
    rounds: int = 16
    generations: int = 14
    population: int = 16
    first_seed: int = 10_000
    seeds: int = 10_000
    sigma: float = 0.15
    seed: int = 0
    features: dict[str, float] = field(default_factory=lambda: dict(SCALES))
    start: dict[str, float] = field(default_factory=lambda: dict(START))
    drift: bool = True
    networks: tuple[str, ...] = ()
    recipe: dict[str, Any] = field(default_factory=dict)
    regime: dict[str, Any] = field(default_factory=dict)
    tuned: dict[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.networks and len(self.networks) != len(self.tasks):
            raise ValueError(f"{len(self.networks)} networks for {len(self.tasks)} tasks; name one for each")
        self._regime({})

    def run(
        self,
        file: str | Path,
        session: Session | None = None,
        *,
        data_dir: str | None = None,
        log: Callable[[str], None] | None = None,
        **how: Any,
    ) -> Predictor:
        """Search, or go on where `file` ends.

        Raises:
            ValueError: the file is of a search with other settings, or damaged.
            OSError: another search writes it now, or nothing can be written there.
        """
        from cmaes import CMA

        file, session = Path(file), Session.of(session, **how)
        widths = [scale for _, scale in self.tuned.values()]
        scales = np.array([*self.features.values()] * (2 if self.drift else 1) + widths)
        begin = np.zeros(len(scales))
        for name, value in self.start.items():
            begin[list(self.features).index(name)] = value
        begin[len(begin) - len(self.tuned) :] = [math.log(value) for value, _ in self.tuned.values()]
        search = CMA(mean=begin / scales, sigma=self.sigma, population_size=self.population, seed=self.seed)
        self._read(file)  # refuses another search's
        draw = np.random.default_rng(self.seed)
        with contextlib.ExitStack() as stack:
            leases = stack.enter_context(Leases(file.parent / f".{file.name}.leases"))
            if not leases.take("search"):
                raise OSError(f"another search writes {file}: let it end, or name another file")
            done = self._read(file)
            pool = stack.enter_context(open_pool(session.jobs, session.dask, session.device))
            for generation in range(self.generations):
                candidates = [search.ask() for _ in range(self.population)]
                seeds = self.first_seed + draw.choice(self.seeds, len(self.tasks), replace=False)
                if generation >= len(done):
                    networks = self.networks or (self.network,) * len(self.tasks)
                    meets = list(zip(self.tasks, networks, seeds.tolist(), strict=True))
                    calls = [
                        partial(self._accuracy, data_dir, str(session.device), scales * candidate, *meet)
                        for candidate in candidates
                        for meet in meets
                    ]
                    values = []
                    for value in ordered(calls, pool, what="training"):
                        values.append(value)
                        if session.progress is not None:
                            session.progress(generation * len(calls) + len(values), self.generations * len(calls))
                    done.append(np.reshape(values, (self.population, len(self.tasks))).tolist())
                    write_json(file, {"settings": self._settings(), "generations": done}, indent=None)
                errors = np.log(1 - np.minimum(np.array(done[generation]), 0.9999)).mean(axis=1)
                search.tell([(candidate, float(error)) for candidate, error in zip(candidates, errors, strict=True)])
                if log is not None:
                    found = np.median(done[generation], axis=0)
                    told = ", ".join(f"{task} {100 * a:.2f} %" for task, a in zip(self.tasks, found, strict=True))
                    log(f"generation {generation + 1}: median {told}")
        medians = [np.median(accuracies, axis=0).round(4).tolist() for accuracies in done[: self.generations]]
        training = {"search": asdict(self), "median_accuracies": medians}
        return self.predictor(scales * search.mean, training | {"versions": versions()})

    def predictor(self, theta: np.ndarray, training: dict[str, Any] | None = None) -> Predictor:
        """The predictor of coefficients, drift if it is searched, and logarithms of tuned settings, in this order."""
        names, half = list(self.features), len(self.features)
        columns = tuple(column(name) for name in (*names, CLOCK))
        drift = theta[half : 2 * half] if self.drift else np.zeros(half)
        found = arrays(np.append(theta[:half], 0.0), np.append(drift, 0.0), half)
        tuned = dict(zip(self.tuned, np.exp(theta[len(theta) - len(self.tuned) :]).tolist(), strict=True))
        options = self._regime(tuned)
        return Predictor("multishot", "regression", "kept", columns, found, options, training or {})

    def accuracy(self, predictor: Predictor, workload: Workload, seed: int, device: str = "cpu") -> float:
        """Validation accuracy of the ticket that a predictor finds in its own regime, after training.

        Nought where the search's training diverges.
        """
        settings = dict(predictor.options)
        regime = make_regime(settings.pop("regime"), **settings)
        session, scorer = Session(device), PredictedScorer(predictor, self.density)
        try:
            found = regime.find(workload, scorer, self.density, seed, session)
        except Diverged:
            return 0.0
        network = workload.build(seed, device=device)
        load_state(network, dict(found.start))
        return train(
            network, workload.task, workload.recipe, mask=found.mask.to(device), seed=seed, device=device
        ).best_validation_metric

    def _regime(self, tuned: Mapping[str, float]) -> dict[str, Any]:
        """Name and settings of the regime, as a bundle has them.

        Raises:
            ValueError: a regime or a setting that there is not, or a value that it cannot have.
        """
        settings: dict[str, Any] = {"regime": "UMS", "rounds": self.rounds} | self.regime
        name = settings.pop("regime")
        known = {setting: value for setting, (value, _) in self.tuned.items()} | dict(tuned)
        for setting, value in known.items():
            declared = settings_of(type(make_regime(name, **settings)))[setting]
            value = value if declared.high is None else min(value, declared.high)
            settings[setting] = max(1, round(value)) if declared.plain_type is int else value
        make_regime(name, **settings)
        return {"regime": name} | settings

    def _accuracy(
        self, data_dir: str | None, device: str, theta: np.ndarray, task: str, network: str, seed: int
    ) -> float:
        workload = _workload(task, network, data_dir, json.dumps(self.recipe))
        return self.accuracy(self.predictor(theta), workload, seed, device)

    def _read(self, file: Path) -> list[list[list[float]]]:
        if not file.exists():
            return []
        try:
            found = parse_object(file.read_bytes())
            settings, done = found["settings"], found["generations"]
            if np.shape(done)[1:] not in ((), (self.population, len(self.tasks))):
                raise ValueError("generations of another size")
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file} is no record of a search ({error}); move it away to begin anew") from error
        if settings != self._settings():
            raise ValueError(f"{file} is of a search with other settings; move it away, or search with those")
        return list(done)

    def _settings(self) -> dict[str, Any]:
        """All but how long to search, which a longer search goes on from, and what came later and is not used."""
        later = ("networks", "recipe", "regime", "tuned")
        known = {name: value for name, value in asdict(self).items() if value or name not in later}
        known.pop("generations")
        return as_read(known)


@lru_cache(maxsize=8)
def _workload(task: str, network: str, data_dir: str | None, recipe: str) -> Workload:
    return Workload(network, load_task(task, data_dir), Recipe(**json.loads(recipe)))
