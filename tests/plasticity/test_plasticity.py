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
from geir import LIF
from geir._util.state import leaves
from geir.plasticity import (
    BCM,
    Both,
    InhibitorySTDP,
    NearestSpike,
    Oja,
    OnRates,
    Plastic,
    PlasticCell,
    RewardModulated,
    STDP,
    SynapticScaling,
    TripletSTDP,
)

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
    "multiplicative": STDP(a_plus=0.01, a_minus=0.02, dependence=geir.plasticity.Multiplicative()),
    "power law": STDP(a_plus=0.01, a_minus=0.02, dependence=geir.plasticity.PowerLaw(0.3, 0.7)),
    "nearest": STDP(a_plus=0.01, a_minus=0.02, tau_minus=34e-3, pairing=NearestSpike(), **FREE),
    "triplet": TripletSTDP(a2_plus=1e-3, a3_minus=2e-3, **FREE),
    "nearest triplet": TripletSTDP(a2_plus=1e-3, a3_minus=2e-3, pairing=NearestSpike(), **FREE),
    "inhibitory": InhibitorySTDP(w_max=float("inf")),
    "scaling": SynapticScaling(tau=0.1),
    "both": Both(STDP(**FREE), SynapticScaling()),
    "correlation sensor": geir.plasticity.CorrelationSensor(tau_plus=10e-3, tau_minus=30e-3),
    "sensor": geir.plasticity.STDPSensor(tau_plus=10e-3, tau_minus=30e-3),
}
every_rule = pytest.mark.parametrize("name", RULES)


# Pairs and triplets, against sums


def pair_sum(pre, post, rule, nearest):
    """Sum over pairs of spikes, in seconds, by definition."""
    a_plus, a_minus, tau_plus, tau_minus = (
        float(getattr(rule, name)) for name in ("a_plus", "a_minus", "tau_plus", "tau_minus")
    )
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
    expected = [
        [pair_sum(times(pres[:, 0, i]), times(posts[:, 0, j]), rule, name == "nearest") for i in range(3)]
        for j in range(2)
    ]
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
        expected = float(
            np.clip(expected + a_plus * x * post * (1 - u) ** mu_plus - a_minus * y * pre * u**mu_minus, low, high)
        )
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
    soft, _ = run(
        double(STDP(a_plus=0.3, a_minus=0.0, dependence=geir.plasticity.Multiplicative())), pres, posts, start
    )
    fired = int(pres[:, 0, 0].sum())
    assert soft[0, 0].gt(
        1 - 0.5 * 0.7**fired / 0.7
    )  # no slower than the ties alone, which leave 0.7 of what is missing
    assert soft.le(1).all()


def test_synapses_can_have_bounds_of_their_own():
    pres, posts, high = trains(rate=0.2), trains(rate=0.2), torch.linspace(0.6, 1.0, 9).view(3, 3)
    weight, _ = run(STDP(a_plus=0.3, a_minus=0.0, w_max=high), pres, posts, torch.full((3, 3), 0.5))
    torch.testing.assert_close(weight, high)


def triplet_sum(pre, post, rule, nearest):
    p = {name: float(value) for name, value in rule.declared_parameters().items()}

    def trace(t, spikes, tau, included):
        gaps = t - spikes[spikes <= t + 1e-9] if included else t - spikes[spikes < t - 1e-9]
        return np.exp(-(gaps[-1:] if nearest else gaps) / tau).sum()

    up = sum(
        trace(t, pre, p["tau_plus"], True) * (p["a2_plus"] + p["a3_plus"] * trace(t, post, p["tau_y"], False))
        for t in post
    )
    down = sum(
        trace(t, post, p["tau_minus"], False) * (p["a2_minus"] + p["a3_minus"] * trace(t, pre, p["tau_x"], False))
        for t in pre
    )
    return up - down


@pytest.mark.parametrize("name", ["triplet", "nearest triplet"])
def test_triplet_stdp_is_the_sum_over_triplets(name):
    rule = double(RULES[name])
    pres, posts = trains(seed=1), trains(n=2, seed=2)
    weight, _ = run(rule, pres, posts, torch.zeros(2, 3, dtype=DOUBLE))
    expected = [
        [triplet_sum(times(pres[:, 0, i]), times(posts[:, 0, j]), rule, name == "nearest triplet") for i in range(3)]
        for j in range(2)
    ]
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
        # 60 pairs; those 10 s apart do not interact, so 2 of them count thirtyfold.
        pairs, times_over = (2, 30) if frequency == 0.1 else (60, 1)
        changes = times_over * geir.plasticity.stdp_window(rule, delays, pairs=pairs, frequency=frequency)
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
    slow, fast = (geir.plasticity.stdp_window(rule, torch.tensor([-10e-3]), pairs=20, frequency=f) for f in (2.0, 40.0))
    assert slow < 0
    assert fast < 0


# Promises of every rule


@every_rule
def test_results_do_not_depend_on_dt(name):
    rule, half = double(RULES[name]), double(RULES[name])
    for part in half.modules():
        if "dt" in type(part)._declared if isinstance(part, geir.plasticity.Rule) else False:
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
    rule, pre, post, weight = (
        double(RULES[name]),
        *torch.ones(2, 1, 3, dtype=DOUBLE),
        torch.full((3, 3), 0.5, dtype=DOUBLE),
    )
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
    torch.testing.assert_close(
        run(rule, pres[:, 0], posts[:, 0], start)[0], run(rule, pres, posts, start)[0], rtol=0, atol=0
    )


@every_rule
@pytest.mark.parametrize(
    ("settings", "mode"),
    [
        ({"stride": 2, "padding": 1, "groups": 2}, "constant"),
        ({"dilation": 2, "padding": 1}, "constant"),
        ({"padding": 1, "padding_mode": "circular"}, "circular"),
    ],
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
        return functional.unfold(
            functional.pad(x, (1,) * 4, mode=mode),
            3,
            stride=settings.get("stride", 1),
            dilation=settings.get("dilation", 1),
        ).transpose(1, 2)

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
    assert (learned != weight).any() or "sensor" in name


@every_rule
def test_rules_pickle_and_say_what_they_are(name):
    rule = RULES[name]
    assert repr(pickle.loads(pickle.dumps(rule))) == repr(rule)
    assert type(rule).__name__ in repr(rule)


# Ties


def test_spikes_in_the_same_step_count_as_pre_before_post():
    tie, start = torch.ones(1, 1, dtype=DOUBLE), torch.full((1, 1), 0.5, dtype=DOUBLE)
    for rule, change in (
        (STDP(a_plus=0.01), 0.01),
        (STDP(a_plus=0.01, pairing=NearestSpike()), 0.01),
        (TripletSTDP(a2_plus=0.01), 0.01),
        (InhibitorySTDP(eta=0.1, target_rate=0.0, w_max=1.0), -0.1),
    ):
        weight, _ = rule(tie, tie, start)
        assert (weight - start).item() == pytest.approx(change)
    _, state = geir.plasticity.CorrelationSensor(a_plus=2.0)(tie, tie, start)
    assert (state.causal.item(), state.anticausal.item()) == (2, 0)


# The window


def test_the_window_of_stdp_is_two_exponentials():
    rule, delays = STDP(a_plus=0.01, a_minus=0.02, tau_plus=10e-3, tau_minus=30e-3), 1e-3 * torch.arange(-50.0, 51.0)
    t = delays.double()
    expected = torch.where(t >= 0, 0.01 * torch.exp(-t / 10e-3), -0.02 * torch.exp(t / 30e-3))
    torch.testing.assert_close(geir.plasticity.stdp_window(rule, delays), expected, rtol=1e-5, atol=1e-9)
    twice = geir.plasticity.stdp_window(rule, delays, pairs=2, frequency=1.0)
    torch.testing.assert_close(twice, 2 * expected, rtol=1e-5, atol=1e-9)


def test_the_window_of_inhibition_is_symmetric():
    rule, delays = InhibitorySTDP(eta=0.01, target_rate=0.0), 1e-3 * torch.arange(1.0, 40.0)
    after, before = (geir.plasticity.stdp_window(rule, d, weight=-0.5) for d in (delays, -delays))
    torch.testing.assert_close(after, before, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(after, -0.01 * torch.exp(-delays.double() / 20e-3), rtol=1e-5, atol=1e-9)


# Sensors, reward, rates


def test_sensors_have_a_time_constant_for_each_side():
    spike, silence, weight = torch.ones(1, 1), torch.zeros(1, 1), torch.zeros(1, 1)
    rule = geir.plasticity.STDPSensor(a_plus=2.0, a_minus=3.0, tau_plus=10e-3, tau_minus=40e-3)
    _, state = rule(spike, spike, weight)
    for _ in range(20):
        _, state = rule(silence, silence, weight, state)
    assert state.pre.item() == pytest.approx(2 * np.exp(-2))
    assert state.post.item() == pytest.approx(3 * np.exp(-0.5))


def test_the_correlation_sensor_sums_nearest_pairs_of_each_sample_until_cleared():
    rule = double(RULES["correlation sensor"])
    pres, posts = (torch.cat([trains(seed=seed, n=2), trains(seed=seed + 1, n=2)], 1) for seed in (1, 3))
    weight = torch.full((2, 2), 0.5, dtype=DOUBLE)
    same, state = run(rule, pres, posts, weight)
    assert same.equal(weight)
    for sample, i, j in ((0, 0, 1), (1, 1, 0)):
        pre, post = times(pres[:, sample, i]), times(posts[:, sample, j])
        causal = sum(np.exp(-(t - pre[pre <= t][-1:]) / rule.tau_plus.item()).sum() for t in post)
        anticausal = sum(np.exp(-(t - post[post < t][-1:]) / rule.tau_minus.item()).sum() for t in pre)
        assert state.causal[sample, j, i].item() == pytest.approx(causal)
        assert state.anticausal[sample, j, i].item() == pytest.approx(anticausal)
    cleared = state.cleared()
    assert not cleared.causal.any()
    assert not cleared.anticausal.any()
    assert cleared.traces is state.traces


def eligible_by_one_pair(rule, batch=1):
    """A weight, and a state in which one pair 10 ms apart was seen 50 ms ago."""
    weight = torch.full((1, 1), 0.5, dtype=DOUBLE)
    pres, posts = torch.zeros(2, 61, batch, 1, dtype=DOUBLE)
    pres[0], posts[10] = 1, 1
    return run(rule, pres, posts, weight)


@pytest.mark.parametrize("tau_reward", [0.3, 1e-6])
def test_a_late_reward_changes_the_weight_by_the_eligibility_that_is_left(tau_reward):
    rule = double(RewardModulated(STDP(a_plus=0.01), tau_eligibility=0.2, tau_reward=tau_reward))
    weight, state = eligible_by_one_pair(rule)
    assert weight.item() == 0.5
    left = 0.01 * np.exp(-0.5) * np.exp(-0.05 / 0.2)
    assert state.eligibility.item() == pytest.approx(left)
    state = rule.reward(state, -3.0)
    silence = torch.zeros(3000 if tau_reward == 0.3 else 1, 1, 1, dtype=DOUBLE)
    weight, _ = run(rule, silence, silence, weight, state=state)
    assert weight.item() == pytest.approx(0.5 - 3 * left * 0.2 / (0.2 + tau_reward), rel=1e-6)


def test_each_sample_has_its_own_reward():
    rule = double(RewardModulated(STDP(a_plus=0.01), tau_reward=1e-6))
    weight, state = eligible_by_one_pair(rule, batch=4)
    state = state._replace(eligibility=state.eligibility * torch.tensor([1.0, 1, 2, 5]).view(4, 1, 1))
    state = rule.reward(state, torch.tensor([1.0, 0.0, 0.0, -3.0]))
    weight, _ = rule(*torch.zeros(2, 4, 1, dtype=DOUBLE), weight, state)
    assert weight.item() == pytest.approx(0.5 + (1 - 3 * 5) / 4 * state.eligibility[0].item(), rel=1e-5)


def test_oja_finds_the_first_principal_component():
    axes, _ = torch.linalg.qr(torch.randn(5, 5, dtype=DOUBLE))
    spread = torch.tensor([2.0, 1.0, 0.7, 0.5, 0.1], dtype=DOUBLE)
    rule, weight = double(Oja(eta=10.0)), 0.1 * torch.randn(2, 5, dtype=DOUBLE)
    for _ in range(500):
        x = torch.randn(256, 5, dtype=DOUBLE) * spread @ axes.t()
        weight, _ = rule(x, x @ weight.t(), weight)
    torch.testing.assert_close(
        (weight @ axes).abs(), torch.tensor([[1.0, 0, 0, 0, 0]] * 2, dtype=DOUBLE), rtol=0, atol=0.03
    )


def test_bcm_becomes_selective_for_one_of_two_inputs():
    """Stable fixed points of Intrator & Cooper: with two inputs, half of the time each, one is answered by 2, the other not at all."""
    rule, state = double(BCM(eta=10.0, tau_theta=0.05)), None
    inputs = torch.tensor([[1.0, 0.2], [0.3, 1.0]], dtype=DOUBLE)
    weight = torch.tensor([[0.5, 0.4], [0.4, 0.5]], dtype=DOUBLE)
    for step in range(6000):
        x = inputs[step % 2].unsqueeze(0)
        weight, state = rule(x, x @ weight.t(), weight, state)
    answers = inputs @ weight.t()
    torch.testing.assert_close(answers, torch.tensor([[2.0, 0.0], [0.0, 2.0]], dtype=DOUBLE), rtol=0, atol=0.05)


def test_on_rates_a_rule_sees_the_rates_of_spikes():
    class Seen(geir.plasticity.Rule[geir.plasticity.OjaState]):
        def initial_state(self, pre, post, weight):
            return geir.plasticity.OjaState()

        def change(self, pre, post, weight, state, synapses):
            return synapses.outer(post, pre), state

    rule, weight, state = double(OnRates(Seen(), tau=0.1)), torch.zeros(1, 1, dtype=DOUBLE), None
    spikes = torch.zeros(2000, 1, 1, dtype=DOUBLE)
    spikes[::20] = 1  # 50 Hz
    for z in spikes:
        last = weight
        weight, state = rule(z, z, weight, state)
    period = state.pre.item()
    # The mean of the trace over one period is the rate; at its end the trace is there for a known factor.
    assert period == pytest.approx(np.exp(-0.019 / 0.1) / (1 - np.exp(-0.02 / 0.1)) / 0.1, rel=1e-6)
    assert (weight - last).item() == pytest.approx(period**2)


def test_scaling_multiplies_all_weights_of_a_silent_neuron_alike():
    rule, silence = double(SynapticScaling(eta=0.1, target_rate=5.0)), torch.zeros(400, 1, 3, dtype=DOUBLE)
    start = torch.tensor([[0.1, -0.2, 0.3]] * 3, dtype=DOUBLE)
    weight, _ = run(rule, silence, silence, start)
    torch.testing.assert_close(weight, start * np.exp(0.1 * 5.0 * 0.4), rtol=1e-6, atol=0)


def test_both_adds_the_changes_of_two_rules_and_keeps_both_bounds():
    one, other = double(STDP(a_plus=0.01, w_max=0.8)), double(SynapticScaling())
    rule, start = Both(one, other), torch.full((2, 3), 0.5, dtype=DOUBLE)
    pres, posts, weight, states = trains(seed=1), trains(n=2, seed=2), start, (None, None)
    for pre, post in zip(pres, posts, strict=True):
        (first, a), (second, b) = one(pre, post, weight, states[0]), other(pre, post, weight, states[1])
        weight, states = (first + second - weight).clamp(0, 0.8), (a, b)
    learned, state = run(rule, pres, posts, start)
    torch.testing.assert_close((learned, *state), (weight, *states), rtol=0, atol=1e-12)
    assert (rule.w_min, rule.w_max) == (one.w_min, one.w_max)


# Neurons reach their target rates


def rates(layer, xs, state):
    """Rate of each neuron in Hz, in the last second of a run."""
    zs, _ = layer(xs, state)
    return zs[-1000:].mean((0, 1)) * 1e3


def test_inhibition_holds_neurons_at_a_target_rate():
    connection = nn.Linear(200, 3)
    nn.init.zeros_(connection.weight)
    connection.bias.data = torch.tensor([0.3, 0.4, 0.5])  # excitation
    layer = Plastic(connection, LIF(), InhibitorySTDP(eta=0.003, target_rate=20.0))
    xs = (torch.rand(3500, 8, 200) < 0.02).float()
    assert LIF()(connection(xs[:1000]).detach())[0].mean() > 0.06
    torch.testing.assert_close(rates(layer, xs, None), torch.full((3,), 20.0), rtol=0, atol=2.5)
    assert layer.weight.lt(0).all()


def test_scaling_brings_neurons_to_a_target_rate_and_keeps_proportions():
    connection = nn.Linear(20, 2, bias=False)
    start = torch.rand(2, 20) * torch.tensor([[0.2], [2.0]])
    connection.weight.data = start.clone()
    layer = Plastic(connection, LIF(), SynapticScaling(eta=0.05, target_rate=20.0, tau=0.2))
    xs = (torch.rand(4000, 8, 20) < 0.03).float()
    torch.testing.assert_close(rates(layer, xs, None), torch.full((2,), 20.0), rtol=0, atol=2.5)
    factor = (layer.weight / start).detach()
    torch.testing.assert_close(factor, factor[:, :1].expand_as(factor), rtol=1e-3, atol=0)


def test_thresholds_bring_neurons_to_a_target_rate():
    connection = nn.Linear(20, 2, bias=False)
    connection.weight.data = torch.rand(2, 20) * torch.tensor([[0.3], [1.5]])
    intrinsic = geir.plasticity.IntrinsicPlasticity(eta=0.1, target_rate=20.0)
    layer = Plastic(connection, LIF(v_th=torch.ones(2)), geir.plasticity.STDPSensor(), intrinsic)
    xs = (torch.rand(3000, 8, 20) < 0.03).float()
    torch.testing.assert_close(rates(layer, xs, None), torch.full((2,), 20.0), rtol=0, atol=2.5)
    low, high = layer.neuron.v_th
    assert low < high


def test_what_neurons_prepare_from_their_threshold_follows_it():
    class Prepared(geir.IAF):
        def prepare(self):
            return (self.v_th.clone(),)

        def step(self, x, state, v_th):
            z = self.surrogate(state.v + x - v_th)
            return z, geir.neurons.IAFState((1 - z) * (state.v + x))

    results = []
    for neuron in (Prepared(v_th=torch.ones(3)), geir.IAF(v_th=torch.ones(3))):
        connection = nn.Linear(6, 3, bias=False)
        nn.init.constant_(connection.weight, 0.3)
        results.append(
            Plastic(connection, neuron, geir.plasticity.STDPSensor(), geir.plasticity.IntrinsicPlasticity(eta=1.0))(
                torch.ones(50, 2, 6)
            )[0]
        )
    assert results[0].sum() > 10
    torch.testing.assert_close(*results, rtol=0, atol=0)


# Plastic


def layer(connection=None, rule=None, kind=Plastic):
    torch.manual_seed(1)
    connection = connection or nn.Linear(6, 4, bias=False)
    return kind(connection, LIF(v_th=0.2), rule or STDP(a_plus=0.05, w_min=-1.0))


def spikes(*shape):
    return (torch.rand(*shape) < 0.3).float()


@pytest.mark.parametrize("conv", [False, True])
def test_plastic_is_the_loop_over_connection_neuron_and_rule(conv):
    connection, xs = (
        (nn.Conv2d(2, 3, 3, padding=1), spikes(30, 4, 2, 5, 5)) if conv else (nn.Linear(6, 4), spikes(30, 4, 6))
    )
    plastic = layer(connection, STDP(a_plus=2e-3, w_min=-1.0))
    reference, rule, cell = copy.deepcopy(connection), copy.deepcopy(plastic.rule), geir.LIFCell(v_th=0.2)
    zs, state = plastic(xs)
    expected, neuron, learned = [], None, None
    with torch.no_grad():
        for x in xs:
            z, neuron = cell(reference(x), neuron)
            weight, learned = rule(x, z, reference.weight, learned, reference)
            reference.weight.copy_(weight)
            expected.append(z)
    assert zs.sum() > 10
    assert plastic.weight.abs().max() < 1
    torch.testing.assert_close(plastic.weight, reference.weight, rtol=0, atol=0)
    torch.testing.assert_close(zs, torch.stack(expected), rtol=0, atol=0)
    torch.testing.assert_close(state, geir.plasticity.PlasticState(neuron, learned), rtol=0, atol=0)


def test_one_run_is_two_half_runs_and_is_the_cell_lifted():
    xs, whole, parts, cell = spikes(40, 3, 6), layer(), layer(), layer(kind=PlasticCell)
    zs, state = whole(xs)
    first, middle = parts(xs[:20])
    second, last = parts(xs[20:], middle)
    lifted, end = geir.Lift(cell)(xs)
    assert zs.sum() > 10
    for z, s, module in ((torch.cat([first, second]), last, parts), (lifted, end, cell)):
        torch.testing.assert_close((z, s, module.weight), (zs, state, whole.weight), rtol=0, atol=0)


def test_the_weight_learns_in_training_and_is_fixed_in_evaluation():
    xs, plastic = spikes(40, 3, 6), layer()
    start = plastic.weight.detach().clone()
    zs, state = plastic(xs)
    learned = plastic.weight.detach().clone()
    assert not zs.requires_grad
    assert (learned != start).any()
    plastic.eval()
    again, after = plastic(xs, state)
    assert plastic.weight.equal(learned)
    assert after.rule is state.rule
    plain, _ = LIF(v_th=0.2)(functional.linear(xs, learned), state.neuron)
    torch.testing.assert_close(again, plain)
    again.sum().backward()
    assert plastic.weight.grad.abs().sum() > 0
    cell = PlasticCell(plastic.connection, plastic.neuron, plastic.rule).eval()
    torch.testing.assert_close(geir.Lift(cell)(xs, state)[0], again)


def test_neurons_can_rest_while_the_rule_goes_on():
    xs, plastic = spikes(40, 3, 6), layer()
    _, state = plastic(xs)
    _, after = plastic(xs[:1], state._replace(neuron=None))
    _, fresh = layer()(xs[:1])
    assert not after.rule.pre.equal(fresh.rule.pre)
    assert after.neuron.i.abs().sum() < state.neuron.i.abs().sum()


def test_plastic_layers_work_in_sequence_and_keep_what_they_learned():
    model = geir.SequentialState(layer(), layer(nn.Linear(4, 4, bias=False)), geir.Lift(nn.Linear(4, 2)), geir.LI())
    before = [module.weight.detach().clone() for module in model[:2]]
    vs, state = model(spikes(40, 3, 6))
    vs.sum().backward()  # what is behind them trains as ever
    assert model[2].module.weight.grad is not None
    assert isinstance(state[0], geir.plasticity.PlasticState)
    assert all((module.weight != start).any() for module, start in zip(model[:2], before, strict=True))
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    buffer.seek(0)
    other = geir.SequentialState(layer(), layer(nn.Linear(4, 4, bias=False)), geir.Lift(nn.Linear(4, 2)), geir.LI())
    other.load_state_dict(torch.load(buffer))
    assert other[0].weight.equal(model[0].weight)
    xs = spikes(10, 3, 6)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(twin.eval()(xs)[0], other.eval()(xs)[0])


class Masked(nn.Module):
    """A connection of the user's own."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(4, 6))
        self.register_buffer("mask", (torch.rand(4, 6) < 0.5).float())

    def forward(self, x):
        return functional.linear(x, self.weight * self.mask)


def test_any_connection_that_is_linear_in_its_weight_learns_where_it_has_synapses():
    connection = Masked()
    start = connection.weight.detach().clone()
    plastic = layer(connection)
    plastic(spikes(40, 3, 6))
    changed = plastic.weight != start
    assert changed.any()
    assert not changed[connection.mask == 0].any()


def test_steps_without_spikes_leave_the_weight_as_it_is():
    plastic = layer()
    start = plastic.weight.detach().clone()
    plastic(torch.zeros(20, 3, 6))
    assert plastic.weight.equal(start)


def test_reward_reaches_a_plastic_layer_through_its_state():
    plastic = layer(rule=RewardModulated(STDP(a_plus=0.05, w_min=-1.0)))
    start = plastic.weight.detach().clone()
    _, state = plastic(spikes(40, 3, 6))
    assert plastic.weight.equal(start)
    _, state = plastic(torch.zeros(20, 3, 6), state._replace(rule=plastic.rule.reward(state.rule, 1.0)))
    assert (plastic.weight - start).abs().max() > 1e-3


def test_recurrent_and_refractory_neurons_can_stand_behind():
    for neuron in (geir.LIFRecurrent(4, 4, v_th=0.2), geir.Refractory(LIF(v_th=0.2)), geir.IAF()):
        plastic = Plastic(nn.Linear(6, 4), neuron, STDP(w_min=-1.0))
        zs, state = plastic(spikes(20, 3, 6))
        assert plastic.eval()(spikes(20, 3, 6), state)[0].shape == zs.shape


# Wrong input

PRE, POST, WEIGHT = torch.ones(2, 3), torch.ones(2, 4), torch.zeros(4, 3)
RULE = RewardModulated(STDP())
STATE = RULE(PRE, POST, WEIGHT)[1]
CASES = {
    "a rule out of range": (lambda: STDP(tau_plus=0.0), ValueError, r"STDP.tau_plus must be > 0.0 s, got 0.0"),
    "bounds that cross": (lambda: STDP(w_min=1.0), ValueError, r"STDP needs w_min < w_max, got 1.0 and 1.0"),
    "soft bounds at infinity": (
        lambda: STDP(dependence=geir.plasticity.Multiplicative(), w_max=float("inf")),
        ValueError,
        r"STDP with Multiplicative\(\) needs finite bounds",
    ),
    "a negative exponent": (
        lambda: geir.plasticity.PowerLaw(-1, 0.5),
        ValueError,
        r"PowerLaw takes exponents >= 0, got -1 and 0.5",
    ),
    "a string for a pairing": (
        lambda: STDP(pairing="nearest"),
        TypeError,
        "STDP.pairing must be of type Pairing, such as AllToAll",
    ),
    "a string for a dependence": (
        lambda: STDP(dependence="additive"),
        TypeError,
        "STDP.dependence must be of type WeightDependence",
    ),
    "not a tensor": (
        lambda: STDP()([1.0], POST, WEIGHT),
        TypeError,
        "STDP takes floating-point tensors, got list for `pre`",
    ),
    "spikes that are bool": (
        lambda: STDP()(PRE, POST.bool(), WEIGHT),
        TypeError,
        "got torch.bool for `post`; convert it with .float",
    ),
    "a coarse weight": (
        lambda: STDP()(PRE, POST, WEIGHT.half()),
        TypeError,
        "changes weights in steps too small for torch.float16; keep them in float32",
    ),
    "pre of another size": (
        lambda: STDP()(POST, POST, WEIGHT),
        ValueError,
        r"got pre \(2, 4\), post \(2, 4\) and weight \(4, 3\)",
    ),
    "post of another size": (
        lambda: STDP()(PRE, PRE, WEIGHT),
        ValueError,
        r"got pre \(2, 3\), post \(2, 3\) and weight \(4, 3\)",
    ),
    "another batch": (lambda: STDP()(PRE[:1], POST, WEIGHT), ValueError, r"got pre \(1, 3\), post \(2, 4\)"),
    "post that a convolution does not give": (
        lambda: STDP()(
            torch.ones(1, 2, 5, 5), torch.ones(1, 3, 5, 5), torch.zeros(3, 2, 3, 3), None, nn.Conv2d(2, 3, 3)
        ),
        ValueError,
        r"Conv2d gives shape \(1, 3, 3, 3\), but what is behind it has \(1, 3, 5, 5\)",
    ),
    "a state of another rule": (
        lambda: STDP()(PRE, POST, WEIGHT, STATE),
        TypeError,
        "STDP continues from a PairState, got RewardModulatedState",
    ),
    "a state of another batch": (
        lambda: RULE(PRE[:1], POST[:1], WEIGHT, STATE),
        ValueError,
        r"RewardModulatedState.rule.pre has shape \(2, 3\), but here it takes \(1, 3\)",
    ),
    "rewards of another batch": (
        lambda: RULE.reward(STATE, torch.ones(3)),
        ValueError,
        r"one for each of 2 samples, got shape \(3,\)",
    ),
    "a reward to the layer's state": (
        lambda: RULE.reward(geir.plasticity.PlasticState(None, STATE), 1.0),
        TypeError,
        "such as `state.rule` of a Plastic, got PlasticState",
    ),
    "rules of two step sizes": (
        lambda: Both(STDP(), STDP(dt=1e-4)),
        ValueError,
        "Both needs one step size, got dt=0.001 and dt=0.0001",
    ),
    "modulation of nothing": (lambda: RewardModulated(3), TypeError, "RewardModulated.rule must be a learning rule"),
    "a window between steps": (
        lambda: geir.plasticity.stdp_window(STDP(), torch.tensor([0.5e-3])),
        ValueError,
        r"takes delays in whole steps of 0.001 s, got 0.0005 s",
    ),
    "a frequency between steps": (
        lambda: geir.plasticity.stdp_window(STDP(), torch.zeros(1), pairs=2, frequency=300.0),
        ValueError,
        "an interval between pairs in whole steps",
    ),
    "no pair": (
        lambda: geir.plasticity.stdp_window(STDP(), torch.zeros(1), pairs=0),
        ValueError,
        "at least one pair, at a frequency > 0 Hz, got 0 at 1.0 Hz",
    ),
    "no delay": (
        lambda: geir.plasticity.stdp_window(STDP(), torch.tensor(0.0)),
        ValueError,
        r"takes delays of shape \(n,\), got \(\)",
    ),
    "a window out of bounds": (
        lambda: geir.plasticity.stdp_window(STDP(), torch.zeros(1), weight=2.0),
        ValueError,
        r"STDP keeps weights in \[0, 1\], got 2",
    ),
    "a connection without weight": (
        lambda: Plastic(nn.ReLU(), LIF(), STDP()),
        TypeError,
        r"stores its `weight`, such as nn.Linear\(784, 100\), got ReLU",
    ),
    "a cell in place of neurons": (
        lambda: Plastic(nn.Linear(3, 4), geir.LIFCell(), STDP()),
        TypeError,
        r"Plastic takes neurons over time .*, got LIFCell\(\)",
    ),
    "no rule": (
        lambda: Plastic(nn.Linear(3, 4), LIF(), "stdp"),
        TypeError,
        "Plastic takes a learning rule, such as STDP.*, got 'stdp'",
    ),
    "two step sizes": (
        lambda: layer(rule=STDP(dt=1e-4)),
        ValueError,
        "needs one step size, but STDP has dt=0.0001 and LIF has dt=0.001",
    ),
    "weights out of bounds": (
        lambda: layer(rule=STDP()),
        ValueError,
        r"STDP keeps weights in \[0, 1\], got -0.\d+; start within, such as with nn.init",
    ),
    "a threshold that is not there": (
        lambda: Plastic(
            nn.Linear(3, 4), geir.LI(), geir.plasticity.STDPSensor(), geir.plasticity.IntrinsicPlasticity()
        ),
        TypeError,
        "moves the threshold `v_th`, which LI has not",
    ),
    "something else for intrinsic": (
        lambda: Plastic(nn.Linear(3, 4), LIF(), geir.plasticity.STDPSensor(), 1.0),
        TypeError,
        "Plastic.intrinsic must be an IntrinsicPlasticity, got 1.0",
    ),
    "thresholds of another size": (
        lambda: geir.plasticity.IntrinsicPlasticity()(POST, torch.ones(3)),
        ValueError,
        r"broadcast to the spikes \(2, 4\), got \(3,\)",
    ),
    "no time": (
        lambda: layer()(spikes(3, 6)),
        ValueError,
        r"Plastic of Linear takes \(time, batch, \*input\) of at least one step, got shape \(3, 6\)",
    ),
    "no step": (lambda: layer()(spikes(0, 3, 6)), ValueError, r"of at least one step, got shape \(0, 3, 6\)"),
    "a cell without batch": (
        lambda: layer(kind=PlasticCell)(spikes(6)),
        ValueError,
        r"PlasticCell of Linear takes \(batch, \*input\), got shape \(6,\)",
    ),
    "a neuron's state": (
        lambda: layer()(spikes(5, 3, 6), LIF()(spikes(5, 3, 4))[1]),
        TypeError,
        "Plastic continues from a PlasticState, got LIFState",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_wrong_input_is_refused(case):
    call, kind, message = CASES[case]
    with pytest.raises(kind, match=message):
        call()


def test_an_unfinished_rule_says_what_is_missing():
    class Unfinished(geir.plasticity.Rule):
        pass

    with pytest.raises(NotImplementedError, match="Unfinished does not define `initial_state`"):
        Unfinished()(PRE, POST, WEIGHT)
