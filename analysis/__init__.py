"""Reads results; never makes them."""
