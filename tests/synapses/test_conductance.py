"""Conductance-based synapses, against the solution of their differential equations."""

import pytest
import torch
from scipy.integrate import solve_ivp
from synapse_cases import DOUBLE, scalar

import geir
from geir.synapses import ConductanceSynapse, ConductanceSynapseCell, TsodyksMarkram

E_EXC, E_INH, TAU_EXC, TAU_INH, TAU_MEM = 6.0, -2.0, 5e-3, 10e-3, 20e-3


def potential_by_scipy(t):
    """The potential at time `t`, after an excitatory and an inhibitory input at time 0."""

    def derivative(t, y):
        v, g_exc, g_inh = y
        dv = (-v + g_exc * (E_EXC - v) + g_inh * (E_INH - v)) / TAU_MEM
        return [dv, -g_exc / TAU_EXC, -g_inh / TAU_INH]

    return solve_ivp(derivative, (0, t), [0, 1.4, 0.6], rtol=1e-11, atol=1e-13).y[0, -1]


def potential_by_geir(dt, t):
    model = ConductanceSynapse(geir.LIBox(tau_mem=scalar(TAU_MEM), dt=dt)).double()
    xs = torch.zeros(round(t / dt), 1, dtype=DOUBLE)
    state = model.initial_state(xs[0])._replace(g_exc=scalar([1.4]), g_inh=scalar([0.6]))
    return model(xs, state)[0][-1].item()


def test_the_potential_converges_with_order_one():
    expected = potential_by_scipy(15e-3)
    assert abs(expected) > 0.3
    coarse, fine = (potential_by_geir(dt, 15e-3) - expected for dt in (2e-5, 1e-5))
    assert abs(fine) < 1e-3
    assert coarse / fine == pytest.approx(2, rel=0.02)


def test_the_potential_stays_between_the_reversal_potentials():
    model = ConductanceSynapse(geir.LIBox())
    for sign, reversal in ((1, 6.0), (-1, -2.0)):
        vs, state = model(torch.full((500, 1), 1.5 * sign))
        assert 0.8 * abs(reversal) < (vs[-1] * sign).item() < abs(reversal)
        assert (state.g_exc > 1) == (sign > 0)
        assert (state.g_inh > 1) == (sign < 0)


def test_a_neuron_without_a_potential_is_rejected():
    message = (
        "ConductanceSynapse needs a neuron with a membrane potential `v`, but the state of TsodyksMarkram has only u, r"
    )
    with pytest.raises(TypeError, match=message):
        ConductanceSynapse(TsodyksMarkram())


def test_a_cell_is_one_step_of_the_layer():
    xs = torch.rand(30, 2, 3)
    expected = ConductanceSynapse(geir.LIFBox())(xs)
    cell, state, zs = ConductanceSynapseCell(geir.LIFBox()), None, []
    for x in xs:
        z, state = cell(x, state)
        zs.append(z)
    assert expected[0].sum() > 3
    torch.testing.assert_close((torch.stack(zs), state), expected)
