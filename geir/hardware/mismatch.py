"""Analog chips: no two neurons of a chip are alike."""

import copy
import math
from collections.abc import Sequence

import torch
from torch import Generator, nn, Tensor

from ..core.neuron import Dynamics
from ..core.parameters import Declared
from .layers import check_model, find_modules, output_shapes


def mismatch(model: nn.Module, sigma: float, input_shape: Sequence[int], seed: int | None = None) -> nn.Module:
    r"""A network on one analog chip, such as BrainScaleS-2 or DYNAP-SE: the parameters of every neuron deviate.

    Every parameter :math:`\theta` of every neuron is drawn once:

    .. math:: \theta' = \theta e^{s \xi - s^2 / 2}, \quad s^2 = \ln(1 + \sigma^2) \qquad \text{or} \qquad
        \theta' = \theta (1 + \sigma \xi), \qquad \xi \sim N(0, 1),

    the former for parameters that must be positive, such as time constants; both have mean :math:`\theta` and standard
    deviation :math:`\sigma \theta`. Without calibration :math:`\sigma` is about 0.2 (J. Büchel et al., *Supervised
    training of spiking neural networks for robust deployment on mixed-signal neuromorphic processors*, 2021). A
    parameter of 0 stays 0.

    The result shares the weights of `model`, so training one trains the other: draw a new chip for every batch or epoch
    to train a network for all of them. Learnable parameters of neurons are fixed to the drawn values. For temporal
    noise, wrap the neurons: `Noisy`.

    Args:
        model: A `geir.SequentialState` of connections, pooling and neurons over time.
        sigma: Relative standard deviation.
        input_shape: Shape of one step of one sample.
        seed: The chip. Default: PyTorch's generator decides.

    Returns:
        The network on this chip.

    Raises:
        TypeError: If `model` is not a sequence of modules.
        ValueError: If `sigma` is negative, or the network does not accept input of this shape.

    >>> import geir
    >>> model = geir.SequentialState(nn.Linear(8, 4), geir.LIF(), lift=True)
    >>> chip = mismatch(model, sigma=0.2, input_shape=(8,), seed=0)
    >>> chip[1].tau_mem.shape, chip[0].weight is model[0].weight
    (torch.Size([4]), True)
    """
    check_model("mismatch", model)
    if not 0 <= sigma < math.inf:
        raise ValueError(f"mismatch: sigma must be a finite number >= 0, got {sigma}.")
    shapes = output_shapes("mismatch", model, tuple(input_shape))
    generator = None if seed is None else Generator().manual_seed(seed)
    chip = copy.deepcopy(model, {id(parameter): parameter for parameter in model.parameters()})
    for name, module in find_modules(chip):
        if isinstance(module, Dynamics):
            # A wrapper and the neuron in it.
            for part in module.modules():
                if isinstance(part, Declared):
                    _deviate(part, sigma, shapes[name], generator)
    return chip


def _deviate(part: Declared, sigma: float, shape: tuple[int, ...], generator: Generator | None) -> None:
    for name, declaration in part.declarations().items():
        value: Tensor = getattr(part, name).detach()
        xi = torch.randn(shape, generator=generator).to(value)
        if declaration.range.lower is None:
            factor = 1 + sigma * xi
        else:
            s = math.sqrt(math.log1p(sigma**2))
            factor = torch.exp(s * xi - s**2 / 2)
        setattr(part, name, value * factor)
