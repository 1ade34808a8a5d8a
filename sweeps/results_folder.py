"""The folder of results: claimed as such, and shared by all sweeps that write into it at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from scratchcard.apply.experiment import Experiment
from scratchcard.artefacts.folders import check_folder, claim_folder
from scratchcard.artefacts.leases import Leases
from scratchcard.artefacts.share import Share
from scratchcard.sweeps.run_records import read_failure, read_result
from scratchcard.sweeps.runs import Outcome, is_done

LEASES = ".leases"
_RECORD = re.compile(r"[0-9a-f]{64}(\.error)?\.json")
_WORDS = ("results", "a folder of results")


def looks_like_results(folder: Path) -> bool:
    """Whether an earlier release's sweep wrote into a folder: it holds records of runs, or of a grid.

    Examples:
        >>> looks_like_results(Path("nowhere"))
        False
    """
    return any(_RECORD.fullmatch(path.name) for path in folder.glob("*.json")) or any(folder.glob("grids/*.json"))


def check_results(folder: str | Path) -> None:
    """Refuse a folder that holds something and is no folder of results.

    Raises:
        OSError: one sentence.

    Examples:
        >>> check_results("not_there_yet")
    """
    check_folder(folder, *_WORDS, looks_like_results)


def claim_results(folder: str | Path) -> Path:
    """Make a folder of results, or go on with one.

    Raises:
        OSError: it holds something else, or nothing can be written there.

    Examples:
        >>> claim_results("new_results").is_dir()
        True
    """
    return claim_folder(folder, *_WORDS, looks_like_results)


def share_of(missing: Mapping[str, Experiment], folder: Path, leases: Leases, keep_tickets: bool) -> Share[Experiment]:
    """The runs, of which each is done by one of the sweeps that write into the folder.

    A run that another sweep ends meanwhile is not done again, whether it has a record then or has failed.

    Args:
        missing: runs by digest, in the order in which they are begun.
        folder: of the results.
        leases: of the folder's runs.
        keep_tickets: whether a run without its ticket is to be done.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task, sc.Recipe(max_steps=10, batch_size=32))
        >>> run = Experiment(workload, sc.Method("snip"), 0.25, 0)
        >>> with Leases(Path("shared_runs/.leases")) as leases:
        ...     share = share_of({run.digest: run}, Path("shared_runs"), leases, keep_tickets=False)
        ...     share.next() == (run, None)
        True
    """
    before = {path.name: _stamp(path) for path in folder.glob("*.error.json")}

    def ended(experiment: Experiment) -> Outcome | None:
        digest = experiment.digest
        if is_done(folder, digest, keep_tickets):
            return Outcome(digest, read_result(folder, digest), None, found=True)
        failed = folder / f"{digest}.error.json"
        failure = read_failure(folder, digest)
        if failure is None or _stamp(failed) == before.get(failed.name):
            return None
        return Outcome(digest, None, {"error": str(failure.get("error", ""))}, found=True)

    return Share(missing, leases, ended)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
