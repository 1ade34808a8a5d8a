"""Method: everything that decides which ticket is found, in one value."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from scratchcard.apply.predicted import PredictedScorer
from scratchcard.apply.saw import bimodal, scores_as_weights
from scratchcard.apply.shipped import SHIPPED, load_tickets, shipped
from scratchcard.apply.stacked import StackedScorer
from scratchcard.apply.ticket_library import TicketLibrary, Transplanted, put_signs, put_values
from scratchcard.artefacts.digest import sha256
from scratchcard.meta.bundle import load_bundle
from scratchcard.meta.predictor import Predictor
from scratchcard.pruning.mask import SCOPES, Scope
from scratchcard.pruning.schedules import SCHEDULES, check_density
from scratchcard.regimes import REGIMES, Regime, make_regime
from scratchcard.registry import lookup, members
from scratchcard.scorers import SCORERS, make_scorer
from scratchcard.scorers.scorer import Scorer
from scratchcard.scorers.stored_scores import Shared
from scratchcard.workloads.workload import Workload

PREDICTED = "predicted"
TRANSPLANTED = "transplanted"
TRANSPLANTED_LAYERS = "transplanted_layers"
OF_PREDICTOR = (PREDICTED, TRANSPLANTED, TRANSPLANTED_LAYERS)
"""Scorers that read a predictor or its stored tickets."""
INITIAL = ("given", "saw", "saw_variance", "bimodal", "signed", "transplanted")
SHOTS = 10


@dataclass(frozen=True)
class Method:
    """A scorer, perhaps on another's scores, in a regime, from some initial weights.

    Attributes:
        scorer: a registered name, or `predicted` for the predictor's scores; `transplanted` for the mask of the first
            of its stored tickets that has the network's layout, as it lies, `transplanted_layers` for random weights,
            as many of each layer as that ticket has.
        on: stacked scoring: the scorer whose scores stand in for the weights, or None.
        predictor: the bundle's folder, or the name of one that is shipped, for these.
        regime: USS, UMS, ISS or IMS.
        rounds: pruning rounds; None takes the regime's default (1, 100, 10, 10).
        shots: scoring and pruning steps after each training, for IMS.
        schedule: density after each round.
        scope: compare all weights with each other (`global`) or each layer's among themselves (`layer`, `expected`):
            see `keep_top`.
        rewind_step: for iterative regimes: rewind to the weights after this many steps (0 = initialisation).
        towards: for iterative regimes: the last density of the path whose rounds all densities share, see `Iterative`.
        round_steps: for iterative regimes: training steps of each round, at most; None takes the recipe's.
        initial: `given`, or `saw`, `saw_variance` (weights from the scores of `initial_scorer`), or `bimodal`;
            `signed`: as given, with the signs of the stored ticket that the predictor lays into the network (as given
            where it has none); `transplanted`: the stored ticket's own weights.
        initial_scorer: for `saw` and `saw_variance`.
        restack: stacked scoring in several rounds: the first scorer scores anew in every round, as in the source of the
            idea, not once at the start.
        predictor_name: the predictor's name in tables; None takes its family.
        predictor_identity: digest of all that the predictor is fitted from, where that is known before it is fitted (in
            grids); it stands for the bundle's own digest.

    Raises:
        ValueError: unknown names, or parts that do not go together.
    """

    scorer: str
    on: str | None = None
    predictor: str | None = None
    regime: str = "USS"
    rounds: int | None = None
    shots: int = SHOTS
    schedule: str = "exponential"
    scope: Scope = "global"
    rewind_step: int = 0
    initial: Literal["given", "saw", "saw_variance", "bimodal", "signed", "transplanted"] = "given"
    initial_scorer: str | None = None
    towards: float | None = None
    restack: bool = False
    predictor_name: str | None = None
    predictor_identity: str | None = None
    round_steps: int | None = None

    def __post_init__(self) -> None:
        for name in (self.scorer, self.on, self.initial_scorer):
            if name is not None and name not in OF_PREDICTOR:
                lookup(members(SCORERS, "scorers") | dict.fromkeys(OF_PREDICTOR, PredictedScorer), "scorers", name)
        asking = [name for name in (self.scorer, self.on, self.initial_scorer) if name in OF_PREDICTOR]
        asking += [self.initial] if self.initial in ("signed", "transplanted") else []
        if asking and self.predictor is None:
            raise ValueError(
                f"{asking[0]!r} needs a predictor: name a bundle's folder, or the shipped 'default', with --predictor"
            )
        if not asking and self.predictor is not None:
            raise ValueError(f"a predictor was given but the scorer is {self.scorer!r}; use the scorer 'predicted'")
        trains = lookup(REGIMES, "regimes", self.regime).trains
        lookup(SCHEDULES, "schedules", self.schedule)
        if self.scope not in SCOPES:
            raise ValueError(f"unknown scope {self.scope!r}, expected one of {', '.join(SCOPES)}")
        if self.initial not in INITIAL:
            raise ValueError(f"unknown initial weights {self.initial!r}, expected one of {', '.join(INITIAL)}")
        if self.initial.startswith("saw") != (self.initial_scorer is not None):
            raise ValueError(
                "initial weights 'saw' and 'saw_variance' need an initial scorer, the others take none; got "
                f"initial={self.initial!r} with initial_scorer={self.initial_scorer!r}"
            )
        if self.rounds is not None and self.rounds < 1:
            raise ValueError(f"rounds must be at least 1, got {self.rounds}")
        if self.shots < 1:
            raise ValueError(f"shots must be at least 1, got {self.shots}")
        if self.rewind_step < 0:
            raise ValueError(f"the rewind step must be 0 or more, got {self.rewind_step}")
        if self.shots != SHOTS and self.regime != "IMS":
            raise ValueError(f"{self.regime} has no shots: only IMS scores several times after a training")
        if self.rewind_step and not trains:
            raise ValueError(f"{self.regime} does not train, so that there is no step to rewind to")
        if self.restack and (self.on is None or self.regime == "USS"):
            raise ValueError(
                "restack has both scorers of a stack score in every round; it needs a scorer `on` another and several "
                f"rounds, got on={self.on!r} in {self.regime}"
            )
        if self.towards is not None:
            if not trains:
                raise ValueError(f"{self.regime} does not train: it has no rounds to share towards a density")
            check_density(self.towards)
        if self.round_steps is not None and (not trains or self.round_steps < 1):
            raise ValueError(
                f"round_steps are the training steps of a round, at least 1, in a regime that trains; got "
                f"{self.round_steps} in {self.regime}"
            )
        if (self.predictor_name or self.predictor_identity) and self.predictor is None:
            raise ValueError("a predictor's name or identity was given without a predictor")
        if self.schedule != "exponential" and self.regime == "USS":
            raise ValueError("USS prunes once, so that a schedule has no effect; leave it away or use UMS")
        self.make_regime()

    @property
    def label(self) -> str:
        """Short name for tables: `snip`, `synflow on predicted, UMS 100` ..."""
        own = self.predictor_name or (self.predictor if self.predictor in SHIPPED else None)
        names = [name if name != PREDICTED else own or name for name in (self.scorer, self.on) if name]
        name = " on ".join(names) + (" every round" if self.restack else "")
        regime = self.make_regime()
        text = name if self.regime == "USS" else f"{name}, {self.regime} {regime.rounds}"
        text += f" x {self.shots}" if self.shots != SHOTS else ""
        text += f", {self.schedule}" if self.schedule != "exponential" else ""
        text += f", scope {self.scope}" if self.scope != "global" else ""
        text += f", rewind {self.rewind_step}" if self.rewind_step else ""
        text += f" towards {self.towards:g}" if self.towards is not None else ""
        text += f", {self.round_steps} steps a round" if self.round_steps is not None else ""
        return f"{text}, {self.start_label}" if self.start_label else text

    @property
    def start_label(self) -> str:
        """Short name of the initial weights; empty where they are as given."""
        if self.initial == "given":
            return ""
        if self.initial == "transplanted":
            return "with its weights"
        name = self.predictor_name if self.initial_scorer == PREDICTED else None
        return " ".join(filter(None, (self.initial, name or self.initial_scorer)))

    def make_regime(self) -> Regime:
        """The regime object."""
        return make_regime(
            self.regime,
            rounds=self.rounds,
            shots=self.shots,
            schedule=self.schedule,
            scope=self.scope,
            rewind_step=self.rewind_step,
            towards=self.towards,
            round_steps=self.round_steps,
        )

    def make_scorer(self, density: float, seed: int, shared: Shared | None = None) -> Scorer:
        """The scorer object for a final density and a seed (of the random scorer).

        Args:
            density: to reach.
            seed: of the random scorer.
            shared: collects and reuses the scores of whole networks.
        """
        second = self._single(self.scorer, density, seed, shared)
        if self.on is None:
            return second
        first = self._single(self.on, density, seed, shared)
        return StackedScorer(first, second, "zero" if self.on == PREDICTED else "keep", self.restack)

    def start(
        self, workload: Workload, density: float, seed: int, *, shared: Shared | None = None, **placement: Any
    ) -> nn.Module:
        """The network with the initial weights that this method prunes and trains from."""
        network = workload.build(seed, **placement)
        if self.initial == "bimodal":
            bimodal(network, generator=torch.Generator().manual_seed(seed))
        elif self.initial == "transplanted":
            put_values(network, self._tickets().alike(network, density))
        elif self.initial == "signed":
            laid = self._tickets().lay(network, workload.scoring_batch(seed, **placement), density)
            if laid is not None:
                put_signs(network, laid.signs)
        elif self.initial_scorer is not None:
            batch = workload.scoring_batch(seed, **placement)
            scores = self._single(self.initial_scorer, density, seed, shared)(network, batch, workload.task.loss)
            scores_as_weights(network, scores, scale="unit" if self.initial == "saw" else "variance")
        return network

    def describe(self) -> dict[str, Any]:
        """Plain JSON; a predictor is named by the digest of its manifest, not by its path alone.

        Settings that came later than the first results are left out where they are at their default, so that earlier
        runs keep their identity.
        """
        described = dataclasses.asdict(self) | {"rounds": self.make_regime().rounds}
        for late in ("towards", "restack", "predictor_name", "predictor_identity", "round_steps"):
            if described[late] in (None, False):
                del described[late]
        if self.predictor is not None:
            described["predictor_digest"] = self.predictor_identity or self._digest()
        if self.predictor_identity is not None:  # where it lies in the folder of results, wherever that is
            described["predictor"] = f"predictors/{self.predictor_identity}"
        return described

    def _single(self, name: str, density: float, seed: int, shared: Shared | None) -> Scorer:
        if name == PREDICTED:
            folder, with_tickets = shipped(str(self.predictor))
            tickets = load_tickets(folder) if with_tickets else None
            return _shared(
                PredictedScorer(_predictor(str(folder)), density, str(self.predictor_name or self.predictor), tickets),
                shared,
            )
        if name in (TRANSPLANTED, TRANSPLANTED_LAYERS):
            return Transplanted(self._tickets(), density, name == TRANSPLANTED_LAYERS, seed)
        return _shared(make_scorer(name, seed), shared)

    def _tickets(self) -> TicketLibrary:
        tickets = load_tickets(shipped(str(self.predictor))[0])
        if tickets is None:
            raise ValueError(f"the predictor {self.predictor} holds no tickets, which {self.label!r} asks for")
        return tickets

    def _digest(self) -> str:
        """Of all that decides the scores: the predictor's, and its tickets' where they are used."""
        folder, with_tickets = shipped(str(self.predictor))
        tickets = load_tickets(folder) if with_tickets else None
        digest = _predictor(str(folder)).digest
        return digest if tickets is None else sha256([f"{digest} {tickets.digest}"])


def _shared(scorer: Scorer, shared: Shared | None) -> Scorer:
    return scorer if shared is None else shared.of(scorer)


def _predictor(folder: str) -> Predictor:
    """The bundle's predictor, read and checked once as long as its manifest stays the same."""
    return _load(folder, (Path(folder) / "manifest.json").read_bytes() if Path(folder).is_dir() else b"")


@lru_cache(maxsize=8)
def _load(folder: str, _manifest: bytes) -> Predictor:
    return load_bundle(folder)
