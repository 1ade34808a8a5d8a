"""Run all benchmarks, one after the other, each in a process of its own: `python -m benchmarks [names]`."""

from __future__ import annotations

import subprocess
import sys

BENCHMARKS = ("training", "scoring", "default", "trees", "features", "sweep", "together")


def main() -> int:
    """Exit status 1 if one of them failed."""
    chosen = sys.argv[1:] or BENCHMARKS
    failed = 0
    for name in chosen:
        print(f"== {name}", flush=True)
        failed |= subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode != 0  # noqa: S603
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
