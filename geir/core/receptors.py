"""The inputs of neurons with several receptors."""

from typing import NamedTuple

import torch
from torch import Tensor

from .._util.state import state_type


@state_type
class ConductanceInput(NamedTuple):
    """Input of a neuron with an excitatory and an inhibitory conductance: the jumps of the two, both >= 0."""

    exc: Tensor  # to the excitatory conductance
    inh: Tensor  # to the inhibitory conductance


def split_signs(x: Tensor | ConductanceInput) -> ConductanceInput:
    """The jumps of both conductances; of a tensor its positive values, and the negatives of its negative values."""
    return x if isinstance(x, ConductanceInput) else ConductanceInput(exc=torch.relu(x), inh=torch.relu(-x))
