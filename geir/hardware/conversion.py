"""From a trained ReLU network to a spiking network."""

import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence

import torch
from torch import nn, Tensor

from ..containers import SequentialState
from ..core.resets import ResetBySubtraction
from ..neurons import IAF
from ._kinds import ACTIVATIONS, Add, CONNECTIONS, POOLS
from ._layers import check_layers_spike, check_output, INPUT, Layer, read_layers
from .activations import QCFS
from .converted_network import Accumulator, ConvertedNetwork, Scale

# A batch of inputs, with or without labels.
Batch = Tensor | Sequence[Tensor]


def from_ann(
    model: nn.Module,
    calibration_data: Tensor | Iterable[Batch],
    *,
    percentile: float = 99.9,
    per_channel: bool = False,
) -> SequentialState | ConvertedNetwork:
    r"""Convert a trained network with ReLU or `QCFS` activations to a spiking network over time.

    Every activation becomes an integrate-and-fire neuron without leak, `geir.IAF`, with subtractive reset and the
    threshold :math:`\theta`. In :math:`T` steps of constant input :math:`x` it emits :math:`N` spikes with

    .. math:: \frac{\theta N}{T} \approx \operatorname{clip}(x, 0, \theta).

    Its initial potential is :math:`\theta / 2`, so that the error is rounded and not truncated; it is written as a
    potential that starts at 0 between the threshold `v_th` of :math:`\theta / 2` and `v_reset` of :math:`-\theta / 2`.
    The threshold of a `QCFS` is its own; that of a ReLU is a percentile of its positive outputs on the calibration
    data: smaller thresholds give finer rates and clip more. Spikes are 0 or 1: their value :math:`\theta` is
    multiplied into the weights that they reach. Batch normalization is folded into weights, and dropout is removed.

    The converted network takes the input of the model as a current that is the same in every step, which may be
    negative: ``x.expand(steps, *x.shape)``. Its output sums the output of its last layer; divided by the number of
    steps it is an estimate of the model's output, whose error falls as :math:`1 / T` if no activation exceeds its
    threshold.

    Supported are `torch.nn.Sequential` and other modules whose layers can be traced: `Linear`, `Conv1d` to `Conv3d`,
    `BatchNorm` directly after these, `ReLU`, `ReLU6`, `QCFS`, average pooling, `Flatten`, dropout and the addition
    of two layers.

    References: P. Diehl et al., *Fast-classifying, high-accuracy spiking deep networks through weight and threshold
    balancing*, 2015; B. Rueckauer et al., *Conversion of continuous-valued deep networks to efficient event-driven
    networks for image classification*, 2017; T. Bu et al., *Optimal ANN-SNN conversion for high-accuracy and
    ultra-low-latency spiking neural networks*, 2022.

    Args:
        model: The trained network. It is not changed.
        calibration_data: Inputs of the model, (batch, ...), or batches of them, such as a `DataLoader`; labels are
            ignored. A few hundred samples suffice; all are held in memory at once.
        percentile: Percentile of the positive outputs of a ReLU that becomes its threshold; 100 is the maximum.
        per_channel: Whether each channel of a ReLU (each unit after a linear layer) has its own threshold.

    Returns:
        The spiking network: a `SequentialState`, or a `Network` if layers branch. Its neurons have the names of the
        activations, with underscores for dots.

    Raises:
        TypeError: If a layer cannot be converted; the message names it and says what to do.
        ValueError: If the calibration data is empty or not finite, no layer is an activation, or one is silent on all
            of the data.

    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> x = torch.rand(100, 4)
    >>> spiking = from_ann(model, x)
    >>> ys, state = spiking(x.expand(32, *x.shape))
    >>> ys.shape, (ys[-1] / 32 - model(x)).abs().max() < 0.1
    (torch.Size([32, 100, 3]), tensor(True))
    """
    if not 0 < percentile <= 100:
        raise ValueError(f"from_ann: percentile must be in (0, 100], got {percentile}.")
    layers = read_layers("from_ann", model)
    check_layers_spike("from_ann", layers)
    data = _gather(calibration_data)
    with torch.no_grad():
        converter = _Converter(percentile, per_channel)
        y = converter.convert(layers, data)
        check_output("from_ann", model, data, y)
        return converter.network()


def _gather(data: Tensor | Iterable[Batch]) -> Tensor:
    """The calibration data as one batch."""
    if isinstance(data, Tensor):
        batches = [data]
    else:
        batches = [batch if isinstance(batch, Tensor) else batch[0] for batch in data]
    if not batches or not sum(len(batch) if batch.dim() else 0 for batch in batches):
        raise ValueError(
            "from_ann needs calibration_data to choose thresholds, got none; pass a few hundred inputs of the model."
        )
    gathered = torch.cat(batches)
    if not gathered.is_floating_point():
        raise TypeError(
            f"from_ann expected floating-point calibration_data, got {gathered.dtype}; prepare it as for training."
        )
    if not gathered.isfinite().all():
        raise ValueError("from_ann: calibration_data contains NaN or infinity; remove these samples.")
    return gathered


class _Converter:
    """Converts layer by layer, with the outputs of the original on the calibration data at hand."""

    def __init__(self, percentile: float, per_channel: bool):
        self.percentile = percentile
        self.per_channel = per_channel
        self.converted: dict[str, Layer] = {}
        # The converted layer that stands for each original one.
        self.names = {INPUT: INPUT}
        # What an output of 1 of a converted layer means, broadcastable to one sample; None where it means 1.
        self.scales: dict[str, Tensor | None] = {INPUT: None}

    def convert(self, layers: Sequence[Layer], data: Tensor) -> Tensor:
        """Convert the layers, and return the output of the last one."""
        values = {INPUT: data}
        last_use = {source: index for index, layer in enumerate(layers) for source in layer.inputs}
        for index, layer in enumerate(layers):
            y = layer.module(*(values[source] for source in layer.inputs))
            if not y.isfinite().all():
                raise ValueError(
                    f"from_ann: the output of {layer.name} ({type(layer.module).__name__}) contains NaN or infinity on "
                    "the calibration data; check its weights."
                )
            self._convert_layer(layer, values[layer.inputs[0]], y)
            values[layer.name] = y
            # Outputs that no later layer reads are freed.
            values = {name: value for name, value in values.items() if last_use.get(name, len(layers)) > index}
        last = layers[-1].name
        self._add("output", Accumulator(), (self._in_units_of_the_model(self.names[last]),), None)
        return values[last]

    def network(self) -> SequentialState | ConvertedNetwork:
        """The network of all converted layers."""
        converted = list(self.converted.values())
        names = [INPUT, *self.converted]
        if all(layer.inputs == (before,) for before, layer in zip(names, converted, strict=False)):
            return SequentialState(OrderedDict((layer.name, layer.module) for layer in converted), lift=True)
        return ConvertedNetwork(converted)

    def _convert_layer(self, layer: Layer, x: Tensor, y: Tensor) -> None:
        module = layer.module
        sources = tuple(self.names[source] for source in layer.inputs)
        scale = self.scales[sources[0]]
        if isinstance(module, ACTIVATIONS):
            sources = (self._in_units_of_the_model(sources[0]),)
            scale = self._threshold(layer, y)
            module = IAF(v_th=scale / 2, v_reset=-scale / 2, reset_mechanism=ResetBySubtraction())
        elif isinstance(module, Add):
            sources = tuple(map(self._in_units_of_the_model, sources))
            scale = None
        elif isinstance(module, CONNECTIONS):
            if scale is not None and not _absorb(module, scale):
                sources = (self._in_units_of_the_model(sources[0]),)
            scale = None
        elif isinstance(module, POOLS):
            # Units may be pooled together, channels are not.
            if scale is not None and scale.dim() == 1:
                sources, scale = (self._in_units_of_the_model(sources[0]),), None
        elif scale is not None and scale.dim() > 0:  # Flatten
            scale = scale.expand(x.shape[1:]).flatten()
        self.names[layer.name] = self._add(layer.name, module, sources, scale)

    def _add(self, name: str, module: nn.Module, sources: tuple[str, ...], scale: Tensor | None) -> str:
        unique, count = name, 1
        while unique in self.converted:
            unique, count = f"{name}_{count}", count + 1
        self.converted[unique] = Layer(unique, module, sources)
        self.scales[unique] = scale
        return unique

    def _in_units_of_the_model(self, name: str) -> str:
        """The layer itself, or one after it that multiplies its output by what it means."""
        scale = self.scales[name]
        return name if scale is None else self._add(f"{name}_scale", Scale(scale), (name,), None)

    def _threshold(self, layer: Layer, y: Tensor) -> Tensor:
        """The threshold of an activation with output `y`, broadcastable to one sample."""
        if isinstance(layer.module, QCFS):
            return layer.module.threshold.detach().to(y.dtype)
        positive = y[y > 0]
        if not len(positive):
            raise ValueError(
                f"from_ann: {layer.name} ({type(layer.module).__name__}) is silent on all of the calibration data, so "
                "it has no threshold; pass data that activates it, prepared as for training."
            )
        common = _percentile(positive, self.percentile)
        if not self.per_channel or y.dim() < 2:
            return common
        channels = [values[values > 0] for values in y.transpose(0, 1)]
        # A channel that is silent may still respond to other data.
        each = torch.stack([_percentile(v, self.percentile) if len(v) else common for v in channels])
        return each.view(-1, *[1] * (y.dim() - 2))


def _percentile(values: Tensor, percentile: float) -> Tensor:
    """The smallest value that at least this percentage of the values does not exceed."""
    rank = max(1, math.ceil(percentile / 100 * len(values)))
    return values.kthvalue(rank).values


def _absorb(module: nn.Module, scale: Tensor) -> bool:
    """Multiply the weights of a connection by the value of its input, if weights can express that."""
    assert isinstance(module, CONNECTIONS)
    weight = module.weight
    if scale.dim() == 0:
        factor = scale
    elif isinstance(module, nn.Linear):
        if scale.dim() != 1:
            return False
        factor = scale
    else:
        if scale.dim() != weight.dim() - 1 or scale.numel() != module.in_channels:
            return False
        # Output channels of a group read the input channels of that group.
        groups = scale.view(module.groups, -1).repeat_interleave(module.out_channels // module.groups, 0)
        factor = groups.view(*groups.shape, *[1] * (weight.dim() - 2))
    module.weight = nn.Parameter(weight * factor)
    return True
