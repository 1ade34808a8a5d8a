"""Folders of results: the records of finished and failed runs, and the manifests beside them."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scratchcard.analysis.record_columns import COLUMNS, ORDER, PREDICTOR_PATHS, arrow_schema, json_structure
from scratchcard.analysis.results_file import LARGEST_SEED, Manifests
from scratchcard.artefacts.json_file import declared, find_json
from scratchcard.sweeps.record import Record
from scratchcard.words import counted, listed

if TYPE_CHECKING:
    import pyarrow as pa

FAILED = ".error.json"
CHUNK = 4096
"""Records read at a time: bounds the memory that their text takes."""
NAMED = 3
"""Damaged files that a warning names; the others are counted."""
LARGEST = 64 * 2**20
"""Bytes of a file that can still be a record."""


class DamagedRecordWarning(UserWarning):
    """Files that are no whole records were skipped.

    >>> Path("damaged").mkdir()
    >>> _ = Path("damaged/ab12.json").write_text('{"digest": "ab')
    >>> with warnings.catch_warnings(action="error"):
    ...     read_records(Path("damaged"), [])
    Traceback (most recent call last):
        ...
    scratchcard.analysis.run_files.DamagedRecordWarning: skipped 1 file in damaged that are no whole records ...
    """


def import_duckdb() -> Any:
    """The module.

    Raises:
        ValueError: it is not installed.

    Examples:
        >>> import_duckdb().sql("SELECT 6 * 7").fetchall()
        [(42,)]
    """
    try:
        import duckdb
    except ImportError as error:
        raise ValueError(
            "reading and querying results needs DuckDB, which is not installed: pip install 'scratchcard[report]'"
        ) from error
    return duckdb


def closed_connection() -> Any:
    """A DuckDB database in memory that cannot touch a file, the network, an extension or our variables.

    No spilling either: `temp_directory` would otherwise be a folder in the working directory.

    >>> with closed_connection() as connection:
    ...     connection.sql("SELECT current_setting('enable_external_access')").fetchall()
    [(False,)]
    """
    closed = ["enable_external_access", "autoinstall_known_extensions", "autoload_known_extensions"]
    closed += ["allow_community_extensions", "python_enable_replacements"]
    config = dict.fromkeys(closed, "false") | {"temp_directory": "", "lock_configuration": "true"}
    return import_duckdb().connect(":memory:", config=config)


def read_records(folder: Path, grids: list[dict[str, Any]], only: Collection[str] | None = None) -> pa.Table:
    """The finished runs in a folder, one row each, sorted; `only` reads the records of these digests.

    The files are read here and parsed by DuckDB's `json_transform` with given types: measured with 5,000 records of
    4.5 KB in 0.4 s, against 2.8 s of its `read_json`, which also gives up at the first damaged file.

    Warns:
        DamagedRecordWarning: a file was skipped because it is cut off, no JSON, or no plausible record of a finished
            run, as `sweeps.record` declares one; it says what is odd.

    Raises:
        ValueError: DuckDB is not installed.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task, sc.Recipe(max_steps=10, batch_size=32))
        >>> _ = sc.sweep([sc.Experiment(workload, sc.Method("snip"), 0.25, 0)], "recorded")
        >>> read_records(Path("recorded"), []).select(["label", "kept", "prunable"]).to_pylist()
        [{'label': 'snip', 'kept': 2, 'prunable': 8}]
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    stems = [stem for stem in _stems(folder) if only is None or stem in only]
    members: dict[str, list[str]] = {}
    for manifest in grids:
        for digest in dict.fromkeys(manifest["digests"]):
            members.setdefault(digest, []).append(str(manifest["name"]))
    schema = arrow_schema()
    parts, damaged = [schema.empty_table()], dict[str, str]()
    with closed_connection() as connection:
        query = _query()
        for begin in range(0, len(stems), CHUNK):
            texts = _texts(folder, stems[begin : begin + CHUNK])
            damaged |= {stem: told for stem, text in texts.items() if (told := _odd(stem, text)) is not None}
            texts = {stem: text for stem, text in texts.items() if stem not in damaged}
            files = {"stem": pa.array(texts, pa.string()), "text": pa.array(texts.values(), pa.string())}
            connection.register("files", pa.table(files))
            found = connection.sql(query).to_arrow_table()
            damaged |= dict.fromkeys(found.filter(pc.invert(found["whole"]))["stem"].to_pylist(), "it is no whole JSON")
            found = found.filter(found["whole"])
            member = pa.array([",".join(sorted(members.get(d, ()))) for d in found["digest"].to_pylist()], pa.string())
            parts.append(found.append_column("grids", member).select(schema.names).cast(schema))
    names = [f"{stem}.json ({damaged[stem]})" for stem in sorted(damaged)]
    _warn(folder, names, "no whole records of finished runs")
    return pa.concat_tables(parts).sort_by(ORDER).combine_chunks()


def read_beside(folder: Path) -> Manifests:
    """What stands beside the records: grids' manifests and predictors by name; runs that failed, without result since.

    Warns:
        DamagedRecordWarning: a file was skipped.

    Examples:
        >>> Path("swept").mkdir()
        >>> told = {"digest": "ab12", "label": "snip", "configuration": {"seed": 3}, "error": "no data"}
        >>> _ = Path("swept/ab12.error.json").write_text(json.dumps(told))
        >>> [(failure["label"], failure["seed"], failure["error"]) for failure in read_beside(Path("swept")).failures]
        [('snip', 3, 'no data')]
    """
    failures = []
    for record in _objects(folder, FAILED, {"digest": str, "configuration": dict}, "records of failed runs"):
        density, seed = (record["configuration"].get(name) for name in ("density", "seed"))
        told = {name: str(record.get(name, "")) for name in ("digest", "label", "error", "finished")}
        known = {"density": float(density) if isinstance(density, int | float) and abs(density) <= 1 else None}
        failures.append(told | known | {"seed": seed if isinstance(seed, int) and abs(seed) < LARGEST_SEED else None})
    return Manifests(
        _objects(folder / "grids", ".json", {"name": str, "digests": list[str]}, "grid manifests"),
        _objects(folder / "predictors", ".json", {"name": str, "identity": str}, "predictor manifests"),
        sorted(failures, key=lambda f: (f["label"], f["density"] or 0.0, f["seed"] or 0, f["digest"])),
    )


def _odd(stem: str, text: str | None) -> str | None:
    """What is odd about the text of a record's file, in a few words."""
    if text is None:
        return "it cannot be read as text"
    try:
        record = Record.of(text)
    except ValueError as error:
        return str(error)
    if record.digest != stem:
        return f"digest is {record.digest[:12]}, not the file's name"
    return "test_accuracy is null, which is no number to compare" if record.test_accuracy is None else None


def _query() -> str:
    """SQL from the table `files` (stem, text) to the columns and `whole`, whether the file is a record."""
    structure = json.dumps(json_structure())
    name, path = (_field(path) for path in PREDICTOR_PATHS)
    paths = {column.name: _field(column.path) for column in COLUMNS if column.path}
    # The name is the last part of the path, with either system's separators.
    paths["predictor"] = rf"coalesce({name}, regexp_extract({path}, '([^/\\]+)[/\\]*$', 1))"
    given = " AND ".join(f"{_field(column.path)} IS NOT NULL" for column in COLUMNS if column.required and column.path)
    columns = ", ".join(f'{field} AS "{name}"' for name, field in paths.items())
    whole = f"coalesce({_field('digest')} = stem AND {given}, false) AS whole"
    # All parts are constants of ours.
    records = f"SELECT stem, json_transform(TRY_CAST(text AS JSON), '{structure}') AS record FROM files"  # noqa: S608
    return f"SELECT stem, {whole}, {columns} FROM ({records})"  # noqa: S608


def _field(path: str) -> str:
    return "record" + "".join(f'."{part}"' for part in path.split("."))


def _files(folder: Path) -> list[str]:
    """Names of the JSON files of a folder; those that are being written begin with a dot."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if e.name.endswith(".json") and e.name[0] != "." and e.is_file())


def _stems(folder: Path) -> list[str]:
    return [name.removesuffix(".json") for name in _files(folder) if not name.endswith(FAILED)]


def _texts(folder: Path, stems: list[str]) -> dict[str, str | None]:
    """The files' texts; None for one that cannot be read, and nothing for one that has gone meanwhile."""
    texts: dict[str, str | None] = {}
    for stem in stems:
        try:
            with open(os.path.join(folder, f"{stem}.json"), "rb") as file:
                content = file.read(LARGEST + 1)
            texts[stem] = content.decode() if len(content) <= LARGEST else None
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError):
            texts[stem] = None
    return texts


def _fits(content: dict[str, Any], needed: dict[str, Any]) -> bool:
    try:
        for key, kind in needed.items():
            declared(kind, content.get(key), key)
    except ValueError:
        return False
    return True


def _objects(folder: Path, ending: str, needed: dict[str, Any], what: str) -> list[dict[str, Any]]:
    """The JSON objects with what is needed, by name; of failed runs those that have no result."""
    found, damaged = [], []
    for name in _files(folder):
        stem = name.removesuffix(ending)
        if stem == name or (ending == FAILED and (folder / f"{stem}.json").exists()):
            continue
        content = find_json(folder / name) or {}
        if _fits(content, needed) and (ending != FAILED or content["digest"] == stem):
            found.append(content)
        else:
            damaged.append(name)
    _warn(folder, damaged, f"no whole {what}")
    return sorted(found, key=lambda content: str(content.get("name")))


def _warn(folder: Path, names: list[str], what: str) -> None:
    if not names:
        return
    told = f"skipped {counted(len(names), 'file')} in {folder} that are {what}: {listed(names, NAMED)}"
    warnings.warn(told, DamagedRecordWarning, stacklevel=4)
