"""Classification by neurons that learned without labels: a class for each of them, and the answer of all."""

import torch
from torch import Tensor
from torch.nn import functional


def assign_classes(counts: Tensor, labels: Tensor, classes: int = 10) -> Tensor:
    """The class for which each neuron has the highest mean number of spikes; -1 for a silent neuron.

    Args:
        counts: Numbers of spikes, shape (images, neurons).
        labels: Classes of the images, shape (images,).
        classes: Number of classes.
    """
    return torch.where(counts.sum(0) > 0, _group_means(counts.t(), labels, classes).argmax(1), -1)


def classify(counts: Tensor, neuron_classes: Tensor, classes: int = 10) -> Tensor:
    """The class whose neurons have the highest mean number of spikes, for each image.

    Args:
        counts: Numbers of spikes, shape (images, neurons).
        neuron_classes: Classes of the neurons, -1 for none, shape (neurons,).
        classes: Number of classes.
    """
    assigned = neuron_classes >= 0
    return _group_means(counts[:, assigned], neuron_classes[assigned], classes).argmax(1)


def _group_means(values: Tensor, groups: Tensor, count: int) -> Tensor:
    """The mean of the columns of each group; 0 for an empty group."""
    members = functional.one_hot(groups, count).to(values.dtype)
    return values @ members / members.sum(0).clamp(min=1)
