"""Build a score table: features and slow targets of every prunable weight, for a workload and a list of seeds."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import torch
from joblib.externals.loky.process_executor import BrokenProcessPool

from scratchcard.artefacts.store import Store
from scratchcard.artefacts.version import RESULTS_VERSION, versions
from scratchcard.dataset_builder.features import FEATURES, compute_features
from scratchcard.dataset_builder.targets import TARGETS, Targets
from scratchcard.regimes import Found, Regime, make_regime
from scratchcard.score_tables.table import (
    TABLE_VERSION,
    ScoreTable,
    TableBlock,
    TableFile,
    TableSchema,
    TableWriter,
    file_name,
    read_manifest,
    write_manifest,
)
from scratchcard.score_tables.writer import MANIFEST
from scratchcard.scorers import make_scorer
from scratchcard.workers.worker import WorkerWarnings, without_interrupts, worker_warnings
from scratchcard.workloads.workload import Workload

REPEAT_OFFSET = 1_000_003
"""Added to the seed for the data order of the second slow ticket."""

SeedProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Recording:
    """Which slow regime gives the targets, and what is recorded of it.

    Attributes:
        regime: USS, UMS, ISS or IMS; IMS with SynFlow is the source thesis' target, ISS with magnitude is IMP.
        scorer: a registered scorer.
        density: of the slow ticket.
        rounds: pruning rounds; None takes the regime's default.
        shots: scoring and pruning steps after each training, for IMS.
        every_round: also a row for each kept weight after each round but the last, with the features of the masked
            network; otherwise only the dense network's rows (round 0).
        repeat: run the slow regime a second time with another data order and record what it keeps: the noise ceiling.

    Examples:
        >>> Recording("ISS", "magnitude", density=0.02).make_regime().rounds
        10
    """

    regime: str = "IMS"
    scorer: str = "synflow"
    density: float = 0.005
    rounds: int | None = None
    shots: int = 10
    every_round: bool = False
    repeat: bool = False

    def make_regime(self) -> Regime:
        """The regime object."""
        return make_regime(self.regime, rounds=self.rounds, shots=self.shots)

    def describe(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "regime": self.regime,
            "scorer": repr(make_scorer(self.scorer)),
            "settings": repr(self.make_regime()),
            "density": self.density,
            "every_round": self.every_round,
            "repeat": self.repeat,
        }


def build(
    workload: Workload,
    seeds: Sequence[int],
    out: str | Path,
    recording: Recording | None = None,
    *,
    jobs: int = 1,
    device: torch.device | str = "cpu",
    store: Store | None = None,
    progress: SeedProgress | None = None,
) -> ScoreTable:
    """Write the score table of `workload` for `seeds` into the folder `out`; one Parquet file a seed.

    A seed whose file is whole is not built again, so a second call with the same arguments does nothing and a call
    after an interruption goes on, within a seed at the slow regime's first unfinished round. More seeds may be added
    to a table later.

    Args:
        workload: network, task, recipe.
        seeds: of the initialisations.
        out: folder of the table.
        recording: the slow regime; IMS with SynFlow by default.
        jobs: seeds built at once, each in a process with one torch thread.
        device: where to score and train.
        store: where the slow regime's trainings are kept, for others to share; by default a hidden folder of the
            table's own, removed seed by seed.
        progress: called with (done, total): seeds with several jobs, the slow regimes' training steps with one.

    Returns:
        The table, opened.

    Raises:
        ValueError: no or doubled seeds, or `out` holds a table made with other settings.
        OSError: nothing can be written to `out`, or a worker process died.

    Examples:
        >>> import tempfile
        >>> workload = sc.Workload("lenet_300_100", sc.load_task("digits"))
        >>> table = build(workload, seeds=[0], out=tempfile.mkdtemp(), recording=Recording("USS", "magnitude", 0.1))
        >>> table.rows, len(table.schema.targets)
        (50200, 5)
    """
    out = Path(out)
    recording = recording or Recording()
    seeds = list(seeds)
    if not seeds or len(set(seeds)) != len(seeds):
        raise ValueError(f"expected at least one seed and each only once, got {seeds}")
    if workload.weights is not None and len(seeds) > 1:
        raise ValueError(
            f"with fixed weights ({workload.weights}) all seeds are the same network, so that a split by seed would "
            "hold nothing out; build one seed, or leave the weights away"
        )
    _claim(out, workload, recording)
    missing = [seed for seed in seeds if not _is_whole(out / file_name(workload.name, seed))]
    if jobs == 1:
        for position, seed in enumerate(missing):
            _build_seed(workload, seed, out, recording, device, store, _scaled(progress, position, len(missing)))
    elif missing:
        pool = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
        work = (joblib.delayed(_in_worker)(workload, seed, out, recording, str(device), store) for seed in missing)
        results = None
        try:
            with without_interrupts():
                results = pool(work)
            for done, caught in enumerate(results, start=1):
                caught.show_again()
                if progress is not None:
                    progress(done, len(missing))
        except BrokenProcessPool as error:
            raise OSError(
                f"a worker process died while {out} was built (killed, or out of memory?): what is finished is kept; "
                "run the same command again, with fewer jobs if memory is short"
            ) from error
        finally:
            if results is not None:
                with warnings.catch_warnings():  # an interruption cancels what is left, as it should
                    warnings.filterwarnings("ignore", ".*tasks which were still being processed")
                    results.close()
    if missing:
        _complete_manifest(out)
    return ScoreTable.open(out)


def _is_whole(path: Path) -> bool:
    """Whether a seed's file is there and can be read; a damaged one is built again."""
    try:
        TableFile.open(path)
    except (FileNotFoundError, ValueError):
        return False
    return True


def _in_worker(
    workload: Workload, seed: int, out: Path, recording: Recording, device: str, store: Store | None
) -> WorkerWarnings:
    torch.set_num_threads(1)
    with worker_warnings() as caught:
        _build_seed(workload, seed, out, recording, device, store, None)
    return caught


def _build_seed(
    workload: Workload,
    seed: int,
    out: Path,
    recording: Recording,
    device: torch.device | str,
    store: Store | None,
    progress: SeedProgress | None,
) -> None:
    begin = time.perf_counter()
    rounds = out / ".rounds" / workload.name
    own = Store(rounds / f"seed{seed}")
    found = _search(workload, seed, recording, device, store or own, 0, progress)
    repeat = None
    if recording.repeat:
        repeat = _search(workload, seed, recording, device, store or own, REPEAT_OFFSET, progress)
    targets = Targets(found, repeat)
    network = workload.build(seed, device=device)
    network.load_state_dict(dict(found.start))
    batch = workload.scoring_batch(seed, device=device)
    schema = TableSchema(TABLE_VERSION, (*FEATURES, *TARGETS))
    metadata = {
        "slow_seconds": found.seconds,
        "seconds": time.perf_counter() - begin,
        "kept": found.mask.kept,
        "kept_by_both": None if repeat is None else (found.mask & repeat.mask).kept,
        "training": [dict(entry) for entry in found.training],
        "scoring_batch": {
            "examples": len(batch[1]),
            "seed": seed,
            "balanced": workload.recipe.scoring_balanced,
        },
    }
    with TableWriter(schema, out / file_name(workload.name, seed), workload.name, seed, metadata) as writer:
        for number in range(found.rounds if recording.every_round else 1):
            mask = None if number == 0 else found.mask_after(number).to(device)
            for block in compute_features(network, batch, workload.task.loss, mask=mask, density=recording.density):
                columns = {name: block.values[:, i] for i, name in enumerate(block.names)}
                columns |= targets.columns(block.parameter, block.indices, number)
                writer.write(TableBlock(workload.name, seed, number, block.parameter, block.indices, columns))
    shutil.rmtree(own.folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # other seeds' rounds may still be there
        rounds.rmdir()
        rounds.parent.rmdir()


def _search(
    workload: Workload,
    seed: int,
    recording: Recording,
    device: torch.device | str,
    store: Store,
    offset: int,
    progress: SeedProgress | None,
) -> Found:
    half = None if progress is None or not recording.repeat else _scaled(progress, int(offset > 0), 2)
    return recording.make_regime().find(
        workload,
        make_scorer(recording.scorer, seed),
        recording.density,
        seed,
        data_seed=seed + offset,
        device=device,
        store=store,
        progress=half or progress,
    )


def _scaled(progress: SeedProgress | None, part: int, parts: int) -> SeedProgress | None:
    """Progress of one part out of several equal ones, in thousandths of a part."""
    if progress is None:
        return None
    return lambda done, total: progress(1000 * part + 1000 * done // max(1, total), 1000 * parts)


def _claim(out: Path, workload: Workload, recording: Recording) -> None:
    """Note in the manifest what this folder's table is made of; refuse a folder made with other settings."""
    versions_asked = {"table_version": TABLE_VERSION, "results_version": RESULTS_VERSION}
    asked = {"recording": recording.describe(), "workload": workload.describe()} | versions_asked
    asked = json.loads(json.dumps(asked))
    manifest = read_manifest(out) if (out / MANIFEST).exists() else {}
    if manifest and not isinstance(manifest.get("workloads"), dict):
        raise ValueError(f"{out / MANIFEST} is not the manifest of a score table; choose another folder")
    if not manifest and any(out.glob("*.parquet")):
        raise ValueError(f"{out} holds score files without a {MANIFEST}; choose another folder")
    stored = {
        "recording": manifest.get("recording", asked["recording"]),
        "workload": manifest.get("workloads", {}).get(workload.name, asked["workload"]),
    } | {name: manifest.get(name, asked[name]) for name in versions_asked}
    differs = [key for key in asked if stored[key] != asked[key]]
    if differs:
        raise ValueError(
            f"{out} holds a table made with another {' and '.join(differs)}; choose another folder or delete it"
        )
    if not manifest or workload.name not in manifest["workloads"]:
        workloads = manifest.get("workloads", {}) | {workload.name: asked["workload"]}
        claim = {"recording": asked["recording"], "workloads": workloads} | versions_asked
        write_manifest(out, manifest | claim)


def _complete_manifest(out: Path) -> None:
    """Add to the manifest all whole files of the folder, with their digests."""
    table = ScoreTable.open(out)
    found = {
        "seeds": {name: list(seeds) for name, seeds in table.seeds.items()},
        "rows": table.rows,
        "columns": [vars(column) for column in table.schema.columns],
        "files": {file.path.name: file.digest for file in table.files},
        "digest": table.digest,
        "versions": versions(),
    }
    write_manifest(out, read_manifest(out) | found)
