"""`Receptors` and weights of one sign."""

import pytest
import torch
from seeding import seeded
from torch import nn
from torch.nn.utils import parametrize

import geir
from geir.connections import constrain_signs, Receptors
from geir.testing import close


def receptors():
    return Receptors(geir.ConductanceInput, exc=nn.Linear(3, 2), inh=nn.Linear(3, 2))


def test_receptors_apply_a_module_each():
    connections, x, y = receptors(), torch.rand(4, 3), torch.rand(4, 3)
    assert list(connections.state_dict()) == ["exc.weight", "exc.bias", "inh.weight", "inh.bias"]
    close(connections(x), geir.ConductanceInput(connections.exc(x), connections.inh(x)), 0.0)
    both = geir.ConductanceInput(exc=x, inh=y)
    close(connections(both), geir.ConductanceInput(connections.exc(x), connections.inh(y)), 0.0)
    close(connections((both, "state")), connections(both), 0.0)
    over_time = geir.Lift(connections)(torch.rand(7, 4, 3))
    assert over_time.exc.shape == over_time.inh.shape == (7, 4, 2)


def test_wrong_receptors_are_refused_with_the_cure():
    for modules, message in (
        ({"exc": nn.Linear(3, 2)}, "a module for each of exc, inh; inh is missing"),
        ({"exc": nn.Linear(3, 2), "inh": nn.Linear(3, 2), "nmda": nn.Linear(3, 2)}, "nmda is not a receptor"),
        ({"exc": nn.Linear(3, 2), "inh": torch.zeros(2, 3)}, "inh is not a module"),
    ):
        with pytest.raises(TypeError, match=message):
            Receptors(geir.ConductanceInput, **modules)
    with pytest.raises(TypeError, match="named receptors, such as geir.ConductanceInput, got <class"):
        Receptors(geir.LIF, exc=nn.Linear(3, 2))
    with pytest.raises(TypeError, match="expected a tensor or a ConductanceInput.*got ReceptorInput"):
        receptors()(geir.neurons.ReceptorInput(*torch.rand(3, 4, 3)))
    stateful = Receptors(geir.ConductanceInput, exc=geir.LIFCell(), inh=nn.Identity())
    with pytest.raises(TypeError, match="Receptors.exc must be a stateless module.*tuple from LIFCell; place"):
        stateful(torch.rand(4, 3))
    with pytest.raises(ValueError, match="init_weights cannot tell how a neuron responds to each of its receptors"):
        geir.init_weights(geir.SequentialState(receptors(), geir.CobaLIF(), lift=True))


@pytest.mark.parametrize("module", seeded(lambda: [nn.Linear(4, 3), nn.Conv2d(4, 3, 2)]), ids=repr)
def test_weights_keep_the_signs_of_their_presynaptic_neurons_while_they_learn(module):
    inhibitory = torch.tensor([False, True, False, True])
    magnitudes = module.weight.detach().abs()
    assert constrain_signs(module, inhibitory) is module
    close(module.weight.abs(), magnitudes, 0.0)
    optimizer = torch.optim.SGD(module.parameters(), 1.0)
    signs = torch.where(inhibitory, -1.0, 1.0).reshape(-1, *[1] * (module.weight.dim() - 2))
    for sign in (1, -1):  # drive all weights down and up
        for _ in range(3):
            assert (module.weight * signs >= 0).all()
            optimizer.zero_grad()
            (sign * module.weight.sum()).backward()
            optimizer.step()
    changed = module.weight.detach().clone()
    assert not torch.equal(changed.abs(), magnitudes)
    parametrize.remove_parametrizations(module, "weight")
    close(module.weight.detach(), changed, 0.0)


def test_recurrent_weights_keep_their_signs_in_the_kernel_as_in_the_reference():
    torch.manual_seed(0)
    xs, results = 3 * torch.rand(30, 2, 5), []
    neuron = geir.LIFRecurrent(5, 4, autapses=True)
    constrain_signs(neuron, torch.tensor([False, False, False, True]), name="recurrent_weights")
    for unroll in (geir.Fused(), geir.reference):
        neuron.unroll = unroll
        neuron.zero_grad()
        zs, _ = neuron(xs)
        assert zs.sum() > 10
        zs.sum().backward()
        results.append([zs, *(p.grad.clone() for p in neuron.parameters())])
    close(results[0], results[1], 1e-4)
    assert (neuron.recurrent_weights[:, :3] >= 0).all()
    assert (neuron.recurrent_weights[:, 3] <= 0).all()


def test_wrong_signs_are_refused_with_the_cure():
    with pytest.raises(TypeError, match="weights called 'weight', got LIFRecurrent; give their name"):
        constrain_signs(geir.LIFRecurrent(2, 3))
    with pytest.raises(TypeError, match="must be boolean, got torch.float32"):
        constrain_signs(nn.Linear(2, 3), torch.ones(2))
    with pytest.raises(ValueError, match=r"shape \(2,\), one value for each presynaptic neuron of weight, got \(3,\)"):
        constrain_signs(nn.Linear(2, 3), torch.ones(3).bool())
    with pytest.raises(TypeError, match="weights of ConvTranspose2d do not have the shape .*; give inhibitory as one"):
        constrain_signs(nn.ConvTranspose2d(2, 2, 3), torch.ones(2).bool())
    sparse = constrain_signs(geir.connections.SparseLinear(5, 4, connection_probability=0.5), inhibitory=True)
    assert (sparse.weight <= 0).all()
    assert (sparse(torch.ones(5)) <= sparse.bias).all()
    linear = constrain_signs(nn.Linear(2, 3))
    with pytest.raises(ValueError, match="got 6 weights of the other sign"):
        linear.weight = -torch.ones(3, 2)
    linear.weight = torch.ones(3, 2)
    close(linear.weight.detach(), torch.ones(3, 2), 0.0)
