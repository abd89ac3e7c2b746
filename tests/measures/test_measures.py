"""Distances and statistics of spike trains, operations and penalties, each against another's arithmetic."""

import itertools
import math
from bisect import bisect_left, bisect_right

import numpy as np
import pytest
import torch
from torch import nn

import geir
from geir.measures.operations import Operations

F64 = torch.float64


def random_spikes(*shape, rate=0.3, seed=0):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=F64) < rate).to(F64)


def pairs(time=30, number=25):
    """Pairs of trains, some silent or equal."""
    zs, others = random_spikes(time, number, rate=0.2), random_spikes(time, number, rate=0.2, seed=1)
    zs[:, 0], others[:, 1], zs[:, 2], others[:, 2] = 0, 0, 0, 0
    others[:, 3] = zs[:, 3]
    zs[0, 4], others[-1, 5] = 1, 1
    return zs, others


def spikes_of(train):
    return train.nonzero().flatten().tolist()


def each(distance, zs, others):
    return [distance(spikes_of(x), spikes_of(y)) for x, y in zip(zs.T, others.T, strict=True)]


# Distances


def van_rossum_by_pairs(tau, dt):
    """The double sum over all pairs of spikes that the integral has as its closed form."""

    def distance(x, y):
        signed = [(dt * t, 1) for t in x] + [(dt * t, -1) for t in y]
        return math.sqrt(
            max(
                0.0,
                sum(a * b * math.exp(-abs(t - s) / tau) for (t, a), (s, b) in itertools.product(signed, signed)) / 2,
            )
        )

    return distance


@pytest.mark.parametrize("tau", [1e-3, 20e-3, 1.0])
def test_van_rossum_distance_is_its_double_sum(tau):
    zs, others = pairs()
    actual = geir.measures.van_rossum_distance(zs, others, tau=tau, dt=2e-3)
    # The root of a difference of nearly equal sums loses half the digits.
    np.testing.assert_allclose(
        actual**2, np.square(each(van_rossum_by_pairs(tau, 2e-3), zs, others)), rtol=1e-9, atol=1e-12
    )
    assert actual[2:4].tolist() == [0, 0]


def test_van_rossum_distance_of_one_spike_more_and_of_two_far_apart():
    zs, others = torch.zeros(2, 1000, dtype=F64)
    zs[999] = 1  # also at the very end
    assert geir.measures.van_rossum_distance(zs, others).item() == pytest.approx(math.sqrt(0.5), rel=1e-12)
    others[0] = 1
    assert geir.measures.van_rossum_distance(zs, others).item() == pytest.approx(1.0, rel=1e-12)


def test_van_rossum_distance_has_gradients_and_none_at_equality():
    zs, others = torch.rand(2, 8, 3, dtype=F64)
    scale = torch.tensor([0.5, 1.0, 4.0], dtype=F64, requires_grad=True)
    zs.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, y, tau: geir.measures.van_rossum_distance(x, y, 1e-2 * tau), (zs, others.requires_grad_(), scale)
    )
    geir.measures.van_rossum_distance(zs, zs.detach()).sum().backward()
    assert zs.grad.tolist() == torch.zeros(8, 3).tolist()


def victor_purpura_by_matching(q, dt):
    """The least cost over all ways of pairing some spikes of one train, in order, with as many of the other."""

    def distance(x, y):
        costs = (
            len(x) + len(y) - 2 * k + sum(q * dt * abs(a - b) for a, b in zip(some, others, strict=True))
            for k in range(min(len(x), len(y)) + 1)
            for some, others in itertools.product(itertools.combinations(x, k), itertools.combinations(y, k))
        )
        return min(costs)

    return distance


@pytest.mark.parametrize("q", [0.0, 20.0, 150.0, 1e6])
def test_victor_purpura_distance_is_the_cheapest_of_all_ways(q):
    zs, others = pairs(time=24)
    actual = geir.measures.victor_purpura_distance(zs, others, q=q, dt=2e-3)
    np.testing.assert_allclose(actual, each(victor_purpura_by_matching(q, 2e-3), zs, others), rtol=1e-12, atol=1e-12)
    assert zs.sum(0).max() >= 6
    torch.testing.assert_close(geir.measures.victor_purpura_distance(others, zs, q=q, dt=2e-3), actual)


def test_victor_purpura_distance_at_its_ends_and_by_hand():
    zs, others = pairs(time=200, number=10)
    torch.testing.assert_close(
        geir.measures.victor_purpura_distance(zs, others, q=0.0), (zs.sum(0) - others.sum(0)).abs()
    )
    torch.testing.assert_close(
        geir.measures.victor_purpura_distance(zs, others, q=1e9), zs.sum(0) + others.sum(0) - 2 * (zs * others).sum(0)
    )
    # Spikes at 1 and 5 ms against 3 and 100 ms, at 100 per second: the first moves by 2 ms, the second goes and another comes.
    one, two = torch.zeros(2, 120, dtype=F64)
    one[[1, 5]], two[[3, 100]] = 1, 1
    assert geir.measures.victor_purpura_distance(one, two, q=100.0).item() == pytest.approx(0.2 + 2)
    # At 10 per second both move.
    assert geir.measures.victor_purpura_distance(one, two, q=10.0).item() == pytest.approx(0.02 + 0.95)


def around(spikes, end):
    """The train with begin and end of the run as spikes."""
    return sorted({0, *spikes, end})


def isi_by_integration(end):
    def distance(x, y):
        def interval(spikes, t):
            k = bisect_right(spikes, t)
            return spikes[k] - spikes[k - 1]

        x, y = around(x, end), around(y, end)
        knots = sorted({*x, *y})
        total = 0.0
        for start, stop in itertools.pairwise(knots):
            a, b = (interval(s, (start + stop) / 2) for s in (x, y))
            total += (stop - start) * abs(a / b - 1 if a <= b else b / a - 1)
        return total / end

    return distance


def test_isi_distance_is_its_integral():
    zs, others = pairs()
    np.testing.assert_allclose(
        geir.measures.isi_distance(zs, others), each(isi_by_integration(30), zs, others), rtol=1e-12, atol=1e-12
    )


def test_isi_distance_of_clocks_is_that_of_their_periods():
    zs, others = torch.zeros(2, 1200, dtype=F64)
    zs[::4], others[1::12] = 1, 1
    assert geir.measures.isi_distance(zs, others).item() == pytest.approx(1 - 4 / 12, abs=0.01)


def spike_by_integration(end):
    def distance(x, y):
        x, y = around(x, end), around(y, end)

        def nearest(t, spikes):
            return min(abs(t - s) for s in spikes)

        def profile(t):
            parts = []
            for own, other in ((x, y), (y, x)):
                k = bisect_left(own, t)
                before, after = own[k - 1], own[k]
                parts.append(
                    (
                        (nearest(before, other) * (after - t) + nearest(after, other) * (t - before))
                        / (after - before),
                        after - before,
                    )
                )
            (s1, i1), (s2, i2) = parts
            return (s1 * i2 + s2 * i1) / (2 * ((i1 + i2) / 2) ** 2)

        # By the trapezium rule on each piece, from just inside of its ends.
        knots, total = sorted({*x, *y}), 0.0
        for start, stop in itertools.pairwise(knots):
            total += (stop - start) * (profile(start + 1e-9) + profile(stop - 1e-9)) / 2
        return total / end

    return distance


def test_spike_distance_is_its_integral():
    zs, others = pairs()
    actual = geir.measures.spike_distance(zs, others)
    np.testing.assert_allclose(actual, each(spike_by_integration(30), zs, others), rtol=1e-7, atol=1e-8)
    assert actual[3] == 0
    torch.testing.assert_close(geir.measures.spike_distance(others, zs), actual)


@pytest.mark.parametrize(
    "distance",
    [
        geir.measures.van_rossum_distance,
        geir.measures.victor_purpura_distance,
        geir.measures.isi_distance,
        geir.measures.spike_distance,
    ],
)
def test_distances_take_any_batch_and_are_zero_to_oneself(distance):
    zs, others = random_spikes(20, 2, 3, 4), random_spikes(20, 2, 3, 4, seed=1)
    whole = distance(zs, others)
    assert whole.shape == (2, 3, 4)
    assert (whole > 0).all()
    torch.testing.assert_close(whole[1, 2, 3], distance(zs[:, 1, 2, 3], others[:, 1, 2, 3]))
    assert not distance(zs, zs).any()
    assert distance(zs[:, :0], zs[:, :0]).shape == (0, 3, 4)
    assert distance(zs.float(), others.float()).dtype == torch.float32
    torch.testing.assert_close(distance(zs.float(), others.float()), whole.float(), rtol=1e-4, atol=1e-5)


# Statistics


def renewal(shape, mean=100.0, number=4, spikes=3000):
    """Spikes whose intervals have a gamma distribution."""
    intervals = np.random.default_rng(0).gamma(shape, mean / shape, (number, spikes))
    steps = np.cumsum(intervals, 1).astype(int)
    zs = torch.zeros(int(steps.max()) + 1, number, dtype=F64)
    for k in range(number):
        zs[steps[k], k] = 1
    return zs[: steps[:, -1].min()]


@pytest.mark.parametrize("shape", [1, 2, 9])
def test_regularity_of_gamma_processes_is_that_of_theory(shape):
    zs = renewal(shape)
    np.testing.assert_allclose(geir.measures.coefficient_of_variation(zs), 1 / math.sqrt(shape), atol=0.04)
    np.testing.assert_allclose(geir.measures.local_variation(zs), 3 / (2 * shape + 1), atol=0.05)
    # Over long windows counts vary as the squared intervals do; a window of 40 intervals is nearly long.
    assert geir.measures.fano_factor(zs, window=4.0).mean().item() == pytest.approx(1 / shape, rel=0.2)


def test_intervals_and_their_statistics_are_numpys():
    zs = random_spikes(60, 2, 5, rate=0.15)
    zs[:, 0, 0], zs[:, 0, 1] = 0, 0
    zs[3, 0, 1] = 1
    zs[:, 0, 2], zs[[4, 9], 0, 2] = 0, 1
    intervals = geir.measures.interspike_intervals(zs, dt=2e-3)
    assert len(intervals) == int(zs.sum(0).max()) - 1
    for index in itertools.product(range(2), range(5)):
        expected = 2e-3 * np.diff(np.flatnonzero(zs[:, *index]))
        actual = intervals[:, *index]
        np.testing.assert_allclose(actual[: len(expected)], expected)
        assert actual[len(expected) :].isnan().all()
        cv, lv = (
            geir.measures.coefficient_of_variation(zs)[index].item(),
            geir.measures.local_variation(zs)[index].item(),
        )
        if len(expected) < 2:
            assert math.isnan(cv)
            assert math.isnan(lv)
        else:
            assert cv == pytest.approx(expected.std() / expected.mean())
            a, b = expected[:-1], expected[1:]
            assert lv == pytest.approx(3 * np.mean(((a - b) / (a + b)) ** 2))


def test_statistics_of_clocks_and_of_silence():
    zs = torch.zeros(1000, 2)
    zs[5::10, 0] = 1
    assert geir.measures.firing_rate(zs).tolist() == pytest.approx([100.0, 0.0])
    assert geir.measures.firing_rate(zs, dt=2e-3).tolist() == pytest.approx([50.0, 0.0])
    assert geir.measures.sparsity(zs).tolist() == pytest.approx([0.9, 1.0])
    assert geir.measures.coefficient_of_variation(zs)[0] == pytest.approx(0, abs=1e-6)
    assert geir.measures.local_variation(zs)[0] == pytest.approx(0, abs=1e-6)
    assert geir.measures.fano_factor(zs)[0] == 0
    for statistic in (geir.measures.coefficient_of_variation, geir.measures.local_variation, geir.measures.fano_factor):
        assert statistic(zs)[1].isnan()
    assert geir.measures.interspike_intervals(zs[:, 1:]).shape == (0, 1)
    assert geir.measures.coefficient_of_variation(zs[:, 1]).isnan()


def test_fano_factor_is_of_counts_in_windows_and_of_trials():
    zs = random_spikes(105, 3, rate=0.4)
    counts = np.stack([zs[k : k + 20].sum(0) for k in range(0, 100, 20)])
    np.testing.assert_allclose(geir.measures.fano_factor(zs, window=20e-3), counts.var(0, ddof=1) / counts.mean(0))
    trials = random_spikes(50, 30, 2, rate=0.4)
    counts = trials.sum(0).numpy()
    actual = geir.measures.fano_factor(trials.transpose(0, 1).flatten(0, 1), window=50e-3)
    np.testing.assert_allclose(actual, counts.var(0, ddof=1) / counts.mean(0))


def test_synchrony_is_one_together_and_falls_with_the_root_of_the_number_apart():
    together = torch.randn(500, 1, dtype=F64).expand(500, 20)
    assert geir.measures.synchrony(together).item() == pytest.approx(1)
    apart = torch.randn(4000, 2, 100, dtype=F64)
    np.testing.assert_allclose(geir.measures.synchrony(apart), 0.1, rtol=0.05)
    vs = apart.numpy()[:, 0]
    assert geir.measures.synchrony(apart)[0].item() == pytest.approx(math.sqrt(vs.mean(1).var() / vs.var(0).mean()))
    assert geir.measures.synchrony(torch.zeros(5, 3)).isnan()


# Operations


def taps(conv, shape):
    """Every multiplication of a two-dimensional convolution, as (input channel, row, column): by going through its loops."""
    channels, height, width = shape
    (kh, kw), (sh, sw), (ph, pw), (dh, dw) = conv.kernel_size, conv.stride, conv.padding, conv.dilation
    rows, columns = (height + 2 * ph - dh * (kh - 1) - 1) // sh + 1, (width + 2 * pw - dw * (kw - 1) - 1) // sw + 1
    each, out_each = channels // conv.groups, conv.out_channels // conv.groups
    for o, i, r, c, a, b in itertools.product(
        range(conv.out_channels), range(each), range(rows), range(columns), range(kh), range(kw)
    ):
        y, x = r * sh + a * dh - ph, c * sw + b * dw - pw
        if 0 <= y < height and 0 <= x < width:
            yield o // out_each * each + i, y, x


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(2, 3, 3),
        nn.Conv2d(2, 4, 3, padding=1, bias=False),
        nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2),
        nn.Conv2d(2, 3, (2, 3), stride=(2, 1), padding=(0, 2), dilation=(1, 2)),
    ],
    ids=repr,
)
def test_operations_of_a_convolution_are_those_of_its_loops(conv):
    xs = random_spikes(4, 2, 2, 6, 7).float()
    actual = geir.measures.count_operations(geir.Lift(conv), xs)
    every = list(taps(conv, (2, 6, 7)))
    synops = sum(int(sample[index]) for sample in xs.flatten(0, 1) for index in every)
    assert actual == {"module": Operations(int(xs.sum()), synops, 8 * len(every))}


def test_operations_of_a_transposed_convolution_are_those_of_its_loops():
    conv = nn.ConvTranspose1d(2, 3, 4, stride=2, padding=1)
    x = random_spikes(5, 2, 6).float()
    length = (6 - 1) * 2 - 2 + 4
    reached = [(t, k) for t, k in itertools.product(range(6), range(4)) if 0 <= 2 * t + k - 1 < length]
    synops = sum(3 * int(sample[:, t].sum()) for sample in x for t, _ in reached)
    assert geir.measures.count_operations(conv, x) == {
        "": Operations(int(x.sum()), synops, 5 * 2 * 3 * len(reached))
    }


def test_operations_of_a_network_are_spikes_times_fan_out():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.twice = nn.Linear(8, 8)

        def forward(self, x):
            return x + self.twice(input=self.twice(x))

    model = geir.SequentialState(
        geir.Lift(nn.Linear(6, 8)),
        geir.LIF(),
        geir.Lift(Residual()),
        nn.LayerNorm((3, 8)),
        geir.LIFRecurrent(8, 5),
        geir.LI(),
    )
    with torch.no_grad():
        model[0].module.weight[:, 2] = 0  # no synapses
        model[0].module.weight.mul_(10)
    xs = 2 * random_spikes(20, 3, 6).float()
    before = model.state_dict()
    counted = geir.measures.count_operations(model, xs)
    model.return_hidden = True
    outputs, _ = model(xs)
    assert list(counted) == ["0.module", "2.module.twice", "4.input_weights", "4.recurrent_weights"]
    events = int((xs != 0).sum())
    assert counted["0.module"] == Operations(events, 8 * (events - int((xs[..., 2] != 0).sum())), 20 * 3 * 6 * 8)
    inner = (outputs[1] != 0).sum() + (model[2].module.twice(outputs[1]) != 0).sum()
    assert counted["2.module.twice"] == Operations(int(inner), 8 * int(inner), 2 * 20 * 3 * 8 * 8)
    arriving = int((outputs[3] != 0).sum())
    assert counted["4.input_weights"] == Operations(arriving, 5 * arriving, 20 * 3 * 8 * 5)
    fed_back = int(outputs[4][:-1].sum())
    assert fed_back > 10
    assert counted["4.recurrent_weights"] == Operations(fed_back, 4 * fed_back, 20 * 3 * 5 * 5)  # none to itself
    assert all(not module._forward_hooks for module in model.modules())
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))


def test_operations_of_cells_and_of_streams_add_up():
    layer = geir.LIFRecurrent(4, 6, autapses=True)
    cell = geir.LIFRecurrentCell(
        4, 6, autapses=True, input_weights=layer.input_weights, recurrent_weights=layer.recurrent_weights
    )
    xs = 3 * random_spikes(30, 2, 4).float()
    whole = geir.measures.count_operations(layer, xs)
    stepped = geir.measures.count_operations(geir.Lift(cell), xs)
    assert {f"module.{name}": operations for name, operations in whole.items()} == stepped
    assert whole["recurrent_weights"].events > 10
    _, state = layer(xs[:11])
    parts = geir.measures.count_operations(layer, xs[:11]), geir.measures.count_operations(layer, xs[11:], state)
    assert {name: Operations(*map(sum, zip(*(part[name] for part in parts), strict=True))) for name in whole} == whole


def test_operations_of_connections_that_are_modules_are_counted_once():
    layer = geir.LIFRecurrent(4, 6, autapses=True)
    modules = [nn.Linear(4, 6), nn.Linear(6, 6, bias=False)]
    with torch.no_grad():
        modules[0].weight.copy_(layer.input_weights)
        modules[0].bias.zero_()
        modules[1].weight.copy_(layer.recurrent_weights)
    xs = 3 * random_spikes(30, 2, 4).float()
    expected = geir.measures.count_operations(layer, xs)
    actual = geir.measures.count_operations(
        geir.LIFRecurrent(4, 6, autapses=True, input_weights=modules[0], recurrent_weights=modules[1]), xs
    )
    assert actual == expected


class Dense(geir.Neuron):
    """A step with a module in it, which no kernel runs."""

    mixing: nn.Module = geir.setting(default=None, accepts=nn.Module, expected="a module")

    def rest(self):
        return geir.neurons.IAFState(torch.zeros(()))

    def step(self, x, state):
        return self.surrogate(self.mixing(x)), state


def test_operations_are_those_of_a_run_not_of_attempts_to_trace_it():
    with pytest.warns(RuntimeWarning, match="Dense runs on the reference loop"):
        counted = geir.measures.count_operations(Dense(mixing=nn.Linear(3, 3)), torch.ones(5, 2, 3))
    assert counted == {"mixing": Operations(30, 90, 90)}


class Nested(geir.Neuron):
    """A step with a cell in it, which a kernel runs."""

    inner: nn.Module = geir.setting(default=None, accepts=nn.Module, expected="a module")

    def rest(self):
        return geir.neurons.IAFState(torch.zeros(()))

    def step(self, x, state):
        return self.inner(x, state)


def test_what_is_traced_on_the_way_to_a_kernel_is_no_output():
    (zs, _), outputs = geir.measures.record_outputs(Nested(inner=geir.IAFCell()), torch.ones(5, 2, 3))
    assert list(outputs) == [""]
    assert torch.equal(outputs[""], zs)
    assert zs.any()


# Penalties


def test_rate_penalties_are_squares_beyond_the_band():
    zs = torch.zeros(100, 3, dtype=F64)
    zs[:2, 0], zs[:10, 1], zs[:50, 2] = 1, 1, 1  # 20, 100 and 500 Hz
    assert geir.measures.rate_penalty(zs, lower=30.0, upper=400.0).item() == pytest.approx((10**2 + 100**2) / 3)
    assert geir.measures.rate_penalty(zs, lower=100.0, upper=100.0).item() == pytest.approx((80**2 + 400**2) / 3)
    assert geir.measures.rate_penalty(zs, dt=2e-3, upper=200.0).item() == pytest.approx(50**2 / 3)
    # Over the batch: two trains of 0 and 200 Hz are 100 Hz on average.
    both = torch.zeros(100, 2, 1, dtype=F64)
    both[:20, 1] = 1
    assert geir.measures.rate_penalty(both.mean(1), 100.0, 100.0).item() == pytest.approx(0, abs=1e-20)
    assert geir.measures.rate_penalty(both, 100.0, 100.0).item() == pytest.approx(100**2)


def test_other_penalties_are_what_they_say():
    zs = torch.tensor([[0, 1, 1], [0, 0, 1], [0, 0, 1]], dtype=F64)
    assert geir.measures.silence_penalty(zs).item() == pytest.approx(1 / 3)
    assert geir.measures.silence_penalty(zs, least=2).item() == pytest.approx((4 + 1) / 3)
    assert geir.measures.activity_penalty(zs).item() == pytest.approx(4 / 3)
    assert geir.measures.activity_penalty(zs, power=2).item() == pytest.approx(10 / 3)
    vs = torch.tensor([[-2.0, 0.5], [1.5, 1.0]], dtype=F64)
    assert geir.measures.voltage_penalty(vs).item() == pytest.approx((1 + 0.25) / 4)
    assert geir.measures.voltage_penalty(vs, -0.5, 0.0).item() == pytest.approx((1.5**2 + 0.5**2 + 1.5**2 + 1) / 4)


@pytest.mark.parametrize(
    "penalty",
    [
        lambda zs: geir.measures.rate_penalty(zs, 300.0, 500.0),
        lambda zs: geir.measures.silence_penalty(zs, 3.0),
        lambda zs: geir.measures.voltage_penalty(zs, 0.3, 0.6),
        lambda zs: geir.measures.activity_penalty(zs, 2.0),
        lambda zs: geir.measures.activity_penalty(zs),
    ],
)
def test_penalties_have_gradients(penalty):
    zs = torch.rand(6, 4, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(penalty, (zs,))
    assert torch.autograd.grad(penalty(zs), zs)[0].any()


def test_a_silent_layer_learns_to_fire_at_its_target_rate():
    linear = nn.Linear(10, 20)
    with torch.no_grad():
        linear.weight.mul_(0.05)
        linear.bias.zero_()
    model = geir.SequentialState(geir.Lift(linear), geir.LIF())
    xs = geir.encode.poisson(torch.full((4, 10), 0.9), 200, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    (zs, _), before = geir.measures.record_outputs(model, xs)
    assert not zs.any()
    for _ in range(60):
        optimizer.zero_grad()
        _, outputs = geir.measures.record_outputs(model, xs)
        (geir.measures.rate_penalty(outputs["1"].mean(1), 40.0, 60.0) / 50**2).backward()
        optimizer.step()
    rates = geir.measures.firing_rate(model(xs)[0].mean(1))
    assert ((rates > 30) & (rates < 70)).all()


def test_accumulators_over_parts_are_sums_over_the_whole():
    lif = geir.LIF(record_states=True)
    xs = torch.rand(60, 3, dtype=torch.float32)
    zs, states = lif(xs)
    counts = potentials = None
    for part in range(0, 60, 20):
        counts = geir.measures.spike_accumulator(zs[part : part + 20], counts)
        potentials = geir.measures.voltage_accumulator(
            geir.neurons.LIFState(*(s[part : part + 20] for s in states)), potentials
        )
    torch.testing.assert_close(counts, zs.sum(0))
    torch.testing.assert_close(potentials, states.v.sum(0))
    assert counts.sum() > 5


def test_outputs_of_neurons_are_those_of_the_network():
    model = geir.SequentialState(
        geir.Lift(nn.Linear(4, 6)),
        geir.LIF(v_th=0.1),
        geir.LIFRecurrent(6, 5, v_th=0.1),
        geir.measures.ExponentialFilter(),
        return_hidden=True,
    )
    xs = torch.rand(20, 2, 4)
    (hidden, _), outputs = geir.measures.record_outputs(model, xs)
    assert list(outputs) == ["1", "2", "3"]
    for index, name in ((1, "1"), (2, "2"), (3, "3")):
        assert torch.equal(outputs[name], hidden[index])
    outputs["1"].sum().backward()
    assert model[0].module.weight.grad.any()
    cells = geir.Lift(geir.SequentialState(nn.Linear(4, 6), geir.LIFCell(v_th=0.1)))
    (zs, _), outputs = geir.measures.record_outputs(cells, xs)
    assert torch.equal(outputs["module.1"], zs)
    assert zs.any()
    assert all(not module._forward_hooks for module in model.modules())


# Bad input

T4 = torch.zeros(4, 2)

CASES = {
    "van Rossum of two shapes": (
        lambda: geir.measures.van_rossum_distance(T4, T4[:3]),
        ValueError,
        r"van_rossum_distance compares trains of one shape, got \(4, 2\) and \(3, 2\)",
    ),
    "van Rossum without decay": (
        lambda: geir.measures.van_rossum_distance(T4, T4, tau=-1.0),
        ValueError,
        "ExponentialFilter.tau must be > 0.0 s, got -1.0",
    ),
    "Victor-Purpura of two shapes": (
        lambda: geir.measures.victor_purpura_distance(T4, T4[:, 0]),
        ValueError,
        "victor_purpura_distance compares trains of one shape",
    ),
    "Victor-Purpura at negative cost": (
        lambda: geir.measures.victor_purpura_distance(T4, T4, q=-1.0),
        ValueError,
        "victor_purpura_distance: q must not be negative, got -1.0",
    ),
    "Victor-Purpura in no time": (
        lambda: geir.measures.victor_purpura_distance(T4, T4, dt=0.0),
        ValueError,
        "victor_purpura_distance: dt must be positive and finite",
    ),
    "ISI of no steps": (
        lambda: geir.measures.isi_distance(T4[:0], T4[:0]),
        ValueError,
        r"isi_distance takes \(time, ...\) of at least one step, got shape \(0, 2\)",
    ),
    "SPIKE of integers": (
        lambda: geir.measures.spike_distance(T4, T4.long()),
        TypeError,
        "spike_distance takes floating-point values over time, got torch.int64",
    ),
    "rate in no time": (
        lambda: geir.measures.firing_rate(T4, dt=0.0),
        ValueError,
        "firing_rate: dt must be positive and finite, got 0.0",
    ),
    "sparsity without time": (
        lambda: geir.measures.sparsity(torch.tensor(1.0)),
        ValueError,
        r"sparsity takes \(time, ...\)",
    ),
    "intervals of bools": (
        lambda: geir.measures.interspike_intervals(T4.bool()),
        TypeError,
        "interspike_intervals takes floating-point values over time, got torch.bool",
    ),
    "intervals in no time": (
        lambda: geir.measures.interspike_intervals(T4, dt=-1.0),
        ValueError,
        "interspike_intervals: dt must be positive and finite, got -1.0",
    ),
    "one window": (
        lambda: geir.measures.fano_factor(T4, window=3e-3),
        ValueError,
        "at least two windows of 3 steps, got a run of 4 steps; give a shorter window",
    ),
    "no window": (
        lambda: geir.measures.fano_factor(T4, window=0.0),
        ValueError,
        "fano_factor: window must be positive and finite",
    ),
    "synchrony of one": (
        lambda: geir.measures.synchrony(T4[:, 0]),
        ValueError,
        r"synchrony takes \(time, ..., neurons\), got shape \(4,\)",
    ),
    "operations of an LSTM": (
        lambda: geir.measures.count_operations(nn.Sequential(nn.LSTM(2, 3)), T4),
        TypeError,
        "but 0 is a LSTM with weight_ih_l0, weight_hh_l0",
    ),
    "operations of a table": (
        lambda: geir.measures.count_operations(nn.Embedding(3, 2), T4.long()),
        TypeError,
        "multiplies floating-point input, but the model is a Embedding with weight",
    ),
    "operations of what a wrapper hides": (
        lambda: geir.measures.count_operations(geir.Wrapper(geir.LIFRecurrent(2, 2), unroll=geir.reference), T4),
        TypeError,
        "cannot see the weights that the model, a Wrapper, wraps; wrap it in Recurrent",
    ),
    "negative rate": (
        lambda: geir.measures.rate_penalty(T4, lower=-1.0),
        ValueError,
        "a rate cannot be negative, got lower=-1.0 Hz",
    ),
    "band upside down": (
        lambda: geir.measures.rate_penalty(T4, 5.0, 1.0),
        ValueError,
        "rate_penalty: lower must not exceed upper, got 5.0 and 1.0",
    ),
    "potentials upside down": (
        lambda: geir.measures.voltage_penalty(T4, 5.0, 1.0),
        ValueError,
        "voltage_penalty: lower must not exceed upper, got 5.0 and 1.0",
    ),
    "silence without time": (
        lambda: geir.measures.silence_penalty(torch.tensor(1.0)),
        ValueError,
        r"silence_penalty takes \(time, ...\)",
    ),
    "no power": (
        lambda: geir.measures.activity_penalty(T4, 0.5),
        ValueError,
        "activity_penalty: power must be at least 1, got 0.5",
    ),
    "accumulator of two shapes": (
        lambda: geir.measures.spike_accumulator(T4, torch.zeros(3)),
        ValueError,
        r"spike_accumulator adds to a total of shape \(2,\), got \(3,\)",
    ),
    "accumulator of a state without potential": (
        lambda: geir.measures.voltage_accumulator((1, 2)),
        TypeError,
        "takes a state with a potential `v`, or potentials, got tuple",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_refused(case):
    call, kind, message = CASES[case]
    with pytest.raises(kind, match=message):
        call()
