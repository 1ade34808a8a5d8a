"""Run all benchmarks, one after the other, each in a process of its own: `python -m benchmarks [names]`."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.data import LEFT_OUT

BENCHMARKS = (
    "training",
    "training_networks",
    "scoring",
    "default",
    "searching",
    "trees",
    "features",
    "sweep",
    "together",
    "scale",
    "compaction",
    "service",
)


def main() -> int:
    """Exit status 1 if one of them failed; one that lacks its data is left out, which is said at the end."""
    chosen = sys.argv[1:] or BENCHMARKS
    failed, left_out = [], []
    for name in chosen:
        print(f"== {name}", flush=True)
        status = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode  # noqa: S603
        if status == LEFT_OUT:
            left_out.append(name)
        elif status:
            failed.append(name)
    for what, names in (("left out for want of data", left_out), ("failed", failed)):
        if names:
            print(f"== {what}: {', '.join(names)}", flush=True)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
