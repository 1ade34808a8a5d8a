"""The folder that a score table is built in: claimed for one set of settings, and described once it is complete."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scratchcard.artefacts.json_file import as_read
from scratchcard.artefacts.version import RESULTS_VERSION, versions
from scratchcard.score_tables.manifest import MANIFEST, SECONDS, read_manifest, read_seconds, write_manifest
from scratchcard.score_tables.schema import TABLE_VERSION
from scratchcard.score_tables.table import ScoreTable
from scratchcard.score_tables.table_file import TableFile
from scratchcard.workloads.workload import Workload


def is_whole(path: Path) -> bool:
    """Whether a seed's file is there and can be read; a damaged one is built again.

    Examples:
        >>> _ = Path("toy-seed0.parquet").write_bytes(b"half")
        >>> is_whole(Path("toy-seed0.parquet"))
        False
    """
    try:
        TableFile.open(path)
    except (FileNotFoundError, ValueError):
        return False
    return True


def claim(out: Path, workload: Workload, recording: Mapping[str, Any]) -> None:
    """Note in the manifest what this folder's table is made of.

    Args:
        out: the folder.
        workload: that seeds are added of.
        recording: described, as plain JSON.

    Raises:
        ValueError: the folder holds something else, or a table made with other settings.

    Examples:
        >>> workload = Workload("lenet_300_100", sc.load_task("digits"))
        >>> claim(Path("claimed"), workload, sc.Recording(density=0.02).describe())
        >>> claim(Path("claimed"), workload, sc.Recording(density=0.05).describe())
        Traceback (most recent call last):
            ...
        ValueError: claimed holds a table made with another recording; choose another folder or delete it
    """
    versions_asked = {"table_version": TABLE_VERSION, "results_version": RESULTS_VERSION}
    asked = as_read({"recording": recording, "workload": workload.describe()} | versions_asked)
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
        made_of = {"recording": asked["recording"], "workloads": workloads} | versions_asked
        write_manifest(out, manifest | made_of)


def complete_manifest(out: Path) -> None:
    """Add to the manifest all whole files of the folder, with their digests and how long they took.

    Examples:
        >>> task = sc.Task.of(torch.rand(40, 4), torch.arange(40) % 2)
        >>> recording = sc.Recording("USS", "magnitude", 0.5)
        >>> table = sc.build(sc.Workload(nn.Linear(4, 2), task), [0], "completed", recording)
        >>> complete_manifest(Path("completed"))  # as `build` does at its end
        >>> read_manifest("completed")["rows"], list(read_manifest("completed")["seeds"].values())
        (8, [[0]])
    """
    table, manifest = ScoreTable.open(out), read_manifest(out)
    found = {
        "seeds": {name: list(seeds) for name, seeds in table.seeds.items()},
        "rows": table.rows,
        "columns": [vars(column) for column in table.schema.columns],
        "files": {file.path.name: file.digest for file in table.files},
        "digest": table.digest,
        "seconds": read_seconds(out, manifest.get("seconds", {})),
        "versions": versions(),
    }
    write_manifest(out, manifest | found)
    shutil.rmtree(out / SECONDS, ignore_errors=True)
