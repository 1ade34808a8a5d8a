"""The page of the zoo: a table of networks and cells, and the sentences behind those that do not work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from experiments.markdown import markdown_table
from experiments.zoo.cells import REFUSED, WORKS, Cell


def page(cells: Sequence[Cell], shapes: Mapping[str, tuple[int, ...]], whole: int) -> str:
    """Markdown, of so many networks in all."""
    names = list(dict.fromkeys(cell.network for cell in cells))
    found = {(cell.network, cell.cell): cell for cell in cells}
    columns = max((list(dict.fromkeys(c.cell for c in cells if c.network == name)) for name in names), key=len)
    sentences: dict[str, int] = {}
    rows = []
    for name in names:
        row: list[object] = [f"`{name}`", " x ".join(map(str, shapes[name]))]
        size = found.get((name, "prunable"))
        row.append(f"{size.weights:,}" if size is not None else "")
        rows.append([*row, *(_said(found.get((name, column)), sentences) for column in columns)])
    works = sum(cell.outcome == WORKS for cell in cells)
    refused = sum(cell.outcome == REFUSED for cell in cells)
    parts = [
        f"# The zoo\n\n{_ABOUT}",
        f"{len(names)} of {whole} networks were run, {len(cells)} cells: {works} work "
        f"({100 * works / len(cells):.1f} %), {refused} are refused in a sentence, {len(cells) - works - refused} are "
        "at fault.",
        markdown_table(["network", "input", "prunable weights", *columns], rows),
    ]
    if sentences:
        listed = [[number, _shortened(text)] for text, number in sentences.items()]
        parts += ["## What is said", markdown_table(["note", "sentence"], listed)]
    return "\n\n".join(parts) + "\n"


_ABOUT = """All that is done with a network was tried on networks of many kinds. They have random weights, and ten
classes where they have classes; the batches are four examples of noise. `make zoo` runs what has not been run yet and
writes this page, and `results/zoo/cells.parquet` has a row for each cell. A cell of the table says that it works, or
which sentence came in place of a result.

| column | what works |
|---|---|
| prunable | the share of all matrices' weights that are prunable |
| scorers | finite scores that tell weights apart; of SynFlow and its L2 form none negative, and no layer without any |
| features | all columns of a score table |
| default predictor | scores of the shipped predictor |
| connectivity | the effective density of the dense network is 1 |
| Euler's identity | SynFlow's scores of each layer that all paths cross sum to the flow, within a millionth |
| ticket | SNIP's of density 0.1 saved, loaded and trained ten steps, pruned weights still zero |
| compaction | the share of prunable weights left without what that ticket makes useless; the same outputs |"""


def _said(cell: Cell | None, sentences: dict[str, int]) -> str:
    if cell is None:
        return ""
    if cell.outcome == WORKS:
        return f"{cell.value:.3f}" if cell.cell in ("prunable", "compaction") else "yes"
    number = sentences.setdefault(cell.said, len(sentences) + 1)
    return f"{'note' if cell.outcome == REFUSED else 'FAULT'} {number}"


def _shortened(text: str) -> str:
    return text if len(text) <= 400 else f"{text[:400]} ..."
