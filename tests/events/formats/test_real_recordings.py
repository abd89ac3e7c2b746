"""Real recordings, compared with published numbers and with other libraries."""

import numpy as np
import pytest
from event_samples import SIZE

from geir.events import Events, read_events


# Counts and durations are those of faery for EVT 2 and AEDAT 4; for EVT 3 the lower bits of time are expelliarmus's.
@pytest.mark.parametrize(
    ("file", "count", "size", "duration"),
    [
        ("person_320x240.aedat4", 111_954, (320, 240), 589_917),
        ("evt2_640x480.raw", 521_252, (640, 480), 95_871),
        ("evt3_1280x720.raw", 219_596, (1280, 720), 8_801),
        ("nmnist_34x34.bin", 4_325, (34, 34), 310_521),
    ],
)
def test_real_recordings_have_the_known_events(both_decoders, real_data, file, count, size, duration):
    events = read_events(real_data / "events" / file)
    assert (len(events), events.sensor_size, events.duration) == (count, size, duration)
    assert events.is_sorted
    assert Events(*events.columns(), size).equal(events)  # the constructor checks every event


@pytest.mark.parametrize("file", ["person_320x240.aedat4", "evt2_640x480.raw", "evt3_1280x720.raw"])
def test_faery_reads_the_same_events(real_data, file):
    faery = pytest.importorskip("faery")
    events = read_events(real_data / "events" / file)
    stream = faery.events_stream_from_file(real_data / "events" / file, dimensions_fallback=events.sensor_size)
    theirs = Events.from_structured(stream.to_array(), events.sensor_size)
    assert events[:].x.equal(theirs.x)
    assert events.y.equal(theirs.y)
    assert events.p.equal(theirs.p)
    # A time word in EVT 3 that is 11 us ahead is corrected by the next one, before any event; faery's clock then
    # stands still for 11 us.
    assert (theirs.t - events.t).aminmax() == ((0, 11) if "evt3" in file else (0, 0))


@pytest.mark.parametrize(("file", "encoding"), [("evt2_640x480.raw", "evt2"), ("evt3_1280x720.raw", "evt3")])
def test_expelliarmus_reads_the_same_events(real_data, file, encoding):
    expelliarmus = pytest.importorskip("expelliarmus")
    events = read_events(real_data / "events" / file)
    theirs = Events.from_structured(
        expelliarmus.Wizard(encoding=encoding).read(real_data / "events" / file), events.sensor_size
    )
    assert all(ours.equal(other) for ours, other in zip(events.columns()[1:], theirs.columns()[1:], strict=True))
    # expelliarmus takes the corrected time word in EVT 3 for a wraparound of the counter.
    bits = 12 if encoding == "evt3" else 63
    assert (events.t % (1 << bits)).equal(theirs.t % (1 << bits))


def test_dv_and_aedat_read_the_same_events(real_data):
    dv, aedat = pytest.importorskip("dv_processing"), pytest.importorskip("aedat")
    path = str(real_data / "events" / "person_320x240.aedat4")
    events = read_events(path)
    reader, batches = dv.io.MonoCameraRecording(path), []
    while (batch := reader.getNextEventBatch()) is not None:
        batches.append(batch.numpy())
    assert Events.from_structured(np.concatenate(batches), SIZE).equal(events)
    batches = [packet["events"] for packet in aedat.Decoder(path) if "events" in packet]
    assert Events.from_structured(np.concatenate(batches), SIZE).equal(events)
