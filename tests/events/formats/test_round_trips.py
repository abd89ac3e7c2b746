"""Written files are read back by geir and by other libraries."""

import numpy as np
import pytest
from event_samples import every_format, random_events, SIZE, write_sample, WRITTEN
from hypothesis import given, settings, strategies as st

from geir.events import describe, Events, open_events, read_events


@every_format
@pytest.mark.parametrize("count", [0, 1, 3000])
def test_written_events_are_read_back(both_decoders, tmp_path, name, count):
    events = random_events(count)
    path = write_sample(tmp_path, name, events)
    assert read_events(path).equal(events)
    description = describe(path)
    assert description["sensor_size"] == SIZE
    assert description["bytes"] == path.stat().st_size
    assert description["events"] in ({None} if description["format"] in ("evt2", "evt3", "csv") else {count})
    if description["start"] is not None:
        assert (description["start"], description["stop"]) == (int(events.t[0]), int(events.t[-1]))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@every_format
def test_chunk_sizes_do_not_change_the_events(tmp_path, name):
    events = random_events(150_000, step=3)
    whole = write_sample(tmp_path, name, events)
    content = read_events(whole)
    assert content.equal(events)
    write_sample(tmp_path, name, (events[first : first + 40_000] for first in range(0, len(events), 40_000)))
    for size in (1000, 65_537, 1 << 20):
        with open_events(whole) as recording:
            parts = list(recording.chunks(size))
        assert Events.cat(parts).equal(events)
        assert max(map(len, parts)) <= size


@every_format
@settings(max_examples=25)
@given(
    steps=st.lists(st.integers(-900, 900) | st.integers(0, 1 << 30), min_size=1, max_size=20),
    start=st.integers(-(1 << 40), 1 << 50),
    seed=st.integers(0, 9),
)
def test_any_times_are_read_back(tmp_path_factory, name, steps, start, seed):
    latest, t = start, []
    for step in steps:  # at most 900 us before the latest event
        t.append(latest + step)
        latest = max(latest, t[-1])
    some = random_events(len(t), size=(2048, 1024), seed=seed)
    events = Events(t, some.x, some.y, some.p, some.sensor_size)
    assert read_events(write_sample(tmp_path_factory.mktemp("a"), name, events)).equal(events)


@pytest.mark.parametrize("name", ["aedat4, plain", "aedat4, LZ4", "aedat4, Zstandard", "evt2", "evt3", "dat", "csv"])
def test_other_libraries_read_files_of_geir(tmp_path, name):
    faery = pytest.importorskip("faery")
    events = random_events(100_000, start=0, step=3)
    path = write_sample(tmp_path, name, events)
    theirs = Events.from_structured(faery.events_stream_from_file(path).to_array(), SIZE)
    assert theirs.equal(events)
    if path.suffix == ".aedat4":
        dv, aedat = pytest.importorskip("dv_processing"), pytest.importorskip("aedat")
        reader, batches = dv.io.MonoCameraRecording(str(path)), []
        while (batch := reader.getNextEventBatch()) is not None:
            batches.append(batch.numpy())
        assert Events.from_structured(np.concatenate(batches), SIZE).equal(events)
        assert reader.getEventResolution() == SIZE
        batches = [packet["events"] for packet in aedat.Decoder(path) if "events" in packet]
        assert Events.from_structured(np.concatenate(batches), SIZE).equal(events)


@pytest.mark.parametrize(
    "options",
    [{"version": v} for v in ("evt2", "evt3", "dat2")] + [{"compression": c} for c in (None, ("lz4", 1), ("zstd", 1))],
)
def test_files_of_faery_are_read(tmp_path, options):
    faery = pytest.importorskip("faery")
    events = random_events(100_000, step=3)
    array = events.to_structured(("t", "x", "y", "on")).astype(faery.EVENTS_DTYPE)
    path = tmp_path / ("a.aedat4" if "compression" in options else "a.dat" if options["version"] == "dat2" else "a.raw")
    faery.events_stream_from_array(array, SIZE).to_file(path, **options)
    assert read_events(path).equal(events)


def test_the_content_of_a_file_takes_precedence_over_its_suffix(tmp_path):
    events = random_events(100)
    for name in WRITTEN:
        path = write_sample(tmp_path, name, events)
        if path.suffix in (".csv", ".dat"):
            continue
        path.rename(tmp_path / "a.txt")
        assert read_events(tmp_path / "a.txt").equal(events)
