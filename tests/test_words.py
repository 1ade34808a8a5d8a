from __future__ import annotations

from scratchcard.words import counted, duration


def test_counts_are_words() -> None:
    assert [counted(n, "run") for n in (0, 1, 2, 1200)] == ["0 runs", "1 run", "2 runs", "1,200 runs"]
    assert [counted(n, "density") for n in (1, 7)] == ["1 density", "7 densities"]


def test_times_are_words() -> None:
    assert [duration(s) for s in (5, 119.4, 120, 630, 7199, 9000)] == [
        "5 s",
        "119 s",
        "2.0 min",
        "10.5 min",
        "120.0 min",
        "2.5 h",
    ]
