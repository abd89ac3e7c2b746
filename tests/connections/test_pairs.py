"""Pairs of neurons drawn at random, against the distributions that they are drawn from."""

import math

import pytest
import torch

from geir.connections import distance_pairs, Pairs, random_pairs, SparseLinear


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def matrix(pairs, sources, targets):
    counts = torch.zeros(sources, targets)
    return counts.index_put_((pairs.sources, pairs.targets), torch.ones(len(pairs.sources)), accumulate=True)


@pytest.mark.parametrize("probability", [0.02, 0.5, 0.97])
def test_every_pair_has_the_same_probability(probability, generator):
    runs = 2000
    counts = sum(matrix(random_pairs(30, 20, probability, generator=generator), 30, 20) for _ in range(runs))
    assert counts.max() <= runs, "a pair was drawn twice"
    deviation = math.sqrt(probability * (1 - probability) / runs)
    assert abs(counts.mean() / runs - probability) < 4 * deviation / math.sqrt(600)
    assert (counts / runs).std() == pytest.approx(deviation, rel=0.15)
    assert ((counts / runs - probability).abs() < 5 * deviation).all()


def test_pairs_are_independent(generator):
    drawn = [matrix(random_pairs(8, 8, 0.3, generator=generator), 8, 8).flatten() for _ in range(4000)]
    correlations = torch.corrcoef(torch.stack(drawn, 1))
    off_diagonal = correlations[~torch.eye(64, dtype=torch.bool)]
    assert off_diagonal.abs().max() < 5.5 / math.sqrt(4000)


@pytest.mark.parametrize(("probability", "count"), [(0.0, 0), (1.0, 600)])
def test_certain_pairs(probability, count):
    assert len(random_pairs(30, 20, probability).sources) == count


def test_many_pairs_are_drawn_in_parts_and_in_order(generator):
    pairs = random_pairs(5000, 5000, 0.3, generator=generator)
    places = pairs.sources * 5000 + pairs.targets
    assert (places.diff() > 0).all()
    assert len(places) == pytest.approx(0.3 * 5000**2, abs=5 * math.sqrt(0.21 * 5000**2))


def test_the_number_of_pairs_can_be_given(generator):
    pairs = random_pairs(10, 5, number=20_000, generator=generator)
    counts = matrix(pairs, 10, 5)
    assert (pairs.sources.diff() >= 0).all()
    assert ((counts - 400).abs() < 5 * math.sqrt(400)).all()


@pytest.mark.parametrize("how", [{"probability": 0.5}, {"number": 5000}], ids=["probability", "number"])
def test_autapses_can_be_left_out(how, generator):
    counts = matrix(random_pairs(50, 50, **how, autapses=False, generator=generator), 50, 50)
    assert not counts.diagonal().any()
    assert counts.sum() == pytest.approx(0.5 * 2450 if "probability" in how else 5000, rel=0.1)
    assert (counts.sum(0) > 0).all()


def test_a_seed_decides(generator):
    first = SparseLinear(100, 100, connection_probability=0.1, generator=torch.Generator().manual_seed(3))
    second = SparseLinear(100, 100, connection_probability=0.1, generator=torch.Generator().manual_seed(3))
    assert torch.equal(first.targets, second.targets)
    assert torch.equal(first.starts, second.starts)


class TestDistance:
    def test_the_probability_depends_on_the_distance(self, generator):
        positions = torch.rand(60, 2, generator=generator, dtype=torch.float64)

        def probability(d):
            return 0.8 * torch.exp(-d / 0.2)

        runs = 1000
        counts = sum(
            matrix(distance_pairs(positions, positions, probability, generator=generator), 60, 60) for _ in range(runs)
        )
        expected = probability(torch.cdist(positions, positions)).float()
        deviation = (expected * (1 - expected) / runs).sqrt() + 1e-3
        assert ((counts / runs - expected).abs() < 5 * deviation).all()

    def test_opposite_borders_of_a_periodic_space_are_the_same(self):
        ring = torch.arange(6.0)[:, None]
        pairs = distance_pairs(ring, ring, lambda d: (d == 1).float(), period=[6.0])
        assert pairs.targets.view(6, 2).tolist() == [[1, 5], [0, 2], [1, 3], [2, 4], [3, 5], [0, 4]]

    def test_neurons_in_parts(self, monkeypatch):
        ring = torch.arange(9.0)[:, None]
        expected = distance_pairs(ring, ring, lambda d: (d <= 2).float(), autapses=False)
        monkeypatch.setattr("geir.connections.pairs._MAX_AT_ONCE", 20)
        parts = distance_pairs(ring, ring, lambda d: (d <= 2).float(), autapses=False)
        assert torch.equal(parts.sources, expected.sources)
        assert torch.equal(parts.targets, expected.targets)
        assert len(expected.sources) == 30


def test_two_synapses_of_a_pair_add_up():
    layer = SparseLinear(3, 2, bias=False, pairs=Pairs(torch.tensor([0, 0, 2]), torch.tensor([1, 1, 0]))).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, 10.0, 5.0]))
    x = torch.tensor([[1.0, 0.0, 2.0]], dtype=torch.float64)
    assert layer(x).tolist() == [[10.0, 11.0]]
    assert layer.dense().tolist() == [[0.0, 0.0, 5.0], [11.0, 0.0, 0.0]]


BAD_INPUT = {
    "probability": (lambda: random_pairs(3, 4, 1.5), ValueError, r"probability must be in \[0, 1\], got 1.5"),
    "both": (lambda: random_pairs(3, 4, 0.5, number=3), TypeError, "either a probability or a number"),
    "neither": (lambda: random_pairs(3, 4), TypeError, "either a probability or a number"),
    "number": (lambda: random_pairs(3, 4, number=-1), ValueError, "number must be >= 0, .* got -1"),
    "autapses": (lambda: random_pairs(3, 4, 0.5, autapses=False), ValueError, "the same, got 3, 4"),
    "positions": (
        lambda: distance_pairs(torch.rand(3, 2), torch.rand(4, 3), torch.exp),
        ValueError,
        r"shape \(neurons, dimensions\), got \(3, 2\), \(4, 3\)",
    ),
    "period": (
        lambda: distance_pairs(torch.rand(3, 2), torch.rand(4, 2), torch.exp, period=[1.0]),
        ValueError,
        r"period must have 2 positive sizes, got \(1.0,\)",
    ),
    "chance": (
        lambda: distance_pairs(torch.zeros(3, 2), torch.zeros(4, 2), lambda d: d + 2),
        ValueError,
        r"one number in \[0, 1\] for each distance, got shape \(3, 4\), from 2 to 2",
    ),
    "order": (
        lambda: SparseLinear(3, 3, pairs=Pairs(torch.tensor([1, 0]), torch.tensor([1, 0]))),
        ValueError,
        "sort the pairs by source",
    ),
    "range": (
        lambda: SparseLinear(3, 3, pairs=Pairs(torch.tensor([0, 1]), torch.tensor([1, 3]))),
        ValueError,
        "Pairs.targets must be from 0 to 2, got 1 to 3",
    ),
    "integers": (
        lambda: SparseLinear(3, 3, pairs=Pairs(torch.tensor([0.0, 1.0]), torch.tensor([1, 2]))),
        ValueError,
        "Pairs.sources must be integers",
    ),
}


@pytest.mark.parametrize(("call", "error", "message"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_raises(call, error, message):
    with pytest.raises(error, match=message):
        call()
