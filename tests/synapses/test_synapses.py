"""Synapses against closed forms and another solver."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import geir
from geir.testing import learnable_copy

DOUBLE = torch.float64


def exactly(value):
    return torch.tensor(value, dtype=DOUBLE)


def one_spike(steps, weight=1.0):
    xs = torch.zeros(steps, 1, dtype=DOUBLE)
    xs[0] = weight
    return xs


def difference(t, rise, decay):
    return (np.exp(-t / decay) - np.exp(-t / rise)) / (decay - rise)


DT = 0.4e-3
TIMES = DT * np.arange(1, 201)
CURRENTS = {
    "exponential": (geir.synapses.ExponentialSynapse(tau_syn=exactly(3e-3), dt=DT), np.exp(-TIMES / 3e-3)),
    "alpha": (geir.synapses.AlphaSynapse(tau_syn=exactly(3e-3), dt=DT), TIMES / 3e-3 * np.exp(1 - TIMES / 3e-3)),
    "double exponential": (
        geir.synapses.DoubleExponentialSynapse(
            tau_rise=exactly(1e-3), tau_decay=exactly(7e-3), normalised=False, dt=DT
        ),
        7e-3 * difference(TIMES, 1e-3, 7e-3),
    ),
    "double exponential, slower rise than decay": (
        geir.synapses.DoubleExponentialSynapse(
            tau_rise=exactly(9e-3), tau_decay=exactly(2e-3), normalised=False, dt=DT
        ),
        2e-3 * difference(TIMES, 9e-3, 2e-3),
    ),
    "double exponential of equal time constants": (
        geir.synapses.DoubleExponentialSynapse(tau_rise=exactly(3e-3), tau_decay=exactly(3e-3), dt=DT),
        TIMES / 3e-3 * np.exp(1 - TIMES / 3e-3),
    ),
}


@pytest.mark.parametrize("name", CURRENTS)
def test_a_current_is_the_convolution_with_its_kernel(name):
    synapse, kernel = CURRENTS[name]
    xs = torch.randn(200, 1, dtype=DOUBLE)
    currents, _ = synapse(xs)
    np.testing.assert_allclose(currents[:, 0], np.convolve(xs[:, 0], kernel)[:200], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("rise", "decay"), [(1e-3, 8e-3), (8e-3, 1e-3), (4e-3, 4e-3), (4e-3, 4.0001e-3)])
def test_a_normalised_current_peaks_at_its_weight(rise, decay):
    synapse = geir.synapses.DoubleExponentialSynapse(tau_rise=exactly(rise), tau_decay=exactly(decay), dt=1e-6)
    currents, _ = synapse(one_spike(20_000, 2.5))
    assert currents.max().item() == pytest.approx(2.5, rel=1e-6)


def test_a_current_that_is_not_normalised_carries_the_charge_of_an_exponential_synapse():
    for rise in (1e-6, 2e-3, 30e-3):
        synapse = geir.synapses.DoubleExponentialSynapse(
            tau_rise=exactly(rise), tau_decay=exactly(8e-3), normalised=False, dt=1e-5
        )
        currents, _ = synapse(one_spike(60_000))
        assert currents.sum().item() * 1e-5 == pytest.approx(8e-3, rel=2e-3)


@pytest.mark.parametrize(
    ("U", "tau_facil", "tau_rec"), [(0.45, 50e-3, 750e-3), (0.15, 750e-3, 50e-3)], ids=["depressing", "facilitating"]
)  # those of Tsodyks & Wu 2013
@pytest.mark.parametrize("rate", [2.0, 20.0, 50.0])
class TestTsodyksMarkram:
    def synapse(self, U, tau_facil, tau_rec, dt):
        return geir.synapses.TsodyksMarkram(U=exactly(U), tau_facil=exactly(tau_facil), tau_rec=exactly(tau_rec), dt=dt)

    def released(self, synapse, rate, spikes):
        every = round(1 / rate / synapse.dt)
        xs = torch.zeros(spikes * every, 1, dtype=DOUBLE)
        xs[::every] = 1
        return synapse(xs)[0][::every, 0]

    def test_reaches_the_steady_state_of_a_regular_train(self, U, tau_facil, tau_rec, rate):
        """Equations 4 to 6 of Tsodyks, Pawelzik & Markram 1998, without the active state."""
        actual = self.released(self.synapse(U, tau_facil, tau_rec, 1e-3), rate, 200)
        facil, rec = math.exp(-1 / rate / tau_facil), math.exp(-1 / rate / tau_rec)
        u = U / (1 - (1 - U) * facil)
        r = (1 - rec) / (1 - (1 - u) * rec)
        assert actual[0].item() == pytest.approx(U, rel=1e-12)
        assert actual[-1].item() == pytest.approx(u * r, rel=1e-9)

    def test_depresses_or_facilitates(self, U, tau_facil, tau_rec, rate):
        first, second, *_ = self.released(self.synapse(U, tau_facil, tau_rec, 1e-3), rate, 3)
        assert (second > first) == (tau_facil > tau_rec)

    def test_does_not_depend_on_the_step_size(self, U, tau_facil, tau_rec, rate):
        coarse, fine = (self.released(self.synapse(U, tau_facil, tau_rec, dt), rate, 8) for dt in (2e-3, 0.25e-3))
        torch.testing.assert_close(coarse, fine, rtol=1e-11, atol=1e-12)


def test_the_steady_release_per_second_saturates_at_the_limiting_frequency():
    """However high the rate, a depressing synapse releases 1 / tau_rec a second (Tsodyks & Markram 1997), but for the order of 1 / (rate tau_rec)."""
    synapse = geir.synapses.TsodyksMarkram(tau_facil=exactly(1e-6), tau_rec=exactly(0.8), dt=1e-3)
    xs = torch.ones(8000, 1, dtype=DOUBLE)
    assert 1000 * synapse(xs)[0][-1].item() == pytest.approx(1 / 0.8, rel=5e-3)


class TestConductance:
    E_EXC, E_INH, TAU_EXC, TAU_INH, TAU_MEM = 6.0, -2.0, 5e-3, 10e-3, 20e-3

    def solved(self, t):
        """The potential after an excitatory and an inhibitory input at time 0, by scipy's solver."""

        def flow(t, y):
            v, g, h = y
            return [
                (-v + g * (self.E_EXC - v) + h * (self.E_INH - v)) / self.TAU_MEM,
                -g / self.TAU_EXC,
                -h / self.TAU_INH,
            ]

        return solve_ivp(flow, (0, t), [0, 1.4, 0.6], rtol=1e-11, atol=1e-13).y[0, -1]

    def stepped(self, dt, t):
        model = geir.synapses.ConductanceSynapse(geir.LIBox(tau_mem=exactly(self.TAU_MEM), dt=dt)).double()
        xs = torch.zeros(round(t / dt), 1, dtype=DOUBLE)
        start = model.initial_state(xs[0])._replace(g_exc=exactly([1.4]), g_inh=exactly([0.6]))
        return model(xs, start)[0][-1].item()

    def test_converges_to_the_differential_equation_with_order_one(self):
        expected = self.solved(15e-3)
        assert abs(expected) > 0.3
        coarse, fine = (self.stepped(dt, 15e-3) - expected for dt in (2e-5, 1e-5))
        assert abs(fine) < 1e-3
        assert coarse / fine == pytest.approx(2, rel=0.02)

    def test_the_potential_stays_between_the_reversal_potentials(self):
        model = geir.synapses.ConductanceSynapse(geir.LIBox())
        for sign, bound in ((1, 6.0), (-1, -2.0)):
            vs, state = model(torch.full((500, 1), 1.5 * sign))
            assert 0.8 * abs(bound) < (vs[-1] * sign).item() < abs(bound)
            assert (state.g_exc > 1) == (sign > 0)
            assert (state.g_inh > 1) == (sign < 0)

    def test_needs_a_potential(self):
        with pytest.raises(
            TypeError, match="ConductanceSynapse needs the potential `v`, but TsodyksMarkramState has only u, r"
        ):
            geir.synapses.ConductanceSynapse(geir.synapses.TsodyksMarkram())(torch.rand(5, 2))

    def test_a_cell_is_one_step_of_it(self):
        xs = torch.rand(30, 2, 3)
        expected = geir.synapses.ConductanceSynapse(geir.LIFBox())(xs)
        cell, state, zs = geir.synapses.ConductanceSynapseCell(geir.LIFBox()), None, []
        for x in xs:
            z, state = cell(x, state)
            zs.append(z)
        assert expected[0].sum() > 3
        torch.testing.assert_close((torch.stack(zs), state), expected)


SYNAPSES = ["ExponentialSynapse", "AlphaSynapse", "DoubleExponentialSynapse", "TsodyksMarkram"]


@pytest.mark.parametrize("name", SYNAPSES)
def test_a_cell_is_one_step_of_the_layer(name):
    xs = (torch.rand(40, 2, 3) < 0.2).float()
    expected, last = getattr(geir, name)()(xs)
    cell, state, outputs = getattr(geir, f"{name}Cell")(), None, []
    for x in xs:
        y, state = cell(x, state)
        outputs.append(y)
    assert expected.sum() > 1
    torch.testing.assert_close((torch.stack(outputs), state), (expected, last))


def test_synapses_run_on_their_kernels_between_layers():
    model = geir.SequentialState(
        geir.synapses.TsodyksMarkram(),
        geir.Lift(torch.nn.Linear(5, 4)),
        geir.synapses.AlphaSynapse(),
        geir.LIFBox(v_th=0.05),
        geir.synapses.DoubleExponentialSynapse(),
    )
    xs = (torch.rand(60, 2, 5) < 0.3).float()
    ys, _ = model(xs)
    first, state = model(xs[:25])
    second, _ = model(xs[25:], state)
    assert ys.sum() > 1
    torch.testing.assert_close(torch.cat([first, second]), ys)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: geir.synapses.ExponentialSynapse(tau_syn=0.0), r"ExponentialSynapse.tau_syn must be > 0.0 s, got 0.0"),
        (lambda: geir.synapses.AlphaSynapse(tau_syn=-1.0), r"AlphaSynapse.tau_syn must be > 0.0 s, got -1.0"),
        (
            lambda: geir.synapses.DoubleExponentialSynapse(tau_rise=-1.0),
            r"DoubleExponentialSynapse.tau_rise must be > 0.0 s, got -1.0",
        ),
        (lambda: geir.synapses.TsodyksMarkram(U=1.2), r"TsodyksMarkram.U must be < 1.0, got 1.2"),
        (lambda: geir.synapses.ConductanceSynapse(geir.LIFCell()), r"ConductanceSynapse wraps a layer over time"),
    ],
)
def test_wrong_parameters_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_every_parameter_of_a_double_exponential_learns_at_equal_time_constants():
    synapse = learnable_copy(geir.synapses.DoubleExponentialSynapse(tau_rise=4e-3, tau_decay=4e-3), ()).double()
    assert torch.autograd.gradcheck(
        lambda rise, decay: torch.func.functional_call(
            synapse, {"tau_rise": rise, "tau_decay": decay}, (one_spike(6),)
        )[0],
        (synapse.tau_rise, synapse.tau_decay),
        eps=1e-8,
        atol=1e-3,
    )
