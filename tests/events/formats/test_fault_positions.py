"""A fault is reported at its event, wherever in the blocks, pieces, packets and chunks of a recording it is."""

import itertools

import numpy as np
import pytest
import torch
from conftest import without_compiler
from event_samples import SIZE, write_sample

from geir.events import EventFileError, Events, open_events

COUNT = 5000
# C checks up to 2,048 records at a time, in parts of 1,024; the other borders are those of the blocks, packets and
# chunks below.
POSITIONS = (0, 1, 999, 1000, 1023, 1024, 2047, 2048, 2049, 2499, 2500, 2999, 3000, 4096, COUNT - 1)
STEPS = (2, 40, 3000)
CHUNK_SIZES = (20, 1000, 1 << 20)
FORMATS = ("aedat4, plain", "aedat4, LZ4", "aedat4, Zstandard", "evt2", "evt3", "dat", "hdf5", "csv", "npz")


@pytest.fixture
def small_parts(monkeypatch):
    """Divide files into blocks, packets and groups of packets that are small."""
    monkeypatch.setattr("geir.events.formats.reader.BLOCK_BYTES", 24_000)
    monkeypatch.setattr("geir.events.formats.csv.BLOCK_BYTES", 1 << 13)
    monkeypatch.setattr("geir.events.formats.aedat4_writer._PACKET_EVENTS", 2500)
    monkeypatch.setattr("geir.events.formats.aedat4._GROUP_BYTES", 60_000)
    monkeypatch.setattr("geir.events.writing.MAX_BACKWARD_STEP_US", 1 << 40)


def sound_events(step, start):
    """Events of a fast or slow camera; those of one of `STEPS` are in the order of time, the others not quite."""
    random = np.random.default_rng(step)
    t = start + np.cumsum(random.integers(0, step, COUNT)) - random.integers(0, 1 if step == 40 else 900, COUNT)
    return Events(t, random.integers(0, 300, COUNT), random.integers(0, 200, COUNT), random.integers(0, 2, COUNT), SIZE)


def fault(kind, before):
    """An event that is invalid after the times before it, and the message about it."""
    latest = int(before.max())
    match kind:
        case "x":
            return (latest, 310, 3, 1), "is at x = 310, y = 3 with polarity 1, but the sensor has 300x200 pixels"
        case "y":
            return (latest, 3, 200, 0), "is at x = 3, y = 200 with polarity 0, but the sensor has 300x200 pixels"
        case _:
            message = f"is at {latest - 1001} us, 1,001 us earlier than one before it; at most 1,000 us are allowed"
            return (latest - 1001, 3, 4, 1), message


def read_until_fault(path, size):
    """The events before the error, and the byte and the reason of the error."""
    chunks = [Events.empty((300, 200))]
    with open_events(path, sensor_size=(300, 200)) as recording:
        try:
            for chunk in recording.chunks(size):
                chunks.append(chunk)
        except EventFileError as error:
            return Events.cat(chunks), error.offset, error.reason
    return pytest.fail("the fault was not seen")


def with_threads(patch):
    """Decode the packets of AEDAT 4 in threads."""
    patch.setattr(torch, "get_num_threads", lambda: 2)
    patch.setattr("geir.events.formats.aedat4._SMALL_LZ4_BYTES", 0)


@pytest.mark.parametrize("kind", ["x", "y", "t"])
@pytest.mark.parametrize("name", FORMATS)
def test_a_fault_is_reported_at_its_event(small_parts, tmp_path, monkeypatch, name, kind):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    # Steps back in time are the hardest to see between parts of a recording.
    cases = itertools.product(POSITIONS[1:], STEPS) if kind == "t" else zip(POSITIONS, itertools.cycle(STEPS))
    for number, (position, step) in enumerate(cases):
        sound = sound_events(step, start=(1 << 20, 5_000_000_000)[number % 2])
        event, message = fault(kind, sound.t[: max(1, position)])
        first, rest = sound[:position], sound[position : COUNT - 1]
        one = Events(*([value] for value in event), sensor_size=SIZE)
        path = write_sample(tmp_path, name, Events.cat([first, one, rest]))
        outcomes = [(size, read_until_fault(path, size)) for size in CHUNK_SIZES]
        for change in (without_compiler, with_threads):
            with pytest.MonkeyPatch.context() as patch:
                change(patch)
                outcomes.append((1000, read_until_fault(path, 1000)))
        for size, (read, offset, reason) in outcomes:
            assert all(a.equal(b) for a, b in zip(read.columns(), first.columns(), strict=True))
            assert reason.startswith(
                (f"event {position:,} {message}", f"event {position:,} (in the batch that starts here) {message}")
            )
            assert (f"; the {position:,} events before it are readable" in reason) == (position > 0)
            assert all(offset == other[1] for other_size, other in outcomes if other_size == size)


@pytest.mark.parametrize("name", FORMATS)
def test_no_event_is_lost_at_the_borders_of_parts(small_parts, tmp_path, name):
    for step, start in zip(STEPS, (1 << 20, 5_000_000_000, 1 << 33), strict=True):
        sound = sound_events(step, start)
        path = write_sample(tmp_path, name, sound)
        for size in (16, 1000, 2048, COUNT):
            with open_events(path) as recording:
                assert Events.cat(list(recording.chunks(size))).equal(sound)
