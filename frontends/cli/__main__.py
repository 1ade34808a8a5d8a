"""`python -m frontends.cli` is the command `scratchcard`."""

from frontends.cli import main

main()
