"""The double-exponential synapse: normalization, charge and gradients."""

import pytest
import torch
from synapse_cases import one_spike, scalar

from geir.synapses import DoubleExponentialSynapse
from geir.testing import learnable_copy


@pytest.mark.parametrize(("rise", "decay"), [(1e-3, 8e-3), (8e-3, 1e-3), (4e-3, 4e-3), (4e-3, 4.0001e-3)])
def test_a_normalized_current_peaks_at_its_weight(rise, decay):
    synapse = DoubleExponentialSynapse(tau_rise=scalar(rise), tau_decay=scalar(decay), dt=1e-6)
    currents, _ = synapse(one_spike(20_000, 2.5))
    assert currents.max().item() == pytest.approx(2.5, rel=1e-6)


def test_without_normalization_the_current_carries_the_charge_of_an_exponential_synapse():
    for rise in (1e-6, 2e-3, 30e-3):
        synapse = DoubleExponentialSynapse(tau_rise=scalar(rise), tau_decay=scalar(8e-3), normalized=False, dt=1e-5)
        currents, _ = synapse(one_spike(60_000))
        assert currents.sum().item() * 1e-5 == pytest.approx(8e-3, rel=2e-3)


def test_all_parameters_receive_gradients_at_equal_time_constants():
    synapse = learnable_copy(DoubleExponentialSynapse(tau_rise=4e-3, tau_decay=4e-3), ()).double()

    def currents(tau_rise, tau_decay):
        parameters = {"tau_rise": tau_rise, "tau_decay": tau_decay}
        return torch.func.functional_call(synapse, parameters, (one_spike(6),))[0]

    assert torch.autograd.gradcheck(currents, (synapse.tau_rise, synapse.tau_decay), eps=1e-8, atol=1e-3)
