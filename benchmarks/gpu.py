"""One command for a GPU: the tests marked `cuda`, then what the device is worth, on one page.

    python -m benchmarks.gpu                                # or `make gpu`; the page lies in results/gpu/
    python -m benchmarks.gpu --wheels FOLDER                # packages that the machine lacks, as wheels, without pip
    python -m benchmarks.gpu --device cpu --tiny --out -    # tries the command itself, without a GPU

It works from a checkout that nothing was installed from. Each step runs in a process of its own with a time limit, in
all at most eight minutes; the page is written anew after every row, so that whatever ends the command early, what was
measured stays. Seconds are the shortest of several calls. The CPU's are of the same machine with torch's usual threads.
Shares are of the rate of a plain copy on the device, and count only the bytes that a criterion must move at least.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NEEDED = ("torch", "torchvision", "numpy", "pandas", "pyarrow", "sklearn", "scipy", "numba", "pydantic", "filelock")
NEEDED += ("safetensors", "click", "pytest", "hypothesis")
TEST_SECONDS = 150
END_SECONDS = 60.0
"""For a process that was killed to be gone."""
TITLES = {
    "memory": "Memory",
    "scorers": "Scoring one batch",
    "features": "Features",
    "prediction": "Pruning with a predictor",
    "dense": "Training whole networks",
    "tickets": "Training tickets of density 0.02",
    "together": "Many tickets of LeNet-300-100 at once",
}
LIMITS = {
    "memory": 20, "scorers": 75, "features": 45, "prediction": 30, "dense": 45, "tickets": 45, "together": 50
}  # fmt: skip
"""Seconds of each step; with the tests' eight minutes in all."""


def main(arguments: list[str] | None = None) -> int:
    """Exit status 1 if a test failed or a step broke off, 2 if nothing could begin."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="cuda", help="cuda (the default), or cpu to try the command")
    parser.add_argument("--out", help="the page's file, - for none [default: results/gpu/DEVICE.md; none for the CPU]")
    parser.add_argument("--steps", nargs="+", choices=("tests", *TITLES), default=("tests", *TITLES))
    parser.add_argument("--tiny", action="store_true", help="sizes that measure nothing, to try the command")
    parser.add_argument("--wheels", type=Path, help="folder of wheels of packages that this machine lacks")
    parser.add_argument("--one", choices=TITLES, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one:
        return _measure(given.one, given.device, given.tiny)
    with tempfile.TemporaryDirectory() as folder:
        environment = _environment(Path(folder), given.wheels)
        try:
            about = _about(given.device, environment)
        except ValueError as error:
            print(f"benchmarks.gpu: {error}", file=sys.stderr)
            return 2
        out = _place(given.out, given.device, about["device"])
        page = Page(about, out)
        for name in given.steps:
            if name == "tests":
                page.tests = _tests(environment)
                page.write()
                continue
            command = [sys.executable, "-m", "benchmarks.gpu", "--one", name, "--device", given.device]
            page.begin(name)
            for row in _rows(command + ["--tiny"] * given.tiny, environment, LIMITS[name], page.ends):
                page.add(name, row)
        page.write()
        print(page.text())
        return int(page.failed)


class Page:
    """What is known so far, written anew at every change."""

    def __init__(self, about: dict[str, str], out: Path | None) -> None:
        self.about, self.out = about, out
        self.tests: tuple[bool, str] | None = None
        self.found: dict[str, list[dict[str, Any]]] = {}
        self.ends: list[str] = []
        self._said: dict[str, str] = {}

    @property
    def failed(self) -> bool:
        """Whether a test failed or a step broke off; one that ran out of its time did not."""
        broken = any(not text.startswith("stopped") for text in [*self._said.values(), *self.ends])
        return broken or (self.tests is not None and not self.tests[0])

    def begin(self, name: str) -> None:
        """A step begins; the one before has ended."""
        self._settle()
        self.found[name] = []

    def add(self, name: str, row: dict[str, Any]) -> None:
        """A row has come."""
        self.found[name].append(row)
        self.write()

    def write(self) -> None:
        """To the file, if there is one."""
        self._settle()
        if self.out is not None:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            self.out.write_text(self.text() + "\n")

    def _settle(self) -> None:
        if self.ends:
            self._said[[*self.found][-1]] = self.ends.pop()

    def text(self) -> str:
        """The page in Markdown."""
        lines = [f"# {self.about['device']}", "", "| | |", "|---|---|"]
        lines += [f"| {name} | {value} |" for name, value in self.about.items()]
        if self.tests is not None:
            lines += ["", "## Tests marked `cuda`", "", self.tests[1]]
        rate = next((row["bytes"] / row["seconds"] for row in self.found.get("memory", [])), None)
        for name, rows in self.found.items():
            lines += ["", f"## {TITLES[name]}", ""]
            if rows:
                lines += ["| what | size | s | CPU, s | CPU / device | GB / s | share of a copy | peak, MiB |"]
                lines += ["|---|---|---|---|---|---|---|---|", *(_line(row, rate) for row in rows)]
            if name in self._said:
                lines += ["", f"This step was {self._said[name]}."]
        return "\n".join(lines)


def _line(row: dict[str, Any], rate: float | None) -> str:
    seconds, cpu, moved, peak = (row[key] for key in ("seconds", "cpu_seconds", "bytes", "peak_mib"))
    cells = [row["what"], row["size"], f"{seconds:.3g}", "" if cpu is None else f"{cpu:.3g}"]
    cells += ["" if cpu is None else f"{cpu / seconds:.2f}", "" if moved is None else f"{moved / seconds / 1e9:,.1f}"]
    cells += ["" if moved is None or rate is None else f"{100 * moved / seconds / rate:.1f} %"]
    return f"| {' | '.join([*cells, '' if peak is None else f'{peak:,.0f}'])} |"


def _environment(folder: Path, wheels: Path | None) -> dict[str, str]:
    """Of the steps: the checkout under its import name, wheels unpacked, what PYTHONPATH names already."""
    (folder / "scratchcard").symlink_to(ROOT, target_is_directory=True)
    places = [str(folder)]
    if wheels is not None:
        for wheel in sorted(wheels.glob("*.whl")):
            zipfile.ZipFile(wheel).extractall(folder / "wheels")
        places.append(str(folder / "wheels"))
    given = os.environ.get("PYTHONPATH")
    return os.environ | {"PYTHONPATH": os.pathsep.join([*places, *([given] if given else [])])}


def _about(device: str, environment: dict[str, str]) -> dict[str, str]:
    """Device, machine and versions in words.

    Raises:
        ValueError: packages are missing, or there is no such device; one sentence.
    """
    code = (
        "import importlib.util, json, sys\n"
        f"missing = [name for name in {NEEDED!r} if importlib.util.find_spec(name) is None]\n"
        "if missing:\n    print(json.dumps({'missing': missing}))\n    sys.exit()\n"
        "import torch\nfrom scratchcard.artefacts.version import machine, versions\n"
        f"cuda = {device.startswith('cuda')!r}\n"
        "if cuda and not torch.cuda.is_available():\n    print(json.dumps({'none': True}))\n    sys.exit()\n"
        f"name = torch.cuda.get_device_name({device!r}) if cuda else 'CPU'\n"
        "found = versions()\n"
        "print(json.dumps({'device': name, 'machine': machine(), 'threads': str(torch.get_num_threads()),"
        " **{key: found[key] for key in ('python', 'torch', 'numpy')}}))"
    )
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ValueError((done.stderr.strip().splitlines() or ["Python could not be started"])[-1])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if "missing" in found:
        raise ValueError(
            f"this Python lacks {', '.join(found['missing'])}: install them, or put their wheels (and those of what "
            "they need) into a folder and add --wheels FOLDER"
        )
    if "none" in found:
        raise ValueError("torch sees no CUDA device; --device cpu --tiny tries the command without one")
    return found | {"date": time.strftime("%Y-%m-%d", time.gmtime())}


def _place(out: str | None, device: str, name: str) -> Path | None:
    if out is not None:
        return None if out == "-" else Path(out)
    file = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return None if device == "cpu" else ROOT / "results" / "gpu" / f"{file}.md"


def cuda_tests(folder: Path = ROOT / "tests") -> list[str]:
    """Files with tests marked `cuda`: others need not be collected, and may need packages that are not there."""
    found = (path for path in sorted(folder.rglob("test_*.py")) if "mark.cuda" in path.read_text())
    return [str(path.relative_to(folder.parent)) for path in found]


def _tests(environment: dict[str, str]) -> tuple[bool, str]:
    """Whether they passed, and what there is to say."""
    chosen = [sys.executable, "-m", "pytest", "-q", "-m", "cuda", "-p", "no:cacheprovider", "--tb=line", *cuda_tests()]
    lines, ends = [], list[str]()
    for line in _lines(chosen, environment, TEST_SECONDS, ends):
        lines.append(line)
        print(line, file=sys.stderr, flush=True)
    bad = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    last = ends[-1] if ends and ends[-1].startswith("stopped") else (lines or ["nothing was said"])[-1]
    return not ends, "\n".join([f"{last}.", *(f"- `{line}`" for line in bad)])


def _rows(command: list[str], environment: dict[str, str], limit: float, ends: list[str]) -> Iterator[dict[str, Any]]:
    for line in _lines(command, environment, limit, ends):
        if line.startswith("{"):
            yield json.loads(line)


def _lines(command: list[str], environment: dict[str, str], limit: float, ends: list[str]) -> Iterator[str]:
    """What a process prints, line by line, for so long; if it does not end well, how it ended is added to `ends`."""
    said: queue.Queue[str | None] = queue.Queue()
    how: dict[str, Any] = {"env": environment, "cwd": ROOT, "text": True, "start_new_session": True}
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, **how) as process,  # noqa: S603
    ):
        threading.Thread(target=_read, args=(process, said), daemon=True).start()
        until, stopped = time.monotonic() + limit, False
        try:
            while True:
                try:
                    line = said.get(timeout=max(0.0, until - time.monotonic()))
                except queue.Empty:
                    os.killpg(process.pid, signal.SIGKILL)
                    stopped, until = True, time.monotonic() + END_SECONDS
                    continue
                if line is None:
                    process.wait(END_SECONDS)
                    break
                yield line
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        if stopped:
            ends.append(f"stopped after {limit:g} s, its limit")
        elif process.returncode:
            errors.seek(0)
            why = (errors.read().strip().splitlines() or [f"exit status {process.returncode}"])[-1]
            ends.append(f"broken off: {why}")


def _read(process: subprocess.Popen[str], said: queue.Queue[str | None]) -> None:
    for line in process.stdout or ():
        said.put(line.rstrip("\n"))
    said.put(None)


def _measure(name: str, device: str, tiny: bool) -> int:
    """In a step's own process: a row a line."""
    import torch

    from benchmarks.gpu_steps import Place, rows

    for row in rows(name, Place(torch.device(device), tiny)):
        print(json.dumps(row), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
