"""The folder that a score table is built in: claimed for one set of settings, and described once it is complete."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from scratchcard.artefacts.destination import check_own
from scratchcard.artefacts.json_file import as_read, find_json
from scratchcard.artefacts.version import RESULTS_VERSION, versions
from scratchcard.dataset_builder.features import FEATURES, MOVEMENT_FEATURES
from scratchcard.dataset_builder.recording import Recording
from scratchcard.dataset_builder.targets import LOOK_TARGETS, TARGETS
from scratchcard.score_tables.manifest import MANIFEST, SECONDS, read_manifest, read_seconds, write_manifest
from scratchcard.score_tables.place import Place, remove_folder
from scratchcard.score_tables.schema import TABLE_VERSION, TableSchema
from scratchcard.score_tables.table import ScoreTable
from scratchcard.score_tables.table_file import TableFile
from scratchcard.words import counted, listed, shortened
from scratchcard.workloads.workload import Workload


def is_whole(path: Place) -> bool:
    """Whether a seed's file is there and can be read; a damaged one is built again.

    Examples:
        >>> from pathlib import Path
        >>> _ = Path("toy-seed0.parquet").write_bytes(b"half")
        >>> is_whole(Path("toy-seed0.parquet"))
        False
    """
    try:
        TableFile.open(path)
    except (FileNotFoundError, ValueError):
        return False
    return True


def is_table(folder: Place) -> bool:
    """Whether a folder holds the manifest of a score table.

    Examples:
        >>> from pathlib import Path
        >>> is_table(Path("nowhere"))
        False
    """
    found = find_json(folder / MANIFEST)
    return found is not None and isinstance(found.get("workloads"), dict)


def is_listed(out: Place, files: Iterable[str]) -> bool:
    """Whether the manifest lists these files; not where a build was killed between the last of them and its end.

    Examples:
        >>> from pathlib import Path
        >>> is_listed(Path("nowhere"), ["toy-seed0.parquet"])
        False
    """
    listed = (find_json(out / MANIFEST) or {}).get("files")
    return isinstance(listed, dict) and set(files) <= set(listed)


def schema_of(recording: Recording) -> TableSchema:
    """The columns of a table: all features and targets, of a trajectory the features of movement too.

    Examples:
        >>> len(schema_of(Recording("ISS")).features), len(schema_of(Recording("EMS")).features)
        (46, 56)
    """
    early = (*FEATURES, *MOVEMENT_FEATURES, *LOOK_TARGETS)
    return TableSchema(TABLE_VERSION, early if recording.is_early else (*FEATURES, *TARGETS))


def check_columns(out: Place, wanted: TableSchema) -> None:
    """Refuse a table whose files have other columns than those that this release would add, before any is made.

    Raises:
        ValueError: names a file and how its columns differ.

    Examples:
        >>> from pathlib import Path
        >>> check_columns(Path("nowhere"), schema_of(Recording()))
    """
    paths: list[Place] = sorted(out.glob("[!.]*.parquet"))
    for path in paths:
        try:
            found = TableFile.open(path).schema
        except (FileNotFoundError, ValueError):  # a damaged one is built again
            continue
        if found == wanted:
            continue
        lacks = [name for name in wanted.names if name not in found.names]
        more = [name for name in found.names if name not in wanted.names]
        differs = [f"without {', '.join(lacks)}"] if lacks else []
        differs += [f"with {', '.join(more)}"] if more else []
        how = " and ".join(differs) or "in another order or of another meaning"
        raise ValueError(
            f"{path} has other columns ({how}) than files that are built now; choose another folder, or delete the "
            "table and build it again"
        )


def claim(out: Place, workload: Workload, recording: Recording) -> None:
    """Note in the manifest what this folder's table is made of.

    Args:
        out: the folder.
        workload: that seeds are added of.
        recording: what the table records.

    Raises:
        ValueError: the folder holds a table made with other settings, or with other columns.
        OSError: it holds something else.

    Examples:
        >>> from pathlib import Path
        >>> workload = Workload("lenet_300_100", sc.load_task("digits"))
        >>> claim(Path("claimed"), workload, sc.Recording(density=0.02))
        >>> claim(Path("claimed"), workload, sc.Recording(density=0.05))
        Traceback (most recent call last):
            ...
        ValueError: claimed holds an unfinished table (0 seeds built) made with another recording (density ...
    """
    check_own(out, "a score table", is_table)
    versions_asked = {"table_version": TABLE_VERSION, "results_version": RESULTS_VERSION}
    asked = as_read({"recording": recording.describe(), "workload": workload.describe()} | versions_asked)
    manifest = read_manifest(out) if (out / MANIFEST).exists() else {}
    stored = {
        "recording": manifest.get("recording", asked["recording"]),
        "workload": manifest.get("workloads", {}).get(workload.name, asked["workload"]),
    } | {name: manifest.get(name, asked[name]) for name in versions_asked}
    differs = [key for key in asked if stored[key] != asked[key]]
    if differs:
        how = [text for key in differs for text in _differences(stored[key], asked[key])]
        raise ValueError(
            f"{out} holds {_progress(out, manifest)} made with another {' and '.join(differs)} "
            f"({listed(how, SHOWN, '; ')}); go on with its settings, choose another folder, or delete it"
        )
    check_columns(out, schema_of(recording))
    if not manifest or workload.name not in manifest["workloads"]:
        workloads = manifest.get("workloads", {}) | {workload.name: asked["workload"]}
        made_of = {"recording": asked["recording"], "workloads": workloads} | versions_asked
        write_manifest(out, manifest | made_of)


SHOWN = 3
"""So many differences between settings are told."""


def _progress(out: Place, manifest: Mapping[str, Any]) -> str:
    """What lies there: a table, or one whose building was broken off."""
    built = counted(len(list(out.glob("[!.]*.parquet"))), "seed")
    return f"a table of {built}" if "files" in manifest else f"an unfinished table ({built} built)"


def _differences(there: Any, asked: Any, name: str = "") -> list[str]:
    """Where two descriptions differ: `density 0.02 there, 0.05 asked`."""
    if isinstance(there, Mapping) and isinstance(asked, Mapping):
        keys = dict.fromkeys((*there, *asked))
        return [text for key in keys for text in _differences(there.get(key), asked.get(key), str(key))]
    told = [shortened("none" if value is None else str(value), 20) for value in (there, asked)]
    return [] if there == asked else [f"{name} {told[0]} there, {told[1]} asked".strip()]


def complete_manifest(out: Place) -> None:
    """Add to the manifest all whole files of the folder, with their digests and how long they took.

    Examples:
        >>> task = sc.Task.of(torch.rand(40, 4), torch.arange(40) % 2)
        >>> recording = sc.Recording("USS", "magnitude", 0.5)
        >>> table = sc.build(sc.Workload(nn.Linear(4, 2), task), [0], "completed", recording)
        >>> from pathlib import Path
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
    remove_folder(out / SECONDS)
