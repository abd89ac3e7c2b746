"""Properties that all synapses share: their kernels, cells, use between layers, and errors."""

import numpy as np
import pytest
import torch
from synapse_cases import DOUBLE, scalar

import geir
from geir.synapses import AlphaSynapse, ConductanceSynapse, DoubleExponentialSynapse, ExponentialSynapse, TsodyksMarkram


def exponential_difference(t, rise, decay):
    return (np.exp(-t / decay) - np.exp(-t / rise)) / (decay - rise)


DT = 0.4e-3
TIMES = DT * np.arange(1, 201)
CURRENTS = {
    "exponential": (ExponentialSynapse(tau_syn=scalar(3e-3), dt=DT), np.exp(-TIMES / 3e-3)),
    "alpha": (AlphaSynapse(tau_syn=scalar(3e-3), dt=DT), TIMES / 3e-3 * np.exp(1 - TIMES / 3e-3)),
    "double exponential": (
        DoubleExponentialSynapse(tau_rise=scalar(1e-3), tau_decay=scalar(7e-3), normalized=False, dt=DT),
        7e-3 * exponential_difference(TIMES, 1e-3, 7e-3),
    ),
    "double exponential with slower rise than decay": (
        DoubleExponentialSynapse(tau_rise=scalar(9e-3), tau_decay=scalar(2e-3), normalized=False, dt=DT),
        2e-3 * exponential_difference(TIMES, 9e-3, 2e-3),
    ),
    "double exponential with equal time constants": (
        DoubleExponentialSynapse(tau_rise=scalar(3e-3), tau_decay=scalar(3e-3), dt=DT),
        TIMES / 3e-3 * np.exp(1 - TIMES / 3e-3),
    ),
}


@pytest.mark.parametrize("name", CURRENTS)
def test_the_current_is_the_convolution_of_the_input_with_a_kernel(name):
    synapse, kernel = CURRENTS[name]
    xs = torch.randn(200, 1, dtype=DOUBLE)
    currents, _ = synapse(xs)
    np.testing.assert_allclose(currents[:, 0], np.convolve(xs[:, 0], kernel)[:200], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["ExponentialSynapse", "AlphaSynapse", "DoubleExponentialSynapse", "TsodyksMarkram"])
def test_a_cell_is_one_step_of_the_layer(name):
    xs = (torch.rand(40, 2, 3) < 0.2).float()
    expected, last = getattr(geir.synapses, name)()(xs)
    cell, state, outputs = getattr(geir.synapses, f"{name}Cell")(), None, []
    for x in xs:
        y, state = cell(x, state)
        outputs.append(y)
    assert expected.sum() > 1
    torch.testing.assert_close((torch.stack(outputs), state), (expected, last))


def test_synapses_run_between_layers_and_over_chunks_of_a_stream():
    model = geir.SequentialState(
        TsodyksMarkram(),
        geir.Lift(torch.nn.Linear(5, 4)),
        AlphaSynapse(),
        geir.LIFBox(v_th=0.05),
        DoubleExponentialSynapse(),
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
        (lambda: ExponentialSynapse(tau_syn=0.0), r"ExponentialSynapse.tau_syn must be > 0.0 s, got 0.0"),
        (lambda: AlphaSynapse(tau_syn=-1.0), r"AlphaSynapse.tau_syn must be > 0.0 s, got -1.0"),
        (
            lambda: DoubleExponentialSynapse(tau_rise=-1.0),
            r"DoubleExponentialSynapse.tau_rise must be > 0.0 s, got -1.0",
        ),
        (lambda: TsodyksMarkram(U=1.2), r"TsodyksMarkram.U must be < 1.0, got 1.2"),
        (lambda: ConductanceSynapse(geir.LIFCell()), r"ConductanceSynapse wraps a layer over time"),
    ],
)
def test_invalid_parameters_are_rejected(make, message):
    with pytest.raises(ValueError, match=message):
        make()
