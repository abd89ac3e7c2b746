"""Whether a network fits a chip."""

import math
from collections.abc import Iterator, Sequence

from torch import nn, Tensor
from torch.nn.utils.parametrize import type_before_parametrizations

from ..core.neuron import emits_multiple_spikes
from .difference_equation import difference_equation
from .layers import (
    check_model,
    find_layers,
    find_modules,
    Layer,
    LayerError,
    output_shapes,
    recurrent_weights,
    window_size,
)
from .report import Finding, LayerSize, Report
from .targets import check_target, Limit, Target


def check(model: nn.Module, target: Target, input_shape: Sequence[int]) -> Report:
    """Check whether a network fits a chip.

    Args:
        model: A `geir.SequentialState` of connections, pooling and neurons over time.
        target: The chip, such as `geir.hardware.LOIHI2`.
        input_shape: Shape of one step of one sample, such as (channels, height, width).

    Returns:
        The report: a table when printed, `ok`, and `findings` with the module, the limit, its source and what to
        change.

    Raises:
        TypeError: If `model` is not a sequence of modules, or `target` is not a target.
        ValueError: If a parameter is not finite, or the network does not accept input of this shape.

    >>> import geir
    >>> first = nn.Linear(64, 600, bias=False)
    >>> model = geir.SequentialState(first, geir.LIF(), nn.Linear(600, 10), geir.LI(), lift=True)
    >>> report = geir.hardware.check(model, geir.hardware.XYLO_AUDIO_3, input_shape=(64,))
    >>> report.ok
    False
    >>> for finding in report.findings:
    ...     print(finding.module, "|", finding.limit, "|", finding.value)
    0 | input channels: at most 16 | 64
    1 | reset: subtraction | value
    2 | biases of output neurons: none | a bias
    """
    check_model("check", model)
    check_target("check", target)
    layers, errors = find_layers(model)
    findings = [_finding(error) for error in errors]
    shapes = {} if errors else output_shapes("check", model, tuple(input_shape))
    sizes = tuple(_size(layer, shapes) for layer in layers) if shapes else ()
    for layer in layers:
        findings += _check_neuron(layer, target)
        findings += _check_connection(layer, target, "output" if layer is layers[-1] else "hidden")
    if sizes:
        findings += _check_maps(layers, target, shapes, tuple(input_shape))
        findings += _check_sizes(layers, sizes, target, tuple(input_shape))
    order = [name for name, _ in find_modules(model)]
    findings.sort(key=lambda finding: order.index(finding.module) if finding.module in order else len(order))
    return Report(target, sizes, tuple(findings))


def _finding(error: LayerError, source: str = "geir") -> Finding:
    return Finding(error.module, error.limit, error.value, source, error.advice)


def _size(layer: Layer, shapes: dict[str, tuple[int, ...]]) -> LayerSize:
    neurons, weight = math.prod(shapes[layer.name]), _weight(layer)
    fan_in, weights = math.prod(weight.shape[1:]) * _averaged(layer), weight.numel()
    if isinstance(bias := layer.connection.bias, Tensor):
        fan_in, weights = fan_in + 1, weights + bias.numel()
    if (recurrent := recurrent_weights(layer.neuron)) is not None:
        fan_in, weights = fan_in + neurons, weights + recurrent.numel()
    return LayerSize(layer.name, neurons, fan_in, neurons * fan_in, weights)


def _weight(layer: Layer) -> Tensor:
    weight = layer.connection.weight
    assert isinstance(weight, Tensor)  # connections have weights
    return weight


def _check_neuron(layer: Layer, target: Target) -> Iterator[Finding]:
    names = {kind.__name__ for kind in type(layer.neuron).__mro__} | {
        type(getattr(layer.neuron, "neuron", None)).__name__
    }
    if not names & set(target.neurons.value):
        allowed = ", ".join(target.neurons.value)
        kind = type(layer.neuron).__name__
        yield Finding(
            layer.name, f"neurons: {allowed}", kind, target.neurons.source, f"use geir.{allowed.split(',')[0]}()"
        )
        return
    if "AdEx" in names:
        return
    try:
        equation = difference_equation(layer.name, layer.neuron)
    except LayerError as error:
        yield _finding(error, target.neurons.source)
        return
    reset = "subtraction" if equation.subtracts else "value"
    if equation.v_th is not None and reset not in target.reset.value:
        advice = "use reset_mechanism=geir.ResetBySubtraction()" if reset == "value" else "use geir.ResetToValue()"
        yield Finding(layer.name, f"reset: {', '.join(target.reset.value)}", reset, target.reset.source, advice)
    surrogate = getattr(layer.neuron, "surrogate", None)
    if surrogate is not None and emits_multiple_spikes(surrogate) and target.spikes is None:
        source = target.neurons.source
        yield Finding(
            layer.name, "spikes of one neuron in one step: at most 1", "several", source, "use another surrogate"
        )


def _check_connection(layer: Layer, target: Target, place: str) -> Iterator[Finding]:
    connection, name = layer.connection, layer.connection_name
    kind = type_before_parametrizations(connection).__name__
    yield from _among(name, "connections", kind, target.connections, "unroll it to torch.nn.Linear")
    if target.bias is not None and connection.bias is not None and place not in target.bias.value:
        yield Finding(name, f"biases of {place} neurons: none", "a bias", target.bias.source, "use bias=False")
    if target.recurrence is not None and recurrent_weights(layer.neuron) is not None and not target.recurrence.value:
        yield Finding(layer.name, "recurrent layers: none", "recurrent weights", target.recurrence.source, "use layers")
    for pool_name, module in layer.before:
        if isinstance(module, nn.MaxPool2d):
            advice = "use torch.nn.AvgPool2d, or strides"
            yield Finding(pool_name, "pooling: sums", "MaxPool2d", "synapses add", advice)
        elif isinstance(module, nn.AvgPool2d):
            size = module.kernel_size if isinstance(module.kernel_size, int) else max(module.kernel_size)
            yield from _among(pool_name, "size of pooling", size, target.pooling, "pool by another size")
    if isinstance(connection, nn.Conv2d):
        yield from _at_most(name, "kernel size", max(connection.kernel_size), target.kernel, "use a smaller kernel")
        yield from _among(name, "stride", max(connection.stride), target.stride, "use another stride")
        padding = max(connection.padding) if not isinstance(connection.padding, str) else 0
        yield from _at_most(name, "padding", padding, target.padding, "pad less")
        channels = max(connection.in_channels, connection.out_channels)
        yield from _at_most(name, "channels", channels, target.channels, "use fewer channels")


def _check_maps(
    layers: Sequence[Layer], target: Target, shapes: dict[str, tuple[int, ...]], input_shape: tuple[int, ...]
) -> Iterator[Finding]:
    """Heights and widths, and the memory of the cores, each of which holds one layer."""
    if len(input_shape) == 3:
        yield from _at_most("", "input height and width", max(input_shape[1:]), target.input_size, "crop or pool it")
    needs = []
    for layer in layers:
        shape = shapes[layer.name]
        if len(shape) == 3:
            yield from _at_most(layer.name, "height and width", max(shape[1:]), target.map_size, "pool or use strides")
        needs.append((layer, _kernel_words(layer, shape), _neuron_words(shape)))
    if target.kernel_memory is None or target.neuron_memory is None:
        return
    cores = list(zip(target.kernel_memory.value, target.neuron_memory.value, strict=True))
    for layer, kernel, neurons in needs:
        if not any(kernel <= room and neurons <= states for room, states in cores):
            found = f"{kernel:,} words of kernels and {neurons:,} of states"
            rooms = ", ".join(f"{room // 1024}+{states // 1024}" for room, states in sorted(set(cores)))
            text = f"memory of a core, kernels + states in KiB words: {rooms}"
            yield Finding(layer.name, text, found, target.kernel_memory.source, "use fewer channels or smaller maps")


def _kernel_words(layer: Layer, shape: tuple[int, ...]) -> int:
    """Words of kernel memory: channels times kernel, each a power of two, as DYNAP-CNN addresses them."""
    weight = _weight(layer)
    inputs = weight.shape[1]
    return inputs * 2 ** (_bits(math.prod(weight.shape[2:])) + _bits(weight.shape[0]))


def _neuron_words(shape: tuple[int, ...]) -> int:
    return shape[0] * 2 ** sum(_bits(size) for size in shape[1:])


def _bits(count: int) -> int:
    return (count - 1).bit_length()


def _check_sizes(
    layers: Sequence[Layer], sizes: Sequence[LayerSize], target: Target, input_shape: tuple[int, ...]
) -> Iterator[Finding]:
    inputs = math.prod(input_shape) + sum(_bias_inputs(layer) for layer in layers[:-1])
    first = layers[0].connection_name
    yield from _at_most(
        first, "input channels", inputs, target.inputs, "use fewer inputs; the biases of a layer need one"
    )
    for size in sizes:
        yield from _at_most(size.name, "synapses of one neuron", size.fan_in, target.fan_in, "connect fewer neurons")
    hidden = sum(size.neurons for size in sizes[:-1])
    yield from _at_most("", "hidden neurons", hidden, target.hidden, "use fewer neurons")
    yield from _at_most(sizes[-1].name, "output neurons", sizes[-1].neurons, target.outputs, "use fewer outputs")
    total = sum(size.neurons for size in sizes)
    yield from _at_most("", "neurons", total, target.neurons_total, "use fewer neurons")
    yield from _at_most("", "synapses", sum(s.synapses for s in sizes), target.synapses, "use fewer synapses")
    yield from _at_most("", "layers", len(layers), target.layers, "use fewer layers")


def _averaged(layer: Layer) -> int:
    """How many neurons pooling adds up into one input."""
    return math.prod(window_size(module) for _, module in layer.before if isinstance(module, nn.AvgPool2d))


def _bias_inputs(layer: Layer) -> int:
    """How many inputs that spike in every step make the biases of a layer; in layer n they start n steps late."""
    bias = layer.connection.bias
    if not isinstance(bias, Tensor):
        return 0
    largest = float(_weight(layer).detach().abs().max()) / _averaged(layer)
    return max(1, math.ceil(float(bias.detach().abs().max()) / largest)) if largest > 0 else 1


def _at_most(module: str, text: str, value: int, limit: Limit | None, advice: str) -> Iterator[Finding]:
    if limit is not None and value > limit.value:
        yield Finding(module, f"{text}: at most {limit.value:,}", f"{value:,}", limit.source, advice)


def _among(module: str, text: str, value: object, limit: Limit | None, advice: str) -> Iterator[Finding]:
    if limit is not None and value not in limit.value:
        yield Finding(module, f"{text}: {', '.join(map(str, limit.value))}", str(value), limit.source, advice)
