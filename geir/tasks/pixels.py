"""Images as pixels between 0 and 1, and as evenly spaced spikes."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from . import digits, mnist
from .data import Data


def load(path: Path | None) -> Data[TensorDataset]:
    """Pixels in [0, 1], shape (images, pixels), of MNIST if there is a path, else of scikit-learn's digits.

    Args:
        path: See `geir.tasks.mnist.read`.

    Raises:
        FileNotFoundError: If `path`, or a file in that folder, does not exist.
        ValueError: If a file does not hold MNIST.
    """
    if path is None:
        data = digits.load()
        train, test = (TensorDataset(part.tensors[0].flatten(1), part.tensors[1]) for part in (data.train, data.test))
        return Data(train=train, test=test)
    arrays = mnist.read(path)
    return Data(
        train=_pixels(arrays.train_images, arrays.train_labels), test=_pixels(arrays.test_images, arrays.test_labels)
    )


def _pixels(images: np.ndarray, labels: np.ndarray) -> TensorDataset:
    return TensorDataset(torch.from_numpy(images).flatten(1).float() / 255, torch.from_numpy(labels).long())


def encode(pixels: Tensor, steps: int) -> Tensor:
    """Pixels in [0, 1] as evenly spaced spikes, shape (steps, ...)."""
    counts = torch.floor(torch.arange(steps + 1, device=pixels.device).view(-1, 1, 1) * pixels + 1e-6)
    return counts.diff(dim=0)
