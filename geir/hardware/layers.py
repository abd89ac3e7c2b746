"""A network as the chips see it: layers of neurons, each with the connection before it."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import nn, Tensor

from ..containers import Lift, SequentialState
from ..containers.lift import call_over_time
from ..core.neuron import Dynamics
from ..wrappers import CellMixin, Recurrent, RecurrentMixin
from .event_input import EventInput

CONNECTIONS = (nn.Linear, nn.Conv1d, nn.Conv2d)
# Without effect on spikes.
IGNORED = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d)


@dataclass
class Layer:
    """Neurons and the connection before them."""

    name: str  # of the neurons
    neuron: Dynamics
    connection_name: str
    connection: nn.Module  # of type `CONNECTIONS`
    before: list[tuple[str, nn.Module]] = field(default_factory=list)  # pooling and Flatten, in front of the connection


class LayerError(ValueError):
    """A module that a chip does not have, in words.

    Args:
        module: Its name in the model.
        limit: What is limited.
        value: What the model has.
        advice: What to change.
    """

    def __init__(self, module: str, limit: str, value: str, advice: str):
        super().__init__(f"{module}: {limit}: got {value}; {advice}.")
        self.module, self.limit, self.value, self.advice = module, limit, value, advice


def find_modules(model: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The modules of a sequential network in order, without `Lift`, nested containers opened, with their names."""
    if isinstance(model, Lift):
        yield from find_modules(model.module, prefix)
    elif isinstance(model, SequentialState | nn.Sequential):
        for name, child in model.named_children():
            yield from find_modules(child, f"{prefix}.{name}" if prefix else name)
    elif not isinstance(model, IGNORED):
        yield prefix, model


def check_model(caller: str, model: object) -> nn.Module:
    """The model, if it is a sequential network of finite numbers.

    Raises:
        TypeError: If it is not a sequence of modules, or is quantized already.
        ValueError: If a parameter or a buffer is NaN or infinite.
    """
    if not isinstance(model, SequentialState | nn.Sequential):
        raise TypeError(
            f"{caller} expected a geir.SequentialState of connections and neurons, got {type(model).__name__}."
        )
    if is_quantized(model):
        raise TypeError(f"{caller} expected a network in float, got one that is quantized; pass the network before it.")
    check_finite(caller, model)
    return model


def check_finite(caller: str, model: nn.Module) -> None:
    """Raise `ValueError` if a parameter or a buffer is NaN or infinite."""
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        wrong = ~torch.isfinite(tensor.detach())
        if bool(wrong.any()):
            raise ValueError(
                f"{caller}: {name} must be finite, got {tensor.detach()[wrong].flatten()[0].item()} "
                f"in {int(wrong.sum())} of {tensor.numel()} places."
            )


def is_quantized(model: nn.Module) -> bool:
    """Whether this is a result of `quantize` or `to_integer`."""
    return any(isinstance(module, EventInput) for module in model.children())


def find_layers(model: nn.Module) -> tuple[list[Layer], list[LayerError]]:
    """The layers of a sequential network, and what no chip can do with it."""
    layers: list[Layer] = []
    errors: list[LayerError] = []
    connection: tuple[str, nn.Module] | None = None
    before: list[tuple[str, nn.Module]] = []
    for name, module in find_modules(model):
        if isinstance(module, CellMixin):
            kind = type(module).__name__
            errors.append(LayerError(name, "layers over time", kind, f"use {kind.removesuffix('Cell')}"))
        elif isinstance(module, Dynamics):
            if isinstance(module, RecurrentMixin):
                if connection:
                    errors.append(_unfinished(*connection, f"remove it; {type(module).__name__} has input weights"))
                connection = _input_connection(name, module, errors)
                if connection is None:
                    continue
            if connection is None:
                advice = "put a torch.nn.Linear or torch.nn.Conv2d before it"
                errors.append(LayerError(name, "synapses before every neuron", "none", advice))
            else:
                layers.append(Layer(name, module, *connection, before))
            connection, before = None, []
        elif isinstance(module, CONNECTIONS):
            if connection:
                errors.append(_unfinished(*connection))
            connection = name, module
        elif isinstance(module, nn.Flatten | nn.AvgPool2d | nn.MaxPool2d) and connection is None:
            before.append((name, module))
        else:
            advice = "use Linear, Conv1d, Conv2d, AvgPool2d before a connection, Flatten and neurons"
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                advice = "fold it into the connection before it (torch.nn.utils.fusion.fuse_conv_bn_eval)"
            errors.append(LayerError(name, "modules of a chip", type(module).__name__, advice))
    if connection:
        errors.append(_unfinished(*connection))
    elif before:
        errors.append(_unfinished(*before[0]))
    return layers, errors


def _unfinished(
    name: str, module: nn.Module, advice: str = "put neurons after it, such as geir.LI() as a readout"
) -> LayerError:
    return LayerError(name, "neurons after every connection", type(module).__name__, advice)


def _input_connection(name: str, module: RecurrentMixin, errors: list[LayerError]) -> tuple[str, nn.Module] | None:
    """The input connection of a recurrent layer. A tensor of weights is shared with the layer, not copied."""
    inputs, recurrent = module.input_weights, module.recurrent_weights
    if isinstance(inputs, nn.Parameter):
        linear = nn.Linear(module.input_size, module.hidden_size, bias=False, device="meta")
        linear.weight = inputs
        inputs = linear
    if not isinstance(inputs, CONNECTIONS) or not isinstance(recurrent, Tensor):
        kind = type(recurrent if isinstance(inputs, CONNECTIONS) else inputs).__name__
        errors.append(LayerError(name, "recurrent weights as tensors", kind, "give the weights as tensors"))
        return None
    return f"{name}.input_weights", inputs


def inner_neuron(neuron: Dynamics) -> Dynamics:
    """The neuron of a recurrent layer without its recurrence; any other neuron itself."""
    return neuron.neuron if isinstance(neuron, Recurrent) else neuron


def recurrent_weights(neuron: Dynamics) -> Tensor | None:
    """The recurrent weights of a recurrent layer, without the autapses that it does not have; None for others."""
    if not isinstance(neuron, RecurrentMixin) or not isinstance(neuron.recurrent_weights, Tensor):
        return None
    return neuron._mask_autapses(neuron.recurrent_weights)


def output_shapes(caller: str, model: nn.Module, input_shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """The shape of one step of one sample of every module's output, by the module's name."""
    shapes = {}
    parameter = next(model.parameters(), torch.zeros(()))
    xs = torch.zeros(1, 1, *input_shape, dtype=parameter.dtype, device=parameter.device)
    for name, module in find_modules(model):
        try:
            with torch.no_grad():
                xs, _ = call_over_time(module, xs, ())
        except Exception as error:
            raise ValueError(
                f"{caller}: module {name} ({type(module).__name__}) does not accept the input it gets with "
                f"input_shape={input_shape}: {error}"
            ) from error
        shapes[name] = tuple(xs.shape[2:])
    return shapes


def window_size(average: nn.AvgPool2d) -> int:
    """Number of elements in a window."""
    size = average.kernel_size
    return size * size if isinstance(size, int) else size[0] * size[1]
