"""Initial weights with which every layer of a spiking network fires."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn, Tensor

from .._util.validation import check_one_receptor
from ..connections import Receptors
from ..core.neuron import Dynamics
from ..wrappers import RecurrentMixin
from .response import Activity, check_materialized, Pooling, Response, SingleNeuron

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_MAX_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
_AVERAGE_POOLS = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
_NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)

# Input that is assumed if none is given: rate of spikes in Hz, and mean square of images at every step.
_SPIKE_RATE = 50.0
_IMAGE_POWER = 0.25
# Share of the drive of a recurrent layer that comes from the layer before.
_FEEDFORWARD_SHARE = 0.9


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
    for name, number in (("rate", rate), ("xi", xi)):
        if number is None and name == "rate":
            continue
        if not (isinstance(number, int | float) and 0 < number < math.inf):
            raise ValueError(f"init_weights: {name} must be positive and finite, got {number!r}.")
    if any(isinstance(module, Receptors) for module in model.modules()):
        raise ValueError(
            "init_weights cannot tell how a neuron responds to each of its receptors; set the weights in Receptors "
            "yourself, and initialize the other layers one by one."
        )
    groups = list(_group(model))
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
        _check_weights(group)
    if xs is not None:
        rate = _mean_square(xs) / float(groups[0].neuron.dt)
    elif rate is None:
        rate = _IMAGE_POWER / float(groups[0].neuron.dt) if _takes_images(groups[0]) else _SPIKE_RATE
    measurements = _Measurements(xi)
    activity = Activity(rate, 2 * rate**2)
    for group, following in zip(groups, [*groups[1:], None], strict=True):
        pooling = following.pooling if following else Pooling()
        drive, own, pooled = measurements.drive(group.neuron, activity, pooling)
        _draw(group, drive, activity, own)
        # A layer that hardly fires is assumed to fire at 1 Hz, or its weights would have no limit.
        activity = pooled if pooled.rate >= 1.0 else Activity(1.0, 1.0, pooled.averaged)
    return model


def _takes_images(group: "_Group") -> bool:
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


@dataclass(frozen=True)
class _Group:
    """A spiking neuron, and the layers with weights and the normalizations before it."""

    neuron: Dynamics
    layers: list[nn.Module]
    pooling: Pooling  # of the spikes that reach these layers

    @property
    def weighted(self) -> list[nn.Module]:
        return [module for module in self.layers if not isinstance(module, _NORMS)]


@dataclass(frozen=True)
class _Drive:
    """The input of a neuron at every step that makes it fire.

    Args:
        mean: Its mean.
        noise: Its standard deviation over time.
        normalized: Its standard deviation if it does not depend on rates, after a normalization.
        centered: How exactly the weights of each neuron have their mean, from 0 (by chance) to 1.
        dt: Step size in seconds.
    """

    mean: float
    noise: float
    normalized: float
    centered: float
    dt: float


@dataclass(frozen=True)
class _Matrix:
    """Weights that are a tensor of a neuron, with the attributes of a layer."""

    weight: Tensor
    bias: None = None


class _Measurements:
    """Responses and activities of neurons, each measured once for neurons with the same parameters."""

    def __init__(self, xi: float):
        self._xi = xi
        self._responses: dict[str, tuple[SingleNeuron, Response]] = {}
        self._activities: dict[tuple[str, int, Pooling], tuple[Activity, Activity]] = {}

    def drive(self, neuron: Dynamics, before: Activity, pooling: Pooling) -> tuple[_Drive, Activity, Activity]:
        """The drive of a neuron after a layer with this activity, and the activity that results, also after pooling."""
        check_materialized(neuron)
        key = f"{neuron!r}{[(name, value.detach().double().mean().item()) for name, value in _values(neuron)]}"
        # The measurements have their own random numbers: `torch.manual_seed` decides about the weights only.
        with torch.random.fork_rng(devices=[]):
            if key not in self._responses:
                single = SingleNeuron(neuron)
                self._responses[key] = single, single.response()
            single, response = self._responses[key]
            forgets = response.forgets
            # The weights' exact mean removes the part of the mean input that is the same for all neurons.
            variance = max(before.squared - forgets * (2 - forgets) * before.rate**2, 0.01 * before.rate**2)
            # Relative to that of the fluctuations; rounded to 20 %, to measure few cases.
            level = round(math.log(single.dt * variance * before.averaged / before.rate, 1.2))
            spread = 1.2**level
            energy = response.energy + forgets * spread * response.area**2
            noise = (1 + forgets) * response.unit / (self._xi * math.sqrt(energy))
            normalized = response.unit / (self._xi * math.sqrt(response.energy))
            drive = _Drive(-forgets * response.unit / response.area, noise, normalized, forgets, single.dt)
            if (key, level, pooling) not in self._activities:
                generator = torch.Generator().manual_seed(0)
                activities = single.fire(drive.mean, noise, noise * math.sqrt(spread), pooling, generator)
                self._activities[key, level, pooling] = activities
            return drive, *self._activities[key, level, pooling]


def _values(neuron: Dynamics) -> Iterator[tuple[str, Tensor]]:
    """The values of all declared parameters of a neuron and the neurons in it."""
    for part in neuron.modules():
        if isinstance(part, Dynamics):
            yield from part.declared_parameters().items()


def _group(model: nn.Module) -> Iterator[_Group]:
    """The spiking neurons of a model in order, each with the layers before it."""
    layers: list[nn.Module] = []
    pooling = Pooling()
    for module in _outer_modules(model):
        if isinstance(module, Dynamics):
            if module.spiking:
                yield _Group(module, layers, pooling)
            layers, pooling = [], Pooling()
        elif isinstance(module, _MAX_POOLS) and not layers:
            pooling = pooling._replace(maximum=pooling.maximum * _window(module))
        elif isinstance(module, _AVERAGE_POOLS) and not layers:
            pooling = pooling._replace(average=pooling.average * _window(module))
        elif isinstance(module, _NORMS) or _is_weighted(module):
            layers.append(module)


def _window(pool: Any) -> int:
    """Number of values that a pooling layer combines."""
    size, dimensions = pool.kernel_size, int(type(pool).__name__[-2])  # `MaxPool2d`
    return math.prod(size) if isinstance(size, tuple) else size**dimensions


def _outer_modules(module: nn.Module) -> Iterator[nn.Module]:
    """All modules, depth first, without those inside neurons."""
    yield module
    if not isinstance(module, Dynamics):
        for child in module.children():
            yield from _outer_modules(child)


def _is_weighted(module: nn.Module) -> bool:
    """Whether a module is a linear or convolutional layer, in PyTorch or in geir, or one that is built like it."""
    weight = module._parameters.get("weight")
    if weight is None and "weight" not in module._buffers:
        weight = getattr(module, "weight", None)  # computed, which `_check_weights` refuses
    if not isinstance(weight, Tensor) or isinstance(module, (nn.Embedding, nn.PReLU, *_NORMS)):
        return False
    if isinstance(weight, nn.UninitializedParameter):
        raise ValueError(
            f"{type(module).__name__} has no weights yet; call the model once on an example before init_weights."
        )
    return weight.dim() >= 2 or hasattr(module, "targets")


def _check_weights(group: _Group) -> None:
    """Raise `ValueError` if a weight is computed from others, so that setting it would have no effect."""
    layers: list[Any] = list(group.weighted)
    if isinstance(group.neuron, RecurrentMixin):
        layers += [*_connections(group.neuron, "input_weights"), *_connections(group.neuron, "recurrent_weights")]
    for layer in layers:
        if not isinstance(layer.weight, nn.Parameter):
            name = type(group.neuron if isinstance(layer, _Matrix) else layer).__name__
            raise ValueError(
                f"init_weights cannot set the weights of {name}, which are no parameter but computed, as by "
                "constrain_signs or weight_norm; call init_weights first."
            )


def _draw(group: _Group, drive: _Drive, before: Activity, own: Activity) -> None:
    """Draw the weights of the layers before a neuron and of the neuron itself.

    Args:
        group: The neuron and the layers.
        drive: The input that it needs.
        before: Activity of the layer before.
        own: Activity of the neuron.
    """
    weighted = group.weighted
    normalized = bool(group.layers) and isinstance(group.layers[-1], _NORMS)
    recurrent: Any = group.neuron if isinstance(group.neuron, RecurrentMixin) else None
    share = 1.0
    if recurrent is not None:
        share = _FEEDFORWARD_SHARE
        weighted = [*weighted, *_connections(recurrent, "input_weights")]
        for connection in _connections(recurrent, "recurrent_weights"):
            _draw_weights(connection, drive, own, 1 - share)
        if isinstance(recurrent.recurrent_weights, Tensor):
            recurrent.recurrent_weights.copy_(recurrent._mask_autapses(recurrent.recurrent_weights))
    for module in weighted:
        if module is weighted[-1] and not normalized:
            _draw_weights(module, drive, before, share)
        else:
            _draw_weights(module, replace(drive, mean=0.0, noise=1.0, centered=0.0), None, 1.0)
    for module in group.layers:
        if isinstance(module, _NORMS) and module.weight is not None:
            # A threshold-dependent normalization has a further factor.
            scale = getattr(module, "scale", 1.0)
            nn.init.constant_(module.weight, (drive.normalized if module is group.layers[-1] else 1.0) / scale)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _connections(neuron: Any, name: str) -> list[nn.Module | _Matrix]:
    """The layers with weights among the input or recurrent weights of a recurrent neuron."""
    weights = getattr(neuron, name)
    if isinstance(weights, Tensor):
        return [_Matrix(weights)]
    return [module for module in weights.modules() if _is_weighted(module)]


def _draw_weights(module: Any, drive: _Drive, before: Activity | None, share: float) -> None:
    """Draw the weights of a layer, and set its bias to zero.

    Args:
        module: The layer.
        drive: Input that they make of inputs of the activity `before`.
        before: None for inputs of mean square 1.
        share: Part of the drive that comes from this layer.
    """
    fan_in = _fan_in(module)
    # Mean of an input, and its variance over time.
    mean = 1.0 if before is None else min(1.0, max(before.rate, 1.0) * drive.dt)
    power = mean if before is None else mean / before.averaged
    nn.init.normal_(module.weight, std=drive.noise * math.sqrt(share / power / fan_in))
    mask = getattr(module, "mask", None)
    if module.weight.dim() > 1 and not isinstance(module, _TRANSPOSED) and mask is None:
        inputs = tuple(range(1, module.weight.dim()))
        module.weight.sub_(drive.centered * module.weight.mean(inputs, keepdim=True))
    module.weight.add_(share * drive.mean / mean / fan_in)
    if isinstance(mask, Tensor):
        module.weight.mul_(mask)
    if isinstance(module.bias, Tensor):
        nn.init.zeros_(module.bias)


def _fan_in(module: Any) -> float:
    """Number of inputs of one output, on average."""
    weight = module.weight
    if weight.dim() == 1:  # one weight for each connection
        return max(1.0, len(weight) / module.out_features)
    if isinstance(mask := getattr(module, "mask", None), Tensor):
        return max(1.0, mask.sum().item() / len(mask))
    if isinstance(module, _TRANSPOSED):
        return max(1.0, weight.shape[0] / module.groups * math.prod(weight.shape[2:]) / math.prod(module.stride))
    return math.prod(weight.shape[1:])
