"""Groups of neurons in one layer, and the connections between them."""

import pytest
import torch
from torch import nn

import geir
from geir.connections import DelayedSparseLinear, Groups, Pairs, Projection, SparseLinear

GROUPS = Groups(e=40, i=10)


def test_a_projection_connects_its_two_groups_only():
    layer = GROUPS.connect(Projection("e", "i", weight=0.5, probability=0.3))
    matrix = layer.dense()
    assert isinstance(layer, SparseLinear)
    assert matrix[40:, :40].count_nonzero() == matrix.count_nonzero() == len(layer.weight)
    assert set(matrix.unique().tolist()) == {0.0, 0.5}


def test_projections_add_up_with_their_weights_and_delays():
    layer = GROUPS.connect(
        Projection("e", "e", weight=lambda count: torch.arange(count) + 1.0, number=100, delay=2e-3),
        Projection("i", "e", weight=-1.0, pairs=Pairs(torch.tensor([0, 3]), torch.tensor([39, 0])), delay=1e-3),
        Projection("e", "i", weight=torch.full((400,), 7.0), probability=1.0),
    )
    assert isinstance(layer, DelayedSparseLinear)
    weights, starts, targets, delays, bias = layer.synapses()
    assert bias is None
    assert starts[40] == 500
    assert targets[500:].tolist() == [39, 0]
    assert weights[500:].tolist() == [-1.0, -1.0]
    assert delays[500:].tolist() == [1, 1]
    to_i = targets[:500] >= 40
    assert to_i.sum() == 400
    assert (weights[:500][to_i] == 7).all()
    assert (delays[:500][to_i] == 0).all()
    assert (delays[:500][~to_i] == 2).all()
    # Pairs of `number` are ordered by source, and so are their weights.
    assert weights[:500][~to_i].tolist() == list(range(1, 101))


def test_every_synapse_keeps_its_ends_its_weight_and_its_delay():
    generator = torch.Generator().manual_seed(0)
    expected, projections = [], []
    for source, target, count in [("e", "e", 90), ("i", "e", 30), ("e", "i", 0), ("e", "i", 70), ("i", "i", 25)]:
        sizes = [GROUPS[name].stop - GROUPS[name].start for name in (source, target)]
        pairs = Pairs(
            torch.randint(sizes[0], (count,), generator=generator).sort().values,
            torch.randint(sizes[1], (count,), generator=generator),
        )
        weights, delays = torch.rand(2, count, generator=generator)
        projections.append(Projection(source, target, weights, pairs=pairs, delay=delays))
        ends = (pairs.sources + GROUPS[source].start).tolist(), (pairs.targets + GROUPS[target].start).tolist()
        expected += zip(*ends, weights.tolist(), delays.tolist(), strict=True)
    layer = GROUPS.connect(*projections)
    sources = torch.repeat_interleave(layer.connection.starts.diff())
    columns = sources, layer.connection.targets, layer.connection.weight, layer.delay
    # Ordered by source, else as they were given.
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == sorted(expected, key=lambda row: row[0])


def test_projections_between_two_groups_are_a_layer_of_their_sizes():
    weights = torch.arange(100.0)
    layer = GROUPS.project(
        Projection("i", "e", weights[:60], number=60, delay=2e-3), Projection("i", "e", weights[60:], number=40)
    )
    assert layer.connection.dense().shape == (40, 10)
    assert layer.connection.weight.sort().values.tolist() == weights.tolist()
    assert (layer.delay[layer.connection.weight < 60] == 2e-3).all()
    assert (layer.delay[layer.connection.weight >= 60] == 0).all()


def test_groups_without_autapses():
    layer = GROUPS.connect(
        Projection("e", "e", weight=1.0, probability=0.9, autapses=False),
        Projection("e", "i", weight=1.0, probability=0.9, autapses=False),
    )
    assert not layer.dense().diagonal().any()


def test_the_same_seed_gives_the_same_network():
    first, second = (
        GROUPS.connect(Projection("e", "i", 1.0, 0.2, delay=1e-3), generator=torch.Generator().manual_seed(5))
        for _ in range(2)
    )
    assert torch.equal(first.connection.targets, second.connection.targets)


def test_excitation_and_inhibition_run_as_recurrent_weights():
    torch.manual_seed(0)
    neuron = geir.LIF(tau_mem=GROUPS.values(e=20e-3, i=10e-3))
    strong = GROUPS.connect(
        Projection("e", "e", 0.01, 0.2, delay=2e-3), Projection("e", "i", 0.3, 0.2), Projection("i", "e", -0.2, 0.5)
    )
    xs = torch.rand(300, 1, 50)
    net = geir.Recurrent(neuron, 50, 50, input_weights=nn.Identity(), recurrent_weights=strong)
    zs, _ = net(xs)
    alone, _ = neuron(xs)
    # Inhibition lowers the rate of the excitatory group, excitation raises that of the inhibitory one.
    assert 0 < zs[..., GROUPS["e"]].mean() < 0.8 * alone[..., GROUPS["e"]].mean()
    assert zs[..., GROUPS["i"]].mean() > 1.2 * alone[..., GROUPS["i"]].mean() > 0


BAD_INPUT = {
    "size": (lambda: Groups(e=0), ValueError, "Groups.e must be a positive number of neurons, got 0"),
    "name": (lambda: GROUPS["x"], KeyError, "no group 'x'; there are: e, i"),
    "projection": (lambda: GROUPS.connect(Projection("e", "x", 1.0, 0.1)), KeyError, "no group 'x'"),
    "values": (lambda: GROUPS.values(e=1.0), ValueError, "each of the groups e, i, got e"),
    "shape": (lambda: GROUPS.values(e=torch.ones(3), i=1.0), ValueError, r"values: e .* shape \(40,\), got \(3,\)"),
    "weights": (
        lambda: GROUPS.connect(Projection("e", "i", torch.ones(3), number=5)),
        ValueError,
        r"the weight of the projection from e to i must be a number or have shape \(5,\), got \(3,\)",
    ),
    "probability": (lambda: GROUPS.connect(Projection("e", "i", 1.0, 1.2)), ValueError, r"in \[0, 1\], got 1.2"),
    "delay": (lambda: GROUPS.connect(Projection("e", "i", 1.0, 1.0, delay=-1e-3)), ValueError, "delay must be >= 0"),
    "which": (lambda: Projection("e", "i", 1.0), TypeError, "one of probability, number and pairs"),
}


@pytest.mark.parametrize(("call", "error", "message"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_raises(call, error, message):
    with pytest.raises(error, match=message):
        call()
