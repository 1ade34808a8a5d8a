"""Parquet files: whatever pyarrow raises of a damaged one is one sentence."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from scratchcard.words import shortened


@contextlib.contextmanager
def damage_told(path: str | Path, advice: str) -> Iterator[None]:
    """What is read here, or ValueError that names the file and gives an advice.

    pyarrow does not look into texts when it reads: `table.validate(full=True)` refuses those that are no UTF-8.

    Raises:
        ValueError: pyarrow could not read it.
        FileNotFoundError: there is no such file.

    Examples:
        >>> import pyarrow.parquet as pq
        >>> _ = Path("cut.parquet").write_bytes(b"PAR1")
        >>> with damage_told("cut.parquet", "build it again"):
        ...     pq.read_table("cut.parquet")
        Traceback (most recent call last):
            ...
        ValueError: cut.parquet is damaged, truncated or no Parquet file (...); build it again
    """
    from pyarrow import ArrowException

    try:
        yield
    except FileNotFoundError:
        raise
    except (ArrowException, OSError, UnicodeDecodeError) as error:
        reason = shortened(str(error).strip().split("\n")[0].split(". ")[0].rstrip("."))
        raise ValueError(f"{path} is damaged, truncated or no Parquet file ({reason}); {advice}") from error
