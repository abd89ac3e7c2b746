"""Online gradients of weights that are computed by `torch.nn.utils.parametrize`."""

import pytest
import torch
from online_cases import error, gradients, INPUTS, inputs, learn, loss_of, NEURONS, OUTPUTS
from torch import nn
from torch.nn.utils import parametrizations, parametrize

import geir
from geir.learning import EProp, Online, OSTL


class Positive(nn.Module):
    """Weights that never are negative."""

    def forward(self, weight):
        return weight**2 + 0.1 * weight


class Rerolled(nn.Module):
    """Other weights whenever they are computed."""

    def forward(self, weight):
        return weight * torch.rand_like(weight)


def lif(kind=geir.LIF, *sizes, v_th):
    return kind(*sizes, v_th=v_th, surrogate=geir.surrogates.SuperSpike(alpha=10.0))


def feedforward(v_th=0.8):
    torch.manual_seed(0)
    model = geir.SequentialState(nn.Linear(INPUTS, NEURONS), lif(v_th=v_th), nn.Linear(NEURONS, OUTPUTS)).double()
    nn.init.uniform_(model[0].weight, 0.5, 1.5)
    parametrize.register_parametrization(model[0], "weight", Positive())
    parametrizations.weight_norm(model[2])
    return model


def spectral():
    model = feedforward(v_th=0.2)
    parametrize.remove_parametrizations(model[0], "weight")
    parametrizations.spectral_norm(model[0])
    return model.eval()  # the norm is computed anew in training


def neurons():
    model = feedforward()
    parametrize.register_parametrization(model[1], "v_th", Positive())
    model[1].parametrizations.v_th.original = nn.Parameter(torch.tensor(0.8).double())
    return model


def recurrent():
    torch.manual_seed(0)
    layer = lif(geir.LIFRecurrent, INPUTS, NEURONS, v_th=0.8)
    nn.init.uniform_(layer.input_weights, 0.5, 1.5)
    nn.init.uniform_(layer.recurrent_weights, -1, 1)
    for name in ("input_weights", "recurrent_weights"):
        parametrize.register_parametrization(layer, name, Positive())
    return geir.SequentialState(layer, nn.Linear(NEURONS, OUTPUTS)).double()


@pytest.mark.parametrize("build", [feedforward, spectral, neurons, recurrent])
def test_gradients_reach_the_parameters_from_which_weights_are_computed(build):
    model, (xs, targets) = build(), inputs()
    layers = [geir.Lift(module) if isinstance(module, nn.Linear) else module for module in model]
    zs, _ = geir.SequentialState(*layers[:-1])(xs)
    assert 10 < zs.sum() < 0.9 * zs.numel()
    wanted = gradients(model, loss_of(layers[-1](zs), targets))
    originals = [name for name in wanted if "original" in name]
    assert all(wanted[name].abs().max() > 1e-4 for name in originals)
    assert error(learn(Online(model, OSTL()), xs, targets)[1], wanted) < 1e-10


def test_the_offline_form_has_the_gradients_of_the_steps():
    model, (xs, targets) = recurrent(), inputs()
    learner = Online(model, EProp())
    steps = {name: gradient.clone() for name, gradient in learn(learner, xs, targets)[1].items()}
    learner.zero_grad()
    loss_of(learner.sequence(xs), targets).backward()
    assert error({name: p.grad for name, p in model.named_parameters()}, steps) < 1e-10


def test_weights_are_computed_once_in_a_step():
    linear = nn.Linear(INPUTS, NEURONS, bias=False).double()
    parametrize.register_parametrization(linear, "weight", Rerolled())
    learner = Online(geir.SequentialState(linear, geir.LI().double(), nn.Linear(NEURONS, 1).double()), EProp())
    torch.manual_seed(1)
    y, _ = learner(torch.ones(1, INPUTS).double())
    y.sum().backward()
    torch.manual_seed(1)
    original = linear.parametrizations.weight.original
    grad = original.grad / torch.rand_like(original)
    assert grad.abs().min() > 0
    torch.testing.assert_close(grad, grad[:, :1].expand_as(grad))


def test_a_parametrized_part_of_neurons_is_refused():
    part = geir.LIFRecurrent(4, 4, input_weights=parametrizations.weight_norm(nn.Linear(4, 4)))
    with pytest.raises(TypeError, match=r"module 0, LIFRecurrent: its part input_weights is parametrized; remove"):
        Online(geir.SequentialState(part), EProp())
    inner = geir.Refractory(geir.LIF(tau_mem=geir.learnable(0.01)))
    parametrize.register_parametrization(inner.neuron, "v_th", Positive())
    with pytest.raises(TypeError, match=r"module 1, .*Refractory: its part neuron is parametrized"):
        Online(geir.SequentialState(nn.Linear(4, 4), inner), EProp())
