"""Populations of different neurons, against loops written by hand."""

import pytest
import torch
from torch import nn

import geir
from geir.connections import DelayedSparseLinear, Groups, Pairs, Projection, Receptors, SparseLinear
from geir.testing import close

DOUBLE = torch.float64
EXC, INH, STEPS = 7, 4, 60


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def sparse(sources, targets, strength):
    layer = SparseLinear(sources, targets, bias=False, connection_probability=0.5)
    with torch.no_grad():
        layer.weight.mul_(strength)
    return layer


def different_neurons():
    """An adaptive and a leaky population, connected by dense, sparse and delayed connections."""
    delayed = sparse(INH, EXC, 8.0)
    return geir.Populations(
        {"exc": geir.ALIF(tau_mem=geir.learnable(8e-3)), "inh": geir.LIF(tau_mem=nn.Parameter(torch.tensor(9e-3)))},
        {
            ("exc", "exc"): nn.Linear(EXC, EXC),
            ("exc", "inh"): sparse(EXC, INH, 8.0),
            ("inh", "exc"): DelayedSparseLinear(delayed, delay=1e-3 * (torch.arange(len(delayed.weight)) % 4)),
        },
    ).double()


def inputs(**sizes):
    return {name: (2 * torch.rand(STEPS, 3, size, dtype=DOUBLE)).requires_grad_() for name, size in sizes.items()}


def loop_by_hand(network, xs):
    """The outputs of `different_neurons`, with dense matrices and a list of all earlier outputs."""
    exc_exc, exc_inh, inh_exc = network.connections
    exc, inh = geir.ALIFCell(tau_mem=geir.learnable(8e-3)), geir.LIFCell(tau_mem=nn.Parameter(torch.tensor(9e-3)))
    exc, inh = exc.double(), inh.double()
    parameters = [dict(layer.named_parameters()) for layer in network.neurons.values()]
    synapses = inh_exc.connection
    sources = torch.repeat_interleave(synapses.starts.diff())
    delays = (inh_exc.delay / 1e-3).round().long()
    z_exc, z_inh = [torch.zeros(3, EXC, dtype=DOUBLE)], [torch.zeros(3, INH, dtype=DOUBLE)]
    s_exc = s_inh = None
    for x_exc, x_inh in zip(xs["exc"].unbind(), xs["inh"].unbind(), strict=True):
        arriving = torch.zeros(3, EXC, dtype=DOUBLE)
        for weight, source, target, delay in zip(synapses.weight, sources, synapses.targets, delays, strict=True):
            if delay < len(z_inh):
                unit = nn.functional.one_hot(target.long(), EXC).double()
                arriving = arriving + weight * z_inh[-1 - delay][:, source, None] * unit
        fed_back = z_exc[-1] @ exc_exc.weight.t() + exc_exc.bias
        driven = z_exc[-1] @ exc_inh.dense().t()
        z, s_exc = torch.func.functional_call(exc, parameters[0], (x_exc + fed_back + arriving, s_exc))
        z_exc.append(z)
        z, s_inh = torch.func.functional_call(inh, parameters[1], (x_inh + driven, s_inh))
        z_inh.append(z)
    return {"exc": torch.stack(z_exc[1:]), "inh": torch.stack(z_inh[1:])}


def test_outputs_and_all_gradients_are_those_of_a_loop_by_hand():
    network, xs = different_neurons(), inputs(exc=EXC, inh=INH)
    results = []
    for zs in (network(xs)[0], loop_by_hand(network, xs)):
        assert min(z.sum() for z in zs.values()) > 30
        loss = sum((z * torch.linspace(-1, 1, z.numel(), dtype=DOUBLE).view_as(z)).sum() for z in zs.values())
        results.append((zs, torch.autograd.grad(loss, [*xs.values(), *network.parameters()])))
    assert all(gradient.abs().sum() > 0 for gradient in results[0][1])
    close(*results)


def test_a_run_can_be_split():
    network, xs = different_neurons(), inputs(exc=EXC, inh=INH)
    zs, last = network(xs)
    first, state = network({name: x[:17] for name, x in xs.items()})
    second, state = network({name: x[17:] for name, x in xs.items()}, state)
    close({name: torch.cat([first[name], second[name]]) for name in xs}, zs)
    close(state, last)


def test_populations_of_one_model_are_one_recurrent_layer():
    sizes = {"e": 12, "i": 5}
    groups = Groups(**sizes)
    ends = [("e", "e"), ("e", "i"), ("i", "e")]
    projections = [
        Projection(
            source,
            target,
            lambda count: 3 * torch.randn(count),
            pairs=Pairs(
                torch.arange(sizes[source]).repeat_interleave(3), torch.randint(sizes[target], (3 * sizes[source],))
            ),
            delay=lambda count: 1e-3 * torch.randint(4, (count,)),
        )
        for source, target in ends
    ]
    separate = {(p.source, p.target): groups.project(p) for p in projections}
    torch.manual_seed(1)
    network = geir.Populations({"e": geir.LIF(), "i": geir.LIF()}, separate).double()
    # The same weights and delays: those that were drawn.
    drawn = [
        Projection(p.source, p.target, layer.connection.weight.detach(), pairs=p.pairs, delay=layer.delay)
        for p, layer in zip(projections, separate.values(), strict=True)
    ]
    layer = geir.Recurrent(
        geir.LIF(), 17, 17, input_weights=nn.Identity(), recurrent_weights=groups.connect(*drawn)
    ).double()
    xs = 2 * torch.rand(STEPS, 3, 17, dtype=DOUBLE)
    zs, _ = network({name: xs[..., groups[name]] for name in sizes})
    assert zs["e"].sum() > 50
    assert zs["i"].sum() > 20
    close(torch.cat([zs["e"], zs["i"]], -1), layer(xs)[0])


def test_connections_lead_to_the_receptors_of_a_population():
    receptors = Receptors(geir.ConductanceInput, exc=nn.Linear(EXC, INH), inh=nn.Linear(EXC, INH))
    network = geir.Populations({"exc": geir.LIF(), "inh": geir.CobaLIF()}, {("exc", "inh"): receptors}).double()
    with torch.no_grad():
        for parameter in receptors.parameters():
            parameter.abs_()
    x = inputs(exc=EXC)["exc"]
    given = geir.ConductanceInput(*(torch.rand(2, STEPS, 3, INH, dtype=DOUBLE)))
    zs, _ = network({"exc": x, "inh": given})
    z_exc, _ = geir.LIF().double()(x)
    fed = receptors(torch.cat([torch.zeros_like(z_exc[:1]), z_exc[:-1]]))
    z_inh, _ = geir.CobaLIF().double()(geir.ConductanceInput(given.exc + fed.exc, given.inh + fed.inh))
    assert z_exc.sum() > 30
    assert z_inh.sum() > 10
    close(zs, {"exc": z_exc, "inh": z_inh})


def test_its_state_is_reset_for_some_samples():
    network, xs = different_neurons(), inputs(exc=EXC, inh=INH)
    _, state = geir.detach(network(xs))
    some = geir.reset(network, state, torch.tensor([True, False, True]))
    start = geir.initial_state(network, xs)
    again, _ = network(xs, some)
    fresh, _ = network(xs, start)
    continued, _ = network(xs, state)
    close({name: z[:, ::2] for name, z in again.items()}, {name: z[:, ::2] for name, z in fresh.items()})
    close({name: z[:, 1] for name, z in again.items()}, {name: z[:, 1] for name, z in continued.items()})
    assert not torch.equal(continued["inh"][:, 0], fresh["inh"][:, 0])


def lifs(**keywords):
    return {"a": geir.LIF(**keywords), "b": geir.LIF()}


def xs_of(a=5, b=3):
    return {"a": torch.rand(9, 2, a), "b": torch.rand(9, 2, b)}


A_TO_B = ("a", "b")
BAD_INPUT = {
    "cell": (lambda: geir.Populations({"a": geir.LIFCell()}, {}), TypeError, "'a' a layer .* over time, .* LIFCell"),
    "no neuron": (lambda: geir.Populations({"a": nn.ReLU()}, {}), TypeError, "'a' a layer of neurons .* got ReLU"),
    "recurrent": (
        lambda: geir.Populations({"a": geir.LIFRecurrent(3, 3)}, {}),
        TypeError,
        r"'a' is a LIFRecurrent, which is recurrent by itself; .* connection \('a', 'a'\)",
    ),
    "recorded states": (
        lambda: geir.Populations(lifs(record_states=True), {}),
        ValueError,
        "'a' records its states, but populations advance step by step",
    ),
    "missing group": (
        lambda: geir.Populations(lifs(), {("a", "x"): nn.Linear(5, 3)}),
        ValueError,
        r"connection \('a', 'x'\) names a population 'x'; there are: a, b",
    ),
    "no module": (lambda: geir.Populations(lifs(), {A_TO_B: torch.ones(3, 5)}), TypeError, "must be a module"),
    "dt of neurons": (lambda: geir.Populations(lifs(dt=1e-4), {}), ValueError, "same step dt .* a: 0.0001, b: 0.001"),
    "dt of a connection": (
        lambda: geir.Populations(
            lifs(), {A_TO_B: Groups(a=5, b=3).project(Projection("a", "b", 1.0, 0.5, delay=1e-3), dt=1e-4)}
        ),
        ValueError,
        "same step dt everywhere",
    ),
    "delay": (
        lambda: DelayedSparseLinear(sparse(5, 3, 1.0), delay=5e-3, max_delay=3e-3),
        ValueError,
        "delay must be <= max_delay = 0.003 s, the length of the buffer, got 0.005",
    ),
    "missing input": (
        lambda: geir.Populations(lifs(), {})({"a": torch.rand(9, 2, 5)}),
        ValueError,
        "input for each of a, b, got a; where nothing arrives from outside, it is zeros",
    ),
    "tensor": (lambda: geir.Populations(lifs(), {})(torch.rand(9, 2, 5)), ValueError, "dictionary .* got Tensor"),
    "times": (
        lambda: geir.Populations(lifs(), {})({"a": torch.rand(9, 2, 5), "b": torch.rand(8, 2, 5)}),
        ValueError,
        r"the same but for the neurons, got a: \(9, 2, 5\), b: \(8, 2, 5\)",
    ),
    "no step": (
        lambda: geir.Populations(lifs(), {})({"a": torch.rand(0, 2, 5), "b": torch.rand(0, 2, 3)}),
        ValueError,
        "at least one step",
    ),
    "presynaptic size": (
        lambda: geir.Populations(lifs(), {A_TO_B: nn.Linear(4, 3)})(xs_of()),
        ValueError,
        "from 'a' to 'b' takes 4 neurons, but 'a' has 5",
    ),
    "postsynaptic size": (
        lambda: geir.Populations(lifs(), {A_TO_B: nn.Linear(5, 4)})(xs_of()),
        ValueError,
        r"from 'a' to 'b' returned input of shape \(2, 4\), but one step of input has shape \(2, 3\)",
    ),
    "wrong receptor": (
        lambda: geir.Populations(
            lifs(), {A_TO_B: Receptors(geir.ConductanceInput, exc=nn.Linear(5, 3), inh=nn.Linear(5, 3))}
        )(xs_of()),
        TypeError,
        "from 'a' to 'b'.* has one receptor: expected a tensor, got ConductanceInput",
    ),
    "receptors of the input": (
        lambda: geir.Populations({"a": geir.neurons.ReceptorLIF()}, {})({"a": torch.rand(9, 2, 5)}),
        TypeError,
        "'a' has several receptors: expected .* got a tensor",
    ),
    "state": (lambda: geir.Populations(lifs(), {})(xs_of(), (1, 2)), TypeError, "a PopulationsState, got tuple"),
    "several groups": (
        lambda: Groups(a=5, b=3).project(Projection("a", "b", 1.0, 0.5), Projection("b", "a", 1.0, 0.5)),
        ValueError,
        "from one group to one group, got .*'a', 'b'.*'b', 'a'",
    ),
}


@pytest.mark.parametrize(("call", "error", "message"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_raises(call, error, message):
    with pytest.raises(error, match=message):
        call()
