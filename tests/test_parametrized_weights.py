"""A network whose weights are parametrized does what a network with the resulting weights does, and stays as it is."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

import geir
from geir import hardware
from geir.learning import BinaryWeight
from geir.plasticity import ConnectionView

PARAMETRIZE = {
    "Ternary": lambda layer: parametrize.register_parametrization(layer, "weight", hardware.Ternary()),
    "BinaryWeight": lambda layer: parametrize.register_parametrization(layer, "weight", BinaryWeight()),
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
}


def to_nir_and_back(model, xs):
    nir = pytest.importorskip("geir.nir", reason="needs the package nir")
    pytest.importorskip("nir", reason="needs the package nir")
    network = nir.from_nir(nir.to_nir(model, (12,)), dt=1e-3, dtype=torch.float64)
    return network(xs)[0]


def products(model, xs):
    post = torch.rand(3, 20, generator=torch.Generator().manual_seed(0)).double()
    return ConnectionView(model[0].weight, model[0]).outer(post, xs[0])


ACTIONS = {
    "run": lambda model, xs: model(xs)[0],
    "copy": lambda model, xs: copy.deepcopy(model)(xs)[0],
    "checkpoint": lambda model, xs: geir.checkpoint(model, xs, None, steps=7)[0],
    "count_operations": lambda model, xs: geir.measures.count_operations(model, xs),
    "count": lambda model, xs: hardware.count(model, xs).connections,
    "diagnose": lambda model, xs: str(geir.diagnose(model, xs)).replace("ParametrizedLinear", "Linear"),
    "check": lambda model, xs: str(hardware.check(model, hardware.LOIHI2, (12,))),
    "quantize": lambda model, xs: hardware.quantize(model, hardware.LOIHI2)(xs)[0],
    "to_integer": lambda model, xs: hardware.to_integer(model, hardware.LOIHI2)(xs)[0],
    "mismatch": lambda model, xs: hardware.mismatch(model, 0.2, (12,), seed=0)(xs)[0],
    "to_nir": to_nir_and_back,
    "products of spikes": products,
}


@pytest.mark.filterwarnings("ignore:.*")
@pytest.mark.parametrize("kind", PARAMETRIZE)
@pytest.mark.parametrize("action", ACTIONS)
def test_parametrized_weights_are_the_weights_that_they_make(action, kind):
    torch.manual_seed(0)
    layers = [nn.Linear(12, 20), geir.LIF(v_th=0.3), nn.Linear(20, 12), geir.LIF(v_th=0.3), nn.Linear(12, 4), geir.LI()]
    plain = geir.SequentialState(*layers, lift=True).double()
    model = copy.deepcopy(plain)
    for layer in (model[0], model[2]):
        PARAMETRIZE[kind](layer)
    model.eval()
    with torch.no_grad():
        plain[0].weight.copy_(model[0].weight)
        plain[2].weight.copy_(model[2].weight)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    xs = geir.encode.poisson(torch.full((3, 12), 0.3), steps=40, generator=torch.Generator().manual_seed(0)).double()

    results = [ACTIONS[action](network, xs) for network in (model, plain)]

    if isinstance(results[0], torch.Tensor):
        torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)
        assert results[0].any()
    else:
        assert results[0] == results[1]
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())


@pytest.mark.parametrize("kind", ["Ternary", "weight_norm"])
def test_gradients_of_a_quantized_network_reach_the_parameters_behind_the_weights(kind):
    torch.manual_seed(0)
    model = geir.SequentialState(nn.Linear(12, 20), geir.LIF(v_th=0.3), nn.Linear(20, 4), geir.LI(), lift=True)
    PARAMETRIZE[kind](model[0])
    quantized = hardware.quantize(model, hardware.LOIHI2)
    quantized(torch.ones(10, 3, 12))[0].sum().backward()
    gradients = {name: value.grad for name, value in quantized.named_parameters() if "original" in name}
    assert len(gradients) == {"Ternary": 1, "weight_norm": 2}[kind]
    assert all(grad is not None and grad.any() for grad in gradients.values())


@pytest.mark.parametrize("kind", ["Ternary", "BinaryWeight"])
def test_functorch_differentiates_networks_with_weights_that_are_rounded(kind):
    torch.manual_seed(0)
    layer = nn.Linear(5, 3).double()
    PARAMETRIZE[kind](layer)
    layer.eval()
    parameters = {name: value.detach() for name, value in layer.named_parameters()}
    xs = torch.rand(4, 5).double()

    def loss(parameters, x):
        return torch.func.functional_call(layer, parameters, (x,)).square().sum()

    per_sample = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, xs)
    layer(xs).square().sum().backward()
    for name, value in layer.named_parameters():
        torch.testing.assert_close(per_sample[name].sum(0), value.grad)
        assert value.grad.any()
