"""Recordings in memory and reference implementations for the tests of event streams."""

import os
import threading
import time

import numpy
import torch

from geir.events import Events, SPIF, T32, T64

SIZE = WIDTH, HEIGHT = 17, 11
LAYOUTS = [SPIF(), SPIF(timestamps=True), T32(), T64()]


class MemoryRecording:
    """A recording in memory, in chunks of any size, optionally followed by an error."""

    def __init__(self, events, size=None, error=None):
        self.all_events = events
        self.size = size
        self.error = error
        self.sensor_size = events.sensor_size
        self.given = 0  # number of events handed out so far

    def chunks(self, size=1 << 20):
        size = self.size or size
        for start in range(0, len(self.all_events), size):
            self.given = start + size
            yield self.all_events[start : start + size]
        if self.error:
            raise self.error


def random_events(count=1000, duration=50_000, start=1_000_003, seed=0):
    random = numpy.random.default_rng(seed)
    t = start + numpy.sort(random.integers(0, duration, count))
    x, y, p = (random.integers(0, limit, count) for limit in (WIDTH, HEIGHT, 2))
    return Events(t, x, y, p, SIZE)


def expected_frames(events, dt_us=None):
    """Event counts by definition, in NumPy; one frame without `dt_us`."""
    t, x, y, p = (column.numpy() for column in events.columns())
    t = numpy.maximum.accumulate(t)
    bins = (t - t[0]) // dt_us if dt_us else 0 * t
    frames = numpy.zeros((bins.max() + 1, 2, HEIGHT, WIDTH), "f4")
    numpy.add.at(frames, (bins, p, y, x), 1)
    return torch.from_numpy(frames)


def read_total(source):
    """Sum of all frames that `read` returns."""
    frames = []
    while not source.done:
        frames.append(source.read())
    return torch.stack(frames).sum(0)


def input_threads():
    """The running threads of event inputs."""
    names = ("geir FileInput", "geir UDPInput", "geir CameraInput")
    return [thread for thread in threading.enumerate() if thread.name in names]


def pipe_with(data):
    """The read end of a pipe that contains some bytes."""
    read, write = os.pipe()
    os.write(write, data)
    os.close(write)
    return open(read, "rb")


def wait_until(condition, timeout=20):
    """Wait until a condition holds, and fail if it does not within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "the condition did not hold in time"
        time.sleep(1e-3)
