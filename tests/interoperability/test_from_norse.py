"""Networks of Norse and their conversions."""

import pytest
import torch
from conversion_helpers import compare, compare_gradients, dense, draw_weights, spiking_input
from torch import nn

import geir

norse = pytest.importorskip("norse.torch", reason="Norse is not installed: pip install 'geir[peers]'")
from norse.torch.functional.reset import reset_subtract  # noqa: E402  (only where it is installed)


def p(kind, **values):
    """Parameters of Norse other than the defaults."""
    values = {"tau_mem_inv": 1 / 8e-3, "v_leak": 0.1, "v_th": 0.8, "v_reset": -0.2, **values}
    return getattr(norse, kind)(**{name: torch.as_tensor(value) for name, value in values.items()})


NEURONS = {
    "LIF": lambda: norse.LIF(p("LIFParameters", tau_syn_inv=1 / 4e-3), dt=0.5e-3),
    "LIFBoxCell": lambda: norse.LIFBoxCell(p("LIFBoxParameters")),
    "LIFBoxCell by subtraction": lambda: norse.LIFBoxCell(p("LIFBoxParameters")._replace(reset_method=reset_subtract)),
    "IAF": lambda: norse.IAF(norse.IAFParameters(v_th=torch.tensor(1.3), v_reset=torch.tensor(0.0))),
    "LIFEx": lambda: norse.LIFEx(p("LIFExParameters", delta_T=0.3)),
    "LIFAdEx": lambda: norse.LIFAdEx(p("LIFAdExParameters", adaptation_current=0.3, tau_ada_inv=20.0)),
}
READOUTS = {"LI": lambda: norse.LI(), "LIBoxCell": lambda: norse.LIBoxCell()}


def run(network, xs):
    """Norse's network over time; cells step by step."""
    if any(type(part).__name__.endswith("Cell") for part in network.modules()):
        state, outputs = None, []
        for x in xs:
            output, state = network(x, state)
            outputs.append(output)
        return torch.stack(outputs)
    return network(xs)[0]


@pytest.mark.parametrize("name", NEURONS)
def test_networks_of_norse_compute_the_same_after_conversion(name):
    layers = dense(NEURONS[name], 0.1 if name == "IAF" else 0.5)
    network = norse.SequentialState(
        *(norse.Lift(part) if isinstance(part, nn.Linear) and "Cell" not in name else part for part in layers)
    )
    xs = spiking_input()
    converted = geir.from_norse(network)
    assert converted[1].dt == (0.5e-3 if name == "LIF" else 1e-3)
    with torch.no_grad():
        compare(run(network, xs), converted, xs)


@pytest.mark.parametrize("name", READOUTS)
def test_readouts_of_norse_compute_the_same_after_conversion(name):
    network = draw_weights(norse.SequentialState(nn.Linear(20, 10), READOUTS[name]()), 0.5)
    with torch.no_grad():
        compare(run(network, spiking_input()), geir.from_norse(network), spiking_input(), readout=True)


@pytest.mark.parametrize("autapses", [False, True])
def test_recurrent_layers_of_norse_compute_the_same_after_conversion(autapses):
    layer = draw_weights(norse.LIFRecurrent(20, 30, p=p("LIFParameters"), autapses=autapses), 0.2)
    with torch.no_grad():
        layer.recurrent_weights.mul_(0.5)
        compare(layer(spiking_input())[0], geir.from_norse(layer), spiking_input())


@pytest.mark.parametrize("method", ["super", "triangle", "tanh", "circ", "heavi_erfc"])
def test_gradients_of_norse_are_the_same_after_conversion(method):
    network = norse.SequentialState(
        *dense(lambda: norse.LIF(norse.LIFParameters(method=method, alpha=torch.tensor(0.7))), 0.5)
    )
    compare_gradients(run, network, geir.from_norse(network), spiking_input())


def test_learned_time_constants_stay_learnable():
    inverse = nn.Parameter(torch.tensor([100.0, 200.0]))
    neuron = geir.from_norse(norse.LIF(norse.LIFParameters(tau_mem_inv=inverse)))
    torch.testing.assert_close(neuron.tau_mem, torch.tensor([10e-3, 5e-3]))
    assert [name for name, _ in neuron.named_parameters()] == ["log_tau_mem"]


def test_norse_starts_an_iaf_neuron_at_its_reset_potential_and_marks_it():
    neuron = norse.IAF(norse.IAFParameters(v_reset=torch.tensor(0.0)))
    neuron(torch.ones(3, 1))
    assert neuron.p.v_reset.requires_grad, "the reason for a special case is gone"
    assert not [*geir.from_norse(neuron).parameters()]
    with pytest.raises(ValueError, match="IAF: it starts at v_reset, which is not 0"):
        geir.from_norse(norse.IAF(norse.IAFParameters(v_reset=torch.tensor(-0.1))))


def test_what_cannot_be_converted_is_named_with_its_reason():
    network = norse.SequentialState(nn.Linear(3, 3), norse.LSNN(), norse.LIF(norse.LIFParameters(method="logistic")))
    with pytest.raises(
        ValueError,
        match=r"(?s)1 \(LSNN\): geir has no counterpart.*2 \(LIF\): geir has no surrogate for method='logistic'",
    ):
        geir.from_norse(network)
    assert isinstance(geir.from_norse(network[2], surrogate=geir.surrogates.Tanh()).surrogate, geir.surrogates.Tanh)
