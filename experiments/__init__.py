"""Commands that re-create the published tables."""
