"""Initial weights with which every layer of a spiking network fires."""

import math
from typing import Any

import torch
from torch import nn, Tensor

from .._util.validation import check_one_receptor
from ..connections import Receptors
from ..wrappers import RecurrentMixin
from .drive import Measurements
from .layer_groups import check_settable, group_layers, LayerGroup
from .response import Activity, Pooling
from .weight_drawing import draw_weights

# Input that is assumed if none is given: rate of spikes in Hz, and mean square of images at every step.
_SPIKE_RATE = 50.0
_IMAGE_POWER = 0.25


@torch.no_grad()
def init_weights(
    model: nn.Module, xs: Tensor | None = None, *, rate: float | None = None, xi: float = 0.7
) -> nn.Module:
    r"""Initialize the weights of a network so that all of its layers fire: fluctuation-driven initialization.

    The weights of a layer with :math:`n` inputs that fire at the rate :math:`\nu` are drawn from a normal distribution
    such that the potential of its neurons has the mean :math:`\mu_U` and, over time and neurons, the standard deviation
    :math:`\sigma_U`:

    .. math::
        n \, \nu \, \bar\epsilon \, \mu_W = \mu_U = -\theta, \qquad
        n \, \nu \, (\hat\epsilon + \lambda \bar\epsilon^2) \, \sigma_W^2 = \sigma_U^2, \qquad
        \xi = \frac{\theta - \mu_U}{\sigma_U}.

    :math:`\epsilon(t)` is the response of the neuron to an input spike of weight 1, :math:`\bar\epsilon` and
    :math:`\hat\epsilon` the integrals of it and of its square, and :math:`\theta` the distance from rest to threshold;
    :math:`\lambda` is the variance of the rates of the inputs divided by :math:`\nu`. The response and :math:`\theta`
    are measured by running the neuron, so they exist for any model. With :math:`\mu_U = -\theta`, the number of
    standard deviations to threshold, :math:`(\theta + \alpha \nu) / \sqrt{\beta \nu}`, is smallest at the assumed
    rate: neither a stronger nor a weaker input is amplified from layer to layer. For the same reason the weights of
    each neuron have exactly the mean :math:`\mu_W`. Neurons that forget nothing within 50 ms, such as `IAF`, have
    :math:`\mu_U = 0`. Biases are zero.

    :math:`\nu` is `rate` for the first layer, whose inputs are assumed to differ by a standard deviation of the same
    size. For every other layer it is the rate of the layer before, which is measured on 256 neurons. Pooling between
    the two is part of the measurement, as if neurons fired independently: after the maximum over four neurons, spikes
    are up to four times as frequent; after the mean, fluctuations have a quarter of the variance.

    Layers are taken in the order of ``model.modules()``: those with weights belong to the next spiking neuron. If a
    normalization follows the weights, these preserve variance, and the normalization scales its output such that
    :math:`\sigma_U = \theta / \xi`. The recurrent weights of a recurrent layer contribute a tenth of the variance.
    Weights after the last spiking neuron, which feed the readout, keep their values.

    Reference: J. Rossbroich, J. Gygax & F. Zenke, *Fluctuation-driven initialization for spiking neural network
    training*, 2022. There, :math:`\mu_U` is a free parameter and :math:`\lambda = 0`.

    Args:
        model: The network; its weights are changed in place.
        xs: Typical input over time, spikes or currents. Its mean square, divided by `dt`, is used as `rate`. Needed for
            input that is much stronger or weaker than `rate` supposes by default, such as images shown as currents to a
            network whose first layer is linear.
        rate: Rate of the input spikes, in Hz, if `xs` is not given. Default: 50 Hz; but if the first layer is a
            convolution of one or three channels, its input is assumed to be images with values in [0, 1], shown as
            currents, with a mean square of 1/4 at every step. If they are encoded as spikes instead, give their rate.
        xi: Distance to threshold in standard deviations of the potential, :math:`\xi`. Smaller values make the layers
            fire more.

    Returns:
        The model.

    Raises:
        TypeError: If `model` is not a module, or `xs` is not a tensor.
        ValueError: If the model has no spiking neuron or no weights before one, or `Receptors`, weights are computed
            from others, a number is not positive, `xs` is zero everywhere or not finite, a lazy module has no weights
            yet, or a neuron spikes for no input.

    >>> import geir
    >>> model = geir.SequentialState(nn.Linear(100, 50), geir.LIF(), nn.Linear(50, 10), geir.LI(), lift=True)
    >>> model = geir.init_weights(model)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"init_weights expected a module, got {model!r}.")
    numbers = {"xi": xi} if rate is None else {"rate": rate, "xi": xi}
    for name, number in numbers.items():
        if not (isinstance(number, int | float) and 0 < number < math.inf):
            raise ValueError(f"init_weights: {name} must be positive and finite, got {number!r}.")
    groups = _find_groups(model)
    if xs is not None:
        rate = _mean_square(xs) / float(groups[0].neuron.dt)
    elif rate is None:
        rate = _IMAGE_POWER / float(groups[0].neuron.dt) if _takes_images(groups[0]) else _SPIKE_RATE
    measurements = Measurements(xi)
    activity = Activity(rate, 2 * rate**2)
    for group, following in zip(groups, [*groups[1:], None], strict=True):
        pooling = following.pooling if following else Pooling()
        drive, own, pooled = measurements.drive(group.neuron, activity, pooling)
        draw_weights(group, drive, activity, own)
        # A layer that hardly fires is assumed to fire at 1 Hz, or its weights would have no limit.
        activity = pooled if pooled.rate >= 1.0 else Activity(1.0, 1.0, pooled.averaged)
    return model


def _find_groups(model: nn.Module) -> list[LayerGroup]:
    """The spiking neurons of a model with their layers. Raises `ValueError` if their weights cannot be initialized."""
    if any(isinstance(module, Receptors) for module in model.modules()):
        raise ValueError(
            "init_weights cannot tell how a neuron responds to each of its receptors; set the weights in Receptors "
            "yourself, and initialize the other layers one by one."
        )
    groups = list(group_layers(model))
    if not groups:
        raise ValueError(
            f"init_weights found no spiking neuron in {type(model).__name__}; it sets the weights before neurons such "
            "as geir.LIF()."
        )
    if not any(group.weighted or isinstance(group.neuron, RecurrentMixin) for group in groups):
        raise ValueError(
            f"init_weights found no weights before the spiking neurons of {type(model).__name__}; it sets those of "
            "torch.nn.Linear, convolutions and recurrent layers."
        )
    for group in groups:
        check_one_receptor("init_weights", type(group.neuron).__name__, group.neuron.input_types)
        check_settable(group)
    return groups


def _takes_images(group: LayerGroup) -> bool:
    """Whether the first layer is a convolution in two dimensions of one or three channels."""
    first: Any = next(iter(group.weighted), None)
    return isinstance(first, nn.Conv2d) and first.in_channels in (1, 3)


def _mean_square(xs: object) -> float:
    if not isinstance(xs, Tensor):
        raise TypeError(f"init_weights expected typical input, a tensor (time, batch, ...), got {type(xs).__name__}.")
    value = xs.detach().double().square().mean().item()
    if not 0 < value < math.inf:
        raise ValueError(
            f"init_weights expected input that is finite and not zero everywhere, got a mean square of {value}."
        )
    return value
