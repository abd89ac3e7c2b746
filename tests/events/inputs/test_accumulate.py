"""Accumulation of events in one frame."""

import pytest
import torch
from event_streams import expected_frames, HEIGHT, random_events, SIZE, WIDTH

from geir.events import Events
from geir.events.inputs import accumulate as accumulate_module
from geir.events.inputs.accumulate import accumulate

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


@pytest.mark.parametrize("compiled", [True, False])
def test_accumulate_counts_events_and_rejects_those_outside_of_the_sensor(compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(accumulate_module, "load", lambda filename: None)
    events, frame = random_events(), torch.zeros(2, HEIGHT, WIDTH)
    accumulate(events, frame)
    accumulate(events[:0], frame)
    assert frame.equal(expected_frames(events)[0])
    for column, value in ((1, WIDTH), (1, -1), (2, HEIGHT), (2, -3), (3, 2)):
        wrong = [c.clone() for c in events.columns()]
        wrong[column][7] = torch.tensor(value)
        with pytest.raises(ValueError, match="1 events lie outside of the sensor of 17x11 pixels"):
            accumulate(Events.unchecked(*wrong, sensor_size=SIZE), frame)
