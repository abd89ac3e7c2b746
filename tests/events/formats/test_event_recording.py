"""Opening and writing event files: arguments, errors and attributes."""

import sys

import pytest
from event_samples import random_events, SIZE, write_sample

from geir.events import EventFileError, Events, open_events, read_events, write_events


def test_invalid_arguments_are_rejected(tmp_path):
    events = random_events(10)
    path = write_sample(tmp_path, "csv", events)
    with pytest.raises(
        ValueError, match=r'open_events: errors must be "strict", "truncate" or "skip", got \'ignore\'\.'
    ):
        open_events(path, errors="ignore")
    with pytest.raises(
        ValueError,
        match="open_events: unknown format 'evt4'; the formats are aedat4, aedat3, aedat2, evt2, evt21, evt3, hdf5, npz, npy, dat, nmnist, csv",
    ):
        open_events(path, format="evt4")
    with pytest.raises(
        TypeError, match=r"Events\.sensor_size must be the width and the height in pixels, got \(0, 3\)"
    ):
        open_events(path, sensor_size=(0, 3))
    with (
        pytest.raises(ValueError, match=r"Recording\.chunks: size must be > 0 events, got 0\."),
        open_events(path) as recording,
    ):
        next(recording.chunks(0))
    with pytest.raises(FileNotFoundError):
        read_events(tmp_path / "none.raw")
    with pytest.raises(IsADirectoryError):
        read_events(tmp_path)
    with pytest.raises(EventFileError, match="not a regular file"):
        read_events("/dev/null")
    for file, options in (("a.bin", {}), ("a.xyz", {}), ("a.raw", {"format": "evt21"})):
        with pytest.raises(
            ValueError, match=r"geir cannot write the format of .*; it writes aedat4, evt2, evt3, dat, hdf5, csv, npz\."
        ):
            write_events(events, tmp_path / file, **options)
    with pytest.raises(
        ValueError, match=r"got no chunks, so the sensor size is unknown; .* pass Events\.empty\(sensor_size\)"
    ):
        write_events([], path)
    with pytest.raises(ValueError, match=r"all chunks must have one sensor size, got \(320, 240\) and \(4, 7\)"):
        write_events([events, Events.empty((4, 7))], path)
    with pytest.raises(
        ValueError, match="evt3 has 11 bits per coordinate, which are too few for a sensor of 4096x9 pixels"
    ):
        write_events(Events.empty((4096, 9)), tmp_path / "a.raw")
    with pytest.raises(ValueError, match="dat has 14 bits per coordinate"):
        write_events(Events.empty((20000, 9)), tmp_path / "a.dat")
    later = Events([0, 1 << 50], [0, 0], [0, 0], [0, 0], SIZE)
    with pytest.raises(
        ValueError, match="the times of events lie too far apart for this format, whose counter has 12 bits"
    ):
        write_events(later, tmp_path / "a.raw")
    with pytest.raises(ValueError, match="dat cannot hold successive events that are more than 35 minutes apart"):
        write_events(later, tmp_path / "a.dat")
    assert read_events(path).equal(events), "a failed write changed the existing file"
    assert [file.name for file in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize(
    ("module", "name", "message"),
    [
        ("lz4.frame", "aedat4, LZ4", "need the package lz4; install it: pip install 'geir[events]'"),
        ("zstandard", "aedat4, Zstandard", "need the package zstandard; install it: pip install 'geir[events]'"),
        ("h5py", "hdf5", "read and written with h5py; install it: pip install 'geir[events]'"),
    ],
)
def test_missing_packages_are_named(tmp_path, monkeypatch, module, name, message):
    path = write_sample(tmp_path, name, random_events(10))
    monkeypatch.setitem(sys.modules, module, None)
    for use in (lambda: read_events(path), lambda: write_sample(tmp_path, name, random_events(10))):
        with pytest.raises(ImportError) as caught:
            use()
        assert message in str(caught.value)


def test_a_recording_describes_its_file_and_can_be_closed(tmp_path):
    path = write_sample(tmp_path, "evt3", random_events(10))
    with open_events(str(path)) as recording:
        assert (recording.path, recording.format, recording.sensor_size) == (path, "evt3", SIZE)
        assert recording.metadata["evt"] == "3.0"
        assert repr(recording) == f"Recording({str(path)!r}, evt3, 320x240)"
    with pytest.raises(ValueError, match="closed file"):
        next(recording.chunks())
