"""NIR graphs run as their equations say; every reference is a loop over the equations in NumPy."""

import itertools

import numpy as np
import pytest
import torch
from nir_helpers import chain, DT, FIELDS, graph, import_double, neuron, recurrent_graph, run, values
from torch import nn
from torch.nn import functional

import geir
from geir.nir import from_nir, NIRError, NIRNetwork

nir = pytest.importorskip("nir", reason="NIR graphs need the nir package")


def euler(kind, p, xs):
    """Output of a neuron node by Euler's method, currents first."""
    v = np.broadcast_to(p.get("v_leak", 0.0), xs.shape[1:]).astype(float)
    i = np.zeros(xs.shape[1:])
    outputs = []
    for x in xs:
        if kind.startswith("Cuba"):
            i = i + DT / p["tau_syn"] * (p["w_in"] * x - i)
            x = i
        tau = p.get("tau", p.get("tau_mem"))
        v = v + DT * p["r"] * x if tau is None else v + DT / tau * (p["v_leak"] - v + p["r"] * x)
        if "v_threshold" in p:
            z = v > p["v_threshold"]
            v = np.where(z, p["v_reset"], v)
            outputs.append(z.astype(float))
        else:
            outputs.append(v)
    return np.stack(outputs)


@pytest.mark.parametrize("kind", FIELDS)
def test_every_parameter_of_every_neuron_counts(kind):
    node, parameters = neuron(kind, 3, 4)
    xs = 3 * values(80, 2, 3, 4, seed=9)
    expected = euler(kind, parameters, xs)
    if "v_threshold" in parameters:
        assert expected.sum() > 100
    network = import_double(chain([3, 4], node))
    np.testing.assert_allclose(run(network, xs), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("numbers", ["longdouble", ">f8", ">f4", "f2", "u2", "u4", "u8", ">i4", "?"])
def test_parameters_may_have_any_type_of_number(numbers):
    of_type = {"tau": np.ones(3), "r": np.array([1, 0, 1]), "v_leak": np.ones(3), "v_threshold": np.array([3, 2, 3])}
    xs = 3 * values(80, 2, 3, seed=9)
    network = import_double(chain([3], nir.LIF(**{key: value.astype(numbers) for key, value in of_type.items()})))
    same = {key: value.astype(numbers).astype(np.float64) for key, value in of_type.items()}
    np.testing.assert_array_equal(run(network, xs), run(import_double(chain([3], nir.LIF(**same))), xs))


@pytest.mark.parametrize("value", ["1e400", "1e39"])
def test_values_too_large_for_the_network_are_refused(value):
    with pytest.raises(NIRError, match="LI.r has values too large for torch.float32") as caught:
        from_nir(chain([1], nir.LI(tau=np.ones(1), r=np.array([value], np.longdouble), v_leak=np.zeros(1))))
    assert caught.value.node


@pytest.mark.parametrize("kind", FIELDS)
def test_parameters_absent_from_old_files_have_the_values_of_the_specification(kind):
    """`v_reset` is 0 and `w_in` is 1."""
    _, parameters = neuron(kind, 4)
    for field, default in (("v_reset", 0.0), ("w_in", 1.0)):
        if field in parameters:
            parameters[field] = np.full(4, default)
    given = {field: value for field, value in parameters.items() if field not in ("v_reset", "w_in")}
    xs = 3 * values(60, 4, seed=9)
    network = import_double(chain([4], getattr(nir, kind)(**given)))
    np.testing.assert_allclose(run(network, xs), euler(kind, parameters, xs), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "node", "reference"),
    [
        ([3], nir.Linear(weight=values(4, 3)), lambda x: x @ values(4, 3).T),
        ([3], nir.Affine(weight=values(4, 3), bias=values(4)), lambda x: x @ values(4, 3).T + values(4)),
        ([5, 3], nir.Linear(weight=values(5, 4, 3)), lambda x: np.einsum("bkj,...bj->...bk", values(5, 4, 3), x)),
        (
            [5, 3],
            nir.Affine(weight=values(5, 4, 3), bias=values(5, 4)),
            lambda x: np.einsum("bkj,...bj->...bk", values(5, 4, 3), x) + values(5, 4),
        ),
        ([2, 3], nir.Scale(scale=values(2, 3)), lambda x: x * values(2, 3)),
        ([2, 3], nir.Threshold(threshold=values(2, 3)), lambda x: (x > values(2, 3)).astype(float)),
        ([2, 3, 4], nir.Flatten({"input": None}, 0, -1), lambda x: x.reshape(*x.shape[:-3], 24)),
        ([2, 3, 4], nir.Flatten({"input": None}), lambda x: x.reshape(*x.shape[:-2], 12)),
        ([2, 3, 4], nir.Flatten({"input": None}, 0, 1), lambda x: x.reshape(*x.shape[:-3], 6, 4)),
        ([4], nir.Delay(delay=np.array([0, 1, 2, 3]) * DT), lambda x: shifted(x, [0, 1, 2, 3])),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_stateless_nodes_and_delays(shape, node, reference, batch):
    xs = values(6, *batch, *shape, seed=5)
    network = import_double(chain(shape, node))
    np.testing.assert_allclose(run(network, xs), reference(xs), rtol=1e-12, atol=1e-12)


def shifted(xs, steps):
    ys = np.zeros_like(xs)
    for neuron_index, count in enumerate(steps):
        ys[count:, ..., neuron_index] = xs[: len(xs) - count, ..., neuron_index]
    return ys


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("stride", [(1, 1), (2, 1)])
@pytest.mark.parametrize("padding", [(0, 0), (1, 2), "valid", "same"])
@pytest.mark.parametrize("kernel", [(3, 3), (3, 2)])
# PyTorch says that it copies the input.
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_convolutions_equal_sums_over_windows(groups, stride, padding, kernel):
    weight, bias = values(4, 4 // groups, *kernel), values(4)
    node = nir.Conv2d(None, weight, np.array(stride), padding if isinstance(padding, str) else np.array(padding),
                      np.array([1, 1]), groups, bias)  # fmt: skip
    xs = values(2, 3, 4, 7, 8, seed=3)
    if padding == "same" and stride != (1, 1):
        with pytest.raises(NIRError, match="'same' with a stride"):
            import_double(chain([4, 7, 8], node))
        return
    if padding == "same":  # one more below and on the right for even kernels
        total = [k - 1 for k in kernel]
        sides = [(n // 2, n - n // 2) for n in total]
    else:
        sides = [(p, p) for p in ((0, 0) if padding == "valid" else padding)]
    padded = np.pad(xs, [(0, 0)] * 3 + sides)
    rows = range(0, padded.shape[3] - kernel[0] + 1, stride[0])
    columns = range(0, padded.shape[4] - kernel[1] + 1, stride[1])
    expected = np.zeros((2, 3, 4, len(rows), len(columns)))
    size_in, size_out = 4 // groups, 4 // groups
    for a, row in enumerate(rows):
        for b, column in enumerate(columns):
            window = padded[..., row : row + kernel[0], column : column + kernel[1]]
            for k in range(4):
                group = k // size_out
                part = window[:, :, group * size_in : (group + 1) * size_in]
                expected[:, :, k, a, b] = (part * weight[k]).sum((2, 3, 4)) + bias[k]
    np.testing.assert_allclose(run(import_double(chain([4, 7, 8], node)), xs), expected, rtol=1e-10)


def test_convolution_in_one_dimension_with_dilation_and_stride():
    weight, bias = values(6, 2, 3), values(6)
    node = nir.Conv1d(None, weight, 2, 1, 2, 2, bias)
    xs = values(5, 4, 11, seed=2)
    expected = functional.conv1d(*map(torch.tensor, (xs, weight, bias)), stride=2, padding=1, dilation=2, groups=2)
    np.testing.assert_allclose(run(import_double(chain([4, 11], node)), xs), expected.numpy(), rtol=1e-12)


@pytest.mark.parametrize("kind", ["SumPool2d", "AvgPool2d"])
def test_pooling_with_padding_sums_or_averages_windows(kind):
    node = getattr(nir, kind)(kernel_size=np.array([3, 2]), stride=np.array([2, 1]), padding=np.array([1, 0]))
    xs = values(2, 3, 5, 4, seed=1)
    padded = np.pad(xs, [(0, 0), (0, 0), (1, 1), (0, 0)])
    expected = np.stack(
        [np.stack([padded[..., r : r + 3, c : c + 2].sum((2, 3)) for c in range(3)], -1) for r in (0, 2, 4)], -2
    )
    expected = expected / (1 if kind == "SumPool2d" else 6)
    np.testing.assert_allclose(run(import_double(chain([3, 5, 4], node)), xs), expected, rtol=1e-12)


def test_several_inputs_and_outputs_have_names():
    network = import_double(
        graph(
            "x-a y-a a-output1 y-output2",
            x=[3],
            y=[3],
            a=nir.Scale(scale=np.full(3, 2.0)),
            output1=[3],
            output2=[3],
        )
    )
    x, y = torch.tensor(values(4, 3)), torch.tensor(values(4, 3, seed=1))
    outputs, _ = network({"x": x, "y": y})
    torch.testing.assert_close(outputs["output1"], 2 * (x + y))
    torch.testing.assert_close(outputs["output2"], y)
    with pytest.raises(TypeError, match="a tensor for each of its inputs, x, y, got a dictionary with x"):
        network({"x": x})
    with pytest.raises(TypeError, match="pass a dictionary"):
        network(x)
    with pytest.raises(ValueError, match="differ in time or batch"):
        network({"x": x, "y": y[:2]})


def test_nested_graphs_equal_flat_ones():
    node, _ = neuron("LIF", 4)
    weight = values(4, 4)
    inner = graph("input-w w-output", input=[4], w=nir.Linear(weight=weight), output=[4])
    middle = graph("input-lif lif-inner inner-lif lif-output", input=[4], lif=node, inner=inner, output=[4])
    nested = graph("input-middle middle-output", input=[4], middle=middle, output=[4])
    flat = graph("input-lif lif-w w-lif lif-output", input=[4], lif=node, w=nir.Linear(weight=weight), output=[4])
    xs = 4 * values(50, 2, 4)
    network = import_double(nested)
    assert "middle.inner.w" in network
    np.testing.assert_array_equal(run(network, xs), run(import_double(flat), xs))


def test_graphs_of_old_versions_without_inputs_and_outputs_run():
    node, parameters = neuron("LIF", 4)
    old = graph("w-lif", w=nir.Linear(weight=values(4, 3)), lif=node)
    xs = 6 * values(30, 3)
    np.testing.assert_array_equal(run(import_double(old), xs), euler("LIF", parameters, xs @ values(4, 3).T))


def test_a_run_in_parts_equals_one_run():
    weight, bias = 4 * values(5, 5, low=-1), values(5)
    recurrent, _ = recurrent_graph(weight, bias)
    recurrent.nodes |= {"late": nir.Delay(delay=np.full(5, 2 * DT)), "out2": nir.Output({"output": np.array([5])})}
    recurrent.edges += [("lif", "late"), ("late", "out2")]
    network = import_double(recurrent)
    xs = torch.tensor(4 * values(40, 2, 5))
    whole, _ = network(xs)
    state, parts = None, []
    for part in xs.split([1, 7, 0, 32]):
        ys, state = network(part, state)
        parts.append(ys)
    assert whole["output"].sum() > 50
    for name in whole:
        torch.testing.assert_close(torch.cat([part[name] for part in parts]), whole[name], rtol=0, atol=0)


def test_gradients_reach_all_weights():
    weight, bias = 4 * values(5, 5, low=-1), values(5)
    recurrent, _ = recurrent_graph(weight, bias)
    recurrent.nodes["first"] = nir.Linear(weight=4 * values(5, 5))
    recurrent.edges = [("input", "first"), ("first", "lif"), *recurrent.edges[1:]]
    network = from_nir(recurrent, dt=DT)
    ys, _ = network(torch.rand(30, 2, 5))
    ys.sum().backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    assert len(gradients) == 3
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients.values())


def test_networks_can_be_converted_copied_and_saved(tmp_path):
    recurrent, _ = recurrent_graph(4 * values(5, 5, low=-1), values(5))
    network = from_nir(recurrent, dt=DT)
    twin = from_nir(recurrent, dt=DT)
    torch.nn.init.zeros_(twin["back"].weight)
    twin.load_state_dict(network.state_dict())
    xs = 4 * torch.rand(30, 5)
    ys, state = network(xs)
    torch.testing.assert_close(twin(xs)[0], ys, rtol=0, atol=0)
    torch.save(state, tmp_path / "state.pt")
    again = torch.load(tmp_path / "state.pt")
    torch.testing.assert_close(network(xs, again)[0], network(xs, state)[0], rtol=0, atol=0)
    assert network.double()(xs.double())[0].dtype == torch.float64


def test_nodes_may_have_names_of_attributes_of_modules():
    names = ["type", "forward", "train", "type_", "a.b", ""]
    nodes = {name: nir.Scale(scale=np.full(2, k + 1.0)) for k, name in enumerate(names)}
    path = ["input", *names, "output"]
    built = nir.NIRGraph(
        {"input": nir.Input({"input": np.array([2])}), **nodes, "output": nir.Output({"output": np.array([2])})},
        list(itertools.pairwise(path)),
        type_check=False,
    )
    network = import_double(built)
    assert isinstance(network, NIRNetwork)
    np.testing.assert_allclose(run(network, np.ones((1, 2))), np.full((1, 2), 720.0))
    assert set(network) == {"input", *names, "output"}


def test_integrators_of_geir_give_their_solution():
    """`Exact` equals the closed form for constant input."""
    node = nir.LI(tau=np.full(1, 1e-2), r=np.full(1, 2.0), v_leak=np.full(1, 0.5))
    ys = run(import_double(chain([1], node), geir.Exact(), 1e-3), np.ones((20, 1)))
    t = 1e-3 * np.arange(1, 21)[:, None]
    np.testing.assert_allclose(ys, 2.5 - 2.0 * np.exp(-t / 1e-2), rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"dt": 0.0}, ValueError, "dt must be a positive number of seconds, got 0.0"),
        ({"dt": float("nan")}, ValueError, "dt must be a positive"),
        ({"dt": "fast"}, ValueError, "dt must be a positive"),
        ({"integrator": "euler"}, TypeError, "integrator must be an integrator such as geir.Exact"),
    ],
)
def test_invalid_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        from_nir(chain([2], nir.Scale(scale=np.ones(2))), **arguments)


@pytest.mark.parametrize(
    ("xs", "error", "message"),
    [
        (torch.ones(3, 4), ValueError, r"input of shape \(time, ..., 2\) for 'input', got \(3, 4\)"),
        (torch.ones(2), ValueError, r"input of shape \(time, ..., 2\)"),
        (torch.ones(3, 2, dtype=torch.int64), TypeError, "floating-point input for 'input', got torch.int64"),
        ([1.0, 2.0], TypeError, "a tensor for each of its inputs"),
    ],
)
def test_invalid_input_is_refused(xs, error, message):
    with pytest.raises(error, match=message):
        from_nir(chain([2], nir.Scale(scale=np.ones(2))))(xs)


def test_states_of_others_are_refused():
    with pytest.raises(TypeError, match="expected a NIRState as its state, got dict"):
        from_nir(chain([2], nir.Scale(scale=np.ones(2))))(torch.ones(1, 2), {})


def test_delays_are_rounded_to_the_nearest_step():
    """Interpolation would make fractions of spikes."""
    network = import_double(chain([2], nir.Delay(delay=np.array([1.4, 1.6]) * DT)))
    xs = np.zeros((4, 2))
    xs[0] = 1
    assert run(network, xs).tolist() == [[0, 0], [1, 0], [0, 1], [0, 0]]


def test_a_chain_is_a_sequence_of_the_same_modules_which_becomes_integers():
    torch.manual_seed(0)
    model = geir.SequentialState(nn.Linear(6, 30), geir.LIF(v_th=0.3), nn.Linear(30, 4), geir.LI(), lift=True)
    network = from_nir(geir.nir.to_nir(model, (6,)))
    chain_of_modules = network.sequential()
    xs = geir.encode.poisson(torch.full((5, 6), 0.4), steps=50, generator=torch.Generator().manual_seed(0))
    assert torch.equal(chain_of_modules(xs)[0], network(xs)[0])
    assert chain_of_modules[1] is network["1"]
    ours, theirs = (geir.hardware.to_integer(m, geir.hardware.LOIHI2)(xs)[0] for m in (model, chain_of_modules))
    assert torch.equal(ours, theirs)
    assert ours.any()


def test_a_graph_that_is_no_chain_is_no_sequence():
    edges = [("input", "a"), ("input", "b"), ("a", "output"), ("b", "output")]
    nodes = {"input": nir.Input({"input": np.array([2])}), "output": nir.Output({"output": np.array([2])})}
    nodes |= {name: nir.Scale(np.ones(2)) for name in "ab"}
    with pytest.raises(NIRError, match="node 'input': the graph is no chain: the node has several inputs or outputs"):
        from_nir(nir.NIRGraph(nodes, edges)).sequential()
    nodes["b"] = neuron("LIF", 2)[0]
    edges = [("input", "a"), ("a", "b"), ("b", "a"), ("b", "output")]
    with pytest.raises(NIRError, match="node 'a': .*: the node is part of a cycle"):
        from_nir(nir.NIRGraph(nodes, edges)).sequential()
