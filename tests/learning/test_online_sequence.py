"""The offline form of e-prop: gradients of a whole sequence equal the sum of those of its steps."""

import pytest
import torch
from online_cases import BATCH, build, connection, ELEMENTWISE, error, INPUTS, inputs, learn, loss_of, NEURONS, OUTPUTS
from torch import nn

import geir
from geir.learning import Adaptive, EProp, FiringRate, Online, OSTL, Random

every_neuron = pytest.mark.parametrize("kind", ELEMENTWISE, ids=repr)


def offline(learner, xs, targets):
    """Outputs and gradients, as `learn` returns them."""
    learner.zero_grad()
    ys = learner.sequence(xs)
    loss_of(ys, targets).backward()
    return ys.detach(), {name: p.grad.clone() for name, p in learner.named_parameters() if p.grad is not None}


def assert_equal_online(learner, xs, targets):
    ys, grads = offline(learner, xs, targets)
    online, _, _ = learn(learner, xs, targets)
    wanted = {name: p.grad for name, p in learner.named_parameters() if p.grad is not None}
    torch.testing.assert_close(ys, online, rtol=1e-9, atol=1e-9)
    assert wanted["model.0.weight" if "model.0.weight" in wanted else "model.0.input_weights.weight"].any()
    assert error(grads, wanted) < 1e-10


@every_neuron
def test_gradients_of_every_neuron_equal_those_of_its_steps(kind):
    xs, targets = inputs(kind)
    neuron = build(kind)
    linear = connection(neuron, xs)
    weights = 0.5 * linear.weight.abs().mean() * torch.randn(NEURONS, NEURONS, dtype=torch.float64)
    layer = geir.Recurrent(neuron, INPUTS, NEURONS, input_weights=linear, recurrent_weights=weights).double()
    model = geir.SequentialState(layer, nn.Linear(NEURONS, OUTPUTS).double(), geir.LI(tau_mem=15e-3).double())
    assert_equal_online(Online(model, EProp()), xs, targets)


def two_layers(*readout):
    xs, targets = inputs()
    first, second = build(geir.ALIF()), build(geir.LIF())
    lower = connection(first, xs)
    upper = connection(second, first(lower(xs))[0].detach())
    assert second(upper(first(lower(xs))[0]))[0].sum() > 10
    return (
        geir.SequentialState(lower, first, upper, second, nn.Linear(NEURONS, OUTPUTS).double(), *readout),
        xs,
        targets,
    )


READOUTS = {
    "Linear": [],
    "LI": [geir.LI(v_rest=0.3).double()],
    "learnable LI": [geir.LI(tau_mem=geir.learnable(15e-3), v_rest=geir.learnable(0.1)).double()],
}


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize(
    "rule",
    [EProp(), EProp(Random()), EProp(Adaptive()), EProp(firing_rate=FiringRate(20.0, strength=0.3, tau=0.01)),
     EProp(Random(), firing_rate=FiringRate(20.0, strength=0.3, tau=0.01))],
    ids=repr,
)  # fmt: skip
def test_gradients_of_two_layers_equal_those_of_their_steps(rule, readout):
    torch.manual_seed(0)
    model, xs, targets = two_layers(*READOUTS[readout])
    assert_equal_online(Online(model, rule), xs, targets)


def test_gradients_of_convolutions_equal_those_of_their_steps():
    torch.manual_seed(0)
    first, second = geir.LIF().double(), geir.ALIF(tau_mem=geir.learnable(0.02)).double()
    model = geir.SequentialState(
        nn.Conv2d(1, 3, 3), first, nn.AvgPool2d(2), nn.Conv2d(3, 2, 2), second, nn.Flatten(), nn.Linear(8, OUTPUTS),
        geir.LI(),
    ).double()  # fmt: skip
    model[0].weight.data.uniform_(0, 1.5)
    model[3].weight.data.uniform_(0, 1.5)
    xs = (torch.rand(20, BATCH, 1, 8, 8) < 0.5).double()
    assert_equal_online(Online(model, EProp()), xs, torch.randn(20, BATCH, OUTPUTS).double())


def test_the_gradient_of_the_input_is_that_of_each_step():
    model, xs, targets = two_layers()
    learner, grads, state = Online(model, EProp()), [], None
    for x, target in zip(xs, targets, strict=True):
        x = x.clone().requires_grad_()
        y, state = learner(x, state)
        loss_of(y, target).backward()
        grads.append(x.grad)
    given = xs.clone().requires_grad_()
    loss_of(learner.sequence(given), targets).backward()
    assert torch.stack(grads).any()
    assert error({"x": given.grad}, {"x": torch.stack(grads)}) < 1e-10


def test_the_gradient_of_a_recurrent_layer_is_not_that_of_backpropagation():
    xs, targets = inputs()
    wide = geir.surrogates.SuperSpike(alpha=10.0)
    layer = geir.LIFRecurrent(INPUTS, NEURONS, autapses=True, surrogate=wide).double()
    layer.input_weights.data.copy_(connection(geir.LIF().double(), xs).weight)
    model = geir.SequentialState(layer, nn.Linear(NEURONS, OUTPUTS).double())
    _, grads = offline(Online(model, EProp()), xs, targets)
    model.zero_grad()
    loss_of(model(xs)[0], targets).backward()
    full = {f"model.{name}": p.grad for name, p in model.named_parameters()}
    assert 1e-3 < error(grads, full) < 1


def test_what_has_no_offline_form_is_refused():
    model, xs, _ = two_layers()
    with pytest.raises(TypeError, match=r"offline form of EProp, not of OSTL\(\)"):
        Online(model, OSTL()).sequence(xs)
    for bad in (xs[0], xs[:0]):
        with pytest.raises(ValueError, match=r"shape \(time, batch, ..., inputs\) with at least one step"):
            Online(model, EProp()).sequence(bad)
