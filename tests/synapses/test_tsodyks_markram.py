"""Short-term plasticity, against its closed-form steady state."""

import math

import pytest
import torch
from synapse_cases import DOUBLE, scalar

from geir.synapses import TsodyksMarkram


# Parameters of Tsodyks & Wu, 2013.
@pytest.mark.parametrize(
    ("U", "tau_facil", "tau_rec"), [(0.45, 50e-3, 750e-3), (0.15, 750e-3, 50e-3)], ids=["depressing", "facilitating"]
)
@pytest.mark.parametrize("rate", [2.0, 20.0, 50.0])
class TestRegularTrains:
    def synapse(self, U, tau_facil, tau_rec, dt):
        return TsodyksMarkram(U=scalar(U), tau_facil=scalar(tau_facil), tau_rec=scalar(tau_rec), dt=dt)

    def outputs(self, synapse, rate, spikes):
        """The output for each spike of a regular train."""
        interval = round(1 / rate / synapse.dt)
        xs = torch.zeros(spikes * interval, 1, dtype=DOUBLE)
        xs[::interval] = 1
        return synapse(xs)[0][::interval, 0]

    def test_the_output_reaches_the_steady_state(self, U, tau_facil, tau_rec, rate):
        """Equations 4 to 6 of Tsodyks, Pawelzik & Markram, 1998, without the active state."""
        actual = self.outputs(self.synapse(U, tau_facil, tau_rec, 1e-3), rate, 200)
        facil_decay, rec_decay = math.exp(-1 / rate / tau_facil), math.exp(-1 / rate / tau_rec)
        u = U / (1 - (1 - U) * facil_decay)
        r = (1 - rec_decay) / (1 - (1 - u) * rec_decay)
        assert actual[0].item() == pytest.approx(U, rel=1e-12)
        assert actual[-1].item() == pytest.approx(u * r, rel=1e-9)

    def test_the_second_spike_is_depressed_or_facilitated(self, U, tau_facil, tau_rec, rate):
        first, second, *_ = self.outputs(self.synapse(U, tau_facil, tau_rec, 1e-3), rate, 3)
        assert (second > first) == (tau_facil > tau_rec)

    def test_the_output_does_not_depend_on_the_step_size(self, U, tau_facil, tau_rec, rate):
        coarse, fine = (self.outputs(self.synapse(U, tau_facil, tau_rec, dt), rate, 8) for dt in (2e-3, 0.25e-3))
        torch.testing.assert_close(coarse, fine, rtol=1e-11, atol=1e-12)


def test_the_output_of_a_depressing_synapse_saturates_at_high_rates():
    """The steady output tends to 1 / tau_rec per second (Tsodyks & Markram, 1997); the difference is of order 1 / (rate tau_rec)."""
    synapse = TsodyksMarkram(tau_facil=scalar(1e-6), tau_rec=scalar(0.8), dt=1e-3)
    xs = torch.ones(8000, 1, dtype=DOUBLE)
    assert 1000 * synapse(xs)[0][-1].item() == pytest.approx(1 / 0.8, rel=5e-3)
