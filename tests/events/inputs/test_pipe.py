"""Events from pipes."""

import os
import time
import warnings

import pytest
import torch
from event_streams import expected_frames, pipe_with, random_events, read_total, SIZE, WIDTH

from geir.events import EventFileError, Events, FileInput, T64
from geir.events.inputs import Pipe

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


def test_events_are_read_from_a_pipe_and_a_damaged_end_is_reported():
    events = random_events(2000)
    data = T64().encode(events).tobytes()
    with pipe_with(data) as end, FileInput(Pipe(end, SIZE), speed=None) as source:
        assert torch.stack(list(source)).equal(expected_frames(events, 1000))
    source = FileInput(Pipe(pipe_with(data[:-1]), SIZE), speed=None)
    with (
        source.path.file,
        source,
        pytest.raises(EventFileError, match="stdin at byte 25,987: the last event is truncated: it has 12 of 13 bytes"),
    ):
        read_total(source)
    assert source.stats.events == 1999
    source = FileInput(Pipe(pipe_with(data), (WIDTH, 3)), speed=None)
    with (
        source.path.file,
        source,
        pytest.raises(EventFileError, match="of the next 2000 events lie outside of the sensor"),
    ):
        read_total(source)


@pytest.mark.parametrize("errors", ["strict", "truncate", "skip"])
def test_events_outside_the_sensor_end_the_pipe_or_are_skipped(errors):
    sound = random_events(200)
    events = Events(*sound.columns(), sensor_size=(100, 100))
    outside = Events([int(events.t[120])], [99], [0], [1], (100, 100))
    data = T64().encode(Events.cat([events[:120], outside, events[120:]])).tobytes()
    with pipe_with(data) as end, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pipe, parts, error = Pipe(end, SIZE, errors=errors), [], None
        try:
            for part in pipe.chunks():
                parts.append(part)
        except EventFileError as raised:
            error = raised
    read = Events.cat(parts)
    # Before, the events after the bad one were returned as well, and then the error was raised.
    assert read.equal(sound if errors == "skip" else sound[:120])
    assert (error is not None) == (errors == "strict")
    assert ["only the events before it were read" in str(w.message) for w in caught] == [True] * (errors == "truncate")
    assert pipe.rejected == 1
    with pytest.raises(ValueError, match='Pipe: errors must be "strict", "truncate" or "skip", got 3'):
        Pipe(end, SIZE, errors=3)


def test_a_silent_pipe_can_be_closed():
    read, write = os.pipe()
    with open(read, "rb") as end, open(write, "wb"):
        start = time.perf_counter()
        with FileInput(Pipe(end, SIZE), speed=None) as source:
            assert source.read(timeout=0.01).sum() == 0
        assert time.perf_counter() - start < 2
