"""Damaged files raise an error, and are readable up to the damage."""

import struct
import warnings

import numpy as np
import pytest
from event_samples import aedat4_file, every_format, evt2_word, evt3_words, random_events, SIZE, time_high, write_sample

from geir.events import EventFileError, Events, read_events, write_events
from geir.events.formats.source import BLOCK_BYTES


def read_strictly_and_truncated(path):
    """Return the error of strict reading, None if there is none, and the events read with errors="truncate"."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*dropped")
            read_events(path)
        reason = None
    except EventFileError as error:
        reason = error
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            events = read_events(path, errors="truncate")
        except EventFileError:  # the head is damaged
            return reason, None
    assert any("were read" in str(warning.message) for warning in caught) == bool(reason)
    return reason, events


@every_format
def test_truncated_files_raise_an_error_and_their_beginning_is_readable(both_decoders, tmp_path, name):
    events = random_events(60)
    path = write_sample(tmp_path, name, events)
    whole, silent = path.read_bytes(), 0
    for size in {*range(0, len(whole), max(41, len(whole) // 50)), *range(len(whole) - 20, len(whole))}:
        path.write_bytes(whole[:size])
        reason, part = read_strictly_and_truncated(path)
        silent += reason is None
        assert part is None or part.equal(events[: len(part)]) or path.suffix == ".csv"
        assert reason is not None or path.suffix in (".raw", ".dat", ".csv"), "the truncation was not detected"
    # Formats that do not state their length cannot detect a truncation between two records.
    records = {".raw": 30, ".dat": 12, ".csv": 60}
    assert silent <= records.get(path.suffix, 0)


@every_format
def test_flipped_bits_raise_nothing_but_event_file_errors(tmp_path, name):
    events = random_events(40)
    path = write_sample(tmp_path, name, events)
    whole = path.read_bytes()
    random = np.random.default_rng(1)
    rejected = 0
    for bit in random.choice(len(whole) * 8, min(len(whole) * 8, 80), replace=False):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        reason, part = read_strictly_and_truncated(path)
        rejected += reason is not None
        assert part is None or Events(*part.columns(), part.sensor_size).equal(part)
    assert rejected > 8


# Name of a file, its content, and the error.
INVALID_FILES = {
    "an empty file": ("a.raw", b"", "the file is empty"),
    "an unknown format": ("a.jpg", b"\xff\xd8\xff\xe0", r"unrecognized file format; pass format=\.\.\."),
    "an older version of AEDAT": (
        "a.aedat",
        b"#!AER-DAT1.0\r\n",
        r"unsupported version of AEDAT; geir reads 2\.0, 3\.1 and 4\.0",
    ),
    "an unterminated header line": ("a.raw", b"% evt 3.0\n% geometry 640x480", "a line of the header does not end"),
    "no sensor size": (
        "a.raw",
        b"% evt 3.0\n% end\n",
        r"does not state its sensor size; pass sensor_size=\(width, height\)",
    ),
    "an impossible sensor size": (
        "a.raw",
        b"% evt 3.0\n% geometry 99999x480\n% end\n",
        "the stated sensor size of 99999x480 pixels is invalid; each side must be 1 to 32,768",
    ),
    "a width that is not a number": (
        "a.dat",
        b"% Version 2\n% Width wide\n% Height 4\n\x0c\x08",
        "header's Width must be an integer, got 'wide'",
    ),
    "an unknown version of DAT": (
        "a.dat",
        b"% Version 3\n% Width 9\n% Height 4\n\x0c\x08",
        "unknown version 3 of DAT; geir reads versions 1 and 2",
    ),
    "a truncated event type": (
        "a.dat",
        b"% Version 2\n% Width 9\n% Height 4\n\x0c",
        "the event type is truncated: expected 2 bytes, got 1",
    ),
    "a file of triggers": (
        "a.dat",
        b"% Version 2\n% Width 9\n% Height 4\n\x0e\x08",
        "unsupported event type 14 with 8 bytes",
    ),
    "a truncated AEDAT 4 header": ("a.aedat4", aedat4_file()[:60], "the header is truncated: expected"),
    "an unknown compression": (
        "a.aedat4",
        aedat4_file()[:42] + b"\x11" + aedat4_file()[43:],
        "unknown compression 17 of AEDAT 4",
    ),
    "packets that end before they begin": (
        "a.aedat4",
        aedat4_file(table=5),
        "the header states that packets end at byte 5, but they begin at byte [0-9]+",
    ),
    "a line with too few fields": (
        "a.csv",
        b"t,x@4,y@4,p\n1,2,3,1\n1,2\n",
        "invalid line, expected integers t, x, y and p: '1,2'; the 1 events before it",
    ),
    "a line that is too long": (
        "a.csv",
        b"t,x@4,y@4,p\n" + b"1" * (BLOCK_BYTES + 5000),
        "a line has more than 4,096 characters",
    ),
    "an invalid archive": ("a.npz", b"PK\x03\x04 and so on", "the file is damaged: File is not a zip file"),
    "an invalid HDF5 file": ("a.h5", b"\x89HDF\r\n\x1a\n and so on", "the file is damaged:"),
    "an unknown type of word": (
        "a.raw",
        b"% evt 2.0\n% geometry 640x480\n% end\n" + time_high(5) + 2 * evt2_word(1, 63, 639, 479) + evt2_word(5),
        "invalid evt2 record; the 2 events before it",
    ),
    "a vector beyond the last column": (
        "a.raw",
        b"% evt 3.0\n% geometry 9x9\n% end\n" + evt3_words((8, 0), (3, 2047), (4, 0), (4, 1)),
        "invalid evt3 record",
    ),
    "a polarity of 2": (
        "a.dat",
        b"% Version 2\n% Width 9\n% Height 4\n\x0c\x08" + struct.pack("<II", 1, 2 << 28),
        r"event 0 \(in the batch that starts here\) is at x = 0, y = 0 with polarity 2",
    ),
}


@pytest.mark.parametrize("name", INVALID_FILES)
def test_invalid_files_are_rejected(tmp_path, name):
    file, content, message = INVALID_FILES[name]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(EventFileError, match=message):
        read_events(tmp_path / file)


@every_format
def test_small_backward_steps_of_time_are_allowed_and_large_ones_rejected(tmp_path, name):
    events = Events([5000, 4200, 6000], [1, 2, 3], [1, 2, 3], [1, 0, 1], SIZE)
    path = write_sample(tmp_path, name, events)
    assert read_events(path).equal(events)
    far = Events([5000, 3999], [1, 2], [1, 2], [1, 0], SIZE)
    with pytest.raises(
        ValueError,
        match=r"events must be in the order of time, got 3999 us after 5000 us; sort them with Events\.sorted",
    ):
        write_events(far, path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("geir.events.writing.MAX_BACKWARD_STEP_US", 1 << 40)
        write_sample(tmp_path, name, far)
    with pytest.raises(
        EventFileError,
        match=r"event 1 (\(in the batch that starts here\) )?is at 3999 us, 1,001 us earlier than one before it; "
        r"at most 1,000 us are allowed; the 1 events before it are readable",
    ):
        read_events(path)
    with pytest.warns(RuntimeWarning, match="only the 1 events before it were read"):
        assert read_events(path, errors="truncate").equal(far[:1])


@every_format
def test_an_event_outside_the_sensor_is_rejected(both_decoders, tmp_path, name):
    path = write_sample(tmp_path, name, Events([1, 2, 3], [1, 319, 3], [1, 2, 3], [1, 0, 1], SIZE))
    with pytest.raises(
        EventFileError,
        match=r"event 1 (\(in the batch that starts here\) )?is at x = 319, y = 2 with polarity 0, but the sensor has 319x240 pixels",
    ):
        read_events(path, sensor_size=(319, 240))
    with pytest.warns(RuntimeWarning):
        assert len(read_events(path, errors="truncate", sensor_size=(319, 240))) == 1
