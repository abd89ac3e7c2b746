"""The buffer between the thread of a source and the reader."""

import threading
import time

import pytest
import torch
from event_streams import expected_frames, HEIGHT, random_events, SIZE, wait_until, WIDTH

from geir.events import Events, Overflow
from geir.events.inputs.accumulate import accumulate
from geir.events.inputs.buffer import Buffer

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


@pytest.mark.parametrize(("overflow", "kept", "dropped"), [("drop", 5, 995), ("coalesce", 1000, 0)])
def test_events_that_do_not_fit_are_dropped_or_coalesced_and_counted(overflow, kept, dropped):
    events = random_events()
    buffer = Buffer(SIZE, 5, Overflow(overflow))
    buffer.fill(iter([events[:3], events[3:300], events[300:]]))
    assert buffer.waiting == 5
    assert buffer.dropped == dropped
    excess = buffer.take_coalesced()
    frame = torch.zeros(2, HEIGHT, WIDTH) if excess is None else excess
    parts = buffer.take()
    for part in parts:
        accumulate(part, frame)
    assert frame.sum() == kept == buffer.taken
    if overflow == "coalesce":
        assert buffer.coalesced == 995
        assert frame.equal(expected_frames(events)[0])
        assert parts[-1].t[-1] == events.t[-1]


def test_a_blocked_source_resumes_when_half_of_the_buffer_is_free():
    events = Events(range(100), [1] * 100, [2] * 100, [1] * 100, SIZE)
    buffer = Buffer(SIZE, 8, Overflow.BLOCK)
    came, taken = [], []

    def source():
        for k in range(100):
            came.append(k)
            yield events[k]

    threading.Thread(target=buffer.fill, args=(source(),), daemon=True).start()
    for k in range(6):
        wait_until(lambda: len(came) >= 9)
        time.sleep(0.02)
        assert (len(came) == 9) == (k < 5), "the source stays blocked until half of the buffer is free"
        taken += buffer.take(k + 1)
    while not buffer.check_finished():
        taken += buffer.take()
    assert Events.cat(taken).equal(events)
