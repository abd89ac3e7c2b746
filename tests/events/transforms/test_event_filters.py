"""Filters, compared with loops that implement their definitions."""

import math

import pytest
import torch
from recordings import recording, rows, SIZE

from geir.events import Events, transforms as T


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("diagonal", [True, False])
def test_denoise_keeps_events_that_follow_one_of_a_neighbor(diagonal):
    events = recording(300)
    seen = rows(events)

    def supports(a, b):
        far = (abs(a[1] - b[1]), abs(a[2] - b[2]))
        return b[0] - a[0] <= 1500 and (far in ((0, 1), (1, 0)) or (diagonal and far == (1, 1)))

    expected = [b for k, b in enumerate(seen) if any(supports(a, b) for a in seen[:k])]
    assert 30 < len(expected) < 270
    assert rows(T.denoise(events, duration=1.5e-3, diagonal=diagonal)) == expected
    assert len(T.denoise(Events.empty(SIZE))) == 0


@pytest.mark.usefixtures("implementation")
def test_the_refractory_period_starts_at_the_last_event_that_passed():
    events, last, expected = recording(), {}, []
    for row in rows(events):
        if row[0] - last.get(row[1:3], -math.inf) >= 4000:
            expected.append(row)
            last[row[1:3]] = row[0]
    assert 100 < len(expected) < 450
    assert rows(T.refractory_filter(events, period=4e-3)) == expected
    assert len(T.refractory_filter(Events.empty(SIZE), period=1e-3)) == 0


def test_hot_pixels_are_found_and_removed():
    events = recording(1000, duration=1_000_000, size=(50, 40))
    hot = Events(
        torch.arange(500) * 2000 + int(events.t[0]),
        *(torch.full((500,), n) for n in (7, 9)),
        torch.ones(500, dtype=torch.uint8),
        sensor_size=(50, 40),
    )
    both = Events.cat([events, hot]).sorted()
    pixels = T.hot_pixels(both, max_rate=100)
    assert pixels.nonzero().tolist() == [[9, 7]]
    cold = T.remove_hot_pixels(both, max_rate=100)
    assert rows(cold) == [row for row in rows(events) if row[1:3] != (7, 9)]
    assert T.drop_pixels(both, pixels).equal(cold)
