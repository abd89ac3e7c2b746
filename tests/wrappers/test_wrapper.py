"""Wrappers and named variants in general."""

import inspect
import pickle

import pytest
import torch

import geir
from geir import neurons, wrappers

CLASSES = {
    name: value
    for module in (neurons, wrappers)
    for name, value in vars(module).items()
    if isinstance(value, type) and issubclass(value, geir.Dynamics) and not inspect.isabstract(value)
}
VARIANTS = [geir.LIFRefrac, geir.AdExRefrac, geir.LIFMC, geir.LIFMCRefrac]


def test_wrappers_apply_to_any_neuron_and_combine():
    xs = torch.rand(50, 2, 3) * 20
    zs, _ = geir.Refractory(geir.neurons.QIF(), period=4e-3)(xs)
    assert 0 < zs.sum() < geir.neurons.QIF()(xs)[0].sum()
    both = geir.Recurrent(geir.Refractory(geir.LIF(dt=2e-3)), 3, 4)
    assert both.dt == 2e-3
    assert both(xs)[1].neuron.neuron.v.shape == (2, 4)
    with pytest.raises(ValueError, match="wraps a layer over time"):
        geir.Refractory(geir.LIFCell())


def test_a_named_variant_equals_the_wrapped_neuron():
    xs = torch.rand(60, 2, 4) * 4
    pairs = [
        (geir.LIFRefrac(tau_mem=0.02, period=3e-3), geir.Refractory(geir.LIF(tau_mem=0.02), period=3e-3)),
        (geir.AdExRefrac(a=0.2), geir.Refractory(geir.AdEx(a=0.2))),
        (geir.LIFMC(4, tau_syn=0.01), geir.Compartments(geir.LIF(tau_syn=0.01), 4)),
        (geir.LIFMCRefrac(4, period=3e-3), geir.Refractory(geir.Compartments(geir.LIF(), 4), period=3e-3)),
    ]
    for variant, wrapped in pairs:
        assert variant.state_dict().keys() == wrapped.state_dict().keys()
        zs, state = variant(xs)
        assert zs.sum() > 5
        torch.testing.assert_close((zs, state), wrapped(xs))


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.__name__)
def test_a_named_variant_takes_shows_and_sets_the_parameters_of_its_neuron(variant):
    sizes = (4,) if "hidden_size" in inspect.signature(variant).parameters else ()
    layer = variant(*sizes, tau_mem=geir.learnable(0.02), dt=2e-3)
    assert layer.dt == 2e-3
    assert layer.tau_mem.item() == pytest.approx(0.02)
    assert any(name.endswith("neuron.log_tau_mem") for name, _ in layer.named_parameters())
    layer.v_th = 2.0
    inner = layer.neuron
    while isinstance(inner, geir.Wrapper):
        inner = inner.neuron
    assert inner.v_th.item() == 2.0
    assert "tau_mem" in variant.__doc__
    with pytest.raises(TypeError, match=f"{variant.__name__} has no parameter 'tau_men'. Did you mean 'tau_mem'"):
        variant(*sizes, tau_men=0.02)


def test_nested_wrappers_check_the_parameters_and_states_of_the_inner_neuron():
    xs = torch.rand(10, 4, 5)
    with pytest.raises(ValueError, match=r"LIF.v_th has shape \(7,\), which does not broadcast to one step of input"):
        geir.Refractory(geir.Noisy(geir.LIF(v_th=torch.ones(7))))(xs)
    layer = geir.Refractory(geir.Noisy(geir.LIF()))
    _, state = layer(xs)
    wrong = state._replace(neuron=state.neuron._replace(neuron=geir.IAF()(xs)[1]))
    with pytest.raises(TypeError, match="LIF expected a LIFState as its state, got IAFState"):
        layer(xs, wrong)
    with pytest.raises(TypeError, match="Noisy expected a RandomState as its state, got LIFState"):
        layer(xs, state._replace(neuron=geir.LIF()(xs)[1]))
    recurrent = geir.LIFRefracRecurrent(5, 5)
    _, state = recurrent(xs)
    recurrent(xs, state)
    with pytest.raises(TypeError, match="LIFRefracRecurrent expected a RefractoryState as its state, got LIFState"):
        recurrent(xs, state._replace(neuron=state.neuron.neuron))


def receptor_connections(inputs):
    modules = {name: torch.nn.Linear(inputs, 4) for name in geir.neurons.ReceptorInput._fields}
    return geir.connections.Receptors(geir.neurons.ReceptorInput, **modules)


@pytest.mark.parametrize("name", CLASSES)
def test_every_form_can_be_constructed_documented_pickled_and_run(name):
    form = CLASSES[name]
    assert inspect.getdoc(form)
    required = [p.name for p in inspect.signature(form).parameters.values() if p.default is p.empty]
    arguments = {"input_size": 3, "hidden_size": 4, "neuron": geir.LIF()}
    receptors = form.__name__.startswith("ReceptorLIF")
    weights = {}
    if receptors and "hidden_size" in required:
        weights = {"input_weights": receptor_connections(3), "recurrent_weights": receptor_connections(4)}
    module = form(*(arguments[argument] for argument in required), **weights)
    copy = pickle.loads(pickle.dumps(module))
    assert type(copy) is form
    assert copy.state_dict().keys() == module.state_dict().keys()
    x = torch.rand(7, 2, 4 if "hidden_size" in required and "input_size" not in required else 3)
    x = x[0] if isinstance(module, geir.CellMixin) else x
    out, _ = module(geir.neurons.ReceptorInput(x, x, x) if receptors and not weights else x)
    assert out.shape[-1] == (4 if "hidden_size" in required else 3)


def test_every_spiking_neuron_has_four_forms():
    bases = [c for c in CLASSES.values() if not issubclass(c, geir.CellMixin | geir.RecurrentMixin)]
    for base in (
        c for c in bases if c.__module__.startswith("geir.neurons") and issubclass(c, geir.Neuron | geir.Wrapper)
    ):
        for suffix in ("", "Cell", "Recurrent", "RecurrentCell"):
            assert hasattr(neurons, base.__name__ + suffix), base.__name__ + suffix


def test_whether_a_model_spikes_is_known_through_wrappers():
    assert geir.LIF().spiking
    assert geir.Refractory(geir.Noisy(geir.LIF())).spiking
    assert not geir.LI().spiking
    assert not geir.Noisy(geir.LI()).spiking
    with pytest.raises(TypeError, match="Refractory needs a neuron that spikes"):
        geir.Refractory(geir.LI())
