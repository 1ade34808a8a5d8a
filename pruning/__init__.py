"""The vocabulary of pruning: prunable weights, scores, masks, tickets, schedules, connectivity, compaction.

Imports nothing else of this project.
"""
