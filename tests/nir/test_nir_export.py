"""Models of geir written as NIR graphs, and made of them again."""

import numpy as np
import pytest
import torch
from torch import nn

import geir
from geir.nir import from_nir, NIRError, read, to_nir, write
from geir.nir.neurons import CubaLIFNode, CubaLINode, IFNode, INode, LIFNode, LINode

nir = pytest.importorskip("nir", reason="NIR graphs need the nir package")


def each(low, high):
    """Another value for each of 6 neurons."""
    return torch.linspace(low, high, 6)


def sequence(neuron, size=6):
    return geir.SequentialState(nn.Linear(4, size), neuron)


MEMBRANE = {"tau_mem": each(5e-3, 2e-2), "v_rest": each(-0.1, 0.1)}
SPIKES = {"v_th": each(0.1, 0.3), "v_reset": each(-0.3, 0.05)}
SYNAPSE = {"tau_syn": each(2e-3, 1e-2)}
RESISTANCE = {"r": each(0.5, 2.0)}
# Models that NIR can express; the shape of the input, (4,) unless it is given.
EXPRESSIBLE = {
    "LIF": lambda: sequence(geir.LIF(**MEMBRANE, **SPIKES, **SYNAPSE)),
    "LIFBox": lambda: sequence(geir.LIFBox(**MEMBRANE, **SPIKES)),
    "ParametricLIF": lambda: sequence(geir.ParametricLIF(**MEMBRANE, **SPIKES)),
    "CubaLIF": lambda: sequence(geir.CubaLIF(**MEMBRANE, **SPIKES, **SYNAPSE, **RESISTANCE, w_in=each(2.0, 5.0))),
    "IAF": lambda: sequence(geir.IAF(**SPIKES, dt=1e-4)),
    "LI": lambda: sequence(geir.LI(**MEMBRANE, **SYNAPSE)),
    "LIBox": lambda: sequence(geir.LIBox(**MEMBRANE)),
    "I": lambda: sequence(INode(**RESISTANCE)),
    "IF": lambda: sequence(IFNode(r=each(100.0, 300.0), **SPIKES)),
    "LI node": lambda: sequence(LINode(**MEMBRANE, **RESISTANCE)),
    "LIF node": lambda: sequence(LIFNode(**MEMBRANE, **SPIKES, **RESISTANCE)),
    "CubaLI": lambda: sequence(CubaLINode(**MEMBRANE, **SYNAPSE, **RESISTANCE)),
    "CubaLIF node": lambda: sequence(CubaLIFNode(**MEMBRANE, **SPIKES, **SYNAPSE, **RESISTANCE, w_in=4.0)),
    "Euler": lambda: sequence(geir.LIF(v_th=0.2, integrator=geir.Euler(), dt=5e-4)),
    "RungeKutta4": lambda: sequence(geir.LIFBox(v_th=0.2, integrator=geir.RungeKutta4())),
    "learnable": lambda: sequence(geir.LIF(tau_mem=geir.learnable(each(5e-3, 2e-2)), v_th=0.2)),
    "recurrent": lambda: geir.LIFRecurrent(4, 6, v_th=0.3),
    "recurrent, with autapses": lambda: geir.LIFBoxRecurrent(4, 6, v_th=0.3, autapses=True),
    "recurrent, with modules": lambda: geir.Recurrent(
        geir.LIF(v_th=0.2), 4, 6, input_weights=nn.Linear(4, 6), recurrent_weights=nn.Linear(6, 6)
    ),
    "two layers": lambda: geir.SequentialState(
        geir.Lift(nn.Linear(4, 6)), geir.LIF(v_th=0.2), geir.Lift(nn.Linear(6, 5)), geir.LI()
    ),
    "nested": lambda: geir.SequentialState(nn.Sequential(nn.Linear(4, 6), nn.Identity()), geir.LIF(v_th=0.2)),
    "cells": lambda: geir.Lift(geir.SequentialState(nn.Linear(4, 6), geir.LIFCell(v_th=0.2))),
    "feedback": lambda: geir.Lift(
        geir.RecurrentSequential(nn.Linear(4, 6), geir.LIFCell(v_th=0.2), nn.Linear(6, 4), geir.LIFCell(v_th=0.2))
    ),
    "feedback with a bias": lambda: geir.Lift(
        geir.RecurrentSequential(nn.Linear(4, 6), geir.LIFCell(v_th=0.2), nn.Linear(6, 4))
    ),
    "delay": lambda: geir.SequentialState(
        nn.Linear(4, 6), geir.LIF(v_th=0.2), geir.connections.Delay(delay=torch.arange(6) * 1e-3)
    ),
    "image": lambda: geir.SequentialState(
        nn.Conv2d(1, 4, (3, 2), stride=(2, 1), padding=(1, 0)),
        geir.LIF(v_th=0.2),
        nn.MaxPool2d(2, stride=1, padding=1),
        nn.Conv2d(4, 8, 3, groups=4, padding="same", bias=False),
        geir.LIFBox(v_th=0.1),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(8 * 2 * 4, 5),
        geir.LI(),
        lift=True,
    ).eval(),
    "sound": lambda: geir.SequentialState(
        nn.Conv1d(1, 4, 3, dilation=2, stride=2), geir.LIF(v_th=0.2), nn.Flatten(), lift=True
    ),
}
SHAPES = {"image": (1, 7, 9), "sound": (1, 20)}


def counting(surrogate):
    return geir.IAF(surrogate=surrogate, reset_mechanism=geir.ResetBySubtraction())


# Models that NIR cannot express, and the reason.
OTHERS = {
    "subtraction": (
        lambda: sequence(geir.LIFBox(**MEMBRANE, **SPIKES, reset_mechanism=geir.ResetBySubtraction())),
        "has no ResetBySubtraction",
    ),
    "several spikes": (
        lambda: sequence(
            geir.LIF(
                v_th=0.2, reset_mechanism=geir.ResetBySubtraction(), surrogate=geir.surrogates.MultiSpike(step=0.2)
            )
        ),
        "one spike in a step",
    ),
    "refractoriness": (lambda: sequence(geir.LIFRefrac(**MEMBRANE, **SPIKES, period=each(0, 8e-3))), "no LIFRefrac"),
    "adaptation": (lambda: sequence(geir.ALIF(**MEMBRANE, v_th=0.2)), "no ALIF"),
    "exponential": (lambda: sequence(geir.EIF(v_th=0.2, v_peak=0.4)), "no EIF"),
    "recurrent refractoriness": (lambda: geir.LIFRefracRecurrent(4, 6, v_th=0.2), "no LIFRefrac"),
}


def prepare(make, shape):
    """A model in float64 with strong weights, and input."""
    torch.manual_seed(1)
    model = make().double()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
                module.weight *= 4
    return model, (torch.rand(60, 3, *shape) < 0.5).double()


def check_round_trip(model, xs, graph, tmp_path):
    """A model made of the graph, in memory or from a file, and another made of its export, compute the same."""
    with torch.no_grad():
        expected, _ = model(xs)
        write(tmp_path / "model.nir", graph)
        first = from_nir(graph, dtype=torch.float64)
        second = from_nir(tmp_path / "model.nir", dtype=torch.float64)
        again = from_nir(to_nir(first, xs.shape[2:], "metadata"), dtype=torch.float64)
        for network in (first, second, again):
            torch.testing.assert_close(network(xs)[0], expected, rtol=1e-10, atol=1e-10)
    return expected


@pytest.mark.parametrize("name", EXPRESSIBLE)
def test_models_survive_the_way_to_nir_and_back(name, tmp_path):
    model, xs = prepare(EXPRESSIBLE[name], SHAPES.get(name, (4,)))
    expected = check_round_trip(model, xs, to_nir(model, xs.shape[2:]), tmp_path)
    assert (expected != 0).sum() > 50


@pytest.mark.parametrize("name", OTHERS)
def test_models_that_nir_cannot_express_are_refused(name):
    make, reason = OTHERS[name]
    with pytest.raises(NIRError, match=f"cannot express .*{reason}"):
        to_nir(make(), (4,))


@pytest.mark.parametrize("name", OTHERS)
def test_metadata_restore_models_that_nir_cannot_express(name, tmp_path):
    model, xs = prepare(OTHERS[name][0], (4,))
    graph = to_nir(model, (4,), on_unsupported="metadata")
    expected = check_round_trip(model, xs, graph, tmp_path)
    assert expected.sum() > 50
    # Without metadata there is another neuron, not an error.
    plain, _ = from_nir(graph, dt=1e-3, integrator=geir.Exact(), dtype=torch.float64)(xs)
    assert (plain != expected).any()


INTEGRATORS = [geir.Exact(), geir.Euler(), geir.RungeKutta4()]


@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_subgraph_of_reset_by_subtraction_has_the_same_spikes(integrator):
    make = lambda: sequence(
        geir.LIFBox(
            tau_mem=each(5e-3, 2e-2), **SPIKES, reset_mechanism=geir.ResetBySubtraction(), integrator=integrator
        )
    )
    check_subtraction(make)


@pytest.mark.parametrize("neuron", [geir.IAF, IFNode])
def test_subgraph_of_reset_by_subtraction_works_without_a_leak(neuron):
    parameters = {"r": 300.0} if neuron is IFNode else {}
    check_subtraction(lambda: sequence(neuron(**SPIKES, **parameters, reset_mechanism=geir.ResetBySubtraction())))


def check_subtraction(make):
    model, xs = prepare(make, (4,))
    xs = 3 * xs
    graph = to_nir(model, (4,), on_unsupported="subgraph")
    assert {type(node).__name__ for node in graph.nodes.values()} >= {"Threshold", "Scale"}
    expected, _ = model(xs)
    assert 200 < expected.sum() < 900
    actual, _ = from_nir(graph, dtype=torch.float64)(xs)
    assert (actual != expected).sum() == 0


@pytest.mark.parametrize("name", ["refractoriness", "adaptation", "several spikes"])
def test_other_neurons_have_no_subgraph(name):
    with pytest.raises(NIRError, match="no subgraph is equivalent"):
        to_nir(OTHERS[name][0](), (4,), on_unsupported="subgraph")


def test_nodes_have_the_parameters_of_the_model():
    """The values that other programs read, in the units of NIR."""
    model = sequence(geir.LIF(**MEMBRANE, **SPIKES, **SYNAPSE, dt=5e-4))
    graph = to_nir(model, (4,))
    assert list(graph.nodes) == ["input", "0", "1", "output"]
    assert graph.edges == [("input", "0"), ("0", "1"), ("1", "output")]
    node = graph.nodes["1"]
    assert isinstance(node, nir.CubaLIF)
    for field, value in {
        "tau_mem": MEMBRANE["tau_mem"],
        "tau_syn": SYNAPSE["tau_syn"],
        "v_leak": MEMBRANE["v_rest"],
        "v_threshold": SPIKES["v_th"],
        "v_reset": SPIKES["v_reset"],
        "r": torch.ones(6),
        "w_in": SYNAPSE["tau_syn"] / 5e-4,
    }.items():
        np.testing.assert_allclose(getattr(node, field), value, rtol=1e-6)
    assert node.metadata["geir_dt"] == 5e-4
    assert node.metadata["geir_integrator"] == "Exact"
    assert node.metadata["geir_reset"] == "ResetToValue"
    np.testing.assert_array_equal(graph.nodes["0"].weight, model[0].weight.detach())


def test_parameters_shared_by_all_neurons_are_written_for_every_neuron():
    """All parameters of a node have its shape."""
    graph = to_nir(geir.LIFBox(v_th=0.5), (2, 3))
    assert graph.nodes["neuron"].v_threshold.shape == graph.nodes["neuron"].tau.shape == (2, 3)


def test_cycles_through_delays_survive_the_way_there_and_back():
    """A delay makes a cycle without neurons possible, and takes its time only once."""
    nodes = {
        "input": nir.Input({"input": np.array([2])}),
        "sum": nir.Scale(scale=np.ones(2)),
        "delay": nir.Delay(delay=np.full(2, 3e-3)),
        "output": nir.Output({"output": np.array([2])}),
    }
    edges = [("input", "sum"), ("sum", "delay"), ("delay", "sum"), ("sum", "output")]
    network = from_nir(nir.NIRGraph(nodes, edges, type_check=False), dt=1e-3)
    again = from_nir(to_nir(network, (2,)))
    xs = torch.zeros(8, 2)
    xs[0] = 1
    assert again.dt == 1e-3
    assert again(xs)[0][:, 0].tolist() == network(xs)[0][:, 0].tolist() == [1, 0, 0, 1, 0, 0, 1, 0]


def test_the_nir_package_reads_what_is_written(tmp_path):
    model, xs = prepare(EXPRESSIBLE["two layers"], (4,))
    write(tmp_path / "model.nir", to_nir(model, (4,)))
    theirs = nir.read(tmp_path / "model.nir")
    ours = read(tmp_path / "model.nir")
    assert theirs.nodes.keys() == ours.nodes.keys()
    torch.testing.assert_close(
        from_nir(theirs, dtype=torch.float64)(xs)[0], from_nir(ours, dtype=torch.float64)(xs)[0], rtol=0, atol=0
    )


def test_step_size_of_the_caller_takes_the_place_of_the_written_one():
    model, _ = prepare(EXPRESSIBLE["LIFBox"], (4,))
    network = from_nir(to_nir(model, (4,)), dt=2e-3)
    assert network.dt == network["1"].dt == 2e-3
    assert from_nir(to_nir(model, (4,)))["1"].dt == 1e-3


@pytest.mark.parametrize("field", ["tau_mem", "w_in", "r", "v_threshold"])
def test_changed_parameters_are_not_overruled_by_metadata(field):
    """A parameter of the model takes the new value; one that the model does not have is an error."""
    graph = to_nir(EXPRESSIBLE["LIF"](), (4,))
    node = graph.nodes["1"]
    setattr(node, field, 2 * getattr(node, field))
    if field in ("w_in", "r"):
        with pytest.raises(NIRError, match=f"node '1': metadata of geir: {field} is not that of the model LIF"):
            from_nir(graph)
        assert isinstance(from_nir(graph, integrator=geir.Exact())["1"], CubaLIFNode)
    elif field == "tau_mem":
        np.testing.assert_allclose(from_nir(graph)["1"].tau_mem, node.tau_mem)
    else:
        np.testing.assert_allclose(from_nir(graph)["1"].v_th, node.v_threshold)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("geir_model", "os", "geir has no model 'os'"),
        ("geir_model", "LIFRecurrent", "geir has no model 'LIFRecurrent'"),
        ("geir_model", "__doc__", "geir has no model"),
        ("geir_model", 3, "geir has no model 3"),
        ("geir_model", "LIFBox", "is not that of the model LIFBox"),
        ("geir_dt", -1.0, "must be a positive number of seconds"),
        ("geir_dt", "fast", "geir_dt must be a number"),
        ("geir_integrator", "__import__('os')", "geir_integrator is .*, expected one of Euler"),
        ("geir_reset", "none", "geir_reset is 'none', expected one of ResetToValue"),
    ],
)
def test_invalid_metadata_are_refused(key, value, message):
    graph = to_nir(EXPRESSIBLE["LIF"](), (4,))
    graph.nodes["1"].metadata[key] = value
    with pytest.raises(NIRError, match=f"node '1': .*{message}"):
        from_nir(graph)
    from_nir(graph, integrator=geir.Exact())


class MyLIF(geir.LIFBox):
    def derivative(self, x, state):
        return super().derivative(2 * x, state)


@pytest.mark.parametrize(
    ("make", "shape", "message"),
    [
        (lambda: nn.Sequential(nn.ReLU()), (4,), "node '0': NIR has no ReLU"),
        (lambda: nn.Sequential(nn.Linear(4, 4), nn.Dropout()), (4,), "node '1': NIR has no Dropout in training mode"),
        (lambda: nn.Sequential(nn.MaxPool2d(2)), (1, 4, 4), "MaxPool2d; it can be written only directly after"),
        (lambda: nn.Sequential(nn.Flatten(0)), (4,), "must leave the batch dimension"),
        (lambda: nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"), (1, 4, 4), "no padding_mode='circular'"),
        (lambda: nn.AvgPool2d(2, ceil_mode=True), (1, 4, 4), "ceil_mode"),
        (lambda: nn.AvgPool2d(2, padding=1, count_include_pad=False), (1, 4, 4), "count_include_pad"),
        (lambda: MyLIF(), (4,), "NIR has no MyLIF, and it is not a model of geir.neurons"),
        (lambda: geir.Refractory(geir.LIF()), (4,), "NIR has no Refractory.*named variant"),
        (lambda: geir.Izhikevich(), (4,), "no node resembles it"),
        (lambda: geir.LIF(surrogate=torch.sigmoid), (4,), "no spikes of 0 and 1"),
        (lambda: counting(geir.surrogates.MultiSpike(maximum=3)), (4,), "no spikes of 0 and 1.*maximum=3"),
        (lambda: counting(geir.surrogates.TernarySpike()), (4,), "no spikes of 0 and 1.*TernarySpike"),
        (lambda: geir.LIFBox(v_th=torch.ones(3)), (4,), r"v_th has shape \(3,\), but its input has shape \(4,\)"),
        (lambda: geir.connections.Delay(delay=1.5e-3), (4,), "between two steps"),
        (lambda: nn.Linear(5, 4), (4,), r"Linear|Affine gets values of shape \(4,\)"),
        (
            lambda: geir.SequentialState(geir.LIF(), geir.LI(dt=2e-3)),
            (4,),
            "node '1': it has dt = 0.002 s, modules before it 0.001 s",
        ),
    ],
)
@pytest.mark.parametrize("on_unsupported", ["refuse", "metadata"])
def test_what_cannot_be_written_is_refused(make, shape, message, on_unsupported):
    with pytest.raises(NIRError, match=message):
        to_nir(make(), shape, on_unsupported)


def test_weights_that_are_no_numbers_are_refused():
    model = nn.Sequential(nn.Linear(4, 4))
    model[0].weight.data[0, 0] = torch.nan
    with pytest.raises(NIRError, match="node '0': Affine.weight has 1 values that are not finite"):
        to_nir(model, (4,))


@pytest.mark.parametrize("shape", [4, (0,), (4, -1), (4.0,)])
def test_invalid_shapes_of_the_input_are_refused(shape):
    with pytest.raises(ValueError, match="input_shape must be a list of positive integers"):
        to_nir(geir.LIF(), shape)


def test_unknown_choices_are_refused():
    with pytest.raises(ValueError, match="on_unsupported must be one of"):
        to_nir(geir.LIF(), (4,), "ignore")


def test_a_file_is_replaced_only_by_a_whole_one(tmp_path, monkeypatch):
    path = tmp_path / "model.nir"
    write(path, to_nir(geir.LIF(), (4,)))
    content = path.read_bytes()

    def fail(target, graph):
        with open(target, "wb") as file:
            file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(nir, "write", fail)
    with pytest.raises(OSError, match="disk full"):
        write(path, to_nir(geir.LI(), (4,)))
    assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.nir"]


def test_table_of_models_has_every_model_that_is_expressible():
    from geir.nir._models import _EXPRESSIBLE

    used = {type(module).__name__ for make in EXPRESSIBLE.values() for module in make().modules()}
    assert {model.__name__ for model in _EXPRESSIBLE} <= used
