"""NIR graphs for the tests, and networks of them."""

import itertools

import numpy as np
import pytest
import torch

from geir.nir import from_nir, SequentialEuler

nir = pytest.importorskip("nir", reason="NIR graphs need the nir package")
DT = 1e-3
EULER = SequentialEuler()


def graph(edges, **nodes):
    """A graph with edges written as "a-b b-c"; shapes of inputs and outputs are written as lists."""
    made = {}
    for name, node in nodes.items():
        if isinstance(node, list):
            node = nir.Output({"output": np.array(node)}) if "output" in name else nir.Input({"input": np.array(node)})
        made[name] = node
    return nir.NIRGraph(made, [tuple(edge.split("-")) for edge in edges.split()], type_check=False)


def chain(shape, *nodes):
    """The nodes in sequence."""
    names = [f"n{k}" for k in range(len(nodes))]
    path = ["input", *names, "output"]
    edges = " ".join(f"{a}-{b}" for a, b in itertools.pairwise(path))
    return graph(edges, input=list(shape), output=nir.Output({"output": None}), **dict(zip(names, nodes, strict=True)))


def values(*shape, low=0.0, high=1.0, seed=0):
    return np.random.default_rng(seed).uniform(low, high, shape)


def run(network, xs):
    ys, _ = network(torch.as_tensor(xs))
    return ys.detach().numpy()


def import_double(source, integrator=EULER, dt=DT):
    return from_nir(source, dt=dt, integrator=integrator, dtype=torch.float64)


FIELDS = {
    "I": "r",
    "IF": "r v_threshold v_reset",
    "LI": "tau r v_leak",
    "LIF": "tau r v_leak v_threshold v_reset",
    "CubaLI": "tau_mem tau_syn r v_leak w_in",
    "CubaLIF": "tau_mem tau_syn r v_leak v_threshold v_reset w_in",
}
RANGES = {
    "tau": (5e-3, 2e-2),
    "tau_mem": (5e-3, 2e-2),
    "tau_syn": (2e-3, 1e-2),
    "r": (0.5, 3.0),
    "v_leak": (-0.3, 0.2),
    "v_threshold": (0.3, 0.6),
    "v_reset": (-0.5, 0.1),
    "w_in": (0.5, 4.0),
}


def neuron(kind, *shape):
    """A neuron node with another value of every parameter for every neuron."""
    fields = FIELDS[kind].split()
    made = {
        field: values(*shape, low=RANGES[field][0], high=RANGES[field][1], seed=k) for k, field in enumerate(fields)
    }
    if kind in ("I", "IF"):
        made["r"] = made["r"] / (10 * DT)
    return getattr(nir, kind)(**made), made


def recurrent_graph(weight, bias):
    node, parameters = neuron("LIF", 5)
    back = nir.Affine(weight=weight, bias=bias)
    return graph("input-lif lif-back back-lif lif-output", input=[5], lif=node, back=back, output=[5]), parameters
