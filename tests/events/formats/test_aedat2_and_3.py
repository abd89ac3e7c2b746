"""AEDAT 2.0 and 3.1. No recording is at hand."""

import struct

import numpy as np
import pytest
from aedat_files import (
    aedat2_record,
    CAER,
    caer_packet,
    DAVIS346,
    davis_record,
    DVS128,
    dvs128_record,
    JAER,
    valid_packet,
)
from event_samples import random_events, read_outcome, rows
from hypothesis import given, strategies as st

from geir.events import describe, EventFileError, Events, open_events, read_events
from geir.events.formats.aedat3 import Aedat3

EVENTS = [(5, 0, 0, 1), (6, 127, 3, 0), (9, 17, 127, 1)]

# Content, options, events and sensor size.
FILES = {
    "aedat 2, DVS128": (DVS128 + b"".join(dvs128_record(*e) for e in EVENTS), {}, EVENTS, (128, 128)),
    "aedat 2, an address bit by bit": (DVS128 + bytes([0, 0, 0x05, 0x03, 0, 0, 1, 0]), {}, [(256, 126, 122, 0)], (128, 128)),
    "aedat 2, no camera named (CIFAR10-DVS)": (JAER + b"".join(dvs128_record(*e) for e in EVENTS), {}, EVENTS, (128, 128)),
    "aedat 2, triggers of a DVS128": (
        DVS128 + aedat2_record(0x8000, 1) + dvs128_record(*EVENTS[0]) + aedat2_record(0xFFFF, 6),
        {},
        EVENTS[:1],
        (128, 128),
    ),
    "aedat 2, DAVIS": (
        DAVIS346
        + davis_record(7, 345, 259, 1)
        + aedat2_record(1 << 31 | 5 << 12, 8)  # a frame
        + aedat2_record(1 << 10, 8)  # a trigger
        + davis_record(9, 0, 1, 0),
        {},
        [(7, 345, 259, 1), (9, 0, 1, 0)],
        (346, 260),
    ),
    "aedat 2, DAVIS of v2e, no camera named": (
        JAER + davis_record(7, 345, 0, 1),
        {"sensor_size": (346, 260)},
        [(7, 345, 0, 1)],
        (346, 260),
    ),
    "aedat 2 wraps after 2**32 us": (
        DVS128 + dvs128_record((1 << 32) - 2, 1, 2, 1) + dvs128_record((1 << 32) + 3, 1, 2, 0),
        {},
        [((1 << 32) - 2, 1, 2, 1), ((1 << 32) + 3, 1, 2, 0)],
        (128, 128),
    ),
    "aedat 2, a record that begins like a comment": (
        DAVIS346 + davis_record(7, 300, 259 - 0x8C, 1),
        {},
        [(7, 300, 259 - 0x8C, 1)],
        (346, 260),
    ),
    "aedat 3.1": (CAER + valid_packet(EVENTS[:2]) + valid_packet(EVENTS[2:]), {}, EVENTS, (128, 128)),
    "aedat 3.1, an event bit by bit": (
        CAER + caer_packet(struct.pack("<Ii", 0b000000000000101_000000000000011_1_1, 77)),
        {},
        [(77, 5, 3, 1)],
        (128, 128),
    ),
    "aedat 3.1, invalid events and other types": (
        CAER
        + caer_packet([(EVENTS[0], 1), ((6, 99, 99, 1), 0), (EVENTS[1], 1)])
        + caer_packet(bytes(36 * 3), kind=3, event_bytes=36)
        + caer_packet(bytes(8), kind=0)
        + valid_packet(EVENTS[2:], capacity=5)
        + caer_packet(b""),
        {},
        EVENTS,
        (128, 128),
    ),
    "aedat 3.1 wraps after 2**31 us": (
        CAER + valid_packet([((1 << 31) - 1, 1, 2, 1)]) + valid_packet([(1 << 31, 3, 4, 0)], overflows=1),
        {},
        [((1 << 31) - 1, 1, 2, 1), (1 << 31, 3, 4, 0)],
        (128, 128),
    ),
    "aedat 3.1, one of two sources": (
        CAER.replace(b"#Start", b"#Source 2: DAVIS240C\r\n#Start")
        + valid_packet(EVENTS)
        + valid_packet([(5, 239, 179, 1)], source=2),
        {"stream": 2},
        [(5, 239, 179, 1)],
        (240, 180),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("size", [1, 2, 1 << 20])
def test_files_of_older_versions_are_decoded(tmp_path, name, size):
    content, options, expected, sensor_size = FILES[name]
    (tmp_path / "a.aedat").write_bytes(content)
    assert read_outcome(tmp_path / "a.aedat", size, **options) == (expected, None, None)
    assert describe(tmp_path / "a.aedat", **options)["sensor_size"] == sensor_size


# Content, options, number of readable events, byte and error.
DAMAGED = {
    "aedat 2, truncated": (
        DVS128 + b"".join(dvs128_record(*e) for e in EVENTS)[:-3],
        {},
        2,
        len(DVS128) + 16,
        "the last record is truncated: it has 5 of 8 bytes",
    ),
    "aedat 2, another camera": (JAER + b"# AEChip: CochleaAMS1c\r\n", {}, None, 0, "does not know the addresses of the camera 'CochleaAMS1c'"),
    "aedat 2, unknown size": (
        JAER + davis_record(1, 2, 3, 1),
        {},
        None,
        None,
        r"does not state its sensor size; pass sensor_size=\(width, height\)",
    ),
    "aedat 2, time steps back": (
        DVS128 + dvs128_record(5000, 1, 2, 1) + dvs128_record(3999, 1, 2, 1),
        {},
        1,
        len(DVS128),
        "1,001 us earlier than one before it",
    ),
    "aedat 3.1, truncated packet": (
        CAER + valid_packet(EVENTS[:1]) + valid_packet(EVENTS[1:])[:-3],
        {},
        2,
        len(CAER) + 36,
        "packet 1 is truncated",
    ),
    "aedat 3.1, truncated header": (CAER + valid_packet(EVENTS) + bytes(9), {}, 3, len(CAER) + 52, "packet 1 is truncated: expected 28 bytes, got 9"),
    "aedat 3.1, more events than there is room for": (
        CAER + valid_packet(EVENTS) + struct.pack("<hhiiiiii", 1, 1, 8, 4, 0, 2, 3, 3),
        {},
        3,
        len(CAER) + 52,
        "the header of packet 1 is invalid: 3 of 3 events are valid, with room for 2 of 8 bytes",
    ),
    "aedat 3.1, wrong size of events": (CAER + caer_packet(bytes(16), event_bytes=16), {}, 0, len(CAER), "packet 0 has events of 16 bytes, expected 8"),
    "aedat 3.1, negative time": (
        CAER + caer_packet(struct.pack("<IiIi", 1, 77, 1, -5)),
        {},
        1,
        len(CAER) + 36,
        "invalid timestamp -5",
    ),
    "aedat 3.1, compressed": (CAER.replace(b"RAW", b"SerializedTS"), {}, None, 0, "the compression 'SerializedTS' of AEDAT 3.1 is not supported"),
    "aedat 3.0": (CAER.replace(b"3.1", b"3.0"), {}, None, 0, r"unsupported version 3\.0 of AEDAT; geir reads 3\.1"),
    "aedat 3.1, two sources": (
        CAER.replace(b"#Start", b"#Source 2: DAVIS240C\r\n#Start"),
        {},
        None,
        0,
        "it has several sources, .*; pass stream= and the number of one",
    ),
    "aedat 3.1, no such source": (CAER, {"stream": 5}, None, None, "it has no stream=5; its sources are {1: 'DVS128'}"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_of_older_versions_are_readable_up_to_the_damage(tmp_path, name):
    content, options, readable, offset, message = DAMAGED[name]
    (tmp_path / "a.aedat").write_bytes(content)
    with pytest.raises(EventFileError, match=message) as caught:
        read_events(tmp_path / "a.aedat", **options)
    assert caught.value.offset == offset
    if readable is not None:
        with pytest.warns(RuntimeWarning, match=f"only the {readable} events before it were read"):
            assert len(read_events(tmp_path / "a.aedat", errors="truncate", **options)) == readable


@pytest.mark.parametrize("kind", ["aedat 2", "aedat 3.1"])
def test_long_recordings_are_decoded_in_chunks(tmp_path, kind):
    events = random_events(200_000, size=(128, 128), step=40_000, start=7)
    if kind == "aedat 2":
        content = DVS128 + b"".join(dvs128_record(*row) for row in rows(events))
    else:
        content, left = CAER, rows(events)
        parts = []
        while left:
            high = left[0][0] >> 31
            part = [row for row in left[:9000] if row[0] >> 31 == high]
            parts.append(valid_packet(part, overflows=high))
            left = left[len(part) :]
        content += b"".join(parts)
    (tmp_path / "a.aedat").write_bytes(content)
    for size in (1000, 65_537, 1 << 20):
        with open_events(tmp_path / "a.aedat") as recording:
            parts = list(recording.chunks(size))
        assert Events.cat(parts).equal(events)
        assert max(map(len, parts)) <= size


@given(
    st.lists(
        st.tuples(st.integers(0, 127), st.integers(0, 127), st.integers(0, 1), st.integers(0, 1 << 30)), max_size=20
    )
)
def test_any_events_of_older_versions_are_read_back(tmp_path_factory, events):
    folder = tmp_path_factory.mktemp("a")
    t = np.cumsum([step for *_, step in events]).tolist()
    expected = [(time, x, y, p) for time, (x, y, p, _) in zip(t, events, strict=True)]
    (folder / "two.aedat").write_bytes(DVS128 + b"".join(dvs128_record(*row) for row in expected))
    (folder / "three.aedat").write_bytes(
        CAER + b"".join(valid_packet([row], overflows=row[0] >> 31) for row in expected)
    )
    assert rows(read_events(folder / "two.aedat")) == expected
    assert rows(read_events(folder / "three.aedat")) == expected


def test_a_packet_that_states_a_huge_size_needs_no_memory(tmp_path):
    header = struct.pack("<hhiiiiii", 1, 1, 8, 4, 0, (1 << 31) - 1, (1 << 31) - 1, 0)
    (tmp_path / "a.aedat").write_bytes(CAER + header + valid_packet(EVENTS)[28:])
    with open_events(tmp_path / "a.aedat", format="aedat3") as recording:
        assert isinstance(recording.reader, Aedat3)
    assert read_outcome(tmp_path / "a.aedat")[0] == EVENTS
