"""`python -m tests.torture`: commands are killed, disks fill up, bits flip, clocks leap; results must stay equal.

Exit status 1 where something was lost, half written or wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path
from random import Random

os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests.torture.disturbances import DISTURBANCES, Torture


def main() -> int:
    """Disturb the job until the time is over; print what was done."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="time [default: 5]")
    parser.add_argument("--seed", type=int, default=0, help="of what is done when [default: 0]")
    names = [each.__name__ for each in DISTURBANCES]
    parser.add_argument("--only", action="append", choices=names, help="only this disturbance [default: all]")
    given = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    chosen = {each: often for each, often in DISTURBANCES.items() if given.only is None or each.__name__ in given.only}
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="torture-", ignore_cleanup_errors=True) as folder:
        torture = Torture(Path(folder).resolve(), Random(given.seed))
        torture.begin()
        print(f"undisturbed: {', '.join(f'{name} {took:.1f} s' for name, took in torture.seconds.items())}", flush=True)
        while time.monotonic() - begin < given.minutes * 60:
            (disturb,) = torture.random.choices(list(chosen), list(chosen.values()))
            known = len(torture.wrong)
            try:
                disturb(torture)
            except Exception:  # of the torture itself
                torture.wrong.append(f"{disturb.__name__}: {traceback.format_exc()}")
            torture.counts["trials"] += 1
            for text in torture.wrong[known:]:
                print(f"WRONG: {text}", flush=True)
    for what, number in sorted(torture.counts.items()):
        print(f"{what:<60}{number:>8,}")
    kills = sum(number for what, number in torture.counts.items() if what.startswith("kills"))
    print(f"{'kills in all':<60}{kills:>8,}")
    print(f"{'wrong':<60}{len(torture.wrong):>8,}")
    print(f"seed {given.seed}, {time.monotonic() - begin:.0f} s")
    return 1 if torture.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
