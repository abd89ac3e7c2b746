"""A run as an operator of PyTorch: compiled, exported, transformed."""

import pytest
import torch
from pytorch_versions import requires_compile
from runtime_helpers import prepared
from torch import nn

import geir
from geir._runtime import compiler
from geir._runtime.kernels.prepared_run import prepare_run
from geir.testing import close, strong_input

pytestmark = pytest.mark.skipif(compiler.find_compiler() is None, reason="there is no C compiler")


def test_second_derivatives_raise_and_name_the_alternative():
    x = torch.rand(9, 4, requires_grad=True)
    (d,) = torch.autograd.grad(geir.LI()(x)[0].square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="geir.reference"):
        d.sum().backward()


def test_operators_pass_opcheck():
    lif = geir.LIF(tau_mem=nn.Parameter(torch.full((4,), 8e-3)))
    xs = torch.rand(20, 3, 4)
    program, state, constants, _ = prepared(lif, xs[0])
    constants = [t.detach() for t in constants]
    arguments = (program, xs, state, constants, [], 16, torch.float32, False)
    torch.library.opcheck(torch.ops.geir.run, arguments)
    zs, after, checkpoints = torch.ops.geir.run(*arguments)
    for grad_state in (after, None):
        needs_grad = [True] * len(constants)
        torch.library.opcheck(
            torch.ops.geir.run_backward,
            (program, xs, zs, grad_state, checkpoints, constants, needs_grad, [], 16, False),
        )


def test_operators_of_recurrent_runs_pass_opcheck():
    net = geir.LIFRecurrent(5, 4)
    xs = torch.rand(20, 3, 4)
    stepper, (inner, z) = net.stepper(torch.float32), net.initial_state(xs[0])
    program, state, constants, _ = prepare_run(stepper, inner)
    weights = stepper.feedback.connection.detach()
    arguments = (program, xs, state, constants, [z, weights], 16, torch.float32, True)
    torch.library.opcheck(torch.ops.geir.run, arguments)
    zs, states, checkpoints, inputs = torch.ops.geir.run(*arguments)
    needs_grad = [True] * len(constants)
    torch.library.opcheck(
        torch.ops.geir.run_backward,
        (program, inputs, zs, states, checkpoints, constants, needs_grad, [z, weights, zs], 16, True),
    )


@requires_compile
@pytest.mark.parametrize("kind", [geir.LIF, geir.LIFRefrac, geir.ALIF, geir.AdEx])
def test_a_neuron_with_a_resting_potential_for_each_neuron_compiles(kind):
    layer, xs = kind(v_rest=torch.tensor([0.0, -0.1, 0.2, 0.05])), 5 * torch.rand(6, 2, 4)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(xs)[0], layer(xs)[0])
    assert layer(xs)[0].sum() > 0


@requires_compile
def test_a_network_compiles_without_graph_breaks():
    torch.compiler.reset()
    net = geir.SequentialState(nn.Linear(5, 6), geir.LIF(), nn.Linear(6, 4), geir.LIFRecurrent(4, 4), geir.LI())
    xs = torch.rand(20, 3, 5) * 3
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    outcomes = []
    for run_it in (net, compiled):
        net.zero_grad()
        zs, state = run_it(xs)
        zs.sum().backward()
        outcomes.append((zs, state, [p.grad for p in net.parameters()]))
    close(*outcomes, 1e-5)


@requires_compile
def test_a_compiled_network_follows_changes_of_settings():
    torch.compiler.reset()
    lif, xs = geir.LIF(), torch.rand(20, 3, 5) * 3
    compiled = torch.compile(lif, fullgraph=True, backend="aot_eager")
    close(compiled(xs), lif(xs), 1e-6)
    lif.dt = 2e-3
    close(compiled(xs), lif(xs), 1e-6)
    x, y = (xs.clone().requires_grad_() for _ in range(2))
    lif.surrogate = geir.surrogates.Triangle()
    compiled(x)[0].sum().backward()
    lif(y)[0].sum().backward()
    close(x.grad, y.grad, 1e-6)


@requires_compile
def test_a_network_exports():
    net = geir.SequentialState(nn.Linear(5, 6), geir.LIF(), nn.Linear(6, 4), geir.LI())
    xs = torch.rand(20, 3, 5) * 3
    exported = torch.export.export(net, (xs,))
    close(exported.module()(xs), net(xs), 1e-6)
    assert any("geir.run" in str(node.target) for node in exported.graph.nodes)


def test_per_sample_gradients():
    lif = geir.LIF(tau_mem=nn.Parameter(torch.full((4,), 8e-3, dtype=torch.float64))).double()
    parameters = dict(lif.named_parameters())
    xs = strong_input(lif)

    def loss(values, x):
        return (torch.func.functional_call(lif, values, (x,))[0] * torch.linspace(-1, 1, 4)).sum()

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 1))(parameters, xs)
    one_by_one = [torch.func.grad(loss)(parameters, xs[:, k]) for k in range(xs.shape[1])]
    for name in parameters:
        close(each[name], torch.stack([g[name] for g in one_by_one]))
