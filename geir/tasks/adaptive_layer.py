"""A recurrent layer in which half of the neurons have an adaptive threshold.

Reference: G. Bellec et al., *Long short-term memory and learning-to-learn in networks of spiking neurons*, 2018.
"""

from typing import Any

import torch

from ..neurons import ALIFRecurrent
from ..surrogates import Triangle


def half_adaptive(inputs: int, neurons: int, beta: float, **parameters: Any) -> ALIFRecurrent:
    """A layer of `ALIFRecurrent`, of which the first half has a constant and the second half an adaptive threshold.

    Args:
        inputs: Number of inputs.
        neurons: Number of neurons.
        beta: Rise of an adaptive threshold by a spike.
        **parameters: Other parameters of `ALIFRecurrent`.
    """
    betas = torch.zeros(neurons)
    betas[neurons // 2 :] = beta
    return ALIFRecurrent(inputs, neurons, beta=betas, surrogate=Triangle(gamma=0.3, width=1.0), **parameters)
