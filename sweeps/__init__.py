"""Grids of experiments: their files, their runs, where they are done, their records."""
