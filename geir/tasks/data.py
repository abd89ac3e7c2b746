"""Samples for training and testing, and how they are presented to a network."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..decode import max_potential, max_potential_loss


def repeat_over_time(x: Tensor, steps: int) -> Tensor:
    """Repeat a batch as a constant current, without copying: shape (...) to (steps, ...)."""
    return x.expand(steps, *x.shape)


def time_first(xs: Tensor, steps: int) -> Tensor:
    """The first steps of a batch of sequences, shape (batch, time, ...), as input over time, (steps, batch, ...)."""
    return xs.transpose(0, 1)[:steps]


def recognized(ys: Tensor, labels: Tensor, decode: Callable[[Tensor], Tensor] = max_potential) -> tuple[Tensor, Tensor]:
    """For each sample, whether the class with the largest score is the right one, of 1 answer.

    Args:
        ys: Outputs, shape (time, batch, classes).
        labels: Classes, shape (batch,).
        decode: A decoder of `geir.decode`, which returns the scores. Default: the largest potentials over time.
    """
    right = decode(ys).argmax(-1) == labels
    return right, torch.ones_like(right)


SampleSet = TypeVar("SampleSet", bound=Dataset[Any])  # each task has its own type of samples


@dataclass(frozen=True)
class Data(Generic[SampleSet]):
    """Training and test samples, and how they are presented to a network.

    Args:
        train: Samples for training: pairs of a sample and its label. Must have a length.
        test: Samples for testing. Must have a length.
        collate: Makes a batch from a list of samples. Default: that of `DataLoader`.
        encode: Makes input currents, shape (time, batch, ...), from a batch and the number of steps.
            Default: every sample is a constant current.
        loss: Loss of potentials, shape (time, batch, classes), and labels: a mean over samples, so that it is also the
            mean of those of several processes. Default: cross entropy of the largest potentials over time.
        count_answers: From potentials and labels, the numbers of right answers and of all answers of each sample,
            each of shape (batch,). The accuracy is their ratio over all samples. Default: one answer for each sample.
        sample_noun: Plural noun for the samples; it names entries of the result.
    """

    train: SampleSet
    test: SampleSet
    collate: Callable[[list[tuple[Tensor, int]]], tuple[Tensor, Tensor]] | None = None
    encode: Callable[[Tensor, int], Tensor] = repeat_over_time
    loss: Callable[[Tensor, Tensor], Tensor] = max_potential_loss
    count_answers: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = recognized
    sample_noun: str = "images"
