"""Learning which weights a slow ticket keeps: predictors fitted on a score table, saved as plain arrays.

Knows score tables only: no network, no scorer.
"""
