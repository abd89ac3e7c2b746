"""Delays of neurons and of synapses, against shifted input and a loop over synapses."""

import copy
import functools
import pickle

import pytest
import torch
from connection_cases import assert_close, DOUBLE
from torch import nn
from torch.func import functional_call, vmap
from torch.nn import functional

import geir
from geir.connections import (
    Delay,
    DelayCell,
    DelayedLinear,
    DelayedLinearCell,
    GaussianInterpolation,
    LinearInterpolation,
    NearestStep,
)

DIFFERENTIABLE = pytest.mark.parametrize(
    "interpolation", [LinearInterpolation(), GaussianInterpolation(1e-3)], ids=repr
)


class TestDelay:
    DELAYS = torch.tensor([0.0, 1e-3, 2.5e-3, 4e-3, 3.2e-3], dtype=DOUBLE)

    def test_each_neuron_is_shifted_by_its_own_delay(self):
        xs = torch.rand(20, 3, 5, dtype=DOUBLE)
        ys, _ = Delay(delay=self.DELAYS)(xs)
        padded = torch.cat([torch.zeros(5, 3, 5, dtype=DOUBLE), xs])
        for n, (steps, fraction) in enumerate([(0, 0.0), (1, 0.0), (2, 0.5), (4, 0.0), (3, 0.2)]):
            before, after = padded[5 - steps :, :, n][:20], padded[4 - steps :, :, n][:20]
            assert_close(ys[:, :, n], (1 - fraction) * before + fraction * after)

    def test_delays_of_whole_steps_are_exact_in_float32(self):
        xs = torch.rand(100, 1)
        for steps in range(60):
            ys, _ = Delay(delay=steps * 1e-3)(xs)
            assert torch.equal(ys[steps:], xs[: len(xs) - steps])
            assert not ys[:steps].any()

    @DIFFERENTIABLE
    def test_gradients_agree_with_finite_differences(self, interpolation):
        delay = Delay(delay=nn.Parameter(self.DELAYS + 0.3e-3), max_delay=6e-3, interpolation=interpolation).double()
        xs = torch.rand(8, 2, 5, dtype=DOUBLE, requires_grad=True)
        # Delays are varied in units of steps; a finite difference in seconds would be larger than a step.
        steps = (1e3 * delay.delay.detach()).requires_grad_()

        def outputs(xs, steps):
            ys, state = functional_call(delay, {"delay": 1e-3 * steps}, (xs,))
            return ys, state.past

        assert torch.autograd.gradcheck(outputs, (xs, steps))

    def test_a_delay_is_learned(self):
        xs = torch.sin(torch.arange(200) * 0.05)[:, None]
        expected, _ = Delay(delay=7e-3)(xs)
        delay = Delay(delay=geir.learnable(2e-3), max_delay=20e-3)
        optimizer = torch.optim.Adam(delay.parameters(), lr=0.05)
        for _ in range(100):
            optimizer.zero_grad()
            functional.mse_loss(delay(xs)[0], expected).backward()
            optimizer.step()
        assert delay.delay.item() == pytest.approx(7e-3, rel=0.02)

    def test_a_delay_that_leaves_the_buffer_is_clamped_and_keeps_its_gradient(self):
        xs = torch.rand(20, 3)
        delay = Delay(delay=nn.Parameter(torch.tensor([5e-3, 1e-3, 1e-3])))
        with torch.no_grad():
            delay.delay.copy_(torch.tensor([9e-3, -2e-3, 1e-3]))
        ys, _ = delay(xs)
        assert_close(ys[5:, 0], xs[:-5, 0])
        assert_close(ys[:, 1], xs[:, 1])
        ys.sum().backward()
        assert (delay.delay.grad != 0).all()


def random_delayed_linear(interpolation):
    delays = geir.learnable(torch.rand(4, 3, dtype=DOUBLE) * 6e-3 + 1e-4)
    return DelayedLinear(3, 4, delay=delays, max_delay=7e-3, interpolation=interpolation).double()


class TestDelayedLinear:
    def synapse_by_synapse(self, layer, xs):
        ys = layer.bias.expand(*xs.shape[:-1], 4).clone()
        for k in range(4):
            for j in range(3):
                synapse = Delay(
                    delay=layer.delay[k, j].detach(), max_delay=layer.max_delay, interpolation=layer.interpolation
                )
                ys[..., k] = ys[..., k] + layer.weight[k, j] * synapse(xs[..., j])[0]
        return ys

    @pytest.mark.parametrize(
        "interpolation", [LinearInterpolation(), GaussianInterpolation(2e-3), NearestStep()], ids=repr
    )
    def test_each_synapse_has_a_delay_and_a_weight(self, interpolation):
        layer, xs = random_delayed_linear(interpolation), torch.rand(20, 2, 3, dtype=DOUBLE)
        assert_close(layer(xs)[0], self.synapse_by_synapse(layer, xs))

    def test_it_is_linear_without_delays(self):
        layer, xs = DelayedLinear(3, 4), torch.rand(20, 2, 3)
        assert_close(layer(xs)[0], functional.linear(xs, layer.weight, layer.bias), 1e-6)

    @DIFFERENTIABLE
    def test_gradients_agree_with_finite_differences(self, interpolation):
        layer, xs = random_delayed_linear(interpolation), torch.rand(8, 2, 3, dtype=DOUBLE, requires_grad=True)
        names = [name for name, _ in layer.named_parameters()]
        assert names == ["log_delay", "weight", "bias"]

        def outputs(xs, *values):
            ys, state = functional_call(layer, dict(zip(names, values, strict=True)), (xs,))
            return ys, state.past

        assert torch.autograd.gradcheck(outputs, (xs, *layer.parameters()))

    @pytest.mark.parametrize("shape", [(), (3,), (4, 1)], ids=["one for all", "one per input", "one per output"])
    def test_synapses_can_share_delays(self, shape):
        delays = torch.rand(shape, dtype=DOUBLE) * 5e-3
        shared, xs = DelayedLinear(3, 4, delay=delays).double(), torch.rand(20, 2, 3, dtype=DOUBLE)
        expanded = DelayedLinear(3, 4, delay=delays.expand(4, 3), max_delay=shared.max_delay).double()
        expanded.load_state_dict(shared.state_dict() | {"delay": delays.expand(4, 3)})
        assert_close(expanded(xs)[0], shared(xs)[0])

    def test_the_bias_is_optional(self):
        assert DelayedLinear(3, 4, bias=False).bias is None
        assert set(DelayedLinear(3, 4).state_dict()) == {"delay", "weight", "bias"}
        assert DelayedLinear(3, 4, bias=False)(torch.zeros(5, 3))[0].eq(0).all()


SETTINGS = {"delay": torch.tensor([0.0, 2.3e-3, 5e-3], dtype=DOUBLE), "max_delay": 8e-3}


@pytest.mark.parametrize(
    ("layer", "cell"),
    [(Delay, DelayCell), (functools.partial(DelayedLinear, 3, 4), functools.partial(DelayedLinearCell, 3, 4))],
    ids=["Delay", "DelayedLinear"],
)
class TestDelayedStreams:
    XS = torch.rand(20, 2, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))

    @pytest.mark.parametrize("parts", [(10, 10), (3, 17), (1, 1, 18), (0, 20)])
    def test_a_run_in_parts_equals_one_run(self, layer, cell, parts):
        model = layer(**SETTINGS).double()
        expected, last = model(self.XS)
        outputs, state = [], None
        for xs in self.XS.split(parts):
            ys, state = model(xs, state)
            outputs.append(ys)
        assert_close(torch.cat(outputs), expected)
        assert torch.equal(state.past, last.past)

    def test_a_cell_is_one_step(self, layer, cell):
        model, one_step = layer(**SETTINGS).double(), cell(**SETTINGS).double()
        one_step.load_state_dict(model.state_dict())
        outputs, state = [], None
        for x in self.XS:
            y, state = one_step(x, state)
            outputs.append(y)
        assert_close((torch.stack(outputs), state), model(self.XS))

    def test_containers_pass_its_state_on(self, layer, cell):
        model = geir.SequentialState(layer(**SETTINGS), geir.LIF(v_th=0.01)).double()
        expected, _ = model(self.XS)
        first, state = model(self.XS[:9])
        second, _ = model(self.XS[9:], state)
        assert expected.sum() > 3
        assert_close(torch.cat([first, second]), expected)
        assert_close(nn.Sequential(*model)(self.XS)[0], expected)

    def test_it_can_be_copied_transformed_and_compiled_and_does_not_change(self, layer, cell):
        model = layer(**SETTINGS).double()
        before, expected = copy.deepcopy(model.state_dict()), model(self.XS)
        for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
            assert_close(twin(self.XS), expected)
        assert_close(functional_call(model, dict(model.state_dict()), (self.XS,)), expected)
        assert_close(vmap(model, in_dims=1, out_dims=1)(self.XS), expected)
        torch.compiler.reset()
        assert_close(torch.compile(model, fullgraph=True, backend="aot_eager")(self.XS), expected)
        assert_close(dict(model.state_dict()), dict(before))

    def test_it_accepts_no_steps_and_input_without_a_batch(self, layer, cell):
        model = layer(**SETTINGS).double()
        ys, state = model(self.XS[:0])
        assert ys.shape[0] == 0
        assert not state.past.any()
        assert_close(model(self.XS[:, 0])[0], model(self.XS)[0][:, 0])


XS = torch.rand(10, 4, 3, generator=torch.Generator().manual_seed(0))
INVALID = {
    "a delay longer than the buffer": (
        lambda: Delay(delay=6e-3, max_delay=5e-3),
        ValueError,
        "Delay.delay must be <= max_delay = 0.005 s, the length of the buffer, got 0.006",
    ),
    "a learnable delay longer than the buffer": (
        lambda: DelayedLinear(3, 4, delay=geir.learnable(torch.full((4, 3), 9e-3)), max_delay=5e-3),
        ValueError,
        "DelayedLinear.delay must be <= max_delay = 0.005 s",
    ),
    "a delay set longer than the buffer": (
        lambda: setattr(Delay(delay=1e-3), "delay", 2e-3),
        ValueError,
        "must be <= max_delay = 0.001 s",
    ),
    "a loaded delay longer than the buffer": (
        lambda: Delay(delay=1e-3).load_state_dict({"delay": torch.tensor(2e-3)}),
        ValueError,
        "must be <= max_delay = 0.001 s",
    ),
    "a negative delay": (lambda: Delay(delay=-1e-3), ValueError, r"Delay.delay must be >= 0.0 s, got -0.001"),
    "a negative buffer": (
        lambda: Delay(max_delay=-1e-3),
        ValueError,
        "Delay.max_delay must be a number of seconds >= 0, got -0.001",
    ),
    "a step size of zero": (
        lambda: Delay(dt=0.0),
        ValueError,
        "Delay.dt must be a positive number of seconds, got 0.0",
    ),
    "a string as interpolation": (
        lambda: Delay(interpolation="dcls"),
        TypeError,
        "Delay.interpolation must be of type Interpolation",
    ),
    "delays of other neurons": (
        lambda: Delay(delay=torch.ones(7) * 1e-3)(XS),
        ValueError,
        r"Delay.delay has shape \(7,\), which does not broadcast to one step of input, \(4, 3\)",
    ),
    "delays of other weights": (
        lambda: DelayedLinear(3, 4, delay=torch.ones(4) * 1e-3),
        ValueError,
        r"DelayedLinear.delay has shape \(4,\), which does not broadcast to the weights, \(4, 3\)",
    ),
    "zero inputs": (
        lambda: DelayedLinear(0, 4),
        ValueError,
        "DelayedLinear.in_features must be a positive number of inputs, got 0",
    ),
    "a tensor as bias": (
        lambda: DelayedLinear(3, 4, bias=torch.zeros(4)),
        TypeError,
        "DelayedLinear.bias must be True or False, got a tensor",
    ),
    "input without time": (
        lambda: Delay()(torch.tensor(1.0)),
        ValueError,
        r"Delay runs over time: expected input of shape \(time, ...\)",
    ),
    "integer input": (
        lambda: Delay()(torch.ones(3, 4, dtype=torch.int64)),
        TypeError,
        "Delay expected floating-point input, got torch.int64",
    ),
    "a list as input": (lambda: DelayCell()([1.0]), TypeError, "DelayCell expected a tensor, got list"),
    "another number of inputs": (
        lambda: DelayedLinear(5, 4)(XS),
        ValueError,
        r"DelayedLinear takes 5 inputs in the last dimension, got one step of shape \(4, 3\)",
    ),
    "a past of another shape": (
        lambda: Delay(delay=2e-3)(XS[:, :2], Delay(delay=2e-3)(XS)[1]),
        ValueError,
        r"DelayState.past must have shape \(2, 2, 3\) and dtype torch.float32 to match the input, got \(2, 4, 3\)",
    ),
    "the state of another model": (
        lambda: Delay(delay=2e-3)(XS, geir.LIF()(XS)[1]),
        TypeError,
        "Delay expected a DelayState as its state, got LIFState",
    ),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_delays_and_input_are_rejected(case):
    call, error, message = INVALID[case]
    with pytest.raises(error, match=message):
        call()
