"""Tables in Markdown, as the pages of results hold them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from scratchcard.analysis.statistics import Summary


def markdown(summaries: Sequence[Summary], passes: Mapping[str, float] | None = None) -> str:
    """A Markdown table: accuracy, steps to the best validation loss, pruning time, effective density.

    With `passes` (by label) one of the cost: passes over the data in place of the steps, the best first.
    """
    cost = "steps to best validation loss" if passes is None else "passes over the data"
    titles = " or ".join(dict.fromkeys(s.headline.title for s in summaries))
    rows = [
        [
            s.label,
            s.test_accuracy.text(s.headline.digits, s.headline.scale),
            s.best_step.text(0) if passes is None else few_digits(passes[s.label]),
            s.pruning_seconds.text(1 if s.pruning_seconds.mean >= 10 else 2),
            f"{s.effective_density.mean:.4f}",
            s.test_accuracy.count,
        ]
        for s in (summaries if passes is None else sorted(summaries, key=lambda s: -s.test_accuracy.mean))
    ]
    return markdown_table(["method", titles, cost, "pruning time, s", "effective density", "seeds"], rows)


def markdown_table(columns: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table of texts.

    >>> print(markdown_table(["a", "b"], [[1, 2]]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    lines = [[str(value).replace("|", "\\|") for value in line] for line in (columns, *rows)]
    head, *body = (f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([head, "|---" * len(columns) + "|", *body])


def few_digits(value: float) -> str:
    """Three digits, never as a power of ten.

    >>> few_digits(357.6), few_digits(3.927)
    ('358', '3.93')
    """
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}" if value >= 0.001 else "0" if value == 0 else "< 0.001"
