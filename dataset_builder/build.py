"""Build a score table: features and slow targets of every prunable weight, for a workload and a list of seeds."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from scratchcard.artefacts.files import written_beside
from scratchcard.artefacts.store import Store
from scratchcard.dataset_builder.features import FEATURES, compute_features
from scratchcard.dataset_builder.recording import Recording
from scratchcard.dataset_builder.table_folder import claim, complete_manifest, is_whole
from scratchcard.dataset_builder.targets import TARGETS, Targets
from scratchcard.regimes import Found
from scratchcard.score_tables.manifest import MANIFEST
from scratchcard.score_tables.schema import TABLE_VERSION, TableBlock, TableSchema
from scratchcard.score_tables.table import ScoreTable
from scratchcard.score_tables.writer import TableWriter, file_name
from scratchcard.scorers import make_scorer
from scratchcard.workers.pool import Call, Died, completed, open_pool
from scratchcard.workers.worker import WorkerWarnings, alone
from scratchcard.workloads.session import Session
from scratchcard.workloads.workload import Workload

REPEAT_OFFSET = 1_000_003
"""Added to the seed for the data order of the second slow ticket."""

__all__ = ["REPEAT_OFFSET", "Recording", "build"]

SeedProgress = Callable[[int, int], None]


def build(
    workload: Workload,
    seeds: Sequence[int],
    out: str | Path,
    recording: Recording | None = None,
    *,
    jobs: int = 1,
    device: torch.device | str = "cpu",
    dask: str | None = None,
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
        jobs: seeds built at once, each in a process with one torch thread; one job builds in this process.
        device: where to score and train.
        dask: address of a Dask scheduler, whose workers then build; `jobs` is not used. Workers that see `out` write
            there; others send what they built, so that a seed's file must fit their memory and this process's.
        store: where the slow regime's trainings are kept, for others to share; by default a hidden folder of the
            table's own, removed seed by seed.
        progress: called with (done, total): seeds in other processes, the slow regimes' training steps in this one.

    Returns:
        The table, opened.

    Raises:
        ValueError: no or doubled seeds, fewer than one job, dask is not installed, or `out` holds a table made with
            other settings.
        OSError: nothing can be written to `out`, no Dask scheduler answers, or a seed's worker process died twice;
            the other seeds are built all the same.

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
    if workload.has_fixed_weights and len(seeds) > 1:
        raise ValueError(
            f"with fixed weights ({workload.weights or workload.network_name}) all seeds are the same network, so that "
            "a split by seed would hold nothing out; build one seed, or leave the weights away"
        )
    claim(out, workload, recording.describe())
    missing = [seed for seed in seeds if not is_whole(out / file_name(workload.name, seed))]
    if missing and (jobs != 1 or dask is not None):
        _build_apart(workload, missing, out, recording, jobs, dask, str(device), store, progress)
    else:
        for position, seed in enumerate(missing):
            part = Session(progress=progress).part(position, len(missing))
            _build_seed(workload, seed, out, recording, device, store, part.progress)
    if missing:
        complete_manifest(out)
    return ScoreTable.open(out)


def _build_apart(
    workload: Workload,
    seeds: Sequence[int],
    out: Path,
    recording: Recording,
    jobs: int,
    dask: str | None,
    device: str,
    store: Store | None,
    progress: SeedProgress | None,
) -> None:
    """Build seeds in other processes, each on its own: one that dies costs only its seed."""
    manifest = None if dask is None else (out / MANIFEST).read_bytes()
    calls: list[tuple[int, Call]] = [
        (seed, partial(_in_worker, workload, seed, out.absolute(), recording, device, store, manifest))
        for seed in seeds
    ]
    lost: dict[int, Died] = {}
    with open_pool(jobs, dask) as pool, contextlib.closing(completed(calls, pool, what="seed")) as outcomes:
        for done, (seed, outcome) in enumerate(outcomes, start=1):
            if isinstance(outcome, Died):
                lost[seed] = outcome
            else:
                caught, content = outcome
                caught.show_again()
                if content is not None:
                    with written_beside(out / file_name(workload.name, seed)) as beside:
                        beside.write_bytes(content)
            if progress is not None:
                progress(done, len(seeds))
    for seed, died in lost.items():
        raise OSError(
            f"seed {seed} of {out} could not be built, {died}: what is finished is kept; run the same command again, "
            "with fewer jobs if memory is short"
        )


def _in_worker(
    workload: Workload,
    seed: int,
    out: Path,
    recording: Recording,
    device: str,
    store: Store | None,
    manifest: bytes | None,
) -> tuple[WorkerWarnings, bytes | None]:
    """Build a seed; returns its warnings, and the file where `out` is not the folder with this manifest."""
    with alone() as caught, contextlib.ExitStack() as stack:
        shared = manifest is None or _holds(out / MANIFEST, manifest)
        folder = out if shared else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        _build_seed(workload, seed, folder, recording, device, store, None)
        content = None if shared else (folder / file_name(workload.name, seed)).read_bytes()
    return caught, content


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False


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
    session = Session(device, store=store, progress=progress)
    scorer = make_scorer(recording.scorer, seed)
    session = session.part(int(offset > 0), 2) if recording.repeat else session
    return recording.make_regime().find(workload, scorer, recording.density, seed, session, data_seed=seed + offset)
