"""Defects of other importers and exporters, found in nir, nirtorch, Norse, snnTorch and sinabs: geir has none of them."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import geir
from geir.nir import from_nir, NIRError, to_nir

nir = pytest.importorskip("nir", reason="NIR graphs need the nir package")

ONE = np.ones(1)


def chain(shape, *nodes):
    """The nodes in sequence."""
    names = ["input", *(f"n{k}" for k in range(len(nodes))), "output"]
    ends = [nir.Input({"input": np.array(shape)}), nir.Output({"output": None})]
    made = dict(zip(names, [ends[0], *nodes, ends[1]], strict=True))
    edges = [(names[k], names[k + 1]) for k in range(len(names) - 1)]
    return nir.NIRGraph(made, edges, type_check=False)


def run(graph, xs, **settings):
    return from_nir(graph, dtype=torch.float64, **settings)(torch.as_tensor(xs, dtype=torch.float64))[0].detach()


def test_biases_are_kept():
    """nirtorch's default module for Affine drops the bias and draws a random one."""
    graph = chain([1], nir.Affine(weight=np.array([[0.0], [0.0]]), bias=np.array([5.0, 7.0])))
    assert run(graph, torch.ones(1, 1)).tolist() == [[5.0, 7.0]]


def test_groups_of_convolutions_are_kept():
    """The type inference of nir, and Norse, take the channels of a group for those of the input."""
    weight = np.random.default_rng(0).random((4, 1, 3, 3))
    node = nir.Conv2d(None, weight, np.array([1, 1]), np.array([0, 0]), np.array([1, 1]), 4, np.zeros(4))
    xs = torch.rand(2, 4, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(run(chain([4, 5, 6], node), xs), functional.conv2d(xs, torch.tensor(weight), groups=4))


@pytest.mark.parametrize("type_check", [True, False])
def test_kernels_need_not_be_square(type_check):
    """The type inference of nir uses the height of the kernel for the width: (4, 6, 7) instead of (4, 6, 5)."""
    weight = np.random.default_rng(0).random((4, 1, 1, 3))
    node = nir.Conv2d((6, 7), weight, np.array([1, 1]), np.array([0, 0]), np.array([1, 1]), 1, np.zeros(4))
    if type_check:  # the types that nir infers are not used
        node.output_type = {"output": np.array([4, 6, 7])}
    network = from_nir(chain([1, 6, 7], node))
    assert network.output_shapes["n0"] == (4, 6, 5)
    assert network(torch.rand(2, 1, 6, 7))[0].shape == (2, 4, 6, 5)


def test_graphs_may_have_two_inputs():
    """nirtorch crashes: "Node redefined name is_none!"."""
    nodes = {name: nir.Input({"input": np.array([1])}) for name in ("x", "y")} | {
        "sum": nir.Scale(scale=ONE),
        "output": nir.Output({"output": np.array([1])}),
    }
    graph = nir.NIRGraph(nodes, [("x", "sum"), ("y", "sum"), ("sum", "output")], type_check=False)
    ys, _ = from_nir(graph)({"x": torch.ones(2, 1), "y": 2 * torch.ones(2, 1)})
    assert ys.flatten().tolist() == [3.0, 3.0]


def test_padding_of_sum_pools_is_kept():
    """nirtorch and sinabs ignore it; nirtorch takes an LPPool, whose sum of squares is another number."""
    pool = nir.SumPool2d(kernel_size=np.array([2, 2]), stride=np.array([2, 2]), padding=np.array([1, 1]))
    ys = run(chain([1, 2, 2], pool), torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
    assert ys.tolist() == [[[[1.0, 2.0], [3.0, 4.0]]]]


def test_dimensions_of_one_dimensional_convolutions_are_kept():
    """nirtorch's default module swaps channels in and out; sinabs calls a tensor's method on an array."""
    weight = np.random.default_rng(0).random((5, 2, 3))
    xs = torch.rand(4, 2, 9, dtype=torch.float64)
    ys = run(chain([2, 9], nir.Conv1d(9, weight, 1, 0, 1, 1, np.zeros(5))), xs)
    torch.testing.assert_close(ys, functional.conv1d(xs, torch.tensor(weight)))


def test_padding_same_with_a_stride_is_refused():
    """The type inference of nir ignores the stride, PyTorch refuses it, TensorFlow pads in another way."""
    node = nir.Conv1d(None, np.ones((1, 1, 3)), 2, "same", 1, 1, np.zeros(1))
    with pytest.raises(NIRError, match="node 'n0': padding 'same' with a stride is not defined"):
        from_nir(chain([1, 9], node))


@pytest.mark.parametrize("kind", ["IF", "LIF"])
@pytest.mark.parametrize("field", ["r", "v_reset"])
def test_resistance_and_reset_are_kept(kind, field):
    """Norse's importer ignores both, those of snnTorch and sinabs one of them."""
    parameters = {"r": 2 * ONE, "v_threshold": ONE, "v_reset": -0.5 * ONE}
    parameters |= {"tau": 1e-2 * ONE, "v_leak": 0 * ONE} if kind == "LIF" else {"r": 400 * ONE}
    node = getattr(nir, kind)(**parameters)
    xs = torch.ones(60, 1)
    spikes = run(chain([1], node), xs, dt=1e-3)
    # By Euler's method in plain numbers.
    v, expected = 0.0, []
    for _ in range(60):
        v += 1e-3 / 1e-2 * (2 - v) if kind == "LIF" else 0.4
        expected.append(float(v > 1))
        v = -0.5 if v > 1 else v
    assert spikes.flatten().tolist() == expected
    setattr(node, field, {"r": parameters["r"] * 1.5, "v_reset": 0 * ONE}[field])
    assert run(chain([1], node), xs, dt=1e-3).flatten().tolist() != expected


def test_synapses_have_no_leak_potential():
    """Norse gives the synapse of CubaLIF the leak potential of the membrane."""
    node = nir.CubaLIF(
        tau_mem=1e-2 * ONE, tau_syn=5e-3 * ONE, r=ONE, v_leak=0.5 * ONE, v_threshold=ONE, v_reset=0 * ONE, w_in=ONE
    )
    _, state = from_nir(chain([1], node), dt=1e-3)(torch.zeros(100, 1))
    assert state.nodes["n0"].i.item() == 0
    assert state.nodes["n0"].v.item() == pytest.approx(0.5)


def test_input_of_a_subgraph_goes_where_the_graph_says():
    """snnTorch builds the edge from the input to the recurrent weights instead of the neuron."""
    lif = nir.LIF(tau=1e-3 * ONE, r=ONE, v_leak=0 * ONE, v_threshold=0.5 * ONE, v_reset=0 * ONE)
    inner = nir.NIRGraph(
        {
            "lif": lif,
            "w_rec": nir.Linear(weight=np.zeros((1, 1))),
            "input": nir.Input({"input": np.array([1])}),
            "output": nir.Output({"output": np.array([1])}),
        },
        [("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output"), ("input", "lif")],
        type_check=False,
    )
    # With weights of zero, input to the weights would have no effect.
    assert run(chain([1], inner), torch.ones(5, 1), dt=1e-3).sum() == 5


def test_exported_neurons_have_the_spikes_of_the_model_by_the_specification():
    """Norse exports w_in = 1 for input that it adds undamped: 10 spikes instead of 136."""
    model = geir.SequentialState(nn.Linear(3, 5), geir.LIF(v_th=0.3))
    with torch.no_grad():
        model[0].weight.fill_(0.2)
        model[0].bias.zero_()
    xs = (torch.rand(300, 2, 3) < 0.3).float()
    graph = to_nir(model, (3,))
    expected = model(xs)[0].sum().item()
    # By the specification: the input is a current during each step, which is solved exactly.
    by_specification = from_nir(graph, dt=1e-3, integrator=geir.Exact())(xs)[0].sum().item()
    assert expected > 500
    assert by_specification == pytest.approx(expected, rel=0.1)
    for node in graph.nodes.values():
        if isinstance(node, nir.CubaLIF):
            node.w_in = np.ones(5)
    assert from_nir(graph, dt=1e-3, integrator=geir.Exact())(xs)[0].sum() < 0.1 * expected


def test_default_neurons_can_be_exported():
    """Norse exports a time constant of 1e-5 s for its default of 1e-2 s, or shapes that do not fit."""
    node = to_nir(geir.SequentialState(nn.Linear(3, 4), geir.LIFCell()), (3,)).nodes["1"]
    np.testing.assert_allclose(node.tau_mem, np.full(4, 1e-2))
    np.testing.assert_allclose(node.tau_syn, np.full(4, 5e-3))


def test_exact_solution_holds_for_any_leak_and_reset_potential():
    """The formula of the file's own simulator is right only without leak potential, and subtracts."""
    node = nir.LIF(tau=1e-2 * ONE, r=2 * ONE, v_leak=0.2 * ONE, v_threshold=ONE, v_reset=-0.3 * ONE)
    network = from_nir(chain([1], node), dt=1e-3, integrator=geir.nir.ExactSolution(), dtype=torch.float64)
    ys, state = network(torch.ones(60, 1, dtype=torch.float64))
    # The potential goes toward 2.2 and is reset at the times at which it is 1.
    first = 1e-2 * np.log((2.2 - 0.2) / (2.2 - 1))
    period = 1e-2 * np.log((2.2 + 0.3) / (2.2 - 1))
    times = first + period * np.arange(8)
    assert ys.flatten().nonzero().flatten().tolist() == np.floor(times / 1e-3).astype(int).tolist()
    since = 60e-3 - times[-1]
    assert 0 < since < period
    np.testing.assert_allclose(state.nodes["n0"].v.item(), 2.2 - 2.5 * np.exp(-since / 1e-2), rtol=1e-9)


@pytest.mark.parametrize("shape", [(), (1,)])
def test_one_value_may_stand_for_all_neurons(shape):
    """Norse writes neurons without a shape, which nir refuses in front of a layer of 4."""
    values = {"tau": 1e-2, "r": 1.0, "v_leak": 0.0, "v_threshold": 0.2, "v_reset": 0.0}
    node = nir.LIF(**{key: np.full(shape, value) for key, value in values.items()})
    xs = torch.rand(50, 4)
    one = run(chain([4], node), xs, dt=1e-3)
    each = run(chain([4], nir.LIF(**{key: np.full(4, value) for key, value in values.items()})), xs, dt=1e-3)
    assert one.sum() > 10
    torch.testing.assert_close(one, each, rtol=0, atol=0)


def test_closed_form_of_the_crossing_is_not_used_for_cuba_lif():
    node = nir.CubaLIF(*[ONE] * 5)
    with pytest.raises(NIRError, match="node 'n0': CubaLIFNode has no closed form for ResetAtCrossing"):
        from_nir(chain([1], node), integrator=geir.nir.ExactSolution())


def test_several_spikes_need_the_same_distance_to_threshold():
    node = nir.IF(r=np.ones(2), v_threshold=np.array([1.0, 2.0]), v_reset=np.zeros(2))
    with pytest.raises(NIRError, match="node 'n0': neurons that emit several spikes.*multiple_spikes=False"):
        from_nir(chain([2], node), integrator=geir.nir.Sinabs())
    from_nir(chain([2], node), integrator=geir.nir.Sinabs(multiple_spikes=False))
