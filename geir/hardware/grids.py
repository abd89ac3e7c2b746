"""The grids of the chips: from the difference equation of a neuron to the integers in its registers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .difference_equation import DifferenceEquation
from .layers import LayerError
from .loihi import DECAY_UNIT, LoihiConstants, LoihiLIF, SHIFT
from .rounding import round_to_grid, straight_through
from .targets import LOIHI2, Target, XYLO_AUDIO_2, XYLO_AUDIO_3, XYLO_IMU
from .xylo import XyloConstants, XyloLIF

ChipNeuron = LoihiLIF | XyloLIF


class Registers(NamedTuple):
    """Register values of a layer's neurons, as integers."""

    constants: LoihiConstants | XyloConstants  # of the neurons' step, with gradients
    parameters: dict[str, Tensor]  # the same as parameters of the chip's neuron


@dataclass(frozen=True)
class Grid:
    """How a chip stores a layer.

    Args:
        gain: From the difference equation to the factor by which a weight, relative to the unit, makes its integer.
        registers: From the difference equation and the unit, the value of one integer of a weight, to the registers.
        neuron: Makes the chip's neuron.
        highest_threshold: The highest integer of a threshold.
        units: Integers of a potential per integer of a weight.
        input_events: The most spikes of an input in one step, or None.
    """

    gain: Callable[[DifferenceEquation], Tensor]
    registers: Callable[[DifferenceEquation, Tensor], Registers]
    neuron: type[LoihiLIF] | type[XyloLIF]
    highest_threshold: int
    units: int
    input_events: int | None


def grid_of(caller: str, target: Target) -> Grid:
    """The grid of a chip.

    Raises:
        ValueError: If its arithmetic is not modeled.
    """
    if target not in _GRIDS:
        known = ", ".join(known.name for known in _GRIDS)
        raise ValueError(f"{caller}: the arithmetic of {target.name} is not modeled; expected one of {known}.")
    return _GRIDS[target]


def check_equation(name: str, equation: DifferenceEquation, target: Target) -> None:
    """Raise `LayerError` if the chip does not have this reset, current or leak."""
    reset = "subtraction" if equation.subtracts else "value"
    if equation.v_th is not None and reset not in target.reset.value:
        advice = "use reset_mechanism=geir.ResetBySubtraction()" if reset == "value" else "use geir.ResetToValue()"
        raise LayerError(name, f"{target.name} resets by {target.reset.value[0]}", reset, advice)
    if grid_of("quantize", target).neuron is XyloLIF:
        for value, limit in (
            (equation.alpha, "every neuron has a synaptic current"),
            (1 - equation.gamma, "every membrane leaks"),
        ):
            if value.item() < 1e-6:
                raise LayerError(name, f"{target.name}: {limit}", "none", "use geir.LIF() or geir.LI()")


def _loihi_gain(equation: DifferenceEquation) -> Tensor:
    return equation.kappa


def _loihi_registers(equation: DifferenceEquation, unit: Tensor) -> Registers:
    last = DECAY_UNIT - 1
    parameters = {
        "decay_current": round_to_grid(DECAY_UNIT * (1 - equation.alpha) - 1, 0, last),
        "decay_voltage": round_to_grid(DECAY_UNIT * (1 - equation.gamma), 0, last),
        **_threshold(equation, unit, 2**17 - 1, lowest=0),
        "bias": torch.zeros_like(unit),
    }
    return Registers(LoihiConstants(**parameters), parameters)


def _xylo_gain(equation: DifferenceEquation) -> Tensor:
    # The current decays before it reaches the potential. A spike keeps its total effect, although the decays are
    # rounded to powers of two.
    leak_syn, leak_mem = (_power_of_two(1 - decay)[0] for decay in (equation.alpha, equation.gamma))
    exact = equation.kappa / ((1 - equation.alpha) * (1 - equation.gamma))
    return exact * leak_syn * leak_mem / (1 - leak_syn)


def _xylo_registers(equation: DifferenceEquation, unit: Tensor) -> Registers:
    leak_syn, dash_syn = _power_of_two(1 - equation.alpha)
    leak_mem, dash_mem = _power_of_two(1 - equation.gamma)
    common = {**_threshold(equation, unit, 2**15 - 1, lowest=1), "bias": torch.zeros_like(unit)}
    constants = XyloConstants(leak_syn=leak_syn, leak_mem=leak_mem, **common)
    return Registers(constants, {"dash_syn": dash_syn, "dash_mem": dash_mem, **common})


def _power_of_two(leak: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest power of two from 1/2 to 2^-15, with the gradient of `leak`, and its negative exponent."""
    dash = torch.round(-torch.log2(leak.detach())).clamp(1, 15)
    return straight_through(leak, 1 / torch.round(torch.exp2(dash))), dash


def _threshold(equation: DifferenceEquation, unit: Tensor, highest: int, lowest: int) -> dict[str, Tensor]:
    if equation.v_th is None:
        one = torch.ones_like(unit)
        return {"v_th": one, "distance": one}
    return {"v_th": round_to_grid(equation.v_th / unit, lowest, highest), "distance": equation.v_th}


_LOIHI = Grid(_loihi_gain, _loihi_registers, LoihiLIF, 2**17 - 1, SHIFT, None)
_XYLO = Grid(_xylo_gain, _xylo_registers, XyloLIF, 2**15 - 1, 1, 15)
_GRIDS = {LOIHI2: _LOIHI, XYLO_AUDIO_2: _XYLO, XYLO_AUDIO_3: _XYLO, XYLO_IMU: _XYLO}
