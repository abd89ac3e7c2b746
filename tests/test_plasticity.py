"""Learning rules against sums over pairs and triplets of spikes, closed forms and published measurements; and `Plastic`, which applies them."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import geir
from geir import BCM, LIF, STDP, Both, InhibitorySTDP, NearestSpike, Oja, OnRates, Plastic, PlasticCell, RewardModulated, SynapticScaling, TripletSTDP
from geir.state import leaves

DOUBLE = torch.float64
FREE = {"w_min": -float("inf"), "w_max": float("inf")}


def trains(steps=400, n=3, rate=0.05, seed=0):
    """Spikes, shape (time, 1, n), float64, without and with ties between trains."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(steps, 1, n, generator=generator) < rate).double()


def run(rule, pres, posts, weight, connection=None, state=None):
    for pre, post in zip(pres, posts, strict=True):
        weight, state = rule(pre, post, weight, state, connection)
    return weight, state


def times(train, dt=1e-3):
    return train.nonzero().flatten().numpy() * dt


def double(rule):
    return copy.deepcopy(rule).double()


# Each spike-based rule, with parameters of its own. All keep their weights far from the bounds.
RULES = {
    "additive": STDP(a_plus=0.01, a_minus=0.02, tau_plus=17e-3, tau_minus=34e-3, **FREE),
    "multiplicative": STDP(a_plus=0.01, a_minus=0.02, dependence=geir.Multiplicative()),
    "power law": STDP(a_plus=0.01, a_minus=0.02, dependence=geir.PowerLaw(0.3, 0.7)),
    "nearest": STDP(a_plus=0.01, a_minus=0.02, tau_minus=34e-3, pairing=NearestSpike(), **FREE),
    "triplet": TripletSTDP(a2_plus=1e-3, a3_minus=2e-3, **FREE),
    "nearest triplet": TripletSTDP(a2_plus=1e-3, a3_minus=2e-3, pairing=NearestSpike(), **FREE),
    "inhibitory": InhibitorySTDP(w_max=float("inf")),
    "scaling": SynapticScaling(tau=0.1),
    "both": Both(STDP(**FREE), SynapticScaling()),
    "correlation sensor": geir.CorrelationSensor(tau_plus=10e-3, tau_minus=30e-3),
    "sensor": geir.STDPSensor(tau_plus=10e-3, tau_minus=30e-3),
}
every_rule = pytest.mark.parametrize("name", RULES)


# Pairs and triplets, against sums


def pair_sum(pre, post, rule, nearest):
    """Sum over pairs of spikes, in seconds, by definition."""
    a_plus, a_minus, tau_plus, tau_minus = (float(getattr(rule, name)) for name in ("a_plus", "a_minus", "tau_plus", "tau_minus"))
    total = 0.0
    for t in post:
        gaps = t - pre[pre <= t]
        total += a_plus * np.exp(-(gaps[-1:] if nearest else gaps) / tau_plus).sum()
    for t in pre:
        gaps = t - post[post < t]
        total -= a_minus * np.exp(-(gaps[-1:] if nearest else gaps) / tau_minus).sum()
    return total


@pytest.mark.parametrize("name", ["additive", "nearest"])
def test_stdp_is_the_sum_over_pairs(name):
    rule = double(RULES[name])
    pres, posts = trains(seed=1), trains(n=2, seed=2)
    weight, _ = run(rule, pres, posts, torch.zeros(2, 3, dtype=DOUBLE))
    expected = [[pair_sum(times(pres[:, 0, i]), times(posts[:, 0, j]), rule, name == "nearest") for i in range(3)] for j in range(2)]
    assert pres.sum() > 30
    np.testing.assert_allclose(weight, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["multiplicative", "power law"])
def test_weight_dependence_follows_the_weight_from_spike_to_spike(name):
    rule = double(STDP(a_plus=0.1, a_minus=0.2, w_min=0.2, w_max=0.8, dependence=RULES[name].dependence))
    mu_plus, mu_minus = (0.3, 0.7) if name == "power law" else (1, 1)
    a_plus, a_minus, low, high = (getattr(rule, name).item() for name in ("a_plus", "a_minus", "w_min", "w_max"))
    pres, posts = trains(n=1, seed=1), trains(n=1, seed=2)
    weight, _ = run(rule, pres, posts, torch.full((1, 1), 0.5, dtype=DOUBLE))
    expected, x, y, left = 0.5, 0.0, 0.0, np.exp(-1e-3 / rule.tau_plus.item())
    for pre, post in zip(pres.flatten().tolist(), posts.flatten().tolist(), strict=True):
        x, y, u = x * left + pre, y * left, (expected - low) / (high - low)
        expected = float(np.clip(expected + a_plus * x * post * (1 - u) ** mu_plus - a_minus * y * pre * u**mu_minus, low, high))
        y += post
    assert 0.2 < expected < 0.8
    assert abs(expected - 0.5) > 0.01
    assert weight.item() == pytest.approx(expected, abs=1e-12)


def test_hard_bounds_hold_and_soft_bounds_are_approached():
    pres, posts = trains(), trains()  # the same spikes: most pairs are ties, which potentiate
    start = torch.full((3, 3), 0.5, dtype=DOUBLE)
    hard, _ = run(double(STDP(a_plus=0.3)), pres, posts, start)
    assert hard.diagonal().eq(1).all()
    weak, _ = run(double(STDP(a_minus=0.3)), trains(rate=0.2), trains(rate=0.2, seed=3), start)
    assert weak.eq(0).any()
    soft, _ = run(double(STDP(a_plus=0.3, a_minus=0.0, dependence=geir.Multiplicative())), pres, posts, start)
    assert soft.diagonal().lt(1).all()
    assert soft.diagonal().gt(0.999).all()


def triplet_sum(pre, post, rule, nearest):
    p = {name: float(value) for name, value in rule.declared_parameters().items()}

    def trace(t, spikes, tau, included):
        gaps = t - spikes[spikes <= t + 1e-9] if included else t - spikes[spikes < t - 1e-9]
        return np.exp(-(gaps[-1:] if nearest else gaps) / tau).sum()

    up = sum(trace(t, pre, p["tau_plus"], True) * (p["a2_plus"] + p["a3_plus"] * trace(t, post, p["tau_y"], False)) for t in post)
    down = sum(trace(t, post, p["tau_minus"], False) * (p["a2_minus"] + p["a3_minus"] * trace(t, pre, p["tau_x"], False)) for t in pre)
    return up - down


@pytest.mark.parametrize("name", ["triplet", "nearest triplet"])
def test_triplet_stdp_is_the_sum_over_triplets(name):
    rule = double(RULES[name])
    pres, posts = trains(seed=1), trains(n=2, seed=2)
    weight, _ = run(rule, pres, posts, torch.zeros(2, 3, dtype=DOUBLE))
    expected = [[triplet_sum(times(pres[:, 0, i]), times(posts[:, 0, j]), rule, name == "nearest triplet") for i in range(3)] for j in range(2)]
    np.testing.assert_allclose(weight, expected, rtol=0, atol=1e-12)


# Visual cortex, pairs at 10 ms: frequency (Hz), relative change and its standard error for pre before post, and for post before pre.
# P. Sjöström, G. Turrigiano & S. Nelson, 2001, as given by Pfister & Gerstner, 2006.
SJOSTROM = np.array(
    [
        [0.1, -0.04, 0.05, -0.29, 0.08],
        [10, 0.14, 0.10, -0.41, 0.11],
        [20, 0.29, 0.14, -0.34, 0.10],
        [40, 0.53, 0.11, 0.56, 0.32],
        [50, 0.56, 0.26, 0.75, 0.19],
    ]
)


def test_triplet_stdp_has_the_frequency_curve_of_visual_cortex():
    # Exact decay: steps of 5 ms, in which all these times are whole, are as good as any.
    rule, delays, curve = TripletSTDP(dt=5e-3, **FREE), torch.tensor([10e-3, -10e-3]), []
    for frequency in SJOSTROM[:, 0]:
        # 60 pairs; those 10 s apart do not interact, so 6 of them count tenfold.
        pairs, times_over = (6, 10) if frequency == 0.1 else (60, 1)
        changes = times_over * geir.stdp_window(rule, delays, pairs=pairs, frequency=frequency)
        pre = np.arange(pairs) / frequency
        expected = [times_over * triplet_sum(pre, pre + delay, rule, False) for delay in delays.double().numpy()]
        np.testing.assert_allclose(changes, expected, rtol=1e-5, atol=1e-9)
        curve.append(changes.numpy())
    # In units of the measurements' errors; a pair rule cannot do it: its curve has the same sign at all frequencies.
    errors = (np.array(curve) - SJOSTROM[:, [1, 3]]) / SJOSTROM[:, [2, 4]]
    assert (errors**2).mean() < 0.5
    assert np.abs(errors).max() < 1.5


def test_a_pair_rule_has_not():
    rule = STDP(a_plus=7e-3, a_minus=7e-3, dt=5e-3, **FREE)
    slow, fast = (geir.stdp_window(rule, torch.tensor([-10e-3]), pairs=60, frequency=f) for f in (1.0, 40.0))
    assert slow < 0
    assert fast < 0


# Promises of every rule


@every_rule
def test_results_do_not_depend_on_dt(name):
    rule, half = double(RULES[name]), double(RULES[name])
    for part in half.modules():
        if "dt" in type(part)._declared if isinstance(part, geir.Rule) else False:
            part.dt = 0.5e-3
    pres, posts = trains(seed=1), trains(n=2, seed=2)
    start = torch.full((2, 3), 0.5, dtype=DOUBLE)
    weight, state = run(rule, pres, posts, start)
    # Twice as many steps, spikes in the second of each two.
    fine = [torch.stack([torch.zeros_like(x), x], 1).flatten(0, 1) for x in (pres, posts)]
    other, other_state = run(half, *fine, start)
    assert (weight != start).any() or "sensor" in name
    torch.testing.assert_close(other, weight, rtol=0, atol=1e-7)
    for (_, a), (_, b) in zip(leaves(state), leaves(other_state), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


@every_rule
def test_a_batch_changes_the_weight_by_the_mean_of_its_samples(name):
    rule = double(RULES[name])
    pres, posts = (torch.cat([trains(n=n, seed=seed + k) for k in range(4)], 1) for n, seed in ((3, 10), (2, 20)))
    start = torch.full((2, 3), 0.5, dtype=DOUBLE)
    _, state = run(rule, pres[:50], posts[:50], start)
    # The first step in which things happen to the same weight.
    together, _ = rule(pres[50], posts[50], start, state)
    each = []
    for k in range(4):
        _, one = run(rule, pres[:50, k : k + 1], posts[:50, k : k + 1], start)
        each.append(rule(pres[50, k : k + 1], posts[50, k : k + 1], start, one)[0])
    # Scaling multiplies by its samples' geometric mean: the same to first order.
    tolerance = 1e-6 if name in ("scaling", "both") else 1e-12
    torch.testing.assert_close(together, torch.stack(each).mean(0), rtol=0, atol=tolerance)


@every_rule
def test_a_step_changes_nothing_that_it_is_given(name):
    rule, pre, post, weight = double(RULES[name]), *torch.ones(2, 1, 3, dtype=DOUBLE), torch.full((3, 3), 0.5, dtype=DOUBLE)
    _, state = rule(pre, post, weight)
    before = copy.deepcopy((pre, post, weight, state, rule.state_dict()))
    learned, after = rule(pre, post, weight.requires_grad_(), state)
    torch.testing.assert_close((pre, post, weight.detach(), state, rule.state_dict()), before, rtol=0, atol=0)
    assert not learned.requires_grad
    assert type(after) is type(state)


@every_rule
def test_a_step_without_a_batch_is_a_batch_of_one(name):
    pres, posts, start = trains(), trains(n=2, seed=2), torch.full((2, 3), 0.5, dtype=DOUBLE)
    rule = double(RULES[name])
    torch.testing.assert_close(run(rule, pres[:, 0], posts[:, 0], start)[0], run(rule, pres, posts, start)[0], rtol=0, atol=0)


@every_rule
@pytest.mark.parametrize(
    ("settings", "mode"),
    [({"stride": 2, "padding": 1, "groups": 2}, "constant"), ({"dilation": 2, "padding": 1}, "constant"), ({"padding": 1, "padding_mode": "circular"}, "circular")],
)
def test_a_convolution_learns_as_its_patches_do(name, settings, mode):
    """The sum over places, mean over the batch, of what a dense layer does at each place."""
    rule, groups = double(RULES[name]), settings.get("groups", 1)
    conv = nn.Conv2d(2, 4, 3, bias=False, dtype=DOUBLE, **settings)
    nn.init.uniform_(conv.weight, 0.3, 0.6)
    pre = (torch.rand(5, 3, 2, 7, 7) < 0.3).double()
    post = (torch.rand(5, *conv(pre[0]).shape) < 0.3).double()
    weight, state = conv.weight.detach(), None
    for t in range(4):
        _, state = rule(pre[t], post[t], weight, state, conv)
    learned, _ = rule(pre[4], post[4], weight, state, conv)

    def patches(x):
        return functional.unfold(functional.pad(x, (1,) * 4, mode=mode), 3, stride=settings.get("stride", 1), dilation=settings.get("dilation", 1)).transpose(1, 2)

    expected = torch.empty_like(weight)
    for group in range(groups):
        inputs, outputs = (x.chunk(groups, 2)[group] for x in (pre, post))
        filters = weight.chunk(groups)[group].flatten(1)
        before, states = torch.stack([patches(x) for x in inputs]).flatten(1, 2), None
        behind = outputs.flatten(3).transpose(2, 3).flatten(1, 2)
        for t in range(4):
            _, states = rule(before[t], behind[t], filters, states)
        mean, _ = rule(before[4], behind[4], filters, states)
        places = behind.shape[1] // 3
        part = expected.chunk(groups)[group]
        part.copy_((filters + places * (mean - filters)).view_as(part))
    # Factors of scaling multiply over places: the same to first order.
    tolerance = 1e-3 if name in ("scaling", "both") else 1e-9
    torch.testing.assert_close(learned, expected, rtol=0, atol=tolerance)
    assert "sensor" in name or (learned - weight).abs().max() > 10 * tolerance or name == "scaling"


@every_rule
def test_rules_pickle_and_say_what_they_are(name):
    rule = RULES[name]
    assert repr(pickle.loads(pickle.dumps(rule))) == repr(rule)
    assert type(rule).__name__ in repr(rule)
