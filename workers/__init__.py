"""Calls in other processes, on this machine or on a cluster, and what dies there."""
