"""Networks of Norse."""

import copy

import torch
from torch import nn

from ..core.integrators import Euler
from ..core.resets import ResetBySubtraction, ResetToValue
from ..neurons import AdEx, IAF, LI, LIBox, LIF, LIFBox, LIFEx, LIFRecurrent
from ..surrogates import Circle, Erfc, SuperSpike, Surrogate, Tanh, Triangle, ZeroGradient
from ._conversion import (
    Arguments,
    CannotConvertError,
    convert,
    Foreign,
    Library,
    Options,
    parameter_value,
    Rule,
    scaled,
)


def from_norse(module: nn.Module, *, surrogate: Surrogate | None = None) -> nn.Module:
    """Convert a network of Norse: a neuron, or a sequence of neurons and PyTorch's modules.

    Time constants become seconds, `1 / tau_mem_inv`, and the integrator is `Euler()`, as in Norse. Cells become layers
    over time. `Lift` is not needed in the result, which runs over time, (time, batch, ...), as Norse's layers do.

    Args:
        module: `LIF`, `LIFBoxCell`, `IAF`, `LI`, `LIBox`, `LIFEx`, `LIFAdEx`, also as cells, `LIFRecurrent`, or a
            `SequentialState` or `torch.nn.Sequential` of these, of `Lift` and of PyTorch's modules.
        surrogate: Surrogate of all neurons. Default: that with the derivative of Norse's `method`, which for `"super"`
            is ``SuperSpike(alpha=1)``, because Norse's derivative does not depend on its `alpha`.

    Returns:
        A neuron, or a `SequentialState` that runs over time.

    Raises:
        TypeError: If `module` is not a module.
        ValueError: If modules cannot be converted; the message names each, with the reason.
    """
    return convert(module, _NORSE, Options(None, surrogate))


def _surrogate(parameters: Foreign, options: Options) -> Surrogate:
    if options.surrogate is not None:
        return options.surrogate
    method, alpha = parameters.method, float(parameters.alpha)
    known = {
        "super": lambda: SuperSpike(alpha=1.0),
        "adjoint": lambda: SuperSpike(alpha=1.0),
        "triangle": lambda: Triangle(gamma=alpha, width=1.0),
        "tanh": lambda: scaled(Tanh(alpha=alpha), 2 / alpha),
        "circ": lambda: scaled(Circle(alpha=1 / alpha), 2 * alpha),
        "heavi_erfc": lambda: scaled(Erfc(alpha=alpha), 2 / alpha),
        "heaviside": ZeroGradient,
    }
    if method not in known:
        raise CannotConvertError(f"geir has no surrogate for method={method!r}; pass `surrogate`")
    return known[method]()


def _spiking(module: Foreign, options: Options) -> Arguments:
    """The arguments that all spiking neurons have."""
    p = module.p
    return {
        "dt": float(module.dt),
        "v_th": parameter_value(p.v_th),
        "v_reset": parameter_value(p.v_reset),
        "surrogate": _surrogate(p, options),
        "reset_mechanism": ResetToValue(detach=False),
    }


def _membrane(module: Foreign) -> Arguments:
    p = module.p
    return {
        "dt": float(module.dt),
        "tau_mem": parameter_value(p.tau_mem_inv, lambda inverse: 1 / inverse),
        "v_rest": parameter_value(p.v_leak),
        "integrator": Euler(),
    }


def _synapse(module: Foreign) -> Arguments:
    return {"tau_syn": parameter_value(module.p.tau_syn_inv, lambda inverse: 1 / inverse)}


def _lif(module: Foreign, options: Options) -> nn.Module:
    return LIF(**_spiking(module, options) | _membrane(module) | _synapse(module))


def _lif_recurrent(module: Foreign, options: Options) -> nn.Module:
    arguments = _spiking(module, options) | _membrane(module) | _synapse(module)
    # Norse stops the gradient through this reset, but not through that of layers without recurrence.
    arguments["reset_mechanism"] = ResetToValue()
    converted = LIFRecurrent(
        int(module.input_size),
        int(module.hidden_size),
        autapses=bool(module.autapses),
        input_weights=copy.deepcopy(module.input_weights),
        recurrent_weights=copy.deepcopy(module.recurrent_weights),
        **arguments,
    )
    return converted


def _lif_box(module: Foreign, options: Options) -> nn.Module:
    arguments = _spiking(module, options) | _membrane(module)
    reset = getattr(module.p, "reset_method", None)
    name = getattr(reset, "__name__", "reset_value")
    if name == "reset_subtract":
        # Norse subtracts the threshold, whatever `v_reset` is.
        arguments |= {"reset_mechanism": ResetBySubtraction(detach=False), "v_reset": 0.0}
    elif name != "reset_value":
        raise CannotConvertError(f"geir has no reset for reset_method={name}")
    return LIFBox(**arguments)


def _iaf(module: Foreign, options: Options) -> nn.Module:
    if bool((torch.as_tensor(module.p.v_reset) != 0).any()):
        raise CannotConvertError("it starts at v_reset, which is not 0; geir.IAF starts at 0")
    return IAF(**_spiking(module, options))


def _li(module: Foreign, options: Options) -> nn.Module:
    return LI(**_membrane(module) | _synapse(module))


def _li_box(module: Foreign, options: Options) -> nn.Module:
    return LIBox(**_membrane(module))


def _upswing(module: Foreign) -> Arguments:
    """Norse's neurons spike at the potential at which the upswing begins."""
    return {"v_peak": parameter_value(module.p.v_th), "delta_T": parameter_value(module.p.delta_T)}


def _lif_ex(module: Foreign, options: Options) -> nn.Module:
    return LIFEx(**_spiking(module, options) | _membrane(module) | _synapse(module) | _upswing(module))


def _lif_adex(module: Foreign, options: Options) -> nn.Module:
    adaptation = {
        "tau_adapt": parameter_value(module.p.tau_ada_inv, lambda inverse: 1 / inverse),
        "a": parameter_value(module.p.adaptation_current),
        "b": parameter_value(module.p.adaptation_spike),
    }
    return AdEx(**_spiking(module, options) | _membrane(module) | _synapse(module) | _upswing(module) | adaptation)


_RULES: dict[str, Rule] = {
    "LIF": _lif,
    "LIFCell": _lif,
    "LIFRecurrent": _lif_recurrent,
    "LIFRecurrentCell": _lif_recurrent,
    "LIFBox": _lif_box,
    "LIFBoxCell": _lif_box,
    "IAF": _iaf,
    "IAFCell": _iaf,
    "LI": _li,
    "LICell": _li,
    "LIBox": _li_box,
    "LIBoxCell": _li_box,
    "LIFEx": _lif_ex,
    "LIFExCell": _lif_ex,
    "LIFAdEx": _lif_adex,
    "LIFAdExCell": _lif_adex,
}
_NORSE = Library("norse", _RULES, sequences=["SequentialState"], wrappers={"Lift": "lifted_module"})
