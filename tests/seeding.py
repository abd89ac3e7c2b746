"""Random numbers that are drawn while a test file is imported."""

from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")


def seeded(make: Callable[[], T]) -> T:
    """Return what a function makes, with weights and input drawn from a seed of its own.

    Files of tests use it for what they make when they are imported. Drawn from PyTorch's own generator, its numbers
    would depend on the files that were imported before.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()
