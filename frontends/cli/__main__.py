"""`python -m scratchcard.frontends.cli` is the command `scratchcard`."""

from scratchcard.frontends.cli import main

main()
