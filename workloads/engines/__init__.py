"""Training engines: one loop of steps, evaluations and early stopping, and several ways to do the steps."""
