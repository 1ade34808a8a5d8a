"""Every test runs on one torch thread, in a known random state; what it registers ends with it."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import Any

import pytest
import torch
from hypothesis import settings

from scratchcard.pruning import known_layers
from tests import browsing
from tests.pretended_cuda import pretended_cuda

settings.register_profile("dev", deadline=None)  # machines are noisy
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("dev")
if os.environ.get("CI"):
    settings.load_profile("ci")  # a red build must stay red until it is mended, a green one green


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Where there is no CUDA device the tests marked `cuda`, with their fixtures, have a pretended one."""
    if item.get_closest_marker("cuda") is None or torch.cuda.is_available():
        return (yield)
    with pretended_cuda():
        return (yield)


@pytest.fixture(autouse=True)
def _known_state() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    registered = known_layers.registrations()
    prunable = dict(known_layers.PRUNABLE)
    yield
    torch.set_num_threads(threads)
    if known_layers.registrations() != registered:
        known_layers.PRUNABLE.clear()
        known_layers.PRUNABLE.update(prunable)
        known_layers._REGISTERED.clear()
        known_layers.register_again(registered)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium; see `browsing.started`."""
    driver = browsing.started()
    yield driver
    driver.quit()
