"""Records of runs in a folder of results: `<digest>.json` of a finished run, `<digest>.error.json` of a failed one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scratchcard.apply.experiment import Experiment
from scratchcard.artefacts.json_file import find_json, write_json
from scratchcard.clock import utc_now


def write_result(result: dict[str, Any], folder: Path) -> Path:
    """Write the record of a run that is done; written beside and renamed.

    Examples:
        >>> write_result({"digest": "ab12", "label": "snip"}, Path("records")).name
        'ab12.json'
    """
    return write_json(folder / f"{result['digest']}.json", result)


def read_result(folder: Path, digest: str) -> dict[str, Any] | None:
    """The record of a run that is done, or None; a damaged file counts as not done.

    Examples:
        >>> _ = write_result({"digest": "cd34", "label": "snip"}, Path("records"))
        >>> read_result(Path("records"), "cd34")
        {'digest': 'cd34', 'label': 'snip'}
        >>> read_result(Path("records"), "ef56") is None
        True
    """
    return _of(find_json(folder / f"{digest}.json"), digest)


def write_failure(folder: Path, experiment: Experiment, *, error: str, traceback: str) -> Path:
    """Record that a run failed.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task, sc.Recipe(max_steps=10, batch_size=32))
        >>> run = Experiment(workload, sc.Method("snip"), 0.25, 0)
        >>> _ = write_failure(Path("failures"), run, error="ValueError: no weights", traceback="")
        >>> read_failure(Path("failures"), run.digest)["error"]
        'ValueError: no weights'
    """
    failure = {
        "digest": experiment.digest,
        "label": experiment.label,
        "configuration": experiment.describe(),
        "error": error,
        "traceback": traceback,
        "finished": utc_now(),
    }
    return write_json(_failure(folder, experiment.digest), failure)


def read_failure(folder: Path, digest: str) -> dict[str, Any] | None:
    """The error of a run, or None; a damaged file counts as none.

    Examples:
        >>> _ = write_json("failed/ab12.error.json", {"digest": "ab12", "error": "ValueError: no weights"})
        >>> read_failure(Path("failed"), "ab12")["error"]
        'ValueError: no weights'
    """
    return _of(find_json(_failure(folder, digest)), digest)


def clear_failure(folder: Path, digest: str) -> None:
    """A run that succeeded has failed no more.

    Examples:
        >>> _ = write_json("cleared/ab12.error.json", {"digest": "ab12", "error": "ValueError: no weights"})
        >>> clear_failure(Path("cleared"), "ab12")
        >>> read_failure(Path("cleared"), "ab12") is None
        True
    """
    _failure(folder, digest).unlink(missing_ok=True)


def _failure(folder: Path, digest: str) -> Path:
    return folder / f"{digest}.error.json"


def _of(found: dict[str, Any] | None, digest: str) -> dict[str, Any] | None:
    return found if found is not None and found.get("digest") == digest else None
