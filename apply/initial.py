"""Initial: what weights a method begins with, and what becomes of those that it keeps; words without torch."""

from __future__ import annotations

INITIAL = {
    "given": "As built.",
    "signed": "As given, with the signs of the stored ticket that the predictor lays into the network, if any.",
    "saw": "The scores of the initial scorer, scaled to [-1, 1].",
    "saw_variance": "The scores of the initial scorer, scaled to the weights' variance.",
    "bimodal": "Signs at random, sizes around one value.",
    "constant": "The signs as built, all sizes of a layer the root of its mean square.",
    "scaled_kaiming": "Kaiming-normal, with the variance of the fan-in that the density leaves.",
    "transplanted": "The stored ticket's own weights.",
}
"""Initial weights, and what they are."""
KEPT = {
    "rewound": "As the regime rewinds them, as a rule to the initial weights.",
    "constant": "All sizes of a layer the root of the mean square of its initial weights.",
    "reinitialised": "Built anew, from another seed.",
    "reshuffled": "Each layer's kept weights among themselves, in another order.",
}
"""What becomes of kept weights before the ticket is trained, and what they are: mask-1 actions."""
