"""Networks of sinabs."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn, Tensor

from ..containers import SequentialState
from ..core.neuron import Dynamics, Neuron
from ..core.resets import ResetBySubtraction, ResetToValue
from ..neurons import IAF, Leaky, LIBox, LIFBox
from ..surrogates import Gaussian, MultiGaussian, MultiSpike, PiecewiseExponential, Surrogate
from ..synapses import ExponentialSynapse
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
    scaled,
    stateless_copy,
)
from ._leaky_integrator import LeakyIntegrator


def from_sinabs(module: nn.Module, *, surrogate: Surrogate | None = None, dt: float | None = None) -> nn.Module:
    r"""Convert a network of sinabs: a neuron, or a sequence of neurons and PyTorch's modules.

    Time constants of sinabs are in steps; those of geir are ``tau * dt`` seconds. Decays are exact in both. The neurons
    of sinabs spike where :math:`v \ge v_\text{th}`, those of geir where :math:`v > v_\text{th}`; thresholds become the
    next smaller number. The result takes (time, batch, ...), where sinabs takes (batch, time, ...).

    Args:
        module: `IAF`, `LIF`, `ExpLeak`, also with `Squeeze`, a `Network`, or a `torch.nn.Sequential` of these and of
            PyTorch's modules.
        surrogate: Surrogate of all neurons. Default: that with the derivative of `surrogate_grad_fn`; of several spikes
            per step, around every threshold, where sinabs has it around the first only.
        dt: Step size in seconds, of which sinabs knows nothing. Default: that of geir.

    Returns:
        A neuron, or a `SequentialState` that runs over time.

    Raises:
        TypeError: If `module` is not a module.
        ValueError: If modules cannot be converted; the message names each, with the reason.
    """
    return convert(module, _SINABS, Options(dt, surrogate))


@dataclass(frozen=True)
class _CountingSpike(MultiSpike):
    """The number of thresholds that the potential has reached, by a distance of zero too."""

    def spikes(self, x: Tensor) -> Tensor:
        return torch.where(x >= 0, torch.floor(x / self.step) + 1, 0)


def _surrogate(module: Foreign, options: Options) -> Surrogate:
    if options.surrogate is not None:
        return options.surrogate
    function = module.surrogate_grad_fn
    name = type(function).__name__
    threshold = _number(module.spike_threshold, "spike_threshold")
    if name == "SingleExponential":
        width = threshold * function.grad_width
        return scaled(PiecewiseExponential(alpha=1 / width), 2 * function.grad_scale)
    if name == "Gaussian" and function.mu == 0:
        return scaled(Gaussian(sigma=function.sigma), function.grad_scale)
    if name == "MultiGaussian" and function.mu == 0:
        found = MultiGaussian(sigma=function.sigma, height=function.h, scale=function.s)
        return scaled(found, function.grad_scale)
    raise CannotConvertError(f"geir does not know its surrogate_grad_fn, {name}; pass `surrogate`")


def _number(value: Foreign, name: str) -> float:
    if value.numel() != 1:
        raise CannotConvertError(f"it has several values of {name}, and a surrogate or several spikes that need one")
    return value.item()


def _spiking(module: Foreign, options: Options) -> Arguments:
    """The arguments that all neurons have."""
    if module.min_v_mem is not None:
        raise CannotConvertError("it has min_v_mem, a lower bound of the potential, which geir has not")
    kind = getattr(module.spike_fn, "__name__", type(module.spike_fn).__name__)
    if kind not in ("SingleSpike", "MultiSpike"):
        raise CannotConvertError(f"it has spike_fn={kind}; only SingleSpike and MultiSpike are converted")
    threshold = module.spike_threshold.detach().clone()
    v_th = inclusive_threshold(threshold)
    surrogate = _surrogate(module, options)
    reset = module.reset_fn
    if type(reset).__name__ == "MembraneReset":
        if kind == "MultiSpike":
            raise CannotConvertError("it has several spikes per step with a reset to a value; geir takes one spike")
        if reset.reset_value:
            raise CannotConvertError(
                f"it has MembraneReset({reset.reset_value}), which sinabs adds in every step, spike or not"
            )
        mechanism, v_reset = ResetToValue(detach=False), torch.zeros(())
    else:
        amount = threshold if reset.subtract_value is None else torch.tensor(float(reset.subtract_value))
        if kind == "MultiSpike" and bool((amount != threshold).any()):
            raise CannotConvertError("it has several spikes per step, each of which subtracts another amount")
        # So that exactly this amount is subtracted.
        mechanism, v_reset = ResetBySubtraction(detach=False), v_th - amount
    if kind == "MultiSpike":
        surrogate = _CountingSpike(step=_number(threshold, "spike_threshold"), surrogate=surrogate)
        v_th, v_reset = threshold, torch.zeros(())
    return {
        "dt": options.step_size,
        "v_th": v_th,
        "v_reset": v_reset,
        "reset_mechanism": mechanism,
        "surrogate": surrogate,
    }


def _tau(module: Foreign, name: str, options: Options) -> Any:
    """A time constant in seconds, from one in steps or from a decay per step, whichever sinabs learns."""
    dt = options.step_size
    if module.train_alphas:
        return parameter_value(getattr(module, f"alpha_{name}"), lambda alpha: -dt / torch.log(alpha))
    return parameter_value(getattr(module, f"tau_{name}"), lambda tau: tau * dt)


def _decay(module: Foreign) -> Any:
    """The decay of the potential per step."""
    source = module.alpha_mem if module.train_alphas else module.tau_mem
    return parameter_value(source, lambda _: module.alpha_mem_calculated.detach())


def _with_synapse(module: Foreign, neuron: Neuron, options: Options) -> nn.Module:
    if module.tau_syn_calculated is None:
        return neuron
    synapse = ExponentialSynapse(tau_syn=_tau(module, "syn", options), dt=options.step_size)
    return SequentialState(synapse, neuron)


def _iaf(module: Foreign, options: Options) -> nn.Module:
    return _with_synapse(module, IAF(**_spiking(module, options)), options)


def _lif(module: Foreign, options: Options) -> nn.Module:
    arguments = _spiking(module, options)
    if module.norm_input:
        return _with_synapse(module, LIFBox(tau_mem=_tau(module, "mem", options), **arguments), options)
    return _with_synapse(module, Leaky(beta=_decay(module), reset_delay=False, **arguments), options)


def _exp_leak(module: Foreign, options: Options) -> Dynamics:
    if module.min_v_mem is not None:
        raise CannotConvertError("it has min_v_mem, a lower bound of the potential, which geir has not")
    if not module.norm_input:
        return LeakyIntegrator(beta=_decay(module), dt=options.step_size)
    return LIBox(tau_mem=_tau(module, "mem", options), dt=options.step_size)


_RULES: dict[str, Rule] = {
    "IAF": _iaf,
    "IAFSqueeze": _iaf,
    "LIF": _lif,
    "LIFSqueeze": _lif,
    "ExpLeak": _exp_leak,
    "ExpLeakSqueeze": _exp_leak,
    "SumPool2d": lambda module, options: stateless_copy(module, nn.LPPool2d),
}
_SINABS = Library("sinabs", _RULES, wrappers={"Network": "spiking_model"})
