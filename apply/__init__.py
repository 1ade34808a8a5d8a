"""Predictors and scorers put to work: predicted and stacked scores, scores as weights, tickets, experiments."""
