"""Quantization-aware training: networks that compute with a chip's integers and learn through them."""

import copy
from collections import OrderedDict
from typing import Any, cast, NamedTuple, TYPE_CHECKING

import torch
from torch import nn, Tensor
from torch.nn import functional

from .._runtime.stepper import Feedback, Prepared, Stepper
from .._util.attributes import derived_attribute
from .._util.parametrized import call_with
from .._util.state import AnyState
from .._util.time_distributed import fold_time
from .._util.validation import Input
from ..containers import SequentialState
from ..core.neuron import Dynamics
from ..core.parameters import setting
from ..wrappers import RecurrentMixin
from ..wrappers.recurrent import RecurrentState
from .difference_equation import difference_equation, DifferenceEquation
from .event_input import EventInput
from .grids import check_equation, grid_of
from .layers import check_model, CONNECTIONS, find_layers, inner_neuron, LayerError, recurrent_weights, window_size
from .rounding import round_to_grid
from .targets import check_target, Target
from .xylo import XyloLIF

# Limit of the integer of a bias, which is the weight of one input or the sum of several.
HIGHEST_BIAS = 2**15 - 1


class SumPool2d(nn.Module):
    """Sums over windows: what a chip does in place of an average. The next weights are divided by their size."""

    def __init__(self, name: str, average: nn.AvgPool2d):
        super().__init__()
        partial = average.padding not in (0, (0, 0)) or average.ceil_mode or average.divisor_override
        if partial:
            advice = "use padding=0 and ceil_mode=False"
            raise LayerError(name, "averages of whole windows", str(average), advice)
        self.average = average
        self.count = window_size(average)

    def forward(self, x: Tensor) -> Tensor:
        # Rounded because the average of integers need not be exact.
        pooled = self.average(x) * self.count
        return pooled + (torch.round(pooled) - pooled).detach()


class Integers(NamedTuple):
    """A layer's weights as integers, with straight-through gradients."""

    unit: Tensor  # value of one integer
    connection: dict[str, Tensor]  # weight, and bias if there is one
    recurrent: Tensor | None


class QuantizedLayer(Dynamics):
    """A connection and its neurons in a chip's integer arithmetic, with straight-through gradients.

    `quantize` makes it. Its parameters are those of the connection and of the neuron, in float. In every call, weights,
    biases, decays and threshold are rounded to the chip's integers, and the neuron computes with them; its output is
    that of the chip, spike for spike. A readout returns its potential in the units of the neuron.

    Args:
        neuron: The neuron in float.
        connection: The connection before it.
        target: The chip.
        name: Name of the neuron in its network, for messages.
        input_scale: Factor of the weights: 1 / n if the input is the sum of n spikes in place of their mean.
        learn_scale: Whether the value of one integer of the weights is learned.
        stochastic: Whether weights are rounded at random in training mode.
        is_last: Whether this is the last layer of the network.
    """

    neuron: Dynamics = setting(kw_only=False, accepts=Dynamics, expected="a neuron")
    connection: nn.Module = setting(kw_only=False, accepts=CONNECTIONS, expected="a Linear, Conv1d or Conv2d")
    target: Target = setting(kw_only=False, accepts=Target, expected="a target such as geir.hardware.LOIHI2")
    name: str = ""
    input_scale: float = 1.0
    learn_scale: bool = False
    stochastic: bool = False
    is_last: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.grid = grid_of("quantize", self.target)
        keywords: dict[str, Any] = {"readout": not self.neuron.spiking, "dt": self.neuron.dt}
        if self.neuron.spiking:
            keywords["surrogate"] = cast(Any, inner_neuron(self.neuron)).surrogate
        if self.grid.neuron is XyloLIF:
            keywords["max_spikes"] = 1 if self.is_last else 31
        self.chip = self.grid.neuron(**keywords)
        equation = self.equation()
        if self.learn_scale:
            self.log_unit = nn.Parameter(torch.log(self._unit_of(equation, self._scaled_weights(equation))))

    @derived_attribute
    def dt(self) -> float:
        """Step size in seconds."""
        return self.neuron.dt

    @property
    def spiking(self) -> bool:
        return self.neuron.spiking

    def equation(self) -> DifferenceEquation:
        """The difference equation of the neuron.

        Raises:
            LayerError: If the chip does not have it.
        """
        equation = difference_equation(self.name, self.neuron)
        check_equation(self.name, equation, self.target)
        return equation

    def _scaled_weights(self, equation: DifferenceEquation) -> tuple[dict[str, Tensor], Tensor | None]:
        """Weights as potential per spike: those of the connection by parameter name, and the recurrent ones."""
        gain = self.grid.gain(equation)
        connection: Any = self.connection
        weights = {"weight": gain * self.input_scale * connection.weight.double()}
        if connection.bias is not None:
            weights["bias"] = gain * connection.bias.double()
        recurrent = recurrent_weights(self.neuron)
        return weights, None if recurrent is None else gain * recurrent.double()

    def _unit_of(self, equation: DifferenceEquation, scaled: tuple[dict[str, Tensor], Tensor | None]) -> Tensor:
        """The smallest value of one integer with which weights and threshold fit their bits."""
        weights, recurrent = scaled
        tensors = [weights["weight"], *([] if recurrent is None else [recurrent])]
        largest = torch.stack([t.detach().abs().max() for t in tensors if t.numel()]).max()
        unit = largest / (2 ** (self.weight_bits - 1) - 1)
        if equation.v_th is not None:
            unit = torch.maximum(unit, equation.v_th.detach() / self.grid.highest_threshold)
        return torch.where(unit > 0, unit, 1.0)

    @property
    def weight_bits(self) -> int:
        """Bits of a signed weight."""
        limit = self.target.weight_bits
        assert limit is not None  # chips whose arithmetic is modeled publish it
        return limit.value

    def integers(self, equation: DifferenceEquation) -> Integers:
        """The weights as integers."""
        weights, recurrent = scaled = self._scaled_weights(equation)
        unit = torch.exp(self.log_unit) if self.learn_scale else self._unit_of(equation, scaled)
        highest = 2 ** (self.weight_bits - 1) - 1
        at_random = self.stochastic and self.training

        def rounded(values: Tensor) -> Tensor:
            return round_to_grid(values / unit, -highest - 1, highest, at_random)

        connection = {"weight": rounded(weights["weight"])}
        if "bias" in weights:
            # As many inputs as it takes add up to a bias.
            connection["bias"] = round_to_grid(weights["bias"] / unit, -HIGHEST_BIAS, HIGHEST_BIAS, at_random)
        return Integers(unit, connection, None if recurrent is None else rounded(recurrent))

    def state_dtype(self, x: Tensor) -> torch.dtype:
        return torch.float64

    def rest(self) -> AnyState:
        return self.chip.rest()

    def initial_state(self, x: Tensor, dtype: torch.dtype | None = None) -> AnyState:
        state = self.chip.initial_state(x, torch.float64)
        if not isinstance(self.neuron, RecurrentMixin):
            return state
        return RecurrentState(state, x.new_zeros((), dtype=torch.float64).expand(x.shape))

    def check_state_type(self, state: AnyState) -> None:
        if isinstance(self.neuron, RecurrentMixin):
            self.expect_state(state, RecurrentState)
            state = state.neuron
        self.chip.check_state_type(state)

    def prepare(self) -> Prepared:
        equation = self.equation()
        integers = self.integers(equation)
        inner = (self.grid.registers(equation, integers.unit).constants,)
        return inner if integers.recurrent is None else (integers.recurrent, inner)

    def transform_input(self, x: Tensor, over_time: bool) -> Tensor:
        connection = _Product(self.connection, self.integers(self.equation()).connection)
        return fold_time(connection, x.double()) if over_time else connection(x.double())

    if TYPE_CHECKING:
        # Like the steps of all models.
        def step(self, *arguments: Any, **keywords: Any) -> tuple[Tensor, AnyState]: ...

    else:

        def step(self, x, state, *prepared):
            if not isinstance(self.neuron, RecurrentMixin):
                return self.chip.step(x, state, *prepared)
            matrix, inner = prepared
            z, after = self.chip.step(x + functional.linear(state.z, matrix), state.neuron, *inner)
            return z, RecurrentState(after, z)

    def stepper(self, dtype: torch.dtype) -> Stepper:
        prepared = self.prepare()
        if not isinstance(self.neuron, RecurrentMixin):
            return Stepper(self, self.step, prepared, dtype, True)
        matrix, inner = prepared
        return Stepper(self, self.step, prepared, dtype, True, Feedback(self._chip_step, inner, matrix))

    def _chip_step(self, x: Tensor, state: AnyState, *prepared: Any) -> tuple[Tensor, AnyState]:
        return self.chip.step(x, state, *prepared)

    def forward(self, xs: Input, state: AnyState = None) -> tuple[Tensor, AnyState]:
        ys, state = super().forward(xs, state)
        if self.spiking:
            return ys, state
        equation = self.equation()
        return ys * (self.integers(equation).unit / self.grid.units) + equation.rest, state


class _Product:
    """A connection with other weights."""

    def __init__(self, connection: nn.Module, weights: dict[str, Tensor]):
        self.connection, self.weights = connection, weights

    def __call__(self, x: Tensor) -> Tensor:
        return call_with(self.connection, self.weights, x)


def quantize(
    model: nn.Module, target: Target, *, learn_scale: bool = False, stochastic: bool = False
) -> SequentialState:
    """A copy of a network that computes with the integers of a chip, for quantization-aware training.

    The copy has the parameters of the network, in float; train it like the network. Each layer of a connection and
    neurons rounds its weights, biases, decays and threshold to the grid of the chip and runs the chip's neurons, whose
    potentials and currents are rounded and saturate. Gradients pass through rounding (Y. Bengio, N. Leonard & A.
    Courville, *Estimating or propagating gradients through stochastic neurons*, 2013) and stop at saturation. In
    evaluation mode its spikes equal those of `to_integer`, one for one.

    The weights of a layer share one scale: its largest weight, or with `learn_scale` a learned number. A bias is the
    weight of an input that spikes in every step, or of several if it is larger than a weight. `AvgPool2d` becomes the
    sum over its window; `Dropout` is removed. A layer receives the spikes of the previous layer in the same step; on a
    chip they arrive one step later, so the spikes of layer n are delayed by n steps.

    Args:
        model: A `geir.SequentialState` of connections, pooling and neurons over time.
        target: A chip whose arithmetic is modeled: `geir.hardware.LOIHI2` or one of the Xylos.
        learn_scale: Whether the step size of the weights of each layer is learned (S. Esser et al., *Learned step size
            quantization*, 2020).
        stochastic: Whether weights are rounded up or down at random in training mode.

    Returns:
        The network. It accepts spikes, integers of shape (time, batch, ...), and returns float64.

    Raises:
        TypeError: If `model` is not a sequence of modules, or `target` is not a target.
        ValueError: If a parameter is not finite, the arithmetic of the chip is not modeled, or a module cannot be
            computed on it; the message names the module, the limit and what to change.

    >>> import geir
    >>> model = geir.SequentialState(nn.Linear(8, 16), geir.LIF(), nn.Linear(16, 4), geir.LI(), lift=True)
    >>> quantized = quantize(model, geir.hardware.LOIHI2)
    >>> vs, state = quantized(geir.encode.poisson(torch.ones(3, 8), steps=50))
    >>> vs.shape
    torch.Size([50, 3, 4])
    """
    check_model("quantize", model)
    check_target("quantize", target)
    grid = grid_of("quantize", target)
    model = copy.deepcopy(model)
    layers, errors = find_layers(model)
    if errors:
        raise errors[0]
    modules: OrderedDict[str, nn.Module] = OrderedDict(events=EventInput(grid.input_events))
    for layer in layers:
        scale = 1.0
        for name, module in layer.before:
            if isinstance(module, nn.MaxPool2d):
                advice = "use torch.nn.AvgPool2d, or strides"
                raise LayerError(name, f"{target.name} adds spikes", "MaxPool2d", advice)
            if isinstance(module, nn.AvgPool2d):
                scale /= window_size(module)
                module = SumPool2d(name, module)
            modules[_key(name)] = module
        modules[_key(layer.name)] = QuantizedLayer(
            layer.neuron,
            layer.connection,
            target,
            name=layer.name,
            input_scale=scale,
            learn_scale=learn_scale,
            stochastic=stochastic,
            is_last=layer is layers[-1],
        )
    return SequentialState(modules, lift=True).train(model.training)


def _key(name: str) -> str:
    """The name of a module in a nested network as the name of a child."""
    return name.replace(".", "_")
