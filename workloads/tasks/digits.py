"""`digits`: scikit-learn's 1,797 handwritten digits of 8 x 8 pixels; needs no file and no network."""

from __future__ import annotations

import torch

from scratchcard.workloads.encoding import Encoding
from scratchcard.workloads.task import Split, Task, task_digest

SPLIT_SEED = 2022
VALIDATION, TEST = 180, 360


def digits() -> Task:
    """1,257 training, 180 validation and 360 test images `(1, 8, 8)`; normalised by the training split's mean and std.

    Source: optical recognition of handwritten digits, Alpaydin & Kaynak 1998 (part of scikit-learn). The images
    come in no official order of writers, so the split is a fixed random one.

    Examples:
        >>> task = digits()
        >>> task
        Task('digits', classification, 1257 + 180 + 360 examples, torch.float32 (1, 8, 8))
        >>> tuple(task.example.shape), task.classes
        ((1, 1, 8, 8), 10)
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.from_numpy(data.images).float().unsqueeze(1) / 16.0
    targets = torch.from_numpy(data.target).long()
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(SPLIT_SEED))
    test, validation, train = order[:TEST], order[TEST : TEST + VALIDATION], order[TEST + VALIDATION :]
    mean, std = images[train].mean(), images[train].std()
    first, second, third = (Split((images[part] - mean) / std, targets[part]) for part in (train, validation, test))
    encoding = Encoding((float(mean),), (float(std),), 16.0, tuple("0123456789"))
    digest = task_digest(first, second, third)
    return Task("digits", first, second, third, outputs=10, digest=digest, encoding=encoding)
