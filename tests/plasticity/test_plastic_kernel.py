"""The kernel of `Plastic`: what runs in it equals the reference loop; everything else runs on the loop."""

import copy

import pytest
import torch
from plasticity_cases import double, RULES, UNBOUNDED
from torch import nn

import geir
from geir._runtime.kernels import plasticity as kernel
from geir.plasticity import IntrinsicPlasticity, Plastic, STDP

CASES = RULES | {
    "power law of one side": STDP(dependence=geir.plasticity.PowerLaw(0.0, 1.0)),
    "rates": geir.plasticity.RateBased(geir.plasticity.BCM()),
    "oja": geir.plasticity.RateBased(geir.plasticity.Oja()),
    "reward": geir.plasticity.RewardModulated(STDP()),
    "bounds are reached": STDP(a_plus=0.4, a_minus=0.5),
}
# Its state has a number that belongs to no input, neuron or synapse.
ON_THE_LOOP = {"reward"}
WITHOUT_CHANGE = {"sensor", "correlation sensor", "reward"}


@pytest.fixture
def kernel_runs(monkeypatch):
    """The number of runs of the kernel, as a list with an element for each."""
    runs = []
    original = kernel.run

    def run(*arguments):
        runs.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(kernel, "run", run)
    return runs


def layer_of(rule, neuron, inputs=7, neurons=5, intrinsic=None, bias=False):
    torch.manual_seed(1)
    connection = nn.Linear(inputs, neurons, bias=bias)
    nn.init.uniform_(connection.weight, 0.2, 0.8)
    return Plastic(connection, neuron, copy.deepcopy(rule), intrinsic).double()


def spikes(steps=120, inputs=7, seed=0, rate=0.08):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(steps, 1, inputs, generator=generator) < rate).double()


def run_on_the_loop(layer, xs):
    layer.neuron.unroll = geir.reference
    return layer(xs)


def assert_equals_the_loop(layer, xs, least_spikes=10):
    """Of a run in two halves, so that states are passed on."""
    reference, start = copy.deepcopy(layer), layer.weight.clone()
    half = len(xs) // 2
    first, state = layer(xs[:half])
    second, state = layer(xs[half:], state)
    expected, expected_state = run_on_the_loop(reference, xs)
    assert expected.sum() >= least_spikes, "the input is too weak for this test to see a spike"
    torch.testing.assert_close(torch.cat([first, second]), expected, rtol=0, atol=0)
    torch.testing.assert_close(state, expected_state, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(layer.state_dict(), reference.state_dict(), rtol=1e-9, atol=1e-9)
    return not layer.weight.equal(start)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("neurons", [5, 7])
def test_the_kernel_equals_the_loop_for_every_rule(name, neurons, kernel_runs):
    changed = assert_equals_the_loop(layer_of(CASES[name], geir.LIF(v_th=0.15), neurons=neurons), spikes())
    assert changed == (name not in WITHOUT_CHANGE)
    assert len(kernel_runs) == (0 if name in ON_THE_LOOP else 2)


NEURONS = {
    "ALIF": lambda: geir.ALIF(v_th=0.15),
    "a parameter for each neuron": lambda: geir.LIF(tau_mem=torch.linspace(5e-3, 20e-3, 5), v_th=0.15),
    "recurrent, refractory": lambda: geir.LIFRefracRecurrent(
        5, 5, input_weights=nn.Identity(), recurrent_weights=torch.linspace(-2, 0.3, 25).reshape(5, 5), v_th=0.15
    ),
    "Leaky": lambda: geir.Leaky(v_th=0.6),
}


@pytest.mark.parametrize("name", NEURONS)
@pytest.mark.parametrize("moving", [False, True], ids=["fixed threshold", "moving threshold"])
def test_the_kernel_equals_the_loop_for_any_neuron_and_moving_thresholds(name, moving, kernel_runs):
    neuron, intrinsic = NEURONS[name](), None
    if moving:
        neuron.v_th.data = neuron.v_th.data.expand(5).clone()
        intrinsic = IntrinsicPlasticity(eta=0.01)
    layer = layer_of(STDP(a_plus=0.02, tau_minus=34e-3), neuron, intrinsic=intrinsic, bias=True)
    before = neuron.v_th.clone()
    assert assert_equals_the_loop(layer, spikes())
    assert neuron.v_th.equal(before) != moving
    assert len(kernel_runs) == 2


class Adaptive(geir.LIF):
    """A neuron whose coefficients depend on the threshold."""

    def derivative(self, x, state):
        return geir.neurons.LIFState(v=(self.v_th * state.i - state.v) / self.tau_mem, i=-state.i / self.tau_syn)


def test_coefficients_that_depend_on_a_moving_threshold_are_computed_in_every_step(kernel_runs):
    for intrinsic in (None, IntrinsicPlasticity(eta=0.05)):
        layer = layer_of(STDP(a_plus=0.02), Adaptive(v_th=torch.full((5,), 0.15)), intrinsic=intrinsic)
        layer.connection.weight.data.mul_(4).clamp_(0, 1)
        assert assert_equals_the_loop(layer, spikes(), least_spikes=1)
        assert len(kernel_runs) == 2, "only with a threshold that does not move"


def test_graded_and_dense_input_run_in_the_kernel_too(kernel_runs):
    assert_equals_the_loop(layer_of(STDP(), geir.LIF()), 0.3 * torch.rand(100, 1, 7).double())
    assert len(kernel_runs) == 2


def test_the_kernel_equals_the_loop_with_many_inputs(kernel_runs):
    # More than are looked up at once, and few of them active: so that columns of both terms are looked up.
    layer = layer_of(STDP(a_plus=0.02), geir.LIF(v_th=0.15), inputs=300, neurons=3)
    assert assert_equals_the_loop(layer, spikes(inputs=300, rate=0.005))
    assert len(kernel_runs) == 2


def test_a_change_of_a_setting_is_seen(kernel_runs):
    layer = layer_of(STDP(a_plus=0.01, a_minus=0.005, **UNBOUNDED), geir.LIF(v_th=0.15))
    layer(spikes())
    layer.rule.pairing = geir.plasticity.NearestSpike()
    layer.rule.a_plus.fill_(0.05)
    layer.neuron.surrogate = geir.surrogates.Triangle()
    assert assert_equals_the_loop(layer, spikes(seed=1))
    assert len(kernel_runs) == 3


class Gated(STDP):
    """A rule of a user: weights grow in proportion to how far the presynaptic trace exceeds a level."""

    def change(self, pre, post, weight, state, connection):
        traces = self.traces(pre, post, state)
        return connection.outer(post, torch.relu(traces.pre - 0.005)) * (1 - weight), traces.next_state


class Mean(STDP):
    """A rule that is not elementwise: depression depends on the mean of all weights."""

    def change(self, pre, post, weight, state, connection):
        change, state = super().change(pre, post, weight, state, connection)
        return change - 1e-3 * weight.mean() * connection.outer(post, pre), state


class Swapped(STDP):
    """A rule that takes a value of an input for one of a neuron, which fails unless there are as many of both."""

    def change(self, pre, post, weight, state, connection):
        change, state = super().change(pre, post, weight, state, connection)
        return change + 1e-3 * connection.outer(post * state.pre, pre), state


@pytest.mark.parametrize("rule", [Gated, Mean, Swapped])
def test_rules_of_users_run_in_the_kernel_if_they_are_elementwise(rule, kernel_runs):
    assert assert_equals_the_loop(layer_of(rule(a_plus=0.02), geir.LIF(v_th=0.15), neurons=7), spikes())
    assert len(kernel_runs) == (2 if rule is Gated else 0)


def several_samples(layer, xs):
    return layer, xs.expand(-1, 2, -1)


def convolution(layer, xs):
    connection = nn.Conv1d(1, 2, 3, padding=1).double()
    nn.init.uniform_(connection.weight, 0.2, 0.8)
    return Plastic(connection, layer.neuron, layer.rule), xs[:, :, None]


def hook(layer, xs):
    layer.connection.register_forward_hook(lambda module, arguments, result: result + 0.1)
    return layer, xs


def parameters_for_each_input(layer, xs):
    return Plastic(layer.connection, layer.neuron, double(STDP(a_plus=torch.linspace(0.01, 0.05, 7)))), xs


def weights_outside_the_bounds(layer, xs):
    with torch.no_grad():
        layer.weight[0, 0] = 1.5
    return layer, xs


def infinite_input(layer, xs):
    xs = xs.clone()
    xs[-1, 0, 0] = torch.inf
    return layer, xs


def few_steps(layer, xs):
    return layer, xs[:4] + 0.5


@pytest.mark.parametrize(
    "change",
    [
        several_samples,
        convolution,
        hook,
        parameters_for_each_input,
        weights_outside_the_bounds,
        infinite_input,
        few_steps,
    ],
    ids=lambda change: change.__name__,
)
def test_the_loop_runs_where_the_kernel_cannot(change, kernel_runs):
    layer, xs = change(layer_of(STDP(a_plus=0.02), geir.LIF(v_th=0.15)), spikes())
    expected = run_on_the_loop(copy.deepcopy(layer), xs)
    torch.testing.assert_close(layer(xs), expected, rtol=0, atol=0, equal_nan=True)
    assert not kernel_runs


def test_the_loop_continues_from_states_that_are_not_finite(kernel_runs):
    layer = layer_of(STDP(a_plus=0.02), geir.LIF(v_th=0.15))
    _, state = layer(spikes())
    state.rule.pre[0, 0] = torch.inf
    reference = copy.deepcopy(layer)
    reference.neuron.unroll = geir.reference
    torch.testing.assert_close(layer(spikes(), state), reference(spikes(), state), rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(layer.weight, reference.weight, rtol=0, atol=0, equal_nan=True)
    assert len(kernel_runs) == 1


def test_the_kernel_tells_autograd_that_it_changes_the_weight(kernel_runs):
    layer = layer_of(STDP(a_plus=0.02), geir.LIF(v_th=0.15))
    product = (layer.weight * layer.weight).sum()
    layer(spikes())
    assert kernel_runs
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.backward()


def test_names_of_values_are_no_words_of_the_template(kernel_runs):
    class Prepared(geir.LIF):
        """One of its constants has a name that the template uses too."""

        def prepare(self):
            return {"gate": self.v_th * 1, "i": self.tau_mem * 1}, super().prepare()

        def step(self, x, state, own, inner):
            return super().step(x * own["gate"] + 0 * own["i"], state, inner[0])

    assert assert_equals_the_loop(layer_of(STDP(a_plus=0.02), Prepared(v_th=0.3), bias=True), spikes())
    assert len(kernel_runs) == 2
