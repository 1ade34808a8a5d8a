"""What a method is made of, as objects: its scorer, its initial network, the digests of what it reads."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scratchcard.apply.method import OF_PREDICTOR, PREDICTED, Method
from scratchcard.apply.predicted import PredictedScorer
from scratchcard.apply.saw import bimodal, scaled_kaiming, scores_as_weights, signed_constant
from scratchcard.apply.shipped import load_tickets, opened, shipped
from scratchcard.apply.stacked import StackedScorer
from scratchcard.apply.ticket_library import TicketLibrary, Transplanted, put_signs, put_values
from scratchcard.artefacts.digest import sha256
from scratchcard.meta.bundle import load_bundle
from scratchcard.meta.predictor import Predictor
from scratchcard.pruning.modes import scored_by
from scratchcard.pruning.parameters import prunable
from scratchcard.scorers import make_scorer
from scratchcard.scorers.scorer import Scorer
from scratchcard.scorers.stored_scores import Shared
from scratchcard.workloads.workload import Workload


def scorer(method: Method, density: float, seed: int, shared: Shared | None) -> Scorer:
    """See `Method.make_scorer`.

    Examples:
        >>> scorer(Method("synflow", on="snip"), density=0.1, seed=0, shared=None)
        StackedScorer(first=SNIP(), second=SynFlow(), negatives='keep', every_round=False)
    """
    second = _single(method, method.scorer, density, seed, shared)
    if method.on is None:
        return second
    first = _single(method, method.on, density, seed, shared)
    return StackedScorer(first, second, "zero" if method.on == PREDICTED else "keep", method.restack)


def initial_network(
    method: Method, workload: Workload, density: float, seed: int, shared: Shared | None, **placement: Any
) -> nn.Module:
    """See `Method.start`.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task, sc.Recipe(max_steps=10, batch_size=32))
        >>> method = Method("snip", initial="saw", initial_scorer="magnitude")
        >>> network = initial_network(method, workload, 0.5, seed=0, shared=None)
        >>> float(network.weight.data.abs().max())  # scores, scaled to [-1, 1]
        1.0
    """
    network = workload.build(seed, **placement)
    if method.initial == "given":
        return network
    weights = prunable(network)
    whole = {name: weights[name].detach().clone() for name in method.make_regime().left_out(network)}
    if method.initial == "bimodal":
        bimodal(network, generator=torch.Generator().manual_seed(seed))
    elif method.initial == "constant":
        signed_constant(network)
    elif method.initial == "scaled_kaiming":
        scaled_kaiming(network, density, generator=torch.Generator().manual_seed(seed))
    elif method.initial == "transplanted":
        put_values(network, _tickets(method).alike(network, density))
    elif method.initial == "signed":
        laid = _tickets(method).lay(network, workload.scoring_batch(seed, **placement), density)
        if laid is not None:
            put_signs(network, laid.signs)
    elif method.initial_scorer is not None:
        batch = workload.scoring_batch(seed, **placement)
        first = _single(method, method.initial_scorer, density, seed, shared)
        with scored_by(network, method.make_regime().statistics):
            scores = first(network, batch, workload.task.loss)
        scores_as_weights(network, scores, scale="unit" if method.initial == "saw" else "variance")
    with torch.no_grad():
        for name, value in whole.items():  # what is left out of pruning, a frozen layer say, keeps its values
            weights[name].copy_(value)
    return network


def predictor_digest(predictor: str) -> str:
    """Of all that decides the scores: the predictor's, and its tickets' where they are used.

    Examples:
        >>> predictor_digest("default") == predictor_digest("policy")  # with stored tickets, and without
        False
    """
    folder, tickets = opened(predictor)
    digest = predictor_of(str(folder)).digest
    return digest if tickets is None else sha256([f"{digest} {tickets.digest}"])


def _single(method: Method, wanted: str | Scorer, density: float, seed: int, shared: Shared | None) -> Scorer:
    if wanted not in OF_PREDICTOR:
        return _shared(make_scorer(wanted, seed), shared)
    if wanted != PREDICTED:
        return Transplanted(_tickets(method), density, wanted == "transplanted_layers", seed)
    folder, tickets = opened(str(method.predictor))
    source = str(method.predictor_name or method.predictor)
    return _shared(PredictedScorer(predictor_of(str(folder)), density, source, tickets), shared)


def _tickets(method: Method) -> TicketLibrary:
    tickets = load_tickets(shipped(str(method.predictor))[0])
    if tickets is None:
        raise ValueError(f"the predictor {method.predictor} holds no tickets, which {method.label!r} asks for")
    return tickets


def _shared(scorer: Scorer, shared: Shared | None) -> Scorer:
    return scorer if shared is None else shared.of(scorer)


def predictor_of(folder: str) -> Predictor:
    """The bundle's predictor, read and checked once as long as its manifest stays the same; errors as of `load_bundle`.

    Examples:
        >>> predictor_of(str(shipped("policy")[0])) is predictor_of(str(shipped("policy")[0]))
        True
    """
    return _load(folder, (Path(folder) / "manifest.json").read_bytes() if Path(folder).is_dir() else b"")


@lru_cache(maxsize=8)
def _load(folder: str, _manifest: bytes) -> Predictor:
    return load_bundle(folder)
