"""Mutations of files, by their format: raw ones, and changes of structure after which digests and checksums fit."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import struct
import warnings
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from scratchcard.artefacts.json_file import parse_object
from tests.fuzz.values import VALUES, mutated_text, mutated_value, other_text, to_text

Mutation = Callable[[bytes, Random], bytes]
BLANK = b'"sha256":"' + b"0" * 64
SEALED = re.compile(rb'"sha256":"[0-9a-f]{64}')


def raw(content: bytes, random: Random) -> bytes:
    """Bits flipped, a piece cut out, overwritten or moved, the end lost, or something put in."""
    data = bytearray(content)
    action = random.randrange(7)
    place = random.randrange(len(data)) if random.random() < 0.5 else random.choice(_edges(len(data), random))
    size = random.choice((1, 1, 2, 4, 8, 64))
    if action <= 2:
        for _ in range(random.choice((1, 1, 1, 2, 8))):
            data[place] ^= 1 << random.randrange(8)
            place = random.randrange(len(data))
    elif action == 3:
        del data[place:]
    elif action == 4:
        del data[place : place + size]
    elif action == 5:
        data[place : place + size] = random.choice((b"\x00", b"\xff", b"\x7f", b"\x80")) * size
    else:
        data[place:place] = random.randbytes(size)
    return bytes(data)


def _edges(size: int, random: Random) -> list[int]:
    """Where headers and footers lie."""
    near = random.randrange(min(size, 600))
    return [near, size - 1 - near]


def json_file(content: bytes, random: Random) -> bytes:
    """Without its checksum, so that what it holds is looked at."""
    content = json.dumps(parse_object(content), indent=1).encode()
    return mutated_text(content.decode(), random).encode("utf-8", "surrogatepass")


def text_file(content: bytes, random: Random) -> bytes:
    """A file of lines: one lost, doubled, moved, or with another value."""
    lines = content.decode().splitlines()
    place = random.randrange(len(lines))
    action = random.randrange(6)
    if action == 0:
        del lines[place]
    elif action == 1:
        lines.insert(random.randrange(len(lines)), lines[place])
    elif action <= 4 and "=" in lines[place]:
        key = lines[place].split("=")[0].strip()
        value = to_text(random.choice(VALUES)).replace("NaN", "nan").replace("-Infinity", "-inf")
        lines[place] = f"{random.choice((key, key, key, key + 'x'))} = {value}"
    else:
        lines[place] = other_text(lines[place], random)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def safetensors(content: bytes, random: Random) -> bytes:
    """Another header, other texts in it, other tensors; where it had a checksum, it has the right one."""
    size = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + size]), content[8 + size :]
    texts = header.get("__metadata__", {})
    names = [name for name in header if name != "__metadata__"]
    action, name = random.randrange(8), random.choice(names)
    if action == 0:
        header = mutated_value(header, random)
    elif action <= 3 and texts:
        key = random.choice(list(texts))
        texts[key] = mutated_text(texts[key], random)
    elif action == 4:
        return _sealed(*_without(header, data, name), random)
    elif action == 5:
        header[random.choice((f"{name}x", name.split("/")[0], *names))] = header.pop(name)
    elif action == 6:
        entry = header[name]
        same = {1: ["U8", "I8", "BOOL"], 2: ["F16", "BF16", "I16"], 4: ["F32", "I32", "U32"], 8: ["F64", "I64"]}
        width = next(width for width, kinds in same.items() if entry["dtype"] in kinds)
        count = (entry["data_offsets"][1] - entry["data_offsets"][0]) // width
        kinds = [(kind, wide) for wide, of in same.items() for kind in of if (count * width) % wide == 0]
        entry["dtype"], wide = random.choice(kinds)
        count = count * width // wide
        entry["shape"] = random.choice(([count], [1, count], [count, 1], [1] * 9 + [count]))
    else:
        begin, end = header[name]["data_offsets"]
        values = bytearray(data)
        for _ in range(random.choice((1, 1, 4)) if end > begin else 0):
            place = random.randrange(begin, end)
            put = random.choice((b"\xff", b"\x00", b"\x7f", b"\x80", b"\x00\x00\xc0\x7f", b"\xff" * 8))
            values[place : place + len(put)] = put[: end - place]
        data = bytes(values)
    return _sealed(header, data, random)


def _without(header: dict[str, Any], data: bytes, lost: str) -> tuple[dict[str, Any], bytes]:
    kept, place, parts = {}, 0, []
    for name, entry in sorted(header.items(), key=lambda item: item[1].get("data_offsets", [0])[0]):
        if name == "__metadata__":
            kept[name] = entry
        elif name != lost:
            part = data[slice(*entry["data_offsets"])]
            parts.append(part)
            kept[name] = entry | {"data_offsets": [place, place := place + len(part)]}
    return kept, b"".join(parts)


def _sealed(header: Any, data: bytes, random: Random) -> bytes:
    text = to_text(header).replace(": ", ":").encode("utf-8", "surrogatepass")
    text, sealed = SEALED.subn(BLANK, text)
    text += b" " * (-len(text) % 8)
    size = len(text) if random.random() > 0.01 else random.choice((0, 2**63, 2**31, len(text) + 8, 10**8 + 1))
    content = size.to_bytes(8, "little") + text + data
    if not sealed:
        return content
    return content.replace(BLANK, b'"sha256":"' + hashlib.sha256(content).hexdigest().encode(), 1)


def parquet(content: bytes, random: Random) -> bytes:
    """Other columns, types, values, row groups or texts; the pages' checksums are right, or there are none."""
    table = pq.read_table(io.BytesIO(content))
    texts = {key: text for key, text in (table.schema.metadata or {}).items() if key != b"ARROW:schema"}
    action = random.randrange(7)
    names = table.schema.names
    name = random.choice(names)
    place = names.index(name)
    try:
        if action == 0 and texts:
            key = random.choice(list(texts))
            texts[key] = mutated_text(texts[key].decode(), random).encode("utf-8", "surrogatepass")
        elif action == 1:
            table = table.drop([name]) if random.random() < 0.5 else table.rename_columns([*names[:-1], f"{name}x"])
        elif action == 2:
            kind = random.choice((pa.string(), pa.int64(), pa.float64(), pa.float32(), pa.bool_(), pa.binary()))
            table = table.set_column(place, name, table[name].cast(pa.string()).cast(kind))
        elif action == 3:
            table = table.set_column(place, name, _values(table[name], random))
        elif action == 4:
            table = random.choice((table.slice(0, 0), table.slice(1), pa.concat_tables([table, table])))
        elif action == 5:
            table = table.append_column(random.choice((name, "more")), table[name])
    except (pa.ArrowException, ValueError):
        texts |= {b"more": b"x"}
    options: dict[str, Any] = {"write_page_checksum": random.random() < 0.5, "store_schema": random.random() < 0.5}
    if action == 6:
        options |= {"write_statistics": False}
    out = io.BytesIO()
    try:
        with pq.ParquetWriter(out, table.schema.remove_metadata().with_metadata(texts), **options) as writer:
            writer.write_table(table, row_group_size=random.choice((7, 10**6)))
            writer.add_key_value_metadata({key: text for key, text in texts.items() if b"\x00" not in key})
    except (pa.ArrowException, ValueError, OSError, UnicodeError):
        return raw(content, random)
    found = out.getvalue()
    return raw(found, random) if random.random() < 0.3 and not options["write_page_checksum"] else found


def _values(column: pa.ChunkedArray, random: Random) -> pa.ChunkedArray:
    values = column.to_pylist()
    odd: tuple[Any, ...] = (None, float("nan"), float("inf"), -1, 2**31 - 1, 0, 1e38)
    if pa.types.is_string(column.type) or pa.types.is_dictionary(column.type):
        odd = (None, "", "x" * 5000, "\x1b[2J\n", "{}", "[1", "NaN", "{" * 3000)
    for _ in range(random.choice((1, 1, len(values))) if values else 0):
        values[random.randrange(len(values))] = random.choice(odd)
    return pa.chunked_array([pa.array(values, column.type)])


def gzipped(content: bytes, random: Random) -> bytes:
    """An IDX file within gzip: another header, other sizes, or a stream that does not end well."""
    data = bytearray(gzip.decompress(content))
    action = random.randrange(5)
    if action == 0:
        data[random.randrange(4)] = random.choice((0, 1, 3, 8, 9, 13, 255))
    elif action == 1:
        place = 4 + 4 * random.randrange(max(1, data[3]))
        data[place : place + 4] = struct.pack(">I", random.choice((0, 1, 2, 255, 2**16, 2**31, 2**32 - 1)))
    elif action == 2:
        data = bytearray(raw(bytes(data), random))
    elif action == 3:
        data += bytes(random.choice((1, 4, 2**22)))
    packed = gzip.compress(bytes(data), mtime=0)
    if action == 4:
        packed = random.choice((packed + packed, packed + b"\x00" * 9, packed[:-8] + bytes(8), packed[:10]))
    return packed


def npz(content: bytes, random: Random) -> bytes:
    """Another header of an array, entries lost, doubled, renamed or foreign; the archive's own sums are right."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    place = random.randrange(len(entries))
    name, data = entries[place]
    action = random.randrange(7)
    if action == 0:
        del entries[place]
    elif action == 1:
        entries.append(
            (random.choice((name, "more.npy", "../x.npy", "objective.npy", "outputs.npy", "\x1b.npy")), data)
        )
    elif action == 2:
        entries[place] = (random.choice(("train_inputs.a.npy", "x", "", "train_targets.b.npy")), data)
    elif action == 3 and data[:6] == b"\x93NUMPY":
        size = 10 + int.from_bytes(data[8:10], "little")
        header = data[10:size].decode("latin1")
        old = random.choice(re.findall(r"'[^']*'|\([^)]*\)|True|False|\d+", header) or ["x"])
        new = random.choice(
            (
                *("'|O'", "'<f8'", "'>f4'", "'<U9'", "'|V4'", "'<c8'", "[('a','<f4')]", "None", "True", "False"),
                *("(1000000000000,)", "(-1,)", "(0,)", "()", "9" * 40, "(" * 300),
            )
        )
        header = header.replace(old, new, 1)
        entries[place] = (name, data[:8] + len(header).to_bytes(2, "little") + header.encode("latin1") + data[size:])
    elif action == 4:
        entries[place] = (name, raw(data, random))
    elif action == 5:
        out = io.BytesIO()
        odd = random.choice(([np.nan], [[1, 2]], ["a"], [], [True], [10**18], [1j], [np.inf] * 50))
        np.save(out, np.array(odd))
        entries[place] = (name, out.getvalue())
    out = io.BytesIO()
    packing = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", packing) as archive:
        warnings.simplefilter("ignore")  # of doubled names
        for name, data in entries:
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, packing)
    return out.getvalue()


def pt(content: bytes, random: Random) -> bytes:
    """Another pickle or other storages within torch's archive; its own sums are right."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    name = random.choice([*entries, *(name for name in entries if name.endswith(".pkl"))])
    if random.random() < 0.1:
        del entries[name]
    else:
        entries[name] = raw(entries[name], random) if entries[name] else b"x"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in entries.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
    return out.getvalue()


FORMATS: dict[str, Mutation] = {
    ".json": json_file,
    ".toml": text_file,
    ".safetensors": safetensors,
    ".parquet": parquet,
    ".gz": gzipped,
    ".npz": npz,
    ".pt": pt,
}
"""By ending: the mutation of structure."""
