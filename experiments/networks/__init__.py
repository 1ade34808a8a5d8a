"""Networks that the package does not hold. Runs are identified by these files: an edit makes new ones."""
