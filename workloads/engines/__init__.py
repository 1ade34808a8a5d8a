"""Training engines: one course of steps and looks, several ways to do the steps."""
