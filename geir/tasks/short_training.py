"""Training that takes minutes and therefore writes no checkpoints, only its weights."""

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn, Tensor
from torch.utils.data import TensorDataset
from tqdm import tqdm

from .command_line import stop_on_interrupt
from .files import write_atomically


def train_briefly(
    model: nn.Module,
    samples: TensorDataset,
    update: Callable[[Tensor, Tensor], float],
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    title: str = "",
) -> bool:
    """Train until the end (True) or Ctrl-C (False).

    Args:
        model: The network, which is set to training mode.
        samples: Samples and their labels.
        update: Changes the weights by a batch of samples and labels; returns their mean loss.
        epochs: Number of passes over the samples.
        batch_size: Samples in a batch.
        seed: Seed of their order.
        title: Precedes the number of the epoch in what is shown.
    """
    xs, labels = samples.tensors
    order = torch.Generator().manual_seed(seed)
    model.train()
    with stop_on_interrupt() as stopped:
        for epoch in range(epochs):
            name = f"{title}epoch {epoch + 1}/{epochs}"
            total = 0.0
            shuffled = torch.randperm(len(labels), generator=order).split(batch_size)
            for indices in tqdm(shuffled, desc=name, leave=False, disable=None):
                total += update(xs[indices], labels[indices]) * len(indices)
                if stopped():
                    return False
            tqdm.write(f"{name}  loss {total / len(labels):.4f}", file=sys.stderr)
    return True


def restore_or_train(model: nn.Module, weights: Path, resume: bool, train: Callable[[], bool]) -> bool:
    """Restore the weights of a network from a file, or train it and write them there.

    Args:
        model: The network.
        weights: The file; its folder is created if missing.
        resume: Whether to restore.
        train: Trains the network; returns whether the training came to its end.

    Returns:
        Whether the network is trained.

    Raises:
        FileNotFoundError: If `resume` is set and the file does not exist.
    """
    if resume:
        if not weights.exists():
            raise FileNotFoundError(f"There is no trained network at {weights}; run without --resume first.")
        model.load_state_dict(torch.load(weights))
        return True
    finished = train()
    weights.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(weights, lambda file: torch.save(model.state_dict(), file))
    return finished
