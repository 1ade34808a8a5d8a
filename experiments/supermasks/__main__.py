"""Supermasks beside the figures of their sources: docs/supermasks.md says what each command answers.

    python -m experiments.supermasks thresholds --dry-run
    python -m experiments.supermasks predicted
    python -m experiments.supermasks learned
    python -m experiments.supermasks widths
    python -m experiments.supermasks actions

Grids: experiments/supermasks_mnist.toml, supermasks_criteria.toml and supermasks_shrunk.toml.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

from experiments.options import run_command
from experiments.supermasks.rest import actions
from experiments.supermasks.thresholds import thresholds
from experiments.supermasks.untrained import learned, predicted
from experiments.supermasks.widths import widths
from experiments.supermasks.workload import SEARCH_STEPS
from scratchcard.number_list import whole_numbers

COMMANDS = {
    "thresholds": thresholds,
    "predicted": predicted,
    "learned": learned,
    "widths": widths,
    "actions": actions,
}
STEPS = {"learned": 4_000}
"""Of searches, where they are not the study's: learned masks of many densities."""
SEEDS = {"predicted": "300-309", "learned": "300-304"}
"""Where they are not the study's ten: the shipped predictor's own are left out."""


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line, and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=COMMANDS, help="what to answer")
    parser.add_argument("--dry-run", action="store_true", help="say how long it takes, and do nothing")
    parser.add_argument("--task", default="mnist", help="a registered task of images")
    parser.add_argument("--seeds", help="of the initialisations; by default 0-9, predicted 300-309, learned 300-304")
    parser.add_argument("--steps", type=int, default=5_000, help="of a ticket's training")
    parser.add_argument("--search-steps", type=int, help=f"of the search; by default {SEARCH_STEPS}, learned 4000")
    parser.add_argument("--data-dir", type=Path, help="folder with the data files")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="finished trainings")
    parser.add_argument("--results", type=Path, default=Path("results/supermasks"), help="tables and pictures")
    options = parser.parse_args(arguments)
    options.seeds = whole_numbers(options.seeds or SEEDS.get(options.command, "0-9"))
    options.search_steps = options.search_steps or STEPS.get(options.command, SEARCH_STEPS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        COMMANDS[options.command](options)


if __name__ == "__main__":
    run_command(main)
