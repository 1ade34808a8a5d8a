"""`scratchcard demo`."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import click

from scratchcard.frontends.cli.options import COUNT, PATH, device_option, emit, json_option, progress_bar


@click.command()
@click.option("--out", type=PATH, default="demo", show_default=True, help="Folder for all files, e.g. /tmp/demo.")
@click.option("--jobs", type=COUNT, default=2, show_default=True, help="Runs at once, one thread each, e.g. 4.")
@device_option
@json_option
def demo(out: Path, jobs: int, device: str, as_json: bool) -> None:
    """The whole job on the embedded digits task, in under two minutes.

    Builds a small score table from a few initialisations, fits a predictor, prunes new initialisations with it, trains
    those tickets beside random, magnitude, SNIP, GraSP, SynFlow and IMP tickets of the same density, prints the
    comparison and draws it. A second run reuses what is there.

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
    with progress_bar("demo") as progress:
        current = ""

        def stage(text: str, done: int, total: int) -> None:
            nonlocal current
            if text != current and not as_json:
                click.echo(f"{text} ...", err=True)
                current = text
            progress(done, total)

        results = settings.run(out, jobs=jobs, device=where, stage=stage)
    summaries = sorted(summarise(results), key=lambda s: s.test_accuracy.mean)
    subtitle = (
        f"digits, LeNet-300-100, {results[0]['kept']} of {results[0]['prunable']:,} weights kept, "
        f"{len(settings.new_seeds)} new initialisations"
    )
    try:
        picture = comparison(summaries, out / "comparison.png", "Tickets of the same density", subtitle)
        drawn = f"picture: {picture}"
    except ValueError as error:
        drawn = f"no picture ({error})"
    width = max(len(s.label) for s in summaries)
    lines = [subtitle, "", f"{'method':<{width}}  test accuracy, %  pruning, s"]
    lines += [
        f"{s.label:<{width}}  {s.test_accuracy.text(2, 100):>16}  {s.pruning_seconds.mean:>10.2f}" for s in summaries
    ]
    lines += ["", f"{drawn}; table, predictor and records: {out}/; {time.perf_counter() - begin:.0f} s"]
    emit([asdict(s) for s in summaries], as_json, "\n".join(lines))
