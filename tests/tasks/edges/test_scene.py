"""The synthetic scene."""

import itertools

import torch
from edge_inputs import SIZE

from geir.events import Events
from geir.tasks.edges import Scene


def test_the_same_seed_generates_the_same_events():
    def first(seed):
        return Events.cat(itertools.islice(Scene(SIZE, seed).chunks(), 100))

    assert len(first(1)) > 100
    assert first(1).equal(first(1))
    assert not first(1).equal(first(2))


def test_the_scene_repeats_its_period_in_the_order_of_time():
    scene = Scene((32, 24))
    chunks = list(itertools.islice(scene.chunks(), 1050))
    events = Events.cat(chunks)
    assert events.is_sorted
    assert len(Events.cat(chunks[:10])) < 3 * len(Events.cat(chunks[10:20])) + 10, (
        "the shapes do not appear all at once"
    )
    assert 4_100_000 < events.t[-1] < 4_200_000
    assert chunks[1040].x.equal(chunks[40].x)
    # A second iterator starts again.
    assert next(scene.chunks()).equal(chunks[0])
    # At the end of the period, every pixel is as bright as at the beginning.
    change = torch.zeros(24 * 32).index_add_(0, events.y.long() * 32 + events.x, events.p * 2.0 - 1)
    assert change.abs().mean() < 1.5
