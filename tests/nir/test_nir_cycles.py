"""Feedback in NIR graphs arrives one step later; every reference is a loop over the equations in NumPy."""

import numpy as np
import pytest
from nir_helpers import DT, graph, import_double, neuron, recurrent_graph, run, values

from geir.nir import Discretization, Norse

nir = pytest.importorskip("nir", reason="NIR graphs need the nir package")


def recurrent_reference(parameters, weight, bias, xs, initial_bias=True):
    """A LIF layer whose weighted spikes arrive one step later."""
    z, outputs = np.zeros(xs.shape[1:]), []
    v = np.broadcast_to(parameters["v_leak"], xs.shape[1:])
    for step, x in enumerate(xs):
        feedback = z @ weight.T + bias if step or initial_bias else 0.0
        v = v + DT / parameters["tau"] * (parameters["v_leak"] - v + parameters["r"] * (x + feedback))
        z = (v > parameters["v_threshold"]).astype(float)
        v = np.where(z > 0, parameters["v_reset"], v)
        outputs.append(z)
    return np.stack(outputs)


@pytest.mark.parametrize(("discretization", "initial_bias"), [(Discretization(), True), (Norse(), False)])
def test_feedback_takes_one_step(discretization, initial_bias):
    weight, bias = 4 * values(5, 5, low=-1), values(5)
    recurrent, parameters = recurrent_graph(weight, bias)
    xs = 4 * values(60, 3, 5, seed=8)
    expected = recurrent_reference(parameters, weight, bias, xs, initial_bias)
    assert expected.sum() > 100
    assert (expected != recurrent_reference(parameters, 0 * weight, 0 * bias, xs)).sum() > 30
    np.testing.assert_array_equal(run(import_double(recurrent, discretization), xs), expected)


def test_names_and_order_of_nodes_do_not_matter():
    """Files list nodes by name, and edges in any order."""
    weight, bias = 4 * values(5, 5, low=-1), values(5)
    recurrent, parameters = recurrent_graph(weight, bias)
    xs = 4 * values(40, 5, seed=8)
    expected = recurrent_reference(parameters, weight, bias, xs)
    for names in ({"lif": "z", "back": "a"}, {"lif": "a", "back": "z"}, {"input": "zz", "lif": "lif1.lif"}):
        nodes = {names.get(name, name): node for name, node in reversed(recurrent.nodes.items())}
        edges = [(names.get(a, a), names.get(b, b)) for a, b in reversed(recurrent.edges)]
        renamed = nir.NIRGraph(nodes, edges, type_check=False)
        np.testing.assert_array_equal(run(import_double(renamed), xs), expected)


def test_a_cycle_of_several_nodes_takes_one_step_in_all():
    """Two layers with feedback from the second to the first: feed-forward within the step."""
    first, p = neuron("LIF", 4)
    second, q = neuron("LIF", 4)
    forth, back = 5 * values(4, 4, seed=1), 5 * values(4, 4, low=-1, seed=2)
    xs = 4 * values(50, 4, seed=7)
    loop = graph(
        "input-a a-forth forth-b b-back back-a b-output",
        input=[4],
        a=first,
        forth=nir.Linear(weight=forth),
        b=second,
        back=nir.Linear(weight=back),
        output=[4],
    )

    def step(parameters, v, x):
        v = v + DT / parameters["tau"] * (parameters["v_leak"] - v + parameters["r"] * x)
        z = (v > parameters["v_threshold"]).astype(float)
        return np.where(z > 0, parameters["v_reset"], v), z

    va, vb, zb, expected = p["v_leak"], q["v_leak"], np.zeros(4), []
    for x in xs:
        va, za = step(p, va, x + back @ zb)
        vb, zb = step(q, vb, forth @ za)
        expected.append(zb)
    assert np.sum(expected) > 20
    np.testing.assert_array_equal(run(import_double(loop), xs), np.stack(expected))


@pytest.mark.parametrize("steps", [1, 3])
def test_a_cycle_through_a_delay_takes_that_delay_and_no_more(steps):
    weight = np.eye(3) * 0.5
    loop = graph(
        "input-sum sum-delay delay-back back-sum sum-output",
        input=[3],
        sum=nir.Scale(scale=np.ones(3)),
        delay=nir.Delay(delay=np.full(3, steps * DT)),
        back=nir.Linear(weight=weight),
        output=[3],
    )
    xs = np.zeros((10, 3))
    xs[0] = 1
    expected = np.zeros((10, 3))
    for t in range(10):
        expected[t] = xs[t] + (0.5 * expected[t - steps] if t >= steps else 0)
    np.testing.assert_allclose(run(import_double(loop), xs), expected)


@pytest.mark.parametrize(("near", "far"), [("a", "b"), ("b", "a")])
def test_a_cycle_begins_where_input_is_nearest(near, far):
    """Input enters at both nodes; the edge to the farther one is of the same step, whatever their names."""
    nodes = {name: nir.I(r=np.ones(1) / DT) for name in (near, far)}
    loop = graph(
        f"input-{near} input-w w-{far} {near}-{far} {far}-{near} {far}-output",
        input=[1],
        w=nir.Scale(scale=np.zeros(1)),
        output=[1],
        **nodes,
    )
    # first <- first + x + second of the step before; second <- second + first
    xs, first, second, expected = [1.0, 0.0, 0.0, 0.0], 0.0, 0.0, []
    for x in xs:
        first += x + second
        second += first
        expected.append(second)
    np.testing.assert_allclose(run(import_double(loop), np.array(xs)[:, None])[:, 0], expected)
