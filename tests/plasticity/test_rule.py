"""The contract that every rule keeps, and the errors of its arguments."""

import copy
import pickle

import pytest
import torch
from plasticity_cases import DOUBLE, double, every_rule, RULES, run, spike_trains
from torch import nn

import geir
from geir._util.state import leaves
from geir.plasticity import InhibitorySTDP, NearestSpike, RewardModulated, Rule, STDP, TripletSTDP


@every_rule
def test_results_do_not_depend_on_dt(name):
    rule, fine_rule = double(RULES[name]), double(RULES[name])
    for part in fine_rule.modules():
        # The step size of a sum is that of its rules.
        if isinstance(part, Rule) and not isinstance(part, geir.plasticity.SumOfRules):
            part.dt = 0.5e-3
    pres, posts = spike_trains(steps=200, seed=1), spike_trains(steps=200, n=2, seed=2)
    initial = torch.full((2, 3), 0.5, dtype=DOUBLE)
    weight, state = run(rule, pres, posts, initial)
    # Twice as many steps; spikes are in the second step of each pair.
    fine = [torch.stack([torch.zeros_like(x), x], 1).flatten(0, 1) for x in (pres, posts)]
    fine_weight, fine_state = run(fine_rule, *fine, initial)
    assert (weight != initial).any() or "sensor" in name
    torch.testing.assert_close(fine_weight, weight, rtol=0, atol=1e-7)
    for (_, actual), (_, expected) in zip(leaves(fine_state), leaves(state), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-7)


@every_rule
def test_a_batch_changes_the_weight_by_the_mean_over_its_samples(name):
    rule = double(RULES[name])
    pres, posts = (
        torch.cat([spike_trains(steps=51, n=n, seed=seed + k) for k in range(4)], 1) for n, seed in ((3, 10), (2, 20))
    )
    initial = torch.full((2, 3), 0.5, dtype=DOUBLE)
    _, state = run(rule, pres[:50], posts[:50], initial)
    # Weights of the samples diverge over time, so one step from the same weight is compared.
    batched, _ = rule(pres[50], posts[50], initial, state)
    single = []
    for k in range(4):
        _, sample_state = run(rule, pres[:50, k : k + 1], posts[:50, k : k + 1], initial)
        single.append(rule(pres[50, k : k + 1], posts[50, k : k + 1], initial, sample_state)[0])
    # Scaling multiplies by the geometric mean of the samples' factors, which is the mean to first order.
    tolerance = 1e-6 if name in ("scaling", "sum") else 1e-12
    torch.testing.assert_close(batched, torch.stack(single).mean(0), rtol=0, atol=tolerance)


@every_rule
def test_a_step_does_not_modify_its_arguments(name):
    rule = double(RULES[name])
    pre, post = torch.ones(2, 1, 3, dtype=DOUBLE)
    weight = torch.full((3, 3), 0.5, dtype=DOUBLE)
    _, state = rule(pre, post, weight)
    before = copy.deepcopy((pre, post, weight, state, rule.state_dict()))
    learned, next_state = rule(pre, post, weight.requires_grad_(), state)
    torch.testing.assert_close((pre, post, weight.detach(), state, rule.state_dict()), before, rtol=0, atol=0)
    assert not learned.requires_grad
    assert type(next_state) is type(state)


@every_rule
def test_input_without_a_batch_dimension_is_a_batch_of_one(name):
    pres, posts = spike_trains(steps=150), spike_trains(steps=150, n=2, seed=2)
    initial = torch.full((2, 3), 0.5, dtype=DOUBLE)
    rule = double(RULES[name])
    unbatched, _ = run(rule, pres[:, 0], posts[:, 0], initial)
    batched, _ = run(rule, pres, posts, initial)
    torch.testing.assert_close(unbatched, batched, rtol=0, atol=0)


@every_rule
def test_rules_can_be_pickled_and_printed(name):
    rule = RULES[name]
    assert repr(pickle.loads(pickle.dumps(rule))) == repr(rule)
    assert type(rule).__name__ in repr(rule)


def test_spikes_in_the_same_step_are_a_pre_before_post_pair():
    spike, initial = torch.ones(1, 1, dtype=DOUBLE), torch.full((1, 1), 0.5, dtype=DOUBLE)
    for rule, change in (
        (STDP(a_plus=0.01), 0.01),
        (STDP(a_plus=0.01, pairing=NearestSpike()), 0.01),
        (TripletSTDP(a2_plus=0.01), 0.01),
        (InhibitorySTDP(eta=0.1, target_rate=0.0, w_max=1.0), -0.1),
    ):
        weight, _ = rule(spike, spike, initial)
        assert (weight - initial).item() == pytest.approx(change)
    _, state = geir.plasticity.CorrelationSensor(a_plus=2.0)(spike, spike, initial)
    assert (state.causal.item(), state.anticausal.item()) == (2, 0)


@pytest.mark.parametrize("missing", ["initial_state", "change"])
def test_a_rule_without_its_methods_cannot_be_constructed(missing):
    methods = {"initial_state": lambda *_: (), "change": lambda *_: None}
    del methods[missing]
    Unfinished = type("Unfinished", (Rule,), methods)
    with pytest.raises(TypeError, match=f"abstract class Unfinished.* {missing}"):
        Unfinished()


PRE, POST, WEIGHT = torch.ones(2, 3), torch.ones(2, 4), torch.zeros(4, 3)
MODULATED = RewardModulated(STDP())
MODULATED_STATE = MODULATED(PRE, POST, WEIGHT)[1]
INVALID = {
    "a parameter out of range": (lambda: STDP(tau_plus=0.0), ValueError, r"STDP.tau_plus must be > 0.0 s, got 0.0"),
    "crossed bounds": (lambda: STDP(w_min=1.0), ValueError, r"STDP needs w_min < w_max, got 1.0 and 1.0"),
    "a string as pairing": (
        lambda: STDP(pairing="nearest"),
        TypeError,
        "STDP.pairing must be of type Pairing, such as AllToAll",
    ),
    "an abstract pairing": (geir.plasticity.Pairing, TypeError, "abstract class Pairing"),
    "a list as spikes": (
        lambda: STDP()([1.0], POST, WEIGHT),
        TypeError,
        "STDP takes floating-point tensors, got list for `pre`",
    ),
    "boolean spikes": (
        lambda: STDP()(PRE, POST.bool(), WEIGHT),
        TypeError,
        "got torch.bool for `post`; convert it with .float",
    ),
    "a weight of low precision": (
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
    "another batch size": (lambda: STDP()(PRE[:1], POST, WEIGHT), ValueError, r"got pre \(1, 3\), post \(2, 4\)"),
    "post that is not the output of the convolution": (
        lambda: STDP()(
            torch.ones(1, 2, 5, 5), torch.ones(1, 3, 5, 5), torch.zeros(3, 2, 3, 3), None, nn.Conv2d(2, 3, 3)
        ),
        ValueError,
        r"Conv2d returns shape \(1, 3, 3, 3\), but its postsynaptic neurons have shape \(1, 3, 5, 5\)",
    ),
    "the state of another rule": (
        lambda: STDP()(PRE, POST, WEIGHT, MODULATED_STATE),
        TypeError,
        "STDP expected a PairState as its state, got RewardModulatedState",
    ),
    "the state of another batch size": (
        lambda: MODULATED(PRE[:1], POST[:1], WEIGHT, MODULATED_STATE),
        ValueError,
        r"RewardModulatedState.rule.pre has shape \(2, 3\), but these inputs need \(1, 3\)",
    ),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_rules_and_arguments_are_rejected(case):
    call, error, message = INVALID[case]
    with pytest.raises(error, match=message):
        call()
