"""Build a score table: features and slow targets of every prunable weight, for a workload and a list of seeds."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from scratchcard.artefacts.destination import check_own
from scratchcard.artefacts.files import remove_unfinished
from scratchcard.artefacts.leases import Leases
from scratchcard.artefacts.share import Share
from scratchcard.artefacts.store import Store
from scratchcard.dataset_builder.features import compute_features
from scratchcard.dataset_builder.recording import Recording
from scratchcard.dataset_builder.table_folder import claim, complete_manifest, is_listed, is_table, is_whole, schema_of
from scratchcard.dataset_builder.targets import REPEAT_OFFSET, Targets
from scratchcard.dataset_builder.trajectories import record_trajectory
from scratchcard.pruning.modes import scored_by
from scratchcard.pruning.state import load_state
from scratchcard.score_tables.manifest import MANIFEST, read_seconds, write_seconds
from scratchcard.score_tables.place import Place, place_of, written_whole
from scratchcard.score_tables.schema import TableBlock
from scratchcard.score_tables.table import ScoreTable
from scratchcard.score_tables.writer import TableWriter, file_name
from scratchcard.scorers import make_scorer
from scratchcard.workers.pool import POLL_SECONDS, Call, Died, completed, open_pool
from scratchcard.workers.worker import WorkerWarnings, alone
from scratchcard.workloads.session import Session
from scratchcard.workloads.workload import Workload

LEASES = ".leases"
ROUNDS = ".rounds"
__all__ = ["REPEAT_OFFSET", "Recording", "build"]


def build(
    workload: Workload,
    seeds: Sequence[int],
    out: str | Place,
    recording: Recording | None = None,
    session: Session | None = None,
    **how: Any,
) -> ScoreTable:
    """Write the score table of `workload` for `seeds` into the folder `out`; one Parquet file a seed.

    A seed whose file is whole is not built again, so a second call with the same arguments does nothing and a call
    after an interruption goes on, within a seed at the slow regime's first unfinished round. More seeds may be added
    to a table later. Several builds of one table may run at once: each seed is built by one of them.

    Args:
        workload: network, task, recipe.
        seeds: of the initialisations.
        out: folder of the table, of this machine or in an object store (`s3://bucket/table`, see `place_of`). There
            each file appears whole, and the manifest last; what a seed's slow regime has done so far is not kept, and
            no two builds of one table may run at once.
        recording: the slow regime; IMS with SynFlow by default. Or an early one, whose looks are recorded.
        session: where and how. Seeds are built at once by its `jobs` or `dask`: a cluster's workers that see `out`
            write there, others send what they built, so that a seed's file must fit their memory and this process's.
            The slow regime's trainings are kept in its `store`, for others to share; by default in a hidden folder of
            the table's own, removed seed by seed. Its `progress` is called with (done, total): seeds in other
            processes, the slow regimes' training steps in this one.
        how: changes to the session, such as `jobs=2` or `device="cuda"`.

    Returns:
        The table, opened.

    Raises:
        ValueError: no or doubled seeds, fewer than one job, dask is not installed, or `out` holds a table made with
            other settings or of other columns.
        OSError: `out` holds something other than a score table, nothing can be written there, no Dask scheduler
            answers, or a seed's worker process died twice; the other seeds are built all the same.

    Examples:
        >>> import tempfile
        >>> workload = sc.Workload("lenet_300_100", sc.load_task("digits"))
        >>> table = build(workload, seeds=[0], out=tempfile.mkdtemp(), recording=Recording("USS", "magnitude", 0.1))
        >>> table.rows, len(table.schema.targets)
        (50200, 5)
    """
    out, session = place_of(out), Session.of(session, **how).without_memory("a table")
    recording = recording or Recording()
    seeds = list(seeds)
    if session.dtype != torch.float32:
        raise ValueError(f"score tables are built in float32, got {session.dtype}")
    if not seeds or len(set(seeds)) != len(seeds):
        raise ValueError(f"expected at least one seed and each only once, got {seeds}")
    if workload.has_fixed_weights and len(seeds) > 1:
        raise ValueError(
            f"with fixed weights ({workload.weights or workload.network_name}) all seeds are the same network, so that "
            "a split by seed would hold nothing out; build one seed, or leave the weights away"
        )
    check_own(out, "a score table", is_table)
    with contextlib.ExitStack() as stack:
        desk = stack.enter_context(_desk(out))
        remove_unfinished(desk)
        stack.callback(remove_unfinished, desk)  # what killed workers were writing
        leases = stack.enter_context(Leases(desk / LEASES))
        with leases.waited_for(MANIFEST):
            claim(out, workload, recording)
        missing = [seed for seed in seeds if not is_whole(out / file_name(workload.name, seed))]
        share = Share(
            {file_name(workload.name, seed): seed for seed in missing},
            leases,
            lambda seed: is_whole(out / file_name(workload.name, seed)) or None,
        )
        if missing and (session.jobs != 1 or session.dask is not None):
            _build_apart(workload, share, len(missing), out, recording, session)
        else:
            _build_here(workload, share, len(missing), (out, desk), recording, session)
        if missing or not is_listed(out, [file_name(workload.name, seed) for seed in seeds]):
            with leases.waited_for(MANIFEST):
                complete_manifest(out)
        _clear(workload, set(seeds) - set(missing), desk, leases)
    return ScoreTable.open(out)


@contextlib.contextmanager
def _desk(out: Place) -> Iterator[Path]:
    """Where what a build needs while it lasts lies: in the table's folder, or in a temporary one beside a store."""
    if isinstance(out, Path):
        yield out
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def _clear(workload: Workload, whole: Iterable[int], out: Path, leases: Leases) -> None:
    """Remove what a build left of seeds that it had ended when it was killed."""
    rounds = out / ROUNDS / workload.name
    for seed in whole:
        if (rounds / f"seed{seed}").is_dir():
            with Store(rounds / f"seed{seed}").until_done():
                pass
        name = file_name(workload.name, seed)
        if (leases.folder / name).exists() and leases.take(name):
            leases.give_back(name)
    with contextlib.suppress(OSError):  # other seeds' rounds may still be there, or none
        rounds.rmdir()
        rounds.parent.rmdir()


def _build_here(
    workload: Workload,
    share: Share[int],
    number: int,
    places: tuple[Place, Path],
    recording: Recording,
    session: Session,
) -> None:
    """Build seeds one after the other, each unless another process builds it."""
    ended = 0
    while share:
        taken = share.next()
        if taken is None:
            time.sleep(POLL_SECONDS)
            continue
        seed, whole = taken
        if not whole:
            _build_seed(workload, seed, *places, recording, session.part(ended, number))
        share.leases.give_back(file_name(workload.name, seed))
        ended += 1


def _build_apart(
    workload: Workload, share: Share[int], number: int, out: Place, recording: Recording, session: Session
) -> None:
    """Build seeds in other processes, each on its own: one that dies costs only its seed."""
    manifest = None if session.dask is None else (out / MANIFEST).read_bytes()
    there = replace(session, progress=None)

    def call(seed: int) -> Call:
        return partial(_in_worker, workload, seed, out.absolute(), recording, there, manifest)

    lost: dict[int, Died] = {}
    pooled = open_pool(session.jobs, session.dask, session.device)
    with pooled as pool, contextlib.closing(completed(share.calls(call), pool, what="seed")) as outcomes:
        for done, (seed, outcome) in enumerate(outcomes, start=1):
            if isinstance(outcome, Died):
                lost[seed] = outcome
            elif outcome is not True:  # nobody else has built it
                caught, built = outcome
                caught.show_again()
                if built is not None:
                    content, seconds = built
                    write_seconds(out, file_name(workload.name, seed), seconds)
                    with written_whole(out / file_name(workload.name, seed)) as beside:
                        beside.write_bytes(content)
            share.leases.give_back(file_name(workload.name, seed))
            if session.progress is not None:
                session.progress(done, number)
    for seed, died in lost.items():
        raise OSError(
            f"seed {seed} of {out} could not be built, {died}: what is finished is kept; run the same command again, "
            "with fewer jobs if memory is short"
        )


def _in_worker(
    workload: Workload, seed: int, out: Place, recording: Recording, session: Session, manifest: bytes | None
) -> tuple[WorkerWarnings, tuple[bytes, dict[str, Any]] | None]:
    """Build a seed; its warnings, and the file and its seconds where `out` is not the folder with this manifest."""
    with alone() as caught, contextlib.ExitStack() as stack:
        shared = manifest is None or _holds(out / MANIFEST, manifest)
        folder: Place = out if shared else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        _build_seed(workload, seed, folder, stack.enter_context(_desk(folder)), recording, session)
        name = file_name(workload.name, seed)
        built = None if shared else ((folder / name).read_bytes(), read_seconds(folder, {})[name])
    return caught, built


def _holds(path: Place, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False


def _build_seed(workload: Workload, seed: int, out: Place, desk: Path, recording: Recording, session: Session) -> None:
    begin = time.perf_counter()
    rounds = desk / ROUNDS / workload.name
    if session.store is None:
        with Store(rounds / f"seed{seed}").until_done() as own:
            _build_seed(workload, seed, out, desk, recording, replace(session, store=own))
        with contextlib.suppress(OSError):  # other seeds' rounds may still be there
            rounds.rmdir()
            rounds.parent.rmdir()
        return
    name, schema = file_name(workload.name, seed), schema_of(recording)
    record = record_trajectory if recording.is_early else _record_rounds
    seconds = record(
        workload, seed, recording, session, lambda about: TableWriter(schema, out / name, workload.name, seed, about)
    )
    write_seconds(out, name, seconds | {"seconds": time.perf_counter() - begin})


def _record_rounds(
    workload: Workload,
    seed: int,
    recording: Recording,
    session: Session,
    open_writer: Callable[[dict[str, Any]], TableWriter],
) -> dict[str, Any]:
    """The rows of a slow regime's start, or of the networks that its rounds left; returns what took how long."""
    first, second = (session.part(0, 2), session.part(1, 2)) if recording.repeat else (session, None)
    find = partial(recording.make_regime().find, workload, make_scorer(recording.scorer, seed), recording.density, seed)
    found = find(first)
    repeat = None if second is None else find(second, data_seed=seed + REPEAT_OFFSET)
    network = workload.build(seed, **session.placement)
    load_state(network, found.start)
    found, repeat = replace(found, start={}), repeat and replace(repeat, start={})  # each as large as the network
    targets = Targets(found, repeat)
    batch = workload.scoring_batch(seed, **session.placement)
    about = {
        "kept": found.mask.kept,
        "kept_by_both": None if repeat is None else (found.mask & repeat.mask).kept,
        "training": [{key: entry[key] for key in entry if key != "seconds"} for entry in found.training],
        "scoring_batch": workload.scoring(seed),
    }
    with scored_by(network, recording.make_regime().statistics), open_writer(about) as writer:
        for number in range(found.rounds if recording.every_round else 1):
            mask = None if number == 0 else found.mask_after(number).to(session.device)
            for block in compute_features(network, batch, workload.task.loss, mask=mask, density=recording.density):
                columns = {name: block.values[:, i] for i, name in enumerate(block.names)}
                columns |= targets.columns(block.parameter, block.indices, number)
                writer.write(TableBlock(workload.name, seed, number, block.parameter, block.indices, columns))
    return {"slow_seconds": found.seconds, "training_seconds": [entry["seconds"] for entry in found.training]}
