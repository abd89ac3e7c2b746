"""Rules of online learning against their definitions by autograd, and planted errors."""

import math
from functools import partial
from typing import NamedTuple

import pytest
import torch
from online_cases import (
    BATCH,
    build,
    connection,
    error,
    gradients,
    INPUTS,
    inputs,
    learn,
    loss_of,
    NEURONS,
    OUTPUTS,
    run,
)
from torch import nn

import geir
from geir.learning import Adaptive, DECOLLE, EProp, FiringRate, Online, OSTL, OTTT, Random, SLTT, Symmetric

SUBTRACTION = geir.ResetBySubtraction()
AFFINE = [
    geir.LIF(),
    geir.LIF(reset_mechanism=geir.ResetToValue(detach=False)),
    geir.LIF(tau_syn=10e-3, reset_mechanism=SUBTRACTION),
    geir.LIFBox(),
    geir.ALIF(),
    geir.neurons.AlphaLIF(),
    geir.neurons.ResonateAndFire(),
    geir.LI(),
]


class GatedState(NamedTuple):
    v: torch.Tensor
    i: torch.Tensor


def flow_step(neuron):
    """A step whose state does not depend on threshold and reset, going backward."""

    def step(x, state, *prepared):
        z, after = neuron.step(x, state, *prepared)
        flow = neuron.advance(x, state, *prepared)
        return z, type(flow)(*(f + (a - f).detach() for f, a in zip(flow, after, strict=True)))

    return step


def one_layer(neuron, xs, *readout):
    return geir.SequentialState(connection(neuron, xs), neuron, nn.Linear(NEURONS, OUTPUTS).double(), *readout)


@pytest.mark.parametrize("kind", AFFINE, ids=repr)
def test_ottt_equals_autograd_without_threshold_and_reset_in_time(kind):
    neuron, (xs, targets) = build(kind), inputs()
    model = one_layer(neuron, xs)
    zs = run(neuron, model[0](xs), step=flow_step(neuron))
    assert not neuron.spiking or zs.sum() > 10
    wanted = gradients(model, loss_of(model[2](zs), targets))
    assert error(learn(Online(model, OTTT()), xs, targets)[1], wanted) < 1e-10


def test_ottt_of_a_recurrent_layer_equals_autograd_with_detached_feedback():
    xs, targets = inputs()
    layer = geir.LIFRecurrent(INPUTS, NEURONS, autapses=True).double()
    layer.input_weights.data.copy_(connection(geir.LIF().double(), xs).weight)
    model = geir.SequentialState(layer, nn.Linear(NEURONS, OUTPUTS).double())
    plain = geir.LIF().double()
    currents = xs @ layer.input_weights.T
    zs = run(plain, currents, layer.recurrent_weights, detach_feedback=True, step=flow_step(plain))
    assert zs.sum() > 10
    wanted = gradients(model, loss_of(model[1](zs), targets))
    assert error(learn(Online(model, OTTT()), xs, targets)[1], wanted) < 1e-10


def test_ottt_equals_backpropagation_through_time_where_the_reset_is_by_subtraction():
    neuron, (xs, targets) = build(geir.LIF(reset_mechanism=SUBTRACTION)), inputs()
    model = one_layer(neuron, xs)
    wanted = gradients(model, loss_of(model[2](run(neuron, model[0](xs))), targets))
    # The height of the reset is not a part of the flow.
    wanted = {name: value for name, value in wanted.items() if name not in ("1.v_th", "1.v_reset")}
    for rule, low, high in ((OTTT(), 0.0, 1e-10), (SLTT(), 1e-2, math.inf)):
        grads = learn(Online(model, rule), xs, targets)[1]
        assert low <= error({name: grads[name] for name in wanted}, wanted) < high


def deep(*readout):
    xs, targets = inputs()
    first, second = build(geir.LIF()), build(geir.ALIF())
    lower = connection(first, xs)
    upper = connection(second, run(first, lower(xs)).detach())
    return (
        geir.SequentialState(lower, first, upper, second, nn.Linear(NEURONS, OUTPUTS).double(), *readout),
        xs,
        targets,
    )


def test_decolle_equals_autograd_of_the_local_losses():
    model, xs, targets = deep()
    model = model[:4]
    learner = Online(model, DECOLLE(outputs=OUTPUTS))
    lower, first, upper, second = model
    zs = run(first, lower(xs), step=flow_step(first))
    top = run(second, upper(zs.detach()), step=flow_step(second))
    assert zs.sum() > 10
    assert top.sum() > 10
    ys = [zs @ learner.readout_0.T, top @ learner.readout_1.T]
    wanted = gradients(model, sum(loss_of(y, targets) for y in ys))
    state = None
    for k, (x, target) in enumerate(zip(xs, targets, strict=True)):
        outputs, state = learner(x, state)
        torch.testing.assert_close(outputs, [y[k] for y in ys])
        sum(loss_of(y, target) for y in outputs).backward()
    assert error({name: p.grad for name, p in model.named_parameters()}, wanted) < 1e-10


@pytest.mark.parametrize("readout", [[], [geir.LI().double()]], ids=["Linear", "LI"])
@pytest.mark.parametrize("feedback", [Random(), Adaptive()], ids=repr)
def test_feedback_weights_take_the_place_of_readout_weights(feedback, readout):
    model, xs, targets = deep(*readout)
    learner = Online(model, EProp(feedback))
    lower, first, upper, second, linear, *_ = model
    leak = (lambda ys: run(readout[0], ys)) if readout else (lambda ys: ys)
    zs = run(first, lower(xs))
    top = run(second, upper(zs.detach()))
    ys = leak(linear(top))
    signal = (ys - targets).detach()  # the gradient of the loss by the output
    wanted = gradients(linear, (signal * ys).sum())
    wanted = {f"4.{name}": value for name, value in wanted.items()}
    for outputs, layers in ((zs, "01"), (top, "23")):
        through = leak(outputs @ getattr(learner, f"feedback_{int(layers[0]) // 2}").detach().T)
        found = gradients(model, (signal * through).sum())
        wanted |= {name: value for name, value in found.items() if name[0] in layers}
    actual = learn(learner, xs, targets)[1]
    assert error(actual, wanted) < 1e-10
    if isinstance(feedback, Adaptive):
        torch.testing.assert_close(learner.feedback_1.grad, model[4].weight.grad)
        assert learner.feedback_0.grad.abs().max() > 0
    else:
        assert not any("feedback" in name for name, _ in learner.named_parameters())
        assert "feedback_1" in learner.state_dict()


def test_symmetric_feedback_is_that_of_feedback_weights_equal_to_readout_weights():
    neuron, (xs, targets) = build(geir.LIF()), inputs()
    model = one_layer(neuron, xs, geir.LI().double())
    symmetric = {name: grad.clone() for name, grad in learn(Online(model, EProp(Symmetric())), xs, targets)[1].items()}
    learner = Online(model, EProp(Random()))
    learner.feedback_0.copy_(model[2].weight.detach())
    assert error(learn(learner, xs, targets)[1], symmetric) < 1e-12


@pytest.mark.parametrize("readout", [[], [geir.LI().double()]], ids=["Linear", "LI"])
@pytest.mark.parametrize("rule", [EProp, OSTL, OTTT, SLTT], ids=lambda rule: rule.__name__)
def test_the_penalty_on_firing_rates_adds_its_learning_signal(rule, readout):
    neuron, (xs, targets) = build(geir.LIF(reset_mechanism=SUBTRACTION)), inputs()
    model = one_layer(neuron, xs, *readout)
    plain = {name: grad.clone() for name, grad in learn(Online(model, rule()), xs, targets)[1].items()}
    penalty = FiringRate(target=20.0, strength=0.3, tau=0.01)
    grads = learn(Online(model, rule(firing_rate=penalty)), xs, targets)[1]
    zs = run(neuron, model[0](xs), detach_state=rule is SLTT, step=flow_step(neuron) if rule is OTTT else None)
    rate, total, decay = torch.full_like(zs[0], 20.0), 0.0, math.exp(-neuron.dt / 0.01)
    for z in zs:
        rate = decay * rate + (1 - decay) * z.detach() / neuron.dt
        total = total + (0.3 / BATCH * (rate - 20.0) * z).sum()
    added = gradients(model, total)
    assert added["0.weight"].abs().max() > 0
    assert error(grads, {name: plain[name] + value for name, value in added.items()}) < 1e-10


def alif_with_readout():
    xs, targets = inputs()
    return one_layer(build(geir.ALIF()), xs, geir.LI().double()), xs, targets


@pytest.mark.parametrize("rule", [EProp(), OTTT()], ids=repr)
def test_without_a_compiler_gradients_are_the_same(monkeypatch, rule):
    from geir._runtime import eligibility

    model, xs, targets = alif_with_readout()
    compiled = {name: grad.clone() for name, grad in learn(Online(model, rule), xs, targets)[1].items()}
    monkeypatch.setattr(eligibility, "_library", lambda dtype: None)
    assert error(learn(Online(model, rule), xs, targets)[1], compiled) < 1e-12


def test_traces_that_are_the_same_for_all_neurons_are_stored_once_and_change_nothing(monkeypatch):
    from geir.learning import _advance

    model, xs, targets = alif_with_readout()
    _, grads, state = learn(Online(model, EProp()), xs, targets)
    grads = {name: grad.clone() for name, grad in grads.items()}
    # Potential, adaptation and the readout's two parts; the current does not depend on the neuron.
    assert state[0].traces.weights.shape == (4, BATCH, NEURONS, INPUTS + 1)
    assert state[0].traces.shared.shape == (1, BATCH, INPUTS + 1)
    monkeypatch.setattr(_advance, "shared_parts", lambda *_: [])
    _, apart, state = learn(Online(model, EProp()), xs, targets)
    assert state[0].traces.weights.shape == (5, BATCH, NEURONS, INPUTS + 1)
    assert error(apart, grads) < 1e-12


class Gated(geir.Neuron[GatedState]):
    """Every part is linear in itself where no gate is closed, which the first steps do not show."""

    fault: str = "none"

    def rest(self):
        return GatedState(v=torch.zeros(()), i=torch.zeros(()))

    def step(self, x, state):
        i = 0.8 * state.i + x
        if self.fault == "condition":
            i = torch.where(state.v > 0.5, 0.5 * i, i)
        if self.fault == "detached spike":
            i = i * (1 - (state.v > 0.5).to(i.dtype))
        if self.fault == "in place":
            i[state.v > 0.5] *= 0.5
        if self.fault == "own numbers":
            i = i * torch.linspace(0.5, 1, i.shape[-1], dtype=i.dtype)
        v = 0.9 * state.v + 0.1 * i
        z = self.surrogate(v - 1)
        return z, GatedState(v=v * (1 - z), i=i)


@pytest.mark.parametrize("fault", ["none", "condition", "detached spike", "in place", "own numbers"])
def test_traces_are_shared_only_where_no_gate_of_the_step_can_tell_neurons_apart(fault):
    xs, targets = inputs()
    neuron = Gated(fault=fault, unroll=geir.reference).double()
    model = one_layer(neuron, xs)
    wanted = gradients(model, loss_of(model[2](run(neuron, model[0](xs))), targets))
    _, grads, state = learn(Online(model, EProp()), xs, targets)
    assert error(grads, wanted) < 1e-10
    assert len(state[0].traces.shared) == (1 if fault == "none" else 0)


def test_a_neuron_that_changes_during_a_run_is_refused_where_traces_are_shared():
    xs, _ = inputs()
    model, state = one_layer(Gated().double(), xs), None
    learner = Online(model, EProp())
    _, state = learner(xs[0], state)
    model[1].fault = "own numbers"
    with pytest.raises(TypeError, match="module 1, Gated: .* has changed since the run began"):
        learner(xs[1], state)


def replace_tensor(readout):
    readout.tau_mem = 3.0 * readout.tau_mem


READOUT_CHANGES = {
    "in place": lambda readout: readout.tau_mem.mul_(3.0),
    "data": lambda readout: readout.tau_mem.data.mul_(3.0),
    "NumPy": lambda readout: readout.tau_mem.numpy().__imul__(3.0),
    "another tensor": replace_tensor,
    "state dictionary": lambda readout: readout.load_state_dict({"tau_mem": torch.tensor(0.03)}, strict=False),
    "step size": lambda readout: setattr(readout, "dt", 3e-3),
    "integrator": lambda readout: setattr(readout, "integrator", geir.Euler()),
    "step": lambda readout: setattr(readout, "step", partial(strange_step, readout.step)),
}


def strange_step(step, x, state, *prepared):
    v, after = step(x, state, *prepared)
    return 3 * v, after


@pytest.mark.parametrize("change", READOUT_CHANGES.values(), ids=READOUT_CHANGES)
def test_a_readout_may_change_between_steps(change):
    xs, targets = inputs()
    model = alif_with_readout()[0]
    learner, fresh, grads = Online(model, EProp()), Online(model, EProp()), []
    _, state = learner(xs[0])
    before = learner._readout[1]
    with torch.no_grad():
        change(model[3])
    for each in (learner, fresh):
        model.zero_grad()
        y, _ = each(xs[1], state)
        loss_of(y, targets[1]).backward()
        grads.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert grads[0]["0.weight"].abs().max() > 0
    assert error(*grads) < 1e-12
    assert any((a - b).abs().max() > 1e-3 for a, b in zip(before, fresh._readout[1], strict=True)), "nothing changed"


# Planted errors: each must be seen by the comparison with autograd.


def comparison(model, xs, targets):
    """The error of online gradients of one layer."""
    layer = model[0]
    if isinstance(layer, geir.RecurrentMixin):
        zs = run(layer.neuron, xs @ layer.input_weights.T, layer.recurrent_weights, detach_feedback=True)
        wanted = gradients(model, loss_of(model[1](zs), targets))
    else:
        wanted = gradients(model, loss_of(model[2](run(model[1], model[0](xs))), targets))
    return error(learn(Online(model, EProp()), xs, targets)[1], wanted)


def alif():
    xs, targets = inputs()
    return one_layer(build(geir.ALIF()), xs), xs, targets


def recurrent():
    xs, targets = inputs()
    neuron = geir.LIF().double()
    weights = connection(neuron, xs).weight.detach()
    layer = geir.Recurrent(neuron, INPUTS, NEURONS, autapses=True, input_weights=weights).double()
    return geir.SequentialState(layer, nn.Linear(NEURONS, OUTPUTS).double()), xs, targets


def test_a_trace_one_step_early_is_seen(monkeypatch):
    from geir.learning._traces import Synaptic, Traces

    right = Synaptic.step

    def early(self, step, traces):
        _, after = right(self, step, traces)
        saved, _ = right(self, step, Traces(after.weights, after.shared, traces.parameters))
        return saved, after

    case = alif()
    assert comparison(*case) < 1e-10
    monkeypatch.setattr(Synaptic, "step", early)
    assert comparison(*case) > 1e-2


@pytest.mark.parametrize("planted", ["same step", "two steps ago"])
def test_feedback_with_another_delay_is_seen(monkeypatch, planted):
    from geir.learning._model import Layer

    right, seen = Layer.drive, []

    def two_steps_ago(self, x, z):
        seen.append(z)
        return right(self, x, None if z is None else seen[max(0, len(seen) - 2)])

    case = recurrent()
    assert comparison(*case) < 1e-10
    if planted == "same step":
        from geir.learning import _advance

        attach = _advance.AttachLayer.apply

        def same_step(signals, z, own, drive, own_drive, plain, filtered, penalty, saved, *tensors):
            traces, shared, _, parameter_traces = saved
            late = torch.cat([drive[..., :-NEURONS].detach(), z], -1)
            saved = traces, shared, late, parameter_traces
            return attach(signals, z, own, drive, own_drive, plain, filtered, penalty, saved, *tensors)

        monkeypatch.setattr(_advance.AttachLayer, "apply", staticmethod(same_step))
    else:
        monkeypatch.setattr(Layer, "drive", two_steps_ago)
    assert comparison(*case) > 1e-2


def test_a_transposed_jacobian_is_seen(monkeypatch):
    from geir.learning import _advance

    right = _advance.linearize

    def transposed(*arguments, **keywords):
        result = right(*arguments, **keywords)
        return result._replace(slopes=result.slopes._replace(J=result.slopes.J.transpose(0, 1)))

    case = alif()
    assert comparison(*case) < 1e-10
    monkeypatch.setattr(_advance, "linearize", transposed)
    # A transposed matrix does not have the shared traces that the neuron has.
    monkeypatch.setattr(_advance, "shared_parts", lambda *_: [])
    assert comparison(*case) > 1e-2


@pytest.mark.parametrize("detach", [False, True])
def test_a_reset_that_is_detached_or_not_makes_another_gradient(detach):
    xs, targets = inputs()
    neuron, other = (
        build(geir.LIF(reset_mechanism=geir.ResetToValue(detach=d), surrogate=geir.surrogates.SuperSpike(alpha=10.0)))
        for d in (detach, not detach)
    )
    model = one_layer(neuron, xs)
    assert comparison(model, xs, targets) < 1e-10
    planted = geir.SequentialState(model[0], other, model[2])
    assert (
        error(
            learn(Online(planted, EProp()), xs, targets)[1],
            gradients(model, loss_of(model[2](run(neuron, model[0](xs))), targets)),
        )
        > 1e-2
    )
