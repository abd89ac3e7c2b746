import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from spike_trains import random_spikes

import geir
from geir import decode

F64 = torch.float64
# Shape (time, batch, classes).
ZS = torch.tensor([[0, 0, 1], [1, 0, 0], [1, 0, 1], [0, 0, 1]], dtype=F64)[:, None]
VS = torch.tensor([[0.1, 3.0], [2.0, -1.0], [0.5, 0.0]], dtype=F64)[:, None]


def test_decoders_reduce_time_as_their_names_say():
    assert decode.rate(ZS).tolist() == [[0.5, 0.0, 0.75]]
    assert decode.spike_count(ZS).tolist() == [[2, 0, 3]]
    assert decode.max_potential(VS).tolist() == [[2.0, 3.0]]
    assert decode.last_potential(VS).tolist() == [[0.5, 0.0]]
    np.testing.assert_allclose(decode.first_spike_time(ZS, dt=2e-3), [[2e-3, 8e-3, 0.0]], atol=1e-15)
    np.testing.assert_allclose(decode.first_spike_score(ZS, dt=2e-3, tau=4e-3), [[-0.5, -2.0, 0.0]], atol=1e-12)


def test_first_spike_time_has_gradients_for_silent_neurons_too():
    zs = ZS.clone().requires_grad_()
    decode.first_spike_time(zs, dt=1.0).sum().backward()
    # A spike at step t before the first one at f would save f - t steps, after it nothing. For a silent neuron, f is the
    # number of steps.
    assert zs.grad[:, 0, 1].tolist() == [-4, -3, -2, -1]
    assert zs.grad[0, 0, 0] == -1
    assert zs.grad[2:, 0, 0].tolist() == [0, 0]
    smooth = torch.rand(4, 3, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(decode.first_spike_time, (smooth,))


def times_by_hand(train, count, missing):
    spikes = [t for t, z in enumerate(train) if z]
    return [spikes[k] if k < len(spikes) else missing for k in range(count)]


def test_spike_times_agree_with_a_search_in_every_train():
    zs = random_spikes(12, 40, rate=0.15)
    times = decode.SpikeTimesDecoder(3, dt=2e-3)(zs)
    assert times.shape == (3, 40)
    for train, actual in zip(zs.T.tolist(), times.T.tolist(), strict=True):
        np.testing.assert_allclose(actual, np.multiply(2e-3, times_by_hand(train, 3, math.inf)), rtol=1e-12)
    assert times.isinf().any()
    assert times.isfinite().any()
    assert torch.equal(decode.spike_times(zs, 3, missing=0.5).isinf(), torch.zeros(3, 40, dtype=torch.bool))
    assert decode.spike_count(zs).tolist() == zs.numpy().sum(0).tolist()


def test_the_gradient_of_spike_times_is_the_difference_that_a_spike_makes():
    # All trains of seven steps, which include every case of missing and surplus spikes.
    trains = torch.tensor(list(itertools.product([0.0, 1.0], repeat=7)), dtype=F64)
    for k in range(3):
        zs = trains.T.clone().requires_grad_()
        decode.spike_times(zs, 3, dt=1.0, missing=7.0)[k].sum().backward()
        for train, grad in zip(trains.tolist(), zs.grad.T.tolist(), strict=True):
            for t in range(7):
                with_spike, without = ([*train[:t], z, *train[t + 1 :]] for z in (1.0, 0.0))
                assert grad[t] == times_by_hand(with_spike, 3, 7)[k] - times_by_hand(without, 3, 7)[k]


def test_the_first_of_the_spike_times_and_its_gradient_agree_with_first_spike_time():
    zs, twin = (random_spikes(20, 50, rate=0.05).requires_grad_() for _ in range(2))
    times = decode.spike_times(zs, missing=20e-3)[0]
    expected = decode.first_spike_time(twin)
    torch.testing.assert_close(times, expected)
    (times**2).sum().backward()
    (expected**2).sum().backward()
    torch.testing.assert_close(zs.grad, twin.grad)
    assert (zs.sum(0) == 0).any(), "no train is silent"


def test_silent_neurons_learn_to_spike_from_a_loss_on_spike_times():
    linear = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(linear.weight, 0.1)
    model = geir.SequentialState(geir.Lift(linear), geir.LIF())
    optimizer = torch.optim.Adam(linear.parameters(), lr=0.1)
    xs = torch.ones(50, 1, 1)
    targets = torch.tensor([10e-3, 20e-3]).view(2, 1, 1)
    losses = []
    assert not model(xs)[0].any()
    for _ in range(60):
        optimizer.zero_grad()
        zs, _ = model(xs)
        times = decode.spike_times(zs, 2, missing=50e-3)
        loss = ((times - targets) / 50e-3).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert model(xs)[0].any()
    assert min(losses) < losses[0] / 10


def test_spike_times_work_under_torch_func():
    zs = random_spikes(10, 4)
    gradient = torch.func.grad(lambda zs: decode.spike_times(zs, 2, missing=1.0).sum())(zs)
    twin = zs.clone().requires_grad_()
    decode.spike_times(twin, 2, missing=1.0).sum().backward()
    torch.testing.assert_close(gradient, twin.grad)
    mapped = torch.func.vmap(decode.spike_times, in_dims=1, out_dims=1)
    torch.testing.assert_close(mapped(zs), decode.spike_times(zs))


def test_the_module_of_spike_times_returns_the_same_and_can_be_pickled():
    zs = random_spikes(5, 4)
    module = decode.SpikeTimesDecoder(spike_count=2, missing=5.0)
    expected = decode.spike_times(zs, spike_count=2, missing=5.0)
    assert torch.equal(module(zs), expected)
    assert torch.equal(pickle.loads(pickle.dumps(module))(zs), expected)
    assert decode.SpikesToTimesDecoder is decode.SpikeTimesDecoder, "Norse's name"


X = torch.zeros(4, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: decode.spike_times(X, 0),
            "decode.spike_times: spike_count must be an integer >= 1, got 0",
        ),
        (
            lambda: decode.spike_times(X, dt=0.0),
            "decode.spike_times: dt must be positive and finite, got 0.0",
        ),
        (
            lambda: decode.spike_count(X[:0]),
            r"decode.spike_count expected .* \(time, ...\) with at least one step, got shape \(0, 2\)",
        ),
        (
            lambda: decode.rate(torch.zeros(0, 3)),
            r"decode.rate expected .* \(time, ...\) with at least one step, got shape \(0, 3\)",
        ),
    ],
)
def test_invalid_values_raise(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_integer_spikes_raise():
    message = r"decode.spike_times expected floating-point .*, got torch.int64; convert them with .float\(\)"
    with pytest.raises(TypeError, match=message):
        decode.spike_times(X.long())
