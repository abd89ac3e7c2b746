"""Multi-compartment neurons."""

import warnings
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.linalg import expm

import geir
from geir._util.state import leaves

DOUBLE = torch.float64


def exactly(value):
    return torch.tensor(value, dtype=DOUBLE)


class UState(NamedTuple):
    u: torch.Tensor


class NoPotential(geir.Neuron[UState]):
    def rest(self):
        return UState(torch.zeros(()))

    def step(self, x, state):
        return self.surrogate(x), state


def chain(size, rate):
    """The coupling of a chain."""
    coupling = torch.zeros(size, size, dtype=DOUBLE)
    for k in range(size - 1):
        coupling[k, k + 1] = coupling[k + 1, k] = rate
    return coupling


def test_compartments_without_input_follow_the_matrix_exponential():
    tau, coupling = 10e-3, chain(4, 80.0) + torch.rand(4, 4, dtype=DOUBLE) * 30
    neuron = geir.LIFMC(4, coupling=coupling, tau_mem=exactly(tau), v_th=exactly(1e9), record_states=True)
    start = geir.neurons.LIFState(
        v=torch.tensor([[1.0, 0.0, -1.0, 0.5]], dtype=DOUBLE), i=torch.zeros(1, 4, dtype=DOUBLE)
    )
    _, states = neuron(torch.zeros(30, 1, 4, dtype=DOUBLE), start)
    rates = coupling.numpy() - np.diag(coupling.numpy().sum(1)) - np.eye(4) / tau
    expected = [expm(rates * 1e-3 * t) @ start.v[0].numpy() for t in range(1, 31)]
    np.testing.assert_allclose(states.v[:, 0].detach(), expected, rtol=1e-10, atol=1e-12)


def test_compartments_converge_to_another_solver_with_order_one():
    tau_mem, tau_syn, until, coupling = 10e-3, 4e-3, 20e-3, chain(3, 150.0)

    def derivative(_, s):
        v, i = s[:3], s[3:]
        coupling_current = (coupling.numpy() * (v[None] - v[:, None])).sum(1)
        return [*((i - v) / tau_mem + coupling_current), *(-i / tau_syn)]

    expected = solve_ivp(derivative, (0, until), [0, 0, 0, 3, 0, 0], rtol=1e-11, atol=1e-13).y[:3, -1]
    errors = []
    for steps in (20, 40, 80):
        neuron = geir.LIFMC(
            3,
            coupling=coupling,
            tau_mem=exactly(tau_mem),
            tau_syn=exactly(tau_syn),
            v_th=exactly(1e9),
            dt=until / steps,
        )
        xs = torch.zeros(steps, 3, dtype=DOUBLE)
        xs[0, 0] = 3
        errors.append(np.abs(neuron(xs)[1].v.detach().numpy() - expected).max())
    assert expected[2] > 0.05, "the end of the chain responds"
    assert errors[0] < 0.1
    np.testing.assert_allclose(np.log2(np.divide(errors[:-1], errors[1:])), 1, atol=0.15)


def test_a_refractory_compartment_is_clamped_while_others_respond():
    neuron = geir.LIFMCRefrac(2, period=5e-3, record_states=True).double()
    xs = torch.zeros(60, 2, dtype=DOUBLE)
    xs[:, 0] = 1.5
    zs, states = neuron(xs)
    times = zs[:, 0].nonzero().flatten()
    assert len(times) > 3
    assert times.diff().min() > 5
    for t in times[:-1]:
        assert (states.neuron.v[t : t + 6, 0] == 0).all()
    assert states.neuron.v[:, 1].max() > 0.05


@pytest.mark.parametrize(
    "make",
    [
        lambda: geir.LIFMC(4),
        lambda: geir.Compartments(geir.ALIF(), 4),
        lambda: geir.LIFMCRecurrent(4, 4),
        lambda: geir.Refractory(geir.Recurrent(geir.LIFMC(4), 4, 4)),
    ],
    ids=["LIFMC", "Compartments", "LIFMCRecurrent", "Refractory"],
)
def test_compartments_run_on_the_reference_loop_without_a_warning(make):
    torch.manual_seed(0)
    layer = make()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        zs, state = layer(10 * torch.rand(40, 2, 4))
    assert zs.sum() > 5
    (zs.sum() + sum(part.sum() for _, part in leaves(state))).backward()
    coupling = next(p for name, p in layer.named_parameters() if name.endswith("coupling"))
    assert coupling.grad.abs().sum() > 0


XS = torch.rand(10, 4, 5, generator=torch.Generator().manual_seed(0))
CASES = {
    "coupling without a potential": (
        lambda: geir.Compartments(NoPotential(), 5),
        TypeError,
        "Compartments needs a neuron with a membrane potential `v`, but .* only u",
    ),
    "no compartments": (
        lambda: geir.LIFMC(0),
        ValueError,
        "LIFMC.hidden_size must be a positive number of compartments, got 0",
    ),
    "coupling of another shape": (
        lambda: geir.LIFMC(3, coupling=torch.ones(3)),
        ValueError,
        r"LIFMC.coupling must have shape \(3, 3\), got \(3,\)",
    ),
    "other compartments": (
        lambda: geir.LIFMC(3)(XS),
        ValueError,
        r"LIFMC has 3 compartments in the last dimension, but .* shape \(4, 5\)",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_invalid_input_raises(case):
    call, kind, message = CASES[case]
    with pytest.raises(kind, match=message):
        call()
