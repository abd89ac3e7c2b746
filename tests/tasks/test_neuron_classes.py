"""Classification by neurons that learned without labels: `geir.tasks.neuron_classes`."""

import torch

from geir.tasks.neuron_classes import assign_classes, classify


def test_classes_are_assigned_and_predicted_by_mean_responses():
    labels = torch.tensor([0, 0, 0, 1, 2])
    counts = torch.tensor([[2.0, 0, 1, 0], [2, 0, 1, 0], [2, 0, 1, 0], [3, 0, 0, 0], [0, 0, 0, 9]])
    # The first neuron has most spikes in total for class 0, but most per image for class 1; the second is silent.
    assert assign_classes(counts, labels).tolist() == [1, -1, 0, 2]
    # Two neurons of class 1 have 5 spikes in total, one neuron of class 0 has 3; the last has no class.
    answers = classify(torch.tensor([[4.0, 1, 3, 7]]), torch.tensor([1, 1, 0, -1]))
    assert answers.tolist() == [0]
