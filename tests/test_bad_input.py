"""Invalid input raises immediately, and the message says what was wrong, what was expected and how to fix it."""

from typing import NamedTuple

import pytest
import torch
from torch import nn

import geir
from geir import LIF, LIFCell, LIFRecurrent

XS = torch.rand(10, 4, 5, generator=torch.Generator().manual_seed(0))
STATE = LIF()(XS)[1]

CASES = {
    "out of range": (lambda: LIF(tau_mem=-1.0), ValueError, r"LIF.tau_mem must be > 0.0 s, got -1.0."),
    "one neuron out of range": (
        lambda: LIF(tau_mem=torch.tensor([0.1, -2.0])),
        ValueError,
        "LIF.tau_mem must be > 0.0 s, got -2.0.",
    ),
    "set out of range": (lambda: setattr(LIF(), "tau_mem", 0.0), ValueError, r"LIF.tau_mem must be > 0.0 s, got 0.0."),
    "below an included bound": (
        lambda: geir.LIFRefrac(period=-1e-3),
        ValueError,
        r"LIFRefrac.period must be >= 0.0 s, got -0.001.",
    ),
    "learnable at its bound": (
        lambda: geir.LIFRefrac(period=geir.learnable(0.0)),
        ValueError,
        r"LIFRefrac.period is learnable only > 0.0 s, got 0.0",
    ),
    "learnable out of range": (lambda: LIF(tau_mem=geir.learnable(-1.0)), ValueError, r"LIF.tau_mem must be > 0.0 s"),
    "NaN": (lambda: LIF(v_th=float("nan")), ValueError, r"LIF.v_th must be a number, got nan."),
    "NaN among numbers": (lambda: LIF(v_th=torch.tensor([1.0, float("nan")])), ValueError, r"got nan in 1 of 2 places"),
    "neither true nor false": (
        lambda: LIF(record_states=1),
        TypeError,
        "LIF.record_states must be True or False, got 1",
    ),
    "not a number": (lambda: LIF(tau_mem="fast"), TypeError, "LIF.tau_mem must be a number or a tensor, got 'fast'"),
    "misspelled": (lambda: LIF(tau_men=1.0), TypeError, "LIF has no parameter 'tau_men'. Did you mean 'tau_mem'?"),
    "unknown": (lambda: LIF(bogus=1.0), TypeError, "LIF has no parameter 'bogus'. It has: .*tau_mem"),
    "positional": (lambda: LIF(0.01), TypeError, "LIF: too many positional arguments"),
    "missing": (lambda: LIFRecurrent(3), TypeError, "LIFRecurrent: missing a required argument: 'hidden_size'"),
    "no size": (
        lambda: LIFRecurrent(3, 0),
        ValueError,
        "LIFRecurrent.hidden_size must be a positive number of neurons, got 0",
    ),
    "no time step": (lambda: LIF(dt=0.0), ValueError, "LIF.dt must be a positive number of seconds, got 0.0"),
    "a string for a surrogate": (
        lambda: LIF(surrogate="super"),
        TypeError,
        r"LIF.surrogate must be a surrogate such as geir.surrogates.SuperSpike\(\), got 'super'",
    ),
    "a string for an integrator": (
        lambda: LIF(integrator="exact"),
        TypeError,
        r"LIF.integrator must be of type Integrator, such as ExponentialEuler\(\), got 'exact'",
    ),
    "a string for a reset": (
        lambda: LIF(reset_mechanism="zero"),
        TypeError,
        r"LIF.reset_mechanism must be of type Reset, such as ResetToValue",
    ),
    "Exact for a model that is not affine": (
        lambda: geir.AdEx(integrator=geir.Exact()),
        ValueError,
        "AdEx is not declared affine",
    ),
    "a setting that a cell does not have": (
        lambda: LIFCell(record_states=True),
        TypeError,
        "LIFCell has no parameter 'record_states'",
    ),
    "no time": (
        lambda: LIF()(torch.tensor(1.0)),
        ValueError,
        r"LIF runs over time: expected input of shape \(time, ...\)",
    ),
    "not a tensor": (lambda: LIF()([1.0, 2.0]), TypeError, "LIF expected a tensor, got list"),
    "integers": (
        lambda: LIF()(torch.ones(3, 4, dtype=torch.int64)),
        TypeError,
        r"LIF expected floating-point input, got torch.int64; convert it with .float\(\)",
    ),
    "complex": (
        lambda: LIF()(torch.ones(3, 4, dtype=torch.complex64)),
        TypeError,
        "LIF expected floating-point input, got torch.complex64",
    ),
    "float64 to float32": (
        lambda: LIF()(XS.double()),
        TypeError,
        r"float32 parameters, but its input is float64; convert one of them: input.float\(\) or",
    ),
    "another number of neurons": (
        lambda: LIF(tau_mem=torch.ones(7))(XS),
        ValueError,
        r"LIF.tau_mem has shape \(7,\), which does not broadcast .* \(4, 5\)",
    ),
    "parameters larger than the input": (
        lambda: LIF(v_th=torch.ones(3, 4, 5))(XS),
        ValueError,
        r"LIF.v_th has shape \(3, 4, 5\)",
    ),
    "parameters of a wrapped neuron": (
        lambda: geir.Refractory(LIF(v_th=torch.ones(7)))(XS),
        ValueError,
        r"LIF.v_th has shape \(7,\)",
    ),
    "a state of another shape": (
        lambda: LIF()(XS[:, :2], STATE),
        ValueError,
        r"LIFState.v has shape \(4, 5\), but one step of input has shape \(2, 5\)",
    ),
    "a recorded state": (
        lambda: LIF()(XS, LIF(record_states=True)(XS)[1]),
        ValueError,
        "Take the last step of a recorded state",
    ),
    "a state of another dtype": (
        lambda: LIF()(XS, geir.neurons.LIFState(*(s.double() for s in STATE))),
        ValueError,
        "LIFState.v has dtype torch.float64, but the state of LIF is torch.float32",
    ),
    "a state on another device": (
        lambda: LIF()(XS, geir.neurons.LIFState(*(s.to("meta") for s in STATE))),
        ValueError,
        "LIFState.v is on meta, but the input on cpu",
    ),
    "parameters on another device": (
        lambda: LIF().to("meta")(XS),
        ValueError,
        "LIF.tau_mem is on meta, but the input on cpu",
    ),
    "a state of another model": (
        lambda: LIF()(XS, geir.IAF()(XS)[1]),
        TypeError,
        "LIF expected a LIFState as its state, got IAFState",
    ),
    "another number of inputs": (
        lambda: LIFRecurrent(3, 4)(XS),
        ValueError,
        r"LIFRecurrent expected 3 inputs in the last dimension, got shape \(10, 4, 5\)",
    ),
    "a bound without a lower one": (lambda: geir.parameter(default=1, below=2), ValueError, "needs a lower bound too"),
    "parameters of a neuron in two wrappers": (
        lambda: geir.Refractory(geir.Noisy(LIF(v_th=torch.ones(7))))(XS),
        ValueError,
        r"LIF.v_th has shape \(7,\), which does not broadcast to one step of input, \(4, 5\)",
    ),
    "a misspelled parameter of a named variant": (
        lambda: geir.LIFRefrac(periood=1e-3),
        TypeError,
        "LIFRefrac has no parameter 'periood'. Did you mean 'period'?",
    ),
    "refractoriness without a potential": (
        lambda: geir.Refractory(NoPotential()),
        TypeError,
        "needs a neuron with a membrane potential `v`, but the state of NoPotential has only u",
    ),
}


class UState(NamedTuple):
    u: torch.Tensor


class NoPotential(geir.Neuron[UState]):
    def rest(self):
        return UState(torch.zeros(()))

    def step(self, x, state):
        return self.surrogate(x), state


@pytest.mark.parametrize("case", CASES)
def test_invalid_input_raises(case):
    call, kind, message = CASES[case]
    with pytest.raises(kind, match=message):
        call()


class Empty(geir.Neuron):
    pass


class Hookless(geir.ODENeuron):
    def rest(self):
        return UState(torch.zeros(()))


@pytest.mark.parametrize(("model", "missing"), [(Empty, "rest"), (Hookless, "derivative")])
def test_an_abstract_model_cannot_be_instantiated(model, missing):
    with pytest.raises(TypeError, match=f"abstract class {model.__name__} with abstract methods .*{missing}"):
        model()


@pytest.mark.parametrize("value", [float("nan"), -5.0])
@pytest.mark.parametrize("learnable", [False, True])
def test_a_state_dictionary_is_checked_before_it_is_loaded(value, learnable):
    lif = LIF(tau_mem=geir.learnable(0.01)) if learnable else LIF()
    state = lif.state_dict()
    state["log_tau_mem" if learnable else "tau_mem"] = torch.tensor(value)
    if learnable and value == value:
        lif.load_state_dict(state)  # the logarithm may be any number
        assert lif.tau_mem > 0
        return
    with pytest.raises(ValueError, match="LIF.tau_mem must be"):
        nn.Sequential(lif).load_state_dict({f"0.{k}": v for k, v in state.items()})
    assert lif.tau_mem.item() == pytest.approx(0.01)


def test_a_state_dictionary_of_another_network_is_refused():
    with pytest.raises(RuntimeError, match="tau_syn"):
        LIF().load_state_dict(geir.LIBox().state_dict())
    with pytest.raises(RuntimeError, match="log_tau_mem"):
        LIF().load_state_dict(LIF(tau_mem=geir.learnable(0.02)).state_dict())


def test_nan_and_infinity_in_the_input_survive():
    xs = XS.clone()
    xs[3, 0, 0], xs[3, 0, 1] = float("nan"), float("inf")
    vs, state = geir.LI()(xs)
    assert vs[3:, 0, 0].isnan().all()
    assert vs[3, 0, 1] == float("inf")
    assert vs[:, 1:].isfinite().all()
    assert LIF()(xs)[1].v[0, 0].isnan()
