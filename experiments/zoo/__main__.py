"""The zoo: everything that is done with a network, done with 85 of all kinds.

    python -m experiments.zoo                       # all that is not yet there, then the page
    python -m experiments.zoo --anew                # all of it, whatever there is
    python -m experiments.zoo --networks bert lstm  # these alone
    python -m experiments.zoo --again               # once more what did not work
    python -m experiments.zoo --page                # the page alone, of what there is

Each network has a process of its own with limits of time and memory, and each cell is written as it comes: an
interrupted call goes on where it stopped. The cells are kept as Parquet, and the page is a table of them.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from experiments.zoo.cells import FAULT, WORKS, Case, Cell, cells_of
from experiments.zoo.page import page
from scratchcard.workloads.networks.of_package import PACKAGES

MOST = 100_000_000
"""Parameters; torchvision's networks of more are left out."""
SIDES = {
    "torchvision:alexnet": 96,
    "torchvision:convnext": 128,
    "torchvision:efficientnet": 96,
    "torchvision:inception": 299,
    "torchvision:maxvit": 224,
    "torchvision:mnasnet": 96,
    "torchvision:mobilenet": 96,
    "torchvision:vit": 224,
    "timm:caformer": 128,
    "timm:convnext": 128,
    "timm:eva02": 56,
    "timm:ghostnet": 96,
    "timm:mobilenetv4": 96,
}
"""Pixels a side, by how names begin: images so large that every place of every kernel meets more than padding; else 64,
or the one size that the network takes."""
TIMM = (
    *("resnet10t", "nfnet_l0", "regnetz_005", "ghostnet_100", "mobilenetv4_conv_small", "convnextv2_atto"),
    *("poolformer_s12", "mobilevit_xxs", "caformer_s18", "levit_128s", "xcit_nano_12_p16_224"),
    *("vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "eva02_tiny_patch14_224"),
    *("mixer_s32_224", "gmlp_ti16_224"),
)
OWN = {
    "experiments.zoo.networks.language:bert": (12,),
    "experiments.zoo.networks.language:gpt_2": (12,),
    "experiments.zoo.networks.language:llama": (12,),
    "experiments.zoo.networks.recurrent:lstm": (9, 8),
    "experiments.zoo.networks.recurrent:gru": (9, 8),
    "experiments.zoo.networks.segmentation:unet": (3, 32, 32),
}


def shape_of(network: str) -> tuple[int, ...]:
    """Of one of its inputs.

    >>> shape_of("torchvision:resnet18"), shape_of("experiments.zoo.networks.recurrent:gru")
    ((3, 64, 64), (9, 8))
    """
    if network in OWN:
        return OWN[network]
    side = next((side for begin, side in SIDES.items() if network.startswith(begin)), 64)
    return (3, side, side)


def networks(largest: int = MOST) -> list[str]:
    """All of them up to so many parameters: our own, timm's, then torchvision's, the smallest first.

    A figure of torchvision's own, for a thousand classes, says how large its networks are.
    """
    from torchvision import models

    def size(name: str) -> int:
        return int(next(iter(models.get_model_weights(name))).meta["num_params"])

    theirs = sorted(PACKAGES["torchvision"].names(), key=size)
    chosen = [f"torchvision:{name}" for name in theirs if size(name) <= largest]
    return [*OWN, *(f"timm:{name}" for name in TIMM), *chosen]


def known(folder: Path, parquet_file: Path | None = None) -> dict[tuple[str, str], Cell]:
    """What there is, the latest of each cell: of the Parquet file that was kept, and of the folder."""
    found = {}
    if parquet_file is not None and parquet_file.exists():
        for row in parquet.read_table(parquet_file).to_pylist():
            found[row["network"], row["cell"]] = Cell(**row)
    for file in sorted(folder.glob("*.jsonl")):
        for line in file.read_text().splitlines():
            cell = Cell(**json.loads(line))
            found[cell.network, cell.cell] = cell
    return found


def run(network: str, cells: list[str], folder: Path, minutes: float, gigabytes: float) -> None:
    """Do cells of one network in a process of its own; what it leaves undone is a fault, said as such."""
    file = folder / f"{network.replace(':', '-')}.jsonl"
    before = len(file.read_text().splitlines()) if file.exists() else 0
    command = [sys.executable, "-m", "experiments.zoo", "--one", network, "--cells", *cells]

    def limited() -> None:
        size = int(gigabytes * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (size, size))

    print(f"{network}: {', '.join(cells)}", file=sys.stderr, flush=True)
    with file.open("a") as out:
        why = "the process ended without a word"
        try:
            done = subprocess.run(  # noqa: S603
                command, stdout=out, stderr=subprocess.PIPE, timeout=60 * minutes, preexec_fn=limited, check=False
            )
            last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            why = f"the process ended with status {done.returncode}: {' '.join(last)}"
        except subprocess.TimeoutExpired:
            why = f"no answer within {minutes:g} minutes"
        out.flush()
        came = [json.loads(line)["cell"] for line in file.read_text().splitlines()[before:]]
        missing = [cell for cell in cells if cell not in came]
        if missing:
            out.write(Cell(network, missing[0], FAULT, why).line())


def write(found: dict[tuple[str, str], Cell], parquet_file: Path, text: Path) -> None:
    """The cells as Parquet, and the page."""
    cells = sorted(found.values(), key=lambda cell: cell.network)
    columns = {field.name: [getattr(cell, field.name) for cell in cells] for field in fields(Cell)}
    parquet_file.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table(columns), parquet_file, compression="zstd")
    shapes = {cell.network: shape_of(cell.network) for cell in cells}
    text.write_text(page(cells, shapes, len(networks())))


def undone(network: str, found: dict[tuple[str, str], Cell], again: bool) -> list[str]:
    """The cells of a network that are to be done."""
    wanted = []
    for name in Case(network, shape_of(network)).cells:
        cell = found.get((network, name))
        if cell is None or (again and cell.outcome != WORKS):
            wanted.append(name)
    return wanted


def main() -> int:
    """Run what is missing, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", help="whose names end so [default: all]")
    parser.add_argument("--cells", nargs="+", help="these alone [default: all]")
    parser.add_argument("--again", action="store_true", help="do once more what did not work")
    parser.add_argument("--anew", action="store_true", help="begin with nothing")
    parser.add_argument("--page", action="store_true", help="run nothing, write the page")
    parser.add_argument("--largest", type=int, default=MOST, help="parameters that a network may have [default: 100 M]")
    parser.add_argument("--jobs", type=int, default=1, help="networks at once")
    parser.add_argument("--folder", type=Path, default=Path("runs/zoo"), help="of the cells as they come")
    parser.add_argument("--minutes", type=float, default=15, help="that a network may take [default: 15]")
    parser.add_argument("--gigabytes", type=float, default=12, help="that a network may take [default: 12]")
    parser.add_argument("--parquet", type=Path, default=Path("results/zoo/cells.parquet"))
    parser.add_argument("--text", type=Path, default=Path("docs/zoo.md"))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        for cell in cells_of(Case(given.one, shape_of(given.one)), given.cells):
            print(cell.line(), end="", flush=True)
        return 0
    given.folder.mkdir(parents=True, exist_ok=True)
    if given.anew:
        given.parquet.unlink(missing_ok=True)
        for file in given.folder.glob("*.jsonl"):
            file.unlink()
    with ThreadPoolExecutor(given.jobs) as pool:  # of processes, each of which its thread waits for
        how = (given.folder, given.minutes, given.gigabytes)
        for _ in pool.map(lambda case: run(*case, *how), [] if given.page else _work(given)):
            pass
    found = known(given.folder, given.parquet)
    write(found, given.parquet, given.text)
    faults = [cell for cell in found.values() if cell.outcome == FAULT]
    for cell in faults:
        print(f"{cell.network}, {cell.cell}: {cell.said}", file=sys.stderr)
    return int(bool(faults))


def _work(given: argparse.Namespace) -> list[tuple[str, list[str]]]:
    found, work = known(given.folder, given.parquet), []
    named = given.networks or [""]
    chosen = networks(given.largest)
    for network in dict.fromkeys(network for name in named for network in chosen if network.endswith(name)):
        wanted = [name for name in undone(network, found, given.again) if name in (given.cells or [name])]
        if wanted:
            work.append((network, wanted))
    return work


if __name__ == "__main__":
    sys.exit(main())
