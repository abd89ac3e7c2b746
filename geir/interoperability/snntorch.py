"""Networks of snnTorch."""

import copy
from collections.abc import Callable

import torch
from torch import nn

from ..core.neuron import Neuron
from ..core.resets import Reset, ResetBySubtraction, ResetToValue
from ..neurons import Leaky, SynapticLeaky
from ..surrogates import ATan, Sigmoid, StraightThrough, SuperSpike, Surrogate, ZeroGradient
from ..wrappers import Recurrent
from ._conversion import Arguments, CannotConvertError, convert, Foreign, Library, Options, parameter_value, Rule


def from_snntorch(module: nn.Module, *, surrogate: Surrogate | None = None, dt: float | None = None) -> nn.Module:
    """Convert a network of snnTorch: a neuron, or a sequence of neurons and PyTorch's modules.

    Decays per step, `beta` and `alpha`, stay as they are. The result runs over time, (time, batch, ...); snnTorch's
    modules take one step. If a network has a custom `forward`, pass its layers in order,
    ``from_snntorch(torch.nn.Sequential(net.fc1, net.lif1, net.fc2, net.lif2))``.

    Args:
        module: `Leaky`, `Synaptic`, `RLeaky`, or a `torch.nn.Sequential` of these and PyTorch's modules.
        surrogate: Surrogate of all neurons. Default: that with the derivative of `spike_grad`.
        dt: Step size in seconds, of which snnTorch knows nothing. Default: that of geir.

    Returns:
        A neuron, or a `SequentialState` that runs over time.

    Raises:
        TypeError: If `module` is not a module.
        ValueError: If modules cannot be converted; the message names each, with the reason.
    """
    return convert(module, _SNNTORCH, Options(dt, surrogate))


def _surrogate(module: Foreign, options: Options) -> Surrogate:
    if options.surrogate is not None:
        return options.surrogate
    if module.surrogate_disable:
        return ZeroGradient()
    function = module.spike_grad
    # `atan(alpha=2)` returns a function that remembers its argument.
    name = getattr(function, "__qualname__", type(function).__name__).partition(".")[0]
    values = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    known: dict[str, Callable[..., Surrogate]] = {
        "atan": ATan,
        "fast_sigmoid": SuperSpike,
        "sigmoid": Sigmoid,
        "straight_through_estimator": StraightThrough,
    }
    if name not in known:
        raise CannotConvertError(f"geir does not know its spike_grad, {name}; pass `surrogate`")
    return known[name](*map(float, values))


def _check(module: Foreign) -> None:
    if module.inhibition:
        raise CannotConvertError("it has inhibition=True, by which neurons influence each other")
    if module.state_quant:
        raise CannotConvertError("it has state_quant, which geir has not")
    if bool((torch.as_tensor(module.graded_spikes_factor) != 1).any()):
        raise CannotConvertError("it has a graded_spikes_factor, which geir has not; put it into the next weights")


def _reset(module: Foreign) -> Arguments:
    kind = module.reset_mechanism
    if kind == "none":
        # A reset that subtracts nothing.
        return {"reset_mechanism": ResetBySubtraction(), "v_reset": parameter_value(module.threshold.detach())}
    mechanism: Reset = ResetBySubtraction() if kind == "subtract" else ResetToValue()
    if kind == "subtract" and not module.reset_delay:
        raise CannotConvertError(
            'it has reset_mechanism="subtract" with reset_delay=False, which subtracts again in the next step where '
            "the potential stayed above the threshold; geir does not"
        )
    return {"reset_mechanism": mechanism, "v_reset": 0.0}


def _leaky_arguments(module: Foreign, options: Options) -> Arguments:
    _check(module)
    return {
        "dt": options.step_size,
        "beta": parameter_value(module.beta, lambda beta: beta.clamp(0, 1)),
        "v_th": parameter_value(module.threshold),
        "surrogate": _surrogate(module, options),
        "reset_delay": bool(module.reset_delay),
        **_reset(module),
    }


def _leaky(module: Foreign, options: Options) -> Neuron:
    return Leaky(**_leaky_arguments(module, options))


def _synaptic(module: Foreign, options: Options) -> Neuron:
    if module.reset_mechanism == "zero" and module.reset_delay:
        raise CannotConvertError('it has reset_mechanism="zero", which also drops the input of the step; geir does not')
    alpha = parameter_value(module.alpha, lambda alpha: alpha.clamp(0, 1))
    return SynapticLeaky(alpha=alpha, **_leaky_arguments(module, options))


def _rleaky(module: Foreign, options: Options) -> nn.Module:
    if not module.all_to_all or not isinstance(module.recurrent, nn.Linear):
        raise CannotConvertError("it has no dense recurrent weights; only those are converted")
    if module.reset_mechanism == "zero" and module.reset_delay:
        raise CannotConvertError('it has reset_mechanism="zero", which also drops the input of the step; geir does not')
    size = module.recurrent.out_features
    return Recurrent(
        _leaky(module, options),
        size,
        size,
        autapses=True,
        input_weights=nn.Identity(),
        recurrent_weights=copy.deepcopy(module.recurrent),
    )


_RULES: dict[str, Rule] = {"Leaky": _leaky, "Synaptic": _synaptic, "RLeaky": _rleaky}
_SNNTORCH = Library("snntorch", _RULES)
