"""Fitting a predictor on a score table, split by seed or workload."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from scratchcard.artefacts.digest import file_digest
from scratchcard.artefacts.version import versions
from scratchcard.meta.arrays import plain
from scratchcard.meta.evaluation import evaluate_predictor
from scratchcard.meta.parts import Key
from scratchcard.meta.predictor import Predictor, check_objective
from scratchcard.meta.predictors import PREDICTORS, Family, Progress
from scratchcard.meta.rows import Rows, networks_of
from scratchcard.registry import lookup
from scratchcard.score_tables.schema import THESIS_FEATURES
from scratchcard.score_tables.table import ScoreTable, check_known, digest_of
from scratchcard.settings import make
from scratchcard.workers.cluster import open_cluster

TARGETS = {"regression": "score", "classification": "kept", "ranking": "kept"}
"""What an objective is fitted to by default."""


@dataclass(frozen=True)
class Split:
    """Networks (workload and seed) to fit on and to hold out; never a part of one network's rows.

    Examples:
        >>> Split(train=(("lenet-digits", 0),), held_out=(("lenet-digits", 1),)).held_out
        (('lenet-digits', 1),)
    """

    train: tuple[Key, ...]
    held_out: tuple[Key, ...]


def split_networks(
    table: ScoreTable,
    *,
    train_seeds: Sequence[int] | None = None,
    held_out_seeds: Sequence[int] | None = None,
    held_out_workloads: Sequence[str] | None = None,
) -> Split:
    """Who is fitted on and who is held out.

    Without `held_out_workloads`: the held-out seeds of all workloads against the train seeds (by default all
    the others). Without held-out seeds either: the seeds that are not trained on, or, where no train seeds are
    given, the last of two or more; `held_out_seeds=()` holds out none. With `held_out_workloads`: those
    workloads are held out (their `held_out_seeds`, by default all), the others are fitted on (their
    `train_seeds`, by default all).

    Raises:
        ValueError: a seed or workload that the table lacks, a seed on both sides, or nothing to fit on.

    Examples:
        >>> workload = sc.Workload("lenet_300_100", sc.Task.of(torch.rand(40, 4), torch.arange(40) % 2))
        >>> table = sc.build(workload, [0, 1], "split", sc.Recording("USS", "magnitude", 0.1))
        >>> split_networks(table)
        Split(train=(('lenet_300_100-own', 0),), held_out=(('lenet_300_100-own', 1),))
        >>> split_networks(table, train_seeds=[1]).held_out
        (('lenet_300_100-own', 0),)
    """
    networks = networks_of(table)
    seeds = sorted({seed for _, seed in networks})
    check_known("seed", train_seeds, seeds)
    check_known("seed", held_out_seeds, seeds)
    check_known("workload", held_out_workloads, [*table.seeds])
    apart = set(held_out_workloads or ())
    if apart:
        train = [key for key in networks if key[0] not in apart and _among(key[1], train_seeds)]
        held_out = [key for key in networks if key[0] in apart and _among(key[1], held_out_seeds)]
    else:
        both = sorted(set(train_seeds or ()) & set(held_out_seeds or ()))
        if both:
            raise ValueError(
                f"seed {', '.join(map(str, both))} is both trained on and held out; give each seed to one side"
            )
        held = set(_held_out_by_default(seeds, train_seeds) if held_out_seeds is None else held_out_seeds)
        train = [key for key in networks if key[1] not in held and _among(key[1], train_seeds)]
        held_out = [key for key in networks if key[1] in held]
    if not train:
        raise ValueError("no network is left to fit on: hold out fewer seeds or workloads")
    return Split(tuple(train), tuple(held_out))


def _held_out_by_default(seeds: Sequence[int], train_seeds: Sequence[int] | None) -> Sequence[int]:
    if train_seeds is not None:
        return [seed for seed in seeds if seed not in train_seeds]
    return seeds[-1:] if len(seeds) > 1 else ()


def _among(seed: int, seeds: Sequence[int] | None) -> bool:
    return seeds is None or seed in seeds


def make_family(name: str, **options: Any) -> Family:
    """The family with its options.

    Raises:
        ValueError: an unknown family or option.

    Examples:
        >>> make_family("tree", leaves=8)
        Tree(leaves=8, depth=None, leaf_rows=20, balanced=False)
    """
    return make(lookup(PREDICTORS, "predictors", name), name, options)


def fit(
    table: ScoreTable,
    family: str,
    *,
    objective: str | None = None,
    target: str | None = None,
    features: Sequence[str] | None = None,
    train_seeds: Sequence[int] | None = None,
    held_out_seeds: Sequence[int] | None = None,
    held_out_workloads: Sequence[str] | None = None,
    rounds: Sequence[int] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    max_rows: int | None = None,
    keep_positives: bool | None = None,
    threads: int = 1,
    evaluate: bool = True,
    dask: str | None = None,
    **options: Any,
) -> Predictor:
    """Fit one family on a table and measure it on the networks trained on and held out.

    Args:
        family: its name in `PREDICTORS`; `options` are its fields.
        objective: regression, classification or ranking; by default classification where the family has it.
        target: the column to learn; by default the score (regression) or kept.
        features: columns in order, `"thesis"` for the source thesis' four, None for all of the table.
        train_seeds, held_out_seeds, held_out_workloads: see `split_networks`.
        rounds: rows of these rounds of the slow regime; by default all.
        max_rows: fit on a sample of so many rows; by default what the family's docstring says.
        keep_positives: whether a sample holds all rows with a positive target, the others weighted up for it;
            by default yes except for regression.
        evaluate: False leaves the metrics empty.
        dask: address of a Dask scheduler whose workers see the table: they read its rows, a part each, and this
            process merges their sums (linear, multishot); LightGBM trains across them (gbm); any other family is
            fitted by one of them, and so is each network's evaluation. Sums differ from one machine's by rounding.

    Raises:
        ValueError: anything unknown, an objective that the family lacks, a classification target other than
            0 and 1 or of one class alone, a seed on both sides, or a target that is NaN.

    Examples:
        >>> import tempfile
        >>> workload = sc.Workload("lenet_300_100", sc.load_task("digits"))
        >>> recording = sc.Recording("USS", "magnitude", 0.1)
        >>> table = sc.build(workload, seeds=[0, 1], out=tempfile.mkdtemp(), recording=recording)
        >>> predictor = fit(table, "linear", features=["magnitude"], train_seeds=[0], held_out_seeds=[1])
        >>> predictor.features, predictor.objective
        (('magnitude',), 'regression')
    """
    made = make_family(family, **options)
    chosen = check_objective(family, objective)
    target = TARGETS[chosen] if target is None else target
    split = split_networks(
        table, train_seeds=train_seeds, held_out_seeds=held_out_seeds, held_out_workloads=held_out_workloads
    )
    names = _features(table, features)
    if target not in table.schema.targets:
        raise ValueError(f"the table has no target {target!r}; it has {', '.join(table.schema.targets) or 'none'}")
    if max_rows is not None and max_rows < 1:
        raise ValueError(f"max_rows must be at least 1, got {max_rows}")
    with open_cluster(dask) as cluster:
        if cluster is not None:
            table = ScoreTable.open(table.path.absolute())  # its workers have other working folders
        rows = Rows(
            table,
            names,
            target,
            split.train,
            rounds=None if rounds is None else tuple(rounds),
            max_rows=made.sample if max_rows is None else max_rows,
            keep_positives=chosen != "regression" if keep_positives is None else keep_positives,
            seed=seed,
            cluster=cluster,
        )
        if chosen == "classification":
            _check_classes(rows)
        settled = partial(made.fit, rows, chosen, seed=seed, threads=threads)
        apart = cluster is not None and not made.by_parts
        arrays = next(rows.by_workers([settled])) if apart else settled(progress=progress)
        columns = tuple(table.schema.column(name) for name in names)
        training = {
            "table_digest": _digest(rows),
            "train": split.train,
            "held_out": split.held_out,
            "rounds": rounds,
            "seed": seed,
            "threads": threads,
            "sampling": rows.sampling,
            "versions": versions(),
        }
        record = {"options": plain(asdict(made)), "training": plain(training)}  # type: ignore[call-overload]
        predictor = Predictor(family, chosen, target, columns, arrays, **record)
        if not evaluate:
            return predictor
        metrics = {
            side: evaluate_predictor(predictor, table, networks=networks, rounds=rounds, cluster=cluster)
            for side, networks in (("train", split.train), ("held_out", split.held_out))
            if networks
        }
        return Predictor(family, chosen, target, columns, arrays, **record, metrics=plain(metrics))


def _features(table: ScoreTable, features: Sequence[str] | None) -> tuple[str, ...]:
    if features is None:
        return table.schema.features
    if isinstance(features, str):
        if features != "thesis":
            raise ValueError(f"features must be a list of names, 'thesis' or None, got {features!r}")
        features = THESIS_FEATURES
    unknown = [name for name in features if name not in table.schema.features]
    if unknown:
        raise ValueError(f"the table has no feature {', '.join(unknown)}; it has {', '.join(table.schema.features)}")
    if not features:
        raise ValueError("a predictor needs at least one feature, got an empty list")
    if len(set(features)) != len(features):
        raise ValueError(f"a feature is named twice: {', '.join(features)}")
    return tuple(features)


def _digest(rows: Rows) -> str:
    """The table's; where there is a cluster its workers read the files."""
    files = rows.table.files
    if rows.cluster is None:
        return rows.table.digest
    return digest_of(rows.by_workers([partial(file_digest, file.path) for file in files]))


def _check_classes(rows: Rows) -> None:
    summary = rows.summary
    if not summary.binary:
        raise ValueError(
            f"classification needs a target of 0 and 1, {rows.target!r} lies in "
            f"[{summary.minimum:g}, {summary.maximum:g}]; use regression"
        )
    if summary.minimum == summary.maximum:
        raise ValueError(f"target {rows.target!r} is {summary.minimum:g} in all training rows: nothing to learn")
