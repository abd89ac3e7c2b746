"""Sparse and delayed recurrent connections inside the kernels, against the reference loop and plain loops."""

import copy

import pytest
import torch
from runtime_helpers import with_reference
from torch import nn

import geir
from geir._runtime.kernels import recurrence
from geir.connections import DelayedLinear, DelayedSparseLinear, GaussianInterpolation, NearestStep, SparseLinear
from geir.testing import close, run

SIZE = 12


def sparse(strength=3.0):
    layer = SparseLinear(SIZE, SIZE, connection_probability=0.4)
    with torch.no_grad():
        layer.weight.mul_(strength)
    return layer


def whole_delays(layer):
    return torch.randint(0, 6, layer.weight.shape) * 1e-3


def delayed(delay_of, **keywords):
    layer = sparse()
    return DelayedSparseLinear(layer, delay=delay_of(layer), **keywords)


CONNECTIONS = {
    "sparse": sparse,
    "one delay": lambda: delayed(lambda _: 3e-3),
    "one delay between two steps": lambda: delayed(lambda _: geir.learnable(3.3e-3), max_delay=5e-3),
    "a delay in each synapse": lambda: delayed(whole_delays),
    "delays to the nearest step": lambda: delayed(
        lambda s: 5e-3 * torch.rand_like(s.weight), interpolation=NearestStep()
    ),
    "learnable delays": lambda: delayed(lambda s: geir.learnable(5e-3 * torch.rand_like(s.weight)), max_delay=6e-3),
    "a buffer longer than the run": lambda: delayed(whole_delays, max_delay=0.2),
    "dense and delayed": lambda: DelayedLinear(SIZE, SIZE, delay=geir.learnable(5e-3 * torch.rand(SIZE, SIZE))),
    "dense with wide delays": lambda: DelayedLinear(
        SIZE, SIZE, delay=geir.learnable(5e-3 * torch.rand(SIZE, SIZE)), interpolation=GaussianInterpolation(1e-3)
    ),
    "no synapses": lambda: SparseLinear(SIZE, SIZE, connection_probability=0.0),
}
every_connection = pytest.mark.parametrize("connection", CONNECTIONS.values(), ids=CONNECTIONS)


def network(connection, neuron=None, **keywords):
    net = geir.Recurrent(
        neuron or geir.LIF(tau_mem=nn.Parameter(torch.full((SIZE,), 9e-3))),
        5,
        SIZE,
        recurrent_weights=connection(),
        **keywords,
    ).double()
    with torch.no_grad():
        net.input_weights.mul_(8)
    return net


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def only_kernels(monkeypatch):
    """Fail if a run leaves the kernel between two steps."""

    def refuse(*_, **__):
        raise AssertionError("the steps ran one by one")

    monkeypatch.setattr(recurrence, "_run_step_by_step", refuse)


@every_connection
@pytest.mark.parametrize("record", [False, True], ids=["last state", "all states"])
class TestKernel:
    @pytest.mark.parametrize("neuron", [None, geir.LIFRefrac(), geir.AdEx()], ids=["LIF", "LIFRefrac", "AdEx"])
    def test_is_the_reference_with_all_gradients(self, connection, record, neuron, only_kernels):
        net = network(connection, copy.deepcopy(neuron), record_states=record)
        xs = torch.rand(80, 3, 5, dtype=torch.float64)  # more than one chunk between checkpoints
        actual, expected = run(net, xs), run(with_reference(net), xs)
        assert expected["zs"].sum() > 10
        assert all(actual[name] is not None for name in expected if name.startswith("recurrent_weights"))
        close(actual, expected)

    def test_without_gradients_it_is_the_reference(self, connection, record, only_kernels):
        net = network(connection, record_states=record)
        xs = torch.rand(80, 3, 5, dtype=torch.float64)
        with torch.no_grad():
            close(net(xs), with_reference(net)(xs))


@every_connection
class TestState:
    @pytest.mark.parametrize("grad", [False, True])
    def test_a_run_can_be_split_anywhere(self, connection, grad, only_kernels):
        net = network(connection)
        xs = torch.rand(40, 3, 5, dtype=torch.float64)
        with torch.set_grad_enabled(grad):
            zs, last = net(xs)
            parts, state = [], None
            for part in xs.split([1, 2, 7, 20, 10]):
                z, state = net(part, state)
                parts.append(z)
        close((torch.cat(parts), state), (zs, last))

    def test_gradients_reach_the_state_of_the_run_before(self, connection, only_kernels):
        net = network(connection)
        xs = torch.rand(30, 3, 5, dtype=torch.float64)
        _, state = geir.detach(net(xs))
        parts = [part.detach().requires_grad_() for part in torch.utils._pytree.tree_leaves(state)]
        results = []
        for model in (net, with_reference(net)):
            start = torch.utils._pytree.tree_unflatten(parts, torch.utils._pytree.tree_structure(state))
            zs, _ = model(xs, start)
            loss = (zs * torch.linspace(-1, 1, zs.numel(), dtype=zs.dtype).view_as(zs)).sum()
            inputs = [*parts, *model.parameters()]
            results.append(torch.autograd.grad(loss, inputs, allow_unused=True)[::-1])
        if net.recurrent_weights.synapses().weights.numel():
            assert results[0][-1].abs().sum() > 0
            assert results[0][-len(parts)].abs().sum() > 0
        close([g for g in results[0] if g is not None], [g for g in results[1] if g is not None])

    def test_a_cell_steps_as_the_layer_runs(self, connection):
        layer = geir.LIFRecurrent(5, SIZE, recurrent_weights=connection()).double()
        cell = geir.LIFRecurrentCell(5, SIZE, recurrent_weights=layer.recurrent_weights).double()
        cell.load_state_dict(layer.state_dict())
        xs = 8 * torch.rand(40, 3, 5, dtype=torch.float64)
        zs, last = layer(xs)
        state, outputs = None, []
        for x in xs:
            z, state = cell(x, state)
            outputs.append(z)
        assert zs.sum() > 10
        close((torch.stack(outputs), state), (zs, last))

    def test_some_samples_can_be_reset(self, connection):
        net = network(connection)
        _, state = net(torch.rand(40, 2, 5, dtype=torch.float64))
        mixed = geir.reset(net, state, torch.tensor([True, False]))
        xs = torch.rand(40, 2, 5, dtype=torch.float64)
        fresh, continued = net(xs)[0], net(xs, state)[0]
        close(net(xs, mixed)[0], torch.stack([fresh[:, 0], continued[:, 1]], 1))


def test_spikes_arrive_after_their_delays():
    delays = torch.tensor([0.0, 2e-3, 5e-3])
    layer = SparseLinear.from_weights(torch.tensor([[0.0, 0.0, 0.0, 0.0], *([10.0 * k, 0, 0, 0] for k in (1, 1, 1))]))
    net = geir.Recurrent(
        geir.IAF(), 4, 4, input_weights=nn.Identity(), recurrent_weights=DelayedSparseLinear(layer, delay=delays)
    )
    xs = torch.zeros(12, 1, 4)
    xs[3, 0, 0] = 10.0
    first = [net(xs)[0][:, 0, k].nonzero()[0].item() for k in range(4)]
    # The output of a step reaches the input of the next one; delays add to that.
    assert first == [3, 4, 6, 9]


@every_connection
def test_several_threads_give_the_result_of_one(connection, only_kernels):
    net = network(connection)
    xs = torch.rand(100, 40, 5, dtype=torch.float64)
    expected = run(net, xs)
    torch.set_num_threads(3)
    try:
        close(run(net, xs), expected)
    finally:
        torch.set_num_threads(1)


@every_connection
def test_per_sample_gradients_and_ensembles(connection):
    net = network(connection)
    xs, parameters = torch.rand(30, 3, 5, dtype=torch.float64), dict(net.named_parameters())

    def loss(values, x):
        return (torch.func.functional_call(net, values, (x,))[0] * torch.linspace(-1, 1, SIZE)).sum()

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 1))(parameters, xs)
    stacked = {name: torch.stack([p.detach(), 1.1 * p.detach()]) for name, p in parameters.items()}
    both = torch.func.vmap(loss, in_dims=(0, None))(stacked, xs)
    net.unroll = geir.reference
    for name, gradients in each.items():
        close(gradients, torch.stack([torch.func.grad(loss)(parameters, xs[:, k])[name] for k in range(3)]))
    close(both, torch.stack([loss({name: p[k] for name, p in stacked.items()}, xs) for k in range(2)]))


@pytest.mark.parametrize("name", ["sparse", "one delay", "a delay in each synapse"])
def test_it_is_exported_for_any_number_of_steps_as_one_operator(name):
    net = network(CONNECTIONS[name]).eval()
    xs = torch.rand(20, 3, 5, dtype=torch.float64)
    exported = torch.export.export(net, (xs,), dynamic_shapes=({0: torch.export.Dim("steps", min=2)},))
    operators = [node for node in exported.graph.nodes if "geir.run" in str(node.target)]
    assert len(operators) == 1
    longer = torch.rand(50, 3, 5, dtype=torch.float64)
    close(exported.module()(longer), net(longer))


class Louder(SparseLinear):
    def forward(self, input):
        return 2 * super().forward(input)


class LouderDelayed(DelayedSparseLinear):
    def respond(self, all_steps):
        return 2 * super().respond(all_steps)


@pytest.mark.parametrize(
    "connection",
    [
        lambda: Louder(SIZE, SIZE, connection_probability=0.4),
        lambda: LouderDelayed(SparseLinear(SIZE, SIZE, connection_probability=0.4), delay=2e-3),
    ],
    ids=["sparse", "delayed"],
)
def test_a_connection_of_a_user_does_what_it_says(connection):
    net = network(connection)
    xs = torch.rand(40, 3, 5, dtype=torch.float64)
    actual, expected = run(net, xs), run(with_reference(net), xs)
    assert expected["zs"].sum() > 10
    close(actual, expected)


@pytest.mark.parametrize("unroll", [geir.Fused(), geir.reference], ids=["kernel", "reference"])
def test_the_cell_of_a_delayed_connection_may_feed_back(unroll):
    layer = DelayedLinear(SIZE, SIZE, delay=2e-3)
    cell = geir.connections.DelayedLinearCell(SIZE, SIZE, delay=2e-3)
    cell.load_state_dict(layer.state_dict())
    net, other = network(lambda: layer, unroll=unroll), network(lambda: cell, unroll=unroll)
    other.load_state_dict(net.state_dict())
    xs = torch.rand(40, 3, 5, dtype=torch.float64)
    close(net(xs), other(xs))


def test_hooks_of_the_connection_are_called():
    net = network(sparse)
    calls = []
    net.recurrent_weights.register_forward_hook(lambda *_: calls.append(1))
    net(torch.rand(20, 3, 5, dtype=torch.float64))
    assert len(calls) == 20


@pytest.mark.parametrize("delay", [0.0, 3e-3], ids=["no delay", "a delay"])
def test_a_network_of_many_blocks_is_the_reference_to_the_last_bit_of_its_spikes(delay, only_kernels):
    # A thread takes at most 1024 neurons at a time; a result of more than 4 MiB is stored past the caches.
    size, steps = 2500, 220
    synapses = SparseLinear(size, size, connection_probability=0.004)
    net = geir.Recurrent(
        geir.LIFRefrac(),
        size,
        size,
        input_weights=nn.Identity(),
        recurrent_weights=DelayedSparseLinear(synapses, delay=delay, max_delay=5e-3),
    ).double()
    xs = (0.5 + 2 * torch.rand(1, 1, size, dtype=torch.float64)).expand(steps, 1, size)
    with torch.no_grad():
        synapses.weight.mul_(6)
        zs, state = net(xs)
        parts = [net(xs[:97])]
        parts.append(net(xs[97:], parts[0][1]))
        expected = with_reference(net)(xs)
    assert zs.sum() > 10_000
    assert all(part.any() for part in zs.split(100, dim=-1)), "neurons of every block fire"
    torch.testing.assert_close(zs, expected[0], rtol=0, atol=0)
    close(state, expected[1])
    torch.testing.assert_close(torch.cat([part[0] for part in parts]), zs, rtol=0, atol=0)
    torch.testing.assert_close(parts[-1][1], state, rtol=0, atol=0)


def test_the_samples_may_lie_in_several_dimensions():
    net = network(CONNECTIONS["a delay in each synapse"])
    xs = torch.rand(30, 2, 3, 5, dtype=torch.float64)
    close(net(xs)[0].flatten(1, 2), net(xs.flatten(1, 2))[0])


BAD_INPUT = {
    "size": (
        lambda: network(lambda: SparseLinear(SIZE, 7, connection_probability=0.5)),
        ValueError,
        "recurrent_weights must connect 12 neurons with 12, got 12 with 7",
    ),
    "delays in front": (
        lambda: geir.LIFRecurrent(5, SIZE, input_weights=DelayedLinear(5, SIZE, delay=1e-3)),
        TypeError,
        "input_weights must not have delays.*in front of the neuron",
    ),
    "width": (
        lambda: geir.LIFRecurrent(SIZE, SIZE, input_weights=nn.Identity(), recurrent_weights=sparse())(
            torch.rand(9, 1, 7)
        ),
        ValueError,
        "recurrent weights of 12 neurons, but one step of input has shape \\(1, 7\\)",
    ),
    "state without a past": (
        lambda: network(CONNECTIONS["one delay"])(
            torch.rand(9, 1, 5, dtype=torch.float64), network(sparse)(torch.rand(9, 1, 5, dtype=torch.float64))[1]
        ),
        TypeError,
        "expected a DelayedRecurrentState as its state, got RecurrentState",
    ),
    "past of another length": (
        lambda: network(CONNECTIONS["one delay"])(
            torch.rand(9, 1, 5, dtype=torch.float64),
            network(CONNECTIONS["a buffer longer than the run"])(torch.rand(9, 1, 5, dtype=torch.float64))[1],
        ),
        ValueError,
        r"expected earlier outputs `connection.past` of shape \(3, 1, 12\)",
    ),
}


@pytest.mark.parametrize(("call", "error", "message"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_raises(call, error, message):
    with pytest.raises(error, match=message):
        call()
