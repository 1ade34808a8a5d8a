"""`scratchcard demo`."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scratchcard.frontends.cli import options as opt

if TYPE_CHECKING:
    from scratchcard.analysis.statistics import Summary

NEXT = "scratchcard prune --predictor default --task digits --density 0.005 --out ticket.safetensors"
"""The next command to try."""


@click.command()
@click.option("--out", type=opt.PATH, default="demo", show_default=True, help="Folder for all files, e.g. /tmp/demo.")
@click.option("--jobs", type=opt.COUNT, default=2, show_default=True, help="Runs at once, one thread each, e.g. 4.")
@opt.device_option
@opt.json_option
def demo(out: Path, jobs: int, device: str, as_json: bool) -> None:
    """The whole job on the embedded digits task, in a few minutes.

    Builds a small score table from a few initialisations and fits a predictor to it. Then it prunes new initialisations
    with that predictor, with the one that is shipped, with the usual criteria and with iterative pruning, all to the
    same density; trains the tickets, prints the comparison and draws it. A second run reuses what is there.

    \b
    scratchcard demo
    scratchcard demo --out my-demo --jobs 4 --device cpu
    """
    from scratchcard.analysis.figures import comparison
    from scratchcard.analysis.statistics import summarise
    from scratchcard.artefacts.destination import check_destination
    from scratchcard.sweeps.demo import Demo
    from scratchcard.workloads.device import choose_device

    check_destination(out, "folder")
    where = choose_device(device)
    begin = time.perf_counter()
    settings = Demo()
    with opt.progress_bar("demo") as progress:
        current = ""

        def stage(text: str, done: int, total: int) -> None:
            nonlocal current
            if text != current and not as_json:
                click.echo(f"{text} ...", err=True)
                current = text
            progress(done, total)

        results = settings.run(out, jobs=jobs, device=where, stage=stage)
    names = {method.label: name for name, method in settings.methods(out / "predictor").items()}
    summaries = sorted(summarise(results), key=lambda s: -s.test_accuracy.mean)
    named = [replace(s, label=names[s.label]) for s in summaries]
    subtitle = (
        f"LeNet-300-100 on digits, {results[0]['kept']} of {results[0]['prunable']:,} weights kept, "
        f"{len(settings.new_seeds)} new initialisations"
    )
    try:
        picture = comparison(named, out / "comparison.png", "Tickets of the same density", subtitle)
        drawn = f"picture: {picture}"
    except ValueError as error:
        drawn = f"no picture ({error})"
    width = max(len(s.label) for s in named)
    lines = [subtitle, "", f"{'method':<{width}}  test accuracy, %  pruning, s"]
    lines += [f"{s.label:<{width}}  {s.test_accuracy.text(2, 100):>16}  {s.pruning_seconds.mean:>10.2f}" for s in named]
    lines += ["", _verdict({s.label: s for s in named}), ""]
    lines += [f"{drawn}; table, predictor and records: {out}/; {time.perf_counter() - begin:.0f} s"]
    lines += ["", "next, a ticket of your own:", f"  {NEXT}"]
    opt.emit([asdict(s) | {"name": n.label} for s, n in zip(summaries, named, strict=True)], as_json, "\n".join(lines))


def _verdict(found: dict[str, Summary]) -> str:
    """What the comparison says of the shipped predictor."""
    from scratchcard.sweeps.demo import FIXED, SHIPPED, SLOW

    ours, fixed, slow = found[SHIPPED], found[FIXED], found[SLOW]
    gain, gap = (100 * (ours.test_accuracy.mean - other.test_accuracy.mean) for other in (fixed, slow))
    share = slow.pruning_seconds.mean / max(ours.pruning_seconds.mean, 1e-3)
    return (
        f"The shipped predictor is {abs(gain):.1f} points {'above' if gain >= 0 else 'below'} the best fixed criterion "
        f"and {abs(gap):.1f} {'above' if gap >= 0 else 'below'} iterative pruning, which takes {share:.0f} times as "
        "long to find its ticket.\nIt was fitted on MNIST and variations of it, and never saw digits: other commands "
        "warn of that."
    )
