"""Correlation sensors in the synapses of a recurrent layer."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import geir
from geir._util.state import map_state

DOUBLE = torch.float64


def count_pairs(pre, post, tau_causal, tau_anticausal, dt):
    """Causal and anticausal sums over all pairs of spikes of one connection, shape (time, neurons) each."""
    causal, anticausal = np.zeros((2, post.shape[1], pre.shape[1]))
    for k, j in np.ndindex(causal.shape):
        sources, targets = np.flatnonzero(pre[:, j]), np.flatnonzero(post[:, k])
        for t in targets:
            if len(before := sources[sources <= t]):
                causal[k, j] += math.exp(-(t - before[-1]) * dt / tau_causal)
        for t in sources:
            if len(before := targets[targets < t]):
                anticausal[k, j] += math.exp(-(t - before[-1]) * dt / tau_anticausal)
    return causal, anticausal


def test_correlation_sensors_count_nearest_pairs():
    torch.manual_seed(2)
    layer = geir.LIFCorrelation(3, 4, input_weights=2 * torch.rand(4, 3), tau_causal=7e-3, tau_anticausal=4e-3).double()
    xs = (torch.rand(120, 2, 3) < 0.2).double()
    zs, state = layer(xs)
    assert zs.sum() > 30
    fed_back = torch.cat([torch.zeros(1, 2, 4), zs.detach()[:-1]])
    for sample in range(2):
        for pre, sensors in ((xs, state.input), (fed_back, state.recurrent)):
            expected = count_pairs(pre[:, sample].numpy(), zs[:, sample].detach().numpy(), 7e-3, 4e-3, 1e-3)
            np.testing.assert_allclose(sensors.causal[sample], expected[0], atol=1e-12)
            np.testing.assert_allclose(sensors.anticausal[sample], expected[1], atol=1e-12)
    assert torch.equal(zs, layer.neuron(xs)[0]), "sensors do not act on the neurons"


def test_correlation_sensors_continue_in_chunks_and_step_by_step():
    layer = geir.LIFCorrelation(3, 4, input_weights=2 * torch.rand(4, 3))
    cell = geir.LIFCorrelationCell(3, 4)
    cell.load_state_dict(layer.state_dict())
    xs = (torch.rand(50, 2, 3) < 0.2).float()
    zs, whole = layer(xs)
    first, middle = layer(xs[:20])
    second, last = layer(xs[20:], middle)
    torch.testing.assert_close((torch.cat([first, second]), last), (zs, whole))
    state = None
    for x in xs:
        z, state = cell(x, state)
    torch.testing.assert_close(state, whole)
    torch.testing.assert_close(layer(xs[:0], whole)[1], whole)
    torch.testing.assert_close(layer(xs[:, 0])[1], map_state(lambda part: part[0], layer(xs[:, :1])[1]))


XS = torch.rand(10, 4, 5, generator=torch.Generator().manual_seed(0))
CASES = {
    "sensors in a module": (
        lambda: geir.LIFCorrelation(3, 4, input_weights=nn.Linear(3, 4)),
        TypeError,
        "LIFCorrelation has a sensor for each of input_weights, which must be a tensor, got Linear",
    ),
    "sensors without time constant": (
        lambda: geir.LIFCorrelation(3, 4, tau_causal=0.0),
        ValueError,
        "LIFCorrelation.tau_causal must be a positive number of seconds, got 0.0",
    ),
    "sensors of another batch": (
        lambda: geir.LIFCorrelation(5, 4)(XS[:, :2], geir.LIFCorrelation(5, 4)(XS)[1]),
        ValueError,
        r"LIFCorrelationState.input.traces.pre has shape \(4, 5\), but for this input it must have \(2, 5\)",
    ),
    "sensors from another state": (
        lambda: geir.LIFCorrelation(5, 4)(XS, geir.LIFRecurrent(5, 4)(XS)[1]),
        TypeError,
        "LIFCorrelation expected a LIFCorrelationState as its state, got RecurrentState",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_invalid_input_raises(case):
    call, kind, message = CASES[case]
    with pytest.raises(kind, match=message):
        call()
