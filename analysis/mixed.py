"""Runs of several versions of torch or several kinds of device in one analysis: what is to be said of that."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

MIXING = {"torch": "versions of torch", "device": "kinds of device"}


def mixed(runs: pd.DataFrame) -> list[str]:
    """A sentence for each of torch's version and the kind of device (cpu, cuda) that differs between runs.

    Runs whose record does not say count as none.

    Examples:
        >>> import pandas as pd
        >>> mixed(pd.DataFrame({"torch": ["2.9.0", "2.9.0", "2.10.0"], "device": ["cpu", "cuda:0", "cuda:1"]}))[0]
        'these runs mix 2 versions of torch (2.10.0: 1 run, 2.9.0: 2 runs), which differ by rounding ...'
        >>> mixed(pd.DataFrame({"torch": ["2.9.0"], "device": ["cpu"]}))
        []
    """
    from scratchcard.words import counted

    found = []
    for column, what in MIXING.items():
        values = runs[column].dropna().astype(str).str.partition(":")[0]
        counts = values[values != ""].value_counts().sort_index()
        if len(counts) > 1:
            told = ", ".join(f"{value}: {counted(int(n), 'run')}" for value, n in counts.items())
            found.append(
                f"these runs mix {len(counts)} {what} ({told}), which differ by rounding that training amplifies: a "
                "difference between methods may be one between these"
            )
    return found
