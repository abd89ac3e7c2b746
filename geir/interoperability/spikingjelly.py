"""Networks of SpikingJelly."""

from collections.abc import Callable

import torch
from torch import nn

from ..core.integrators import Euler
from ..core.neuron import Neuron
from ..core.resets import Reset, ResetBySubtraction, ResetToValue
from ..models.base import DropoutOverTime
from ..neurons import IAF, Leaky, LIFBox
from ..surrogates import ATan, Erfc, PiecewiseExponential, Sigmoid, Surrogate
from ._conversion import (
    Arguments,
    CannotConvertError,
    convert,
    Foreign,
    inclusive_threshold,
    Library,
    Options,
    parameter_value,
    Rule,
    stateless_copy,
)

# PyTorch's layers under their own names; SpikingJelly adds a step mode.
_LAYERS = """
Conv1d Conv2d Conv3d Upsample ConvTranspose1d ConvTranspose2d ConvTranspose3d GroupNorm BatchNorm1d BatchNorm2d
BatchNorm3d MaxPool1d MaxPool2d MaxPool3d AvgPool1d AvgPool2d AvgPool3d AdaptiveAvgPool1d AdaptiveAvgPool2d
AdaptiveAvgPool3d Linear Flatten
"""


def from_spikingjelly(module: nn.Module, *, surrogate: Surrogate | None = None, dt: float | None = None) -> nn.Module:
    r"""Convert a network of SpikingJelly: a neuron, or a sequence of neurons and layers.

    SpikingJelly's `tau` is in steps; the time constant is ``tau * dt`` seconds, and the integrator is `Euler()`. Its
    neurons spike where :math:`v \ge v_\text{th}`, those of geir where :math:`v > v_\text{th}`; thresholds become the
    next smaller number. The result runs over time, (time, batch, ...), as step mode `"m"` does.

    Args:
        module: `IFNode`, `LIFNode`, `ParametricLIFNode`, or a `torch.nn.Sequential` of these, of SpikingJelly's layers
            and containers and of PyTorch's modules.
        surrogate: Surrogate of all neurons. Default: that with the derivative of `surrogate_function`.
        dt: Step size in seconds, of which SpikingJelly knows nothing. Default: that of geir.

    Returns:
        A neuron, or a `SequentialState` that runs over time.

    Raises:
        TypeError: If `module` is not a module.
        ValueError: If modules cannot be converted; the message names each, with the reason.
    """
    return convert(module, _SPIKINGJELLY, Options(dt, surrogate))


def _surrogate(module: Foreign, options: Options) -> Surrogate:
    if options.surrogate is not None:
        return options.surrogate
    function = module.surrogate_function
    known: dict[str, Callable[[float], Surrogate]] = {
        "Sigmoid": Sigmoid,
        "ATan": ATan,
        "Erf": Erfc,
        "PiecewiseExp": PiecewiseExponential,
    }
    name = type(function).__name__
    if name not in known:
        raise CannotConvertError(f"geir does not know its surrogate_function, {name}; pass `surrogate`")
    if not function.spiking:
        raise CannotConvertError("its surrogate_function has spiking=False, so that its output is no spikes")
    return known[name](float(function.alpha))


def _spiking(module: Foreign, options: Options) -> Arguments:
    """The arguments that all neurons have. `v_reset=None` is SpikingJelly's reset by subtraction."""
    detach = bool(module.detach_reset)
    v_th = inclusive_threshold(module.v_threshold)
    if module.v_reset is None:
        reset: Reset = ResetBySubtraction(detach=detach)
        # So that exactly the threshold is subtracted.
        v_reset = v_th - module.v_threshold
    else:
        reset, v_reset = ResetToValue(detach=detach), torch.tensor(float(module.v_reset))
    return {
        "dt": options.step_size,
        "v_th": v_th,
        "v_reset": v_reset,
        "reset_mechanism": reset,
        "surrogate": _surrogate(module, options),
    }


def _if(module: Foreign, options: Options) -> Neuron:
    if module.v_reset:
        raise CannotConvertError(f"it starts at v_reset={module.v_reset}, geir.IAF at 0")
    return IAF(**_spiking(module, options))


def _lif(module: Foreign, options: Options, tau: object = None) -> Neuron:
    dt = options.step_size
    if module.decay_input:
        tau_mem = parameter_value(module.tau, lambda tau: tau * dt) if tau is None else tau
        v_rest = module.v_reset or 0.0
        return LIFBox(tau_mem=tau_mem, v_rest=v_rest, integrator=Euler(), **_spiking(module, options))
    if module.v_reset:
        raise CannotConvertError(f"it decays to v_reset={module.v_reset} with decay_input=False; geir's decays to 0")
    if tau is not None:
        raise CannotConvertError("it learns its time constant with decay_input=False")
    beta = parameter_value(module.tau, lambda tau: 1 - 1 / tau)
    return Leaky(beta=beta, reset_delay=False, **_spiking(module, options))


def _parametric_lif(module: Foreign, options: Options) -> Neuron:
    return _lif(module, options, parameter_value(module.w, lambda w: options.step_size / w.sigmoid()))


def _dropout(module: Foreign, options: Options) -> nn.Module:
    return DropoutOverTime(module.p)


def _layer(base: type[nn.Module]) -> Rule:
    return lambda module, options: stateless_copy(module, base)


_RULES: dict[str, Rule] = {
    "IFNode": _if,
    "LIFNode": _lif,
    "ParametricLIFNode": _parametric_lif,
    "Dropout": _dropout,
    **{name: _layer(getattr(nn, name)) for name in _LAYERS.split()},
}
_SPIKINGJELLY = Library(
    "spikingjelly", _RULES, sequences=["SeqToANNContainer", "MultiStepContainer", "StepModeContainer"]
)
