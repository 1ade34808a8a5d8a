"""What is told of a ticket, layer by layer."""

from __future__ import annotations

import torch
from torch import nn

import scratchcard as sc
from scratchcard.apply.ticket_report import ticket_report


def test_the_units_of_a_table_are_its_columns() -> None:
    network = nn.Sequential(nn.Embedding(20, 6), nn.Flatten(), nn.Linear(30, 3))
    task = sc.Task.of(torch.randint(0, 20, (60, 5)), torch.arange(60) % 3)
    layers = ticket_report(sc.prune(network, task, 0.9, method="magnitude"))["layers"]
    assert [layer["units"] for layer in layers] == [6, 3]
    assert all(layer["live_units"] <= layer["units"] for layer in layers)
