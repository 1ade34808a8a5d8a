"""Damaged and tampered files are read by each reader, in processes with limits; what comes of it is counted."""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import resource
import shutil
import signal
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

from tests.fuzz.formats import FORMATS, raw
from tests.fuzz.readers import READERS, Reader

SENTENCE = 400
"""Characters of an error's sentence beside the path, at most."""
SECONDS = 10.0
MEMORY = 192 * 2**20
"""A read may make the process grow by this much; the files have some kilobytes."""
ADDRESSES = 4 * 2**30
"""Of address space, beyond what the process has when it begins."""
OURS = ("scratchcard.",)


@dataclass
class Outcomes:
    """What came of a reader's mutations.

    Attributes:
        counts: by outcome: equal, other, refused; and failed.
        failures: a sentence each.
    """

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


class TooSlow(BaseException):
    """A read took longer than it may."""


def fuzz(name: str, seed: int, mutations: int, folder: Path, seconds: float = 1e9) -> Outcomes:
    """Try a reader's mutations in a process of its own; one that dies is a failure, and another goes on."""
    outcomes, first = Outcomes(), 0
    context = multiprocessing.get_context("spawn")
    while first < mutations:
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=_child, args=(name, seed, first, mutations, folder, seconds, theirs))
        child.start()
        theirs.close()
        tried = first - 1
        try:
            while True:
                if not ours.poll(6 * SECONDS + (120 if tried < first else 0)):
                    child.kill()
                    break
                kind, told = ours.recv()
                if kind == "try":
                    tried = told
                elif kind == "done":
                    first = mutations
                    break
                else:
                    outcomes.counts[kind] += 1
                    if kind == "failed":
                        outcomes.failures.append(told)
        except EOFError:
            pass
        child.join()
        if first < mutations and tried < first:
            raise RuntimeError(f"no whole files could be made for {name}")
        if first < mutations:
            outcomes.counts["failed"] += 1
            outcomes.failures.append(f"{name} {seed}:{tried}: the process ended with {child.exitcode}")
            first = tried + 1
    return outcomes


def _child(
    name: str, seed: int, first: int, mutations: int, folder: Path, seconds: float, told: Any
) -> None:  # pragma: no cover - another process
    torch.set_num_threads(1)
    place, until = folder / f"{name.replace(' ', '-')}-{first}", None
    for _tried, kind, text in trials(name, seed, range(first, mutations), place, told.send):
        if kind:
            told.send((kind, text))
        until = until or time.monotonic() + seconds  # making whole files does not count
        if time.monotonic() > until:
            break
    told.send(("done", None))


def trials(name: str, seed: int, numbers: range, place: Path, tell: Any = None) -> Iterator[tuple[int, str, str]]:
    """(number, outcome, sentence) of each mutation."""
    reader = READERS[name]
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    reader.make(place)
    whole = {path: path.read_bytes() for path in sorted(place.rglob("*")) if path.suffix in FORMATS}
    wanted = printed(reader.read(place))
    _limit()
    for number in numbers:
        if tell is not None:
            tell(("try", number))
        random = Random(f"{name} {seed} {number}")
        path = random.choice(list(whole))
        changed, is_raw = _mutated(whole[path], path.suffix, random)
        path.write_bytes(changed)
        if not is_raw and reader.repair is not None and path.suffix != ".json":
            reader.repair(place)
        kind, text = _outcome(reader, place, path, wanted, is_raw and path.suffix in reader.checked)
        if kind == "failed":
            text = f"{name} {seed}:{number} ({path.name}, {'raw' if is_raw else 'structure'}): {text}"
        yield number, kind, text
        for each, content in whole.items():
            if each == path or reader.repair is not None:
                each.write_bytes(content)


def _mutated(content: bytes, ending: str, random: Random) -> tuple[bytes, bool]:
    for _ in range(20):
        is_raw = random.random() < 0.4
        changed = raw(content, random) if is_raw else FORMATS[ending](content, random)
        if changed != content:
            return changed, is_raw
    return content + b"x", True


def _outcome(reader: Reader, place: Path, path: Path, wanted: str, found: bool) -> tuple[str, str]:
    before = _peak()
    begin = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught, _in_time():
        warnings.simplefilter("always")
        try:
            outcome = "equal" if printed(reader.read(place)) == wanted else "other"
            text = ""
        except (ValueError, OSError) as error:
            outcome, text = "refused", _unfit(error, place, path)
            if text:
                outcome = "failed"
        except TooSlow:
            outcome, text = "failed", f"took longer than {SECONDS:g} s"
        except BaseException as error:  # any other is what is looked for
            frames = traceback.extract_tb(error.__traceback__)
            where = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames[-6:]))
            outcome, text = "failed", f"{type(error).__name__}: {str(error)[:200]!r} at {where}"
    grown = _peak() - before
    foreign = [w for w in caught if not (w.category.__module__.startswith(OURS) or str(place) in str(w.message))]
    if outcome == "other" and found and not reader.silent:
        return "failed", "a changed byte was not found"
    if outcome == "other" and found and printed(None) != printed(reader.read(place)):
        return "failed", "a changed byte was not found"
    if foreign:
        return "failed", f"warning {foreign[0].category.__name__}: {str(foreign[0].message)[:200]!r}"
    if grown > MEMORY:
        return "failed", f"grew by {grown / 2**20:.0f} MB in {time.perf_counter() - begin:.1f} s"
    return outcome, text


def _unfit(error: Exception, place: Path, path: Path) -> str:
    """What is wrong with a refusal's sentence; empty where it is as it should be."""
    text = str(error)
    said = f"{type(error).__name__} {text[:1500]!r}"
    if isinstance(error, OSError) and not isinstance(error, FileNotFoundError) and error.strerror:
        return ""  # the system's own words
    if len(text.replace(str(place), "")) > SENTENCE:
        return f"{len(text)} characters: {said}"
    if not text.isprintable():
        return f"signs that cannot be printed: {said}"
    if path.name not in text and str(place) not in text:
        return f"names no file: {said}"
    if isinstance(error, UnicodeError | json.JSONDecodeError | FileExistsError):
        return f"of a kind that nobody chose: {said}"
    return ""


@contextlib.contextmanager
def _in_time() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _limit() -> None:
    """A bound on addresses, where the system knows one and this process is one of ours."""
    if multiprocessing.parent_process() is None:
        return
    size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (size + ADDRESSES, size + ADDRESSES))


def printed(value: Any) -> str:
    """A digest of what a reader gave; equal for equal values, NaN too."""
    digest = hashlib.sha256()
    _add(value, digest)
    return digest.hexdigest()


def _add(value: Any, digest: Any) -> None:
    if isinstance(value, torch.Tensor):
        value = value.detach().contiguous()
        digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    elif isinstance(value, np.ndarray):
        digest.update(f"{value.dtype}{value.shape}".encode() + np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Mapping):
        for key in sorted(value, key=repr):
            digest.update(repr(key).encode("utf-8", "surrogatepass"))
            _add(value[key], digest)
    elif isinstance(value, list | tuple):
        digest.update(f"{len(value)} of".encode())
        for part in value:
            _add(part, digest)
    else:
        digest.update(repr(value).encode("utf-8", "surrogatepass"))
