"""`python -m tests.fuzz`: damaged and tampered files for every reader; exit status 1 if one does what it may not."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.fuzzing import Outcomes, fuzz
from tests.fuzz.readers import READERS


def main() -> int:
    """Run and print a row for each reader."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--mutations", type=int, default=25_000, help="of all readers together [default: 25000]")
    parser.add_argument("--minutes", type=float, default=20.0, help="time at most [default: 20]")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations [default: 0]")
    parser.add_argument("--reader", action="append", choices=READERS, help="only this one [default: all]")
    given = parser.parse_args()
    names = given.reader or list(READERS)
    begin, failed, total = time.time(), 0, Outcomes()
    kinds = ("equal", "other", "refused", "failed")
    print("".join(f"{title:>12}" for title in ("reader".ljust(20), "mutations", *kinds, "seconds")))
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        for done, name in enumerate(names):
            start = time.time()
            left = given.minutes * 60 - (start - begin)
            most = max(5.0, left / (len(names) - done))
            found = fuzz(name, given.seed, given.mutations // len(names), Path(folder), most)
            total.counts += found.counts
            failed += found.counts["failed"]
            numbers = [found.counts.total(), *(found.counts[kind] for kind in kinds), round(time.time() - start)]
            print(f"{name:<20}" + "".join(f"{number:>12,}" for number in numbers), flush=True)
            for text in found.failures[:40]:
                print(f"    {text}", flush=True)
    numbers = [total.counts.total(), *(total.counts[kind] for kind in kinds), round(time.time() - begin)]
    print(f"{'all':<20}" + "".join(f"{number:>12,}" for number in numbers))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
