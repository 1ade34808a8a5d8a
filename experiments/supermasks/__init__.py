"""Supermasks: what untrained networks reach under a mask, and the study's comparison with shrunk layers."""
