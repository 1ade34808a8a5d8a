"""Ranks of methods over many blocks: Friedman's test, Nemenyi's, and the critical-difference diagram.

Demšar, "Statistical comparisons of classifiers over multiple data sets" (2006), JMLR 7.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scratchcard.analysis.cells import cells
from scratchcard.analysis.figures import picture_path
from scratchcard.artefacts.files import written_beside

if TYPE_CHECKING:
    import pandas as pd

BLOCKS = ("network", "task", "density", "seed")
INK = "#222222"


@dataclass(frozen=True, eq=False)
class Friedman:
    """Whether methods rank alike, and which pairs differ.

    Attributes:
        statistic: Friedman's chi-squared, corrected for ties.
        p: by the chi-squared distribution with k - 1 degrees of freedom; rough for fewer than ten blocks.
        p_iman_davenport: by the F distribution, which is less conservative; Iman & Davenport (1980).
        mean_ranks: of each label, best first; 1 is the best rank.
        critical_difference: mean ranks further apart than this differ at level alpha (Nemenyi).
        nemenyi: p of each pair of labels, corrected for all pairs. Read it after `p` only: with p > alpha no
            pair differs.
        blocks: number N of complete blocks.
        dropped: blocks left out because a label has no run there.
        alpha: the level.
    """

    statistic: float
    p: float
    p_iman_davenport: float
    mean_ranks: Mapping[str, float]
    critical_difference: float
    nemenyi: pd.DataFrame
    blocks: int
    dropped: int
    alpha: float


def critical_difference(methods: int, blocks: int, alpha: float = 0.05) -> float:
    """`q_alpha sqrt(k (k + 1) / (6 N))`, q_alpha = the studentized range's quantile for k groups / sqrt(2).

    Raises:
        ValueError: fewer than two methods or no block.
    """
    if methods < 2 or blocks < 1:
        raise ValueError(f"a critical difference needs two methods and a block, got {methods} and {blocks}")
    from scipy import stats

    quantile = float(stats.studentized_range.ppf(1 - alpha, methods, math.inf)) / math.sqrt(2)
    return quantile * math.sqrt(methods * (methods + 1) / (6 * blocks))


def friedman(
    frame: pd.DataFrame,
    labels: Sequence[str] | None = None,
    *,
    metric: str = "test_accuracy",
    higher_is_better: bool = True,
    blocks: Sequence[str] = BLOCKS,
    alpha: float = 0.05,
) -> Friedman:
    """Friedman's test over complete blocks.

    Methods are ranked in each block; ties share their mean rank. A run whose value is NaN or infinite ranks last in its
    block: leaving it out would flatter a method that diverges.

    Blocks should be independent. Those of one seed at several densities share their initial weights, and seeds of one
    task say nothing of other tasks: with the default blocks p speaks of this grid's tasks and densities. For a claim
    over tasks, average the seeds first with `blocks=("task", "density")` or `("task",)`.

    Args:
        frame: runs, from `analysis.results.frame`.
        labels: the methods; all of the frame by default.
        metric: the column to rank by.
        higher_is_better: or the lowest value has rank 1.
        blocks: of network, task, density and seed; over what is left out, each method's values are averaged.
        alpha: level of the critical difference.

    Raises:
        ValueError: fewer than three labels, one unknown or twice, fewer than two complete blocks, an unknown block; or
            scikit-posthocs is not installed.
    """
    import numpy as np
    import pandas as pd
    from scipy import stats

    try:
        from scikit_posthocs import posthoc_nemenyi_friedman
    except ImportError as error:
        raise ValueError("Nemenyi's test needs scikit-posthocs: pip install 'scratchcard[report]'") from error

    scores, dropped = _scores(frame, labels, metric, blocks, -1.0 if higher_is_better else 1.0)
    count, k = scores.shape
    ranks = stats.rankdata(scores.to_numpy(), axis=1)  # 1 = the smallest score = the best
    mean_ranks = pd.Series(ranks.mean(axis=0), index=scores.columns).sort_values(kind="stable")
    if np.all(ranks == ranks[0, 0]):  # every block one tie: scipy divides 0 by 0
        statistic, p, p_f = 0.0, 1.0, 1.0
    else:
        test = stats.friedmanchisquare(*ranks.T)
        statistic, p = float(test.statistic), float(test.pvalue)
        rest = count * (k - 1) - statistic
        f = (count - 1) * statistic / rest if rest > 1e-9 * statistic else math.inf
        p_f = float(stats.f.sf(f, k - 1, (k - 1) * (count - 1)))
    pairs = posthoc_nemenyi_friedman(pd.DataFrame(ranks, columns=scores.columns))
    order = list(mean_ranks.index)
    return Friedman(
        statistic,
        p,
        p_f,
        {str(label): float(rank) for label, rank in mean_ranks.items()},
        critical_difference(k, count, alpha),
        pairs.loc[order, order],
        count,
        dropped,
        alpha,
    )


def _scores(
    frame: pd.DataFrame, labels: Sequence[str] | None, metric: str, blocks: Sequence[str], sign: float
) -> tuple[pd.DataFrame, int]:
    """Complete blocks × labels, lower = better, infinite where a run has no finite value; and how many were dropped."""
    import pandas as pd

    if not blocks or not set(blocks) <= set(BLOCKS):
        raise ValueError(f"blocks are made of {', '.join(BLOCKS)}, got {', '.join(blocks) or 'none'}")
    found = cells(frame, metric)
    wanted = found.labels if labels is None else list(labels)
    unknown = [label for label in wanted if label not in found.labels]
    if unknown:
        raise ValueError(f"no runs of {', '.join(map(repr, unknown))}; the frame has {', '.join(found.labels)}")
    if len(wanted) < 3 or len(set(wanted)) < len(wanted):
        raise ValueError(f"Friedman's test ranks three or more different methods, got {', '.join(wanted) or 'none'}")
    rows = []
    for (label, place, density), cell in found.cells.items():
        if label in wanted:
            values = {seed: sign * value for seed, value in cell.values.items()}
            values |= dict.fromkeys(cell.missing, math.inf)
            rows += [(label, *place, density, seed, value) for seed, value in values.items()]
    long = pd.DataFrame(rows, columns=["label", *BLOCKS, "score"])
    table = long.groupby([*blocks, "label"])["score"].mean().unstack("label")[wanted]
    complete = table.dropna()
    if len(complete) < 2:
        runs = {label: int(count) for label, count in table.notna().sum().items()}
        fewest = min(wanted, key=runs.__getitem__)
        raise ValueError(
            f"Friedman's test needs two or more blocks ({', '.join(blocks)}) with runs of all {len(wanted)} methods, "
            f"found {len(complete)} of {len(table)}; {fewest!r} has runs in {runs[fewest]}: leave it out, or run it"
        )
    return complete, len(table) - len(complete)


def critical_difference_diagram(result: Friedman, path: str | Path, *, title: str = "", ink: str = INK) -> Path:
    """Draws mean ranks on an axis, best on the left; bars join methods that do not differ by Nemenyi's test.

    An SVG has a transparent ground, keeps its letters as text and uses one colour, `ink`, so that a page can put
    `currentColor` in its place; a PNG has a white ground. The same result gives the same file.

    Args:
        result: of `friedman`.
        path: ends in .png or .svg.
        title: first line above the diagram; the second says N, p and the critical difference.
        ink: colour of everything.

    Raises:
        ValueError: another ending, or matplotlib and scikit-posthocs are not installed.
    """
    path = picture_path(path)
    try:
        import matplotlib as mpl
        import pandas as pd
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from scikit_posthocs import critical_difference_diagram as draw
    except ImportError as error:
        raise ValueError("this needs matplotlib and scikit-posthocs: pip install 'scratchcard[report]'") from error
    ranks = pd.Series(dict(result.mean_ranks))
    style: dict[str, Any] = {
        "svg.hashsalt": "scratchcard",
        "svg.fonttype": "none",
        "text.color": ink,
        "axes.edgecolor": ink,
    }
    style |= {"xtick.color": ink, "axes.labelcolor": ink, "font.size": 9}
    with mpl.rc_context(style):
        figure = Figure(figsize=(7.5, 1.6 + 0.24 * len(ranks)))
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0.3, 0.05, 0.4, 0.75))
        draw(
            ranks,
            result.nemenyi,
            alpha=result.alpha,
            ax=axes,
            label_fmt_left="{label}  {rank:.2f} ",
            label_fmt_right=" {rank:.2f}  {label}",
            label_props={"parse_math": False},
            marker_props={"color": ink, "s": 12},
            elbow_props={"color": ink, "linewidth": 0.8},
            crossbar_props={"color": ink, "linewidth": 3},
            text_h_margin=0.04 * (float(ranks.max() - ranks.min()) or 1.0),
        )
        dropped = f" ({result.dropped} incomplete left out)" if result.dropped else ""
        size = f"N = {result.blocks} blocks{dropped}, Friedman p {_p(result.p)}"
        size += f", critical difference {result.critical_difference:.2f} (Nemenyi, α = {result.alpha:g})"
        if result.p > result.alpha:
            size += "; not rejected: no pair counts as different"
        axes.set_title(f"{title}\n{size}" if title else size, fontsize=9, pad=20, parse_math=False)
        svg: dict[str, Any] = {"metadata": {"Date": None}, "transparent": True}
        options: dict[str, Any] = svg if path.suffix == ".svg" else {"dpi": 160}
        with written_beside(path) as beside:
            figure.savefig(str(beside), bbox_inches="tight", **options)
    return path


def _p(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"= {p:.4f}"
