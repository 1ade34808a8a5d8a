"""Workloads: network + task + training recipe; training and evaluation."""
