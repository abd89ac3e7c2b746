"""Geometric transforms of events."""

import math

from recordings import recording, rows, seeded

from geir.events import Events, transforms as T


def test_a_crop_has_its_corner_at_the_origin():
    events = recording()
    expected = [(t, x - 2, y - 1, p) for t, x, y, p in rows(events) if 2 <= x < 6 and 1 <= y < 4]
    cropped = T.crop(events, (4, 3), corner=(2, 1))
    assert rows(cropped) == expected
    assert cropped.sensor_size == (4, 3)
    assert rows(T.crop(events, (5, 5))) == rows(T.crop(events, (5, 5), corner=(2, 1)))
    corners = {tuple(rows(T.random_crop(events, (8, 6), generator=seeded(k)))) for k in range(40)}
    assert corners == {tuple(rows(T.crop(events, (8, 6), (left, top)))) for left in (0, 1) for top in (0, 1)}
    assert rows(T.crop_time(events, duration=5e-3, start=1e-3)) == [
        r for r in rows(events) if 1000 <= r[0] - int(events.t[0]) < 6000
    ]


def test_a_flip_mirrors_and_a_second_one_restores():
    events = recording()
    assert rows(T.flip(events, x=True)) == [(t, 8 - x, y, p) for t, x, y, p in rows(events)]
    assert rows(T.flip(events, y=True)) == [(t, x, 6 - y, p) for t, x, y, p in rows(events)]
    assert rows(T.flip(events, polarity=True)) == [(t, x, y, 1 - p) for t, x, y, p in rows(events)]
    a, b = int(events.t[0]), int(events.t[-1])
    assert rows(T.flip(events, time=True)) == [(a + b - t, x, y, 1 - p) for t, x, y, p in rows(events)[::-1]]
    every = {"x": True, "y": True, "polarity": True, "time": True}
    assert T.flip(T.flip(events, **every), **every).equal(events)
    assert T.random_flip(events, x=1.0, y=1.0, polarity=1.0, time=1.0).equal(T.flip(events, **every))
    assert T.random_flip(events, x=0.0).equal(events)
    flipped = sum(not T.random_flip(events, x=0.3, generator=seeded(k)).equal(events) for k in range(200))
    assert 40 < flipped < 80


def test_rotations_are_counterclockwise_and_four_quarter_turns_are_the_identity():
    square = recording(size=(7, 7))
    right = Events(t=[0], x=[6], y=[3], p=[1], sensor_size=(7, 7))
    assert rows(T.rotate(right, math.pi / 2)) == [(0, 3, 0, 1)]
    assert T.rotate(T.rotate(T.rotate(T.rotate(square, math.pi / 2), math.pi / 2), math.pi / 2), math.pi / 2).equal(
        square
    )
    assert rows(T.affine(square, scale=2.0)) == [
        (t, 2 * x - 3, 2 * y - 3, p) for t, x, y, p in rows(square) if 2 <= x <= 4 and 2 <= y <= 4
    ]
    assert rows(T.affine(square, shift=(2, -1))) == [
        (t, x + 2, y - 1, p) for t, x, y, p in rows(square) if x < 5 and y > 0
    ]
    assert T.random_affine(square).equal(square)
    assert (
        len(
            {
                len(T.random_affine(square, angle=0.5, scale=(0.5, 2.0), shift=(3, 3), generator=seeded(k)))
                for k in range(20)
            }
        )
        > 5
    )


def test_downsampling_rounds_positions_and_times_down():
    events = recording()
    small = T.downsample(events, space=2, time=1e-3)
    assert small.sensor_size == (5, 4)
    assert rows(small) == [(t // 1000 * 1000, x // 2, y // 2, p) for t, x, y, p in rows(events)]
