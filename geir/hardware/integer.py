"""Integer models: what a chip computes, bit for bit."""

from collections import OrderedDict
from typing import Any

import torch
from torch import nn, Tensor
from torch.func import functional_call

from ..containers import SequentialState
from ..wrappers import RecurrentMixin
from ._layers import plain_copy
from .layers import check_finite, check_model, is_quantized
from .loihi import LoihiLIF, LoihiLIFRecurrent
from .quantization import quantize, QuantizedLayer
from .targets import check_target, Target
from .xylo import XyloLIFRecurrent


class IntegerConnection(nn.Module):
    """A linear layer or convolution with integer weights, computed in float64, which is exact."""

    def __init__(self, connection: nn.Module, weights: dict[str, Tensor]):
        super().__init__()
        # Its shape and strides; a list, so that its weights are no part of this module.
        self._connection = [plain_copy(connection).to("meta")]
        self._names = tuple(weights)
        for name, values in weights.items():
            self.register_buffer(name, values.detach().to(torch.int8 if name == "weight" else torch.int16))

    def forward(self, x: Tensor) -> Tensor:
        weights = {name: self.get_buffer(name).double() for name in self._names}
        return functional_call(self._connection[0], weights, (x.double(),))

    def extra_repr(self) -> str:
        return repr(self._connection[0])


def to_integer(model: nn.Module, target: Target) -> SequentialState:
    """The integer model of a network on a chip: integer weights, and the chip's neurons with integer registers.

    Its spikes, potentials and currents are those that the published arithmetic of the chip gives, bit for bit. It runs
    in kernels, in float64, which is exact for integers up to 2^53. See `quantize` for what is done with biases, pooling
    and the delays between layers.

    Args:
        model: A network in float, which is quantized first, or the result of `quantize`.
        target: The chip.

    Returns:
        The network. It accepts spikes, integers of shape (time, batch, ...). Its readouts return integer potentials.

    Raises:
        TypeError: If `model` is not a sequence of modules, or `target` is not a target.
        ValueError: As for `quantize`, or if the network is quantized for another chip.

    >>> import geir
    >>> model = geir.SequentialState(nn.Linear(8, 16), geir.LIF(), nn.Linear(16, 4), geir.LI(), lift=True)
    >>> integer = to_integer(model, geir.hardware.LOIHI2)
    >>> vs, state = integer(geir.encode.poisson(torch.ones(3, 8), steps=50))
    >>> bool((vs == vs.round()).all())
    True
    """
    check_target("to_integer", target)
    if not is_quantized(model):
        check_model("to_integer", model)
        model = quantize(model, target)
    elif not any(isinstance(module, QuantizedLayer) for module in model.children()):
        raise TypeError("to_integer expected a network in float or a quantized one, got an integer model.")
    check_finite("to_integer", model)
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    for name, module in model.named_children():
        if isinstance(module, QuantizedLayer):
            if module.target != target:
                raise ValueError(
                    f"to_integer: {module.name} is quantized for {module.target.name}, expected {target.name}."
                )
            modules |= _integer_layer(name, module)
        else:
            modules[name] = module
    return SequentialState(modules, lift=True).eval()


@torch.no_grad()
def _integer_layer(name: str, layer: QuantizedLayer) -> dict[str, nn.Module]:
    training = layer.training
    layer.eval()
    equation = layer.equation()
    integers = layer.integers(equation)
    parameters: dict[str, Any] = dict(layer.grid.registers(equation, integers.unit).parameters)
    layer.train(training)
    if layer.chip.readout:
        # It has no threshold.
        parameters = {name: value for name, value in parameters.items() if name not in ("v_th", "distance")}
    settings = {"readout": layer.chip.readout, "surrogate": layer.chip.surrogate, "dt": layer.dt}
    if not isinstance(layer.chip, LoihiLIF):
        settings["max_spikes"] = layer.chip.max_spikes
    connection = IntegerConnection(layer.connection, integers.connection)
    if integers.recurrent is None:
        return {f"{name}_input": connection, name: type(layer.chip)(**parameters, **settings)}
    assert isinstance(layer.neuron, RecurrentMixin)  # only these have recurrent weights
    kind = LoihiLIFRecurrent if isinstance(layer.chip, LoihiLIF) else XyloLIFRecurrent
    sizes = layer.neuron.input_size, layer.neuron.hidden_size
    weights = {"input_weights": connection, "recurrent_weights": integers.recurrent, "autapses": True}
    return {name: kind(*sizes, **weights, **parameters, **settings)}
