"""Inputs of the edge detector and helpers for the tests of `geir.tasks.edges`."""

import math

import numpy

from geir.events import Events, FileInput
from geir.tasks.edges import Detector, Scene

SIZE = (64, 48)
NO_EVENTS = Events.empty(SIZE)


class MemoryRecording:
    """A recording in memory, for `FileInput`."""

    sensor_size = SIZE

    def __init__(self, *chunks):
        self._chunks = chunks

    def chunks(self, size=0, /):
        yield from self._chunks


def events_at(pixels, t=0, p=1):
    x, y = zip(*pixels, strict=True)
    return Events([t] * len(x), x, y, [p] * len(x), SIZE)


def line(angle, length=15):
    """The pixels of a line through the center of the sensor."""
    steps = numpy.arange(-length, length + 1) / 2
    return sorted({(round(32 + s * math.cos(angle)), round(24 + s * math.sin(angle))) for s in steps})


def flash(angle):
    """A line that appears at once, followed by the milliseconds in which the neurons respond."""
    return [events_at(line(angle)), *[NO_EVENTS] * 7]


def run_detector(steps):
    detector = Detector(SIZE)
    detector.feed(steps)
    return detector


def scene_input(speed=1.0):
    return FileInput(Scene(SIZE), speed, capacity=1 << 12)


def wait_for_frames(player, count, timeout=10):
    """Wait for the frame that is `count` frames after the latest one."""
    frame = player.wait_for_frame(0, timeout)
    for _ in range(count):
        assert frame is not None
        frame = player.wait_for_frame(frame.number, timeout)
    return frame
