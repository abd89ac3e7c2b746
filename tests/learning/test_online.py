"""Online gradients equal those of autograd, for every elementwise neuron and its parameters."""

import pytest
import torch
from online_cases import (
    BATCH,
    build,
    connection,
    ELEMENTWISE,
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
from geir.learning import EProp, Online, OSTL, SLTT

every_neuron = pytest.mark.parametrize("kind", ELEMENTWISE, ids=repr)


def assert_spikes(neuron, zs):
    assert not neuron.spiking or zs.sum() > 10, "the input is too weak for this test to see a spike"


@pytest.mark.parametrize("rule", [EProp(), SLTT()], ids=repr)
@every_neuron
def test_gradients_of_one_layer_equal_autograd(kind, rule):
    neuron, (xs, targets) = build(kind), inputs(kind)
    model = geir.SequentialState(connection(neuron, xs), neuron, nn.Linear(NEURONS, OUTPUTS).double())
    zs = run(neuron, model[0](xs), detach_state=rule == SLTT())
    assert_spikes(neuron, zs)
    wanted = gradients(model, loss_of(model[2](zs), targets))
    ys, grads, _ = learn(Online(model, rule), xs, targets)
    torch.testing.assert_close(ys, model[2](zs).detach(), rtol=1e-12, atol=1e-12)
    assert error(grads, wanted) < 1e-10


@every_neuron
def test_gradients_through_a_leaky_readout_equal_backpropagation_through_time(kind):
    neuron, (xs, targets) = build(kind), inputs(kind)
    readout = geir.LI(tau_mem=geir.learnable(15e-3), tau_syn=geir.learnable(4e-3), v_rest=geir.learnable(0.1)).double()
    model = geir.SequentialState(connection(neuron, xs), neuron, nn.Linear(NEURONS, OUTPUTS).double(), readout)
    zs = run(neuron, model[0](xs))
    assert_spikes(neuron, zs)
    wanted = gradients(model, loss_of(run(readout, model[2](zs)), targets))
    assert error(learn(Online(model, OSTL()), xs, targets)[1], wanted) < 1e-10


def recurrent_model(kind, xs):
    neuron = build(kind)
    linear = connection(neuron, xs)
    weights = 0.5 * linear.weight.abs().mean() * torch.randn(NEURONS, NEURONS, dtype=torch.float64)
    layer = geir.Recurrent(neuron, INPUTS, NEURONS, input_weights=linear, recurrent_weights=weights).double()
    return geir.SequentialState(layer, nn.Linear(NEURONS, OUTPUTS).double(), geir.LI(tau_mem=15e-3).double())


def unrolled(model, xs, detach_feedback):
    layer, linear, readout = model
    weights = layer.recurrent_weights * (1 - torch.eye(NEURONS))
    zs = run(layer.neuron, layer.input_weights(xs), weights, detach_feedback=detach_feedback)
    assert_spikes(layer, zs)
    return run(readout, linear(zs))


@every_neuron
def test_eprop_of_recurrent_neurons_equals_autograd_with_detached_feedback(kind):
    xs, targets = inputs(kind)
    model = recurrent_model(kind, xs)
    ys = unrolled(model, xs, detach_feedback=True)
    torch.testing.assert_close(ys, geir.Lift(_cells(model))(xs)[0], rtol=1e-9, atol=1e-9)
    wanted = gradients(model, loss_of(ys, targets))
    assert wanted["0.recurrent_weights"].abs().max() > 0
    assert error(learn(Online(model, EProp()), xs, targets)[1], wanted) < 1e-10


def _cells(model):
    """The same network, run by the library."""

    class Cells(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x, state=None):
            layer, linear, readout = self.model
            first, last = (None, None) if state is None else state
            zs, first = layer(x[None], first)
            ys, last = readout(linear(zs), last)
            return ys[0], (first, last)

    return Cells()


@every_neuron
def test_ostl_of_recurrent_neurons_equals_backpropagation_through_time(kind):
    xs, targets = inputs(kind)
    model = recurrent_model(kind, xs)
    wanted = gradients(model, loss_of(unrolled(model, xs, detach_feedback=False), targets))
    assert error(learn(Online(model, OSTL()), xs, targets)[1], wanted) < 1e-10


def lif_recurrent(**settings):
    wide = geir.surrogates.SuperSpike(alpha=10.0)
    return geir.LIFRecurrent(INPUTS, NEURONS, tau_mem=geir.learnable(0.01), surrogate=wide, **settings).double()


@pytest.mark.parametrize("autapses", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_weights_of_a_recurrent_layer_may_be_modules_with_bias(autapses, bias):
    xs, targets = inputs()
    linear = connection(geir.LIF().double(), xs)
    modules = {"input_weights": linear, "recurrent_weights": nn.Linear(NEURONS, NEURONS)} if bias else {}
    layer = lif_recurrent(autapses=autapses, **modules)
    if not bias:
        layer.input_weights.data.copy_(linear.weight)
    model = geir.SequentialState(layer, nn.Linear(NEURONS, OUTPUTS).double())
    ys, _ = geir.SequentialState(layer, geir.Lift(model[1]))(xs)
    full = gradients(model, loss_of(ys, targets))
    assert error(learn(Online(model, OSTL()), xs, targets)[1], full) < 1e-10
    beside = error(learn(Online(model, EProp()), xs, targets)[1], full)
    assert beside > 1e-3, "without feedback in the derivative the gradient must be another one"
    if not bias and not autapses:
        assert model[0].recurrent_weights.grad.diagonal().abs().max() == 0


def two_layers(readout=None):
    xs, targets = inputs()
    first, second = build(geir.ALIF()), build(geir.LIF())
    lower = connection(first, xs)
    upper = connection(second, run(first, lower(xs)).detach())
    after = [] if readout is None else [readout]
    return geir.SequentialState(lower, first, upper, second, nn.Linear(NEURONS, OUTPUTS).double(), *after), xs, targets


@pytest.mark.parametrize("rule", [OSTL(), EProp()], ids=repr)
@pytest.mark.parametrize("readout", [None, geir.LI().double()], ids=["Linear", "LI"])
def test_lower_layers_learn_by_the_gradient_of_the_same_step(rule, readout):
    model, xs, targets = two_layers(readout)
    lower, first, upper, second, linear, *_ = model

    def outputs(zs, detach_state=False):
        ys = linear(run(second, upper(zs), detach_state=detach_state))
        return ys if readout is None else run(readout, ys, detach_state=detach_state)

    zs = run(first, lower(xs))
    assert outputs(zs).abs().sum() > 0
    wanted = gradients(model, loss_of(outputs(zs), targets))
    instant = gradients(model, loss_of(outputs(zs, detach_state=True), targets))
    if readout is not None:  # the error is that of the output, whose value does not depend on what is detached
        assert torch.allclose(outputs(zs), outputs(zs, detach_state=True))
    wanted |= {name: value for name, value in instant.items() if name[0] in "01"}
    assert error(learn(Online(model, rule), xs, targets)[1], wanted) < 1e-10


def test_a_state_continues_a_run_and_its_batch_may_have_several_dimensions():
    xs, targets = inputs()
    model, learner = two_layers(geir.LI().double())[0], None
    learner = Online(model, EProp())
    _, grads, _ = learn(learner, xs, targets)
    folded = {name: grad.clone() for name, grad in grads.items()}
    wide, _, _ = learn(learner, xs[:, :, None], targets[:, :, None])
    assert wide.shape == (len(xs), BATCH, 1, OUTPUTS)
    assert error(dict(learn(learner, xs[:, :, None], targets[:, :, None])[1]), folded) < 1e-12


def test_output_and_spikes_are_those_of_the_model_to_the_bit():
    torch.manual_seed(1)
    xs = (torch.rand(100, 4, INPUTS) < 0.3).float()
    for neuron in (geir.LIF(), geir.ALIF(), geir.LIFRecurrent(NEURONS, NEURONS)):
        model = geir.SequentialState(nn.Linear(INPUTS, NEURONS), geir.LIF(v_th=0.05))
        if isinstance(neuron, geir.RecurrentMixin):
            model = geir.SequentialState(geir.LIFRecurrent(INPUTS, NEURONS, v_th=0.05))
        learner, state = Online(model, EProp()), None
        cells = [m for m in model if not isinstance(m, nn.Linear)]
        cells[0].unroll = geir.reference
        expected, _ = geir.SequentialState(*[geir.Lift(m) if isinstance(m, nn.Linear) else m for m in model])(xs)
        assert expected.sum() > 10
        for x, y in zip(xs, expected, strict=True):
            z, state = learner(x, state)
            assert torch.equal(z, y)


def test_the_network_learns_with_an_optimizer_at_every_step():
    torch.manual_seed(0)
    # Two samples with different active inputs.
    rates = torch.stack([torch.cat([torch.ones(10), torch.zeros(10)]), torch.cat([torch.zeros(10), torch.ones(10)])])
    xs = (torch.rand(50, 2, 20) < 0.2 * rates).float()
    target = torch.tensor([[1.0], [-1.0]])
    model = geir.SequentialState(
        geir.Lift(nn.Linear(20, 60)),
        geir.LIF(surrogate=geir.surrogates.SuperSpike(alpha=10.0)),
        geir.Lift(nn.Linear(60, 1)),
        geir.LI(tau_mem=20e-3),
    )
    model[0].module.weight.data.mul_(6)
    # The readout stays random, so that only the hidden layer learns.
    model[2].module.weight.requires_grad_(False).mul_(4)
    learner = geir.learning.Online(model, geir.learning.EProp())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(6):
        state, losses = None, [*losses, 0.0]
        for x in xs:
            y, state = learner(x, state)
            loss = nn.functional.mse_loss(y, target)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses[-1] += loss.item() / len(xs)
    assert losses[-1] < 0.4, f"silence gives 1, got {losses}"
