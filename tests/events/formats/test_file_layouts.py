"""Files assembled byte by byte, according to the descriptions of the formats."""

import struct

import pytest
from event_samples import evt2_word, evt3_words, evt21_word, read_outcome, SIZE, time_high

from geir.events import describe, open_events, read_events

# Name of a file, its content, and its events.
FILES = {
    "evt2": (
        "a.raw",
        b"% evt 2.0\n% geometry 640x480\n% end\n"
        + time_high(5)
        + evt2_word(1, 63, 639, 479)
        + evt2_word(10, 3, 1, 1)  # a trigger
        + evt2_word(14)
        + evt2_word(15)
        + time_high(6)
        + evt2_word(0, 1, 7, 9),
        [(5 * 64 + 63, 639, 479, 1), (6 * 64 + 1, 7, 9, 0)],
    ),
    "evt2 wraps after 2**34 us": (
        "a.raw",
        b"% evt 2.0\n% geometry 640x480\n"
        + time_high((1 << 28) - 1)
        + evt2_word(1, 63, 1, 2)
        + time_high(0)
        + evt2_word(1, 0, 1, 2),
        [((1 << 34) - 1, 1, 2, 1), (1 << 34, 1, 2, 1)],
    ),
    "evt21, halves swapped": (
        "a.raw",
        b"% evt 2.1\n% format EVT21;endianness=legacy;height=720;width=1280\n% end\n"
        + evt21_word(8, 0, 0, 3, 0, True)
        + evt21_word(1, 2, 32, 9, 0x80000005, True),
        [(3 * 64 + 2, x, 9, 1) for x in (32, 34, 63)],
    ),
    "evt21": (
        "a.raw",
        b"% evt 2.1\n% format EVT21;endianness=little;height=320;width=320\n% end\n"
        + evt21_word(8, 0, 0, 3, 0, False)
        + evt21_word(0, 2, 64, 9, 3, False),
        [(3 * 64 + 2, 64, 9, 0), (3 * 64 + 2, 65, 9, 0)],
    ),
    "evt3": (
        "a.raw",
        b"% evt 3.0\n% format EVT3;height=720;width=1280\n% end\n"
        + evt3_words((8, 2), (6, 10), (0, 100), (2, 1 << 11 | 5), (2, 6))
        # the base of a vector of polarity 1, twelve pixels from there, eight more in a new row, and eight after these
        + evt3_words(
            (3, 1 << 11 | 200),
            (4, 0b100000000001),
            (0, 101),
            (5, 0b10000001),
            (5, 1),
            (10, 1),
            (14, 0),
            (7, 1),
            (15, 2),
        )
        # the upper bits of time change; repeated, they change nothing
        + evt3_words((8, 3), (2, 8), (6, 4095), (8, 3), (2, 9), (8, 4), (6, 0), (2, 10)),
        [
            *[
                (8202, 5, 100, 1),
                (8202, 6, 100, 0),
                (8202, 200, 100, 1),
                (8202, 211, 100, 1),
                (8202, 212, 101, 1),
                (8202, 219, 101, 1),
                (8202, 220, 101, 1),
            ],
            *[(12288, 8, 101, 0), (16383, 9, 101, 0), (16384, 10, 101, 0)],
        ],
    ),
    "evt3 wraps after 2**24 us, and steps back a little": (
        "a.raw",
        b"% evt 3.0\n% geometry 1280x720\n"
        + evt3_words(
            (8, 4095), (6, 4000), (2, 1), (8, 0), (6, 5), (2, 2), (8, 4095), (6, 4090), (2, 3), (8, 0), (6, 7), (2, 4)
        ),
        [((1 << 24) - 96, 1, 0, 0), ((1 << 24) + 5, 2, 0, 0), ((1 << 24) - 6, 3, 0, 0), ((1 << 24) + 7, 4, 0, 0)],
    ),
    "dat of version 2": (
        "a.dat",
        b"% Data file containing CD events\n% Version 2\n% Date 2020-09-14\n% Height 480\n% Width 640\n\x0c\x08"
        + struct.pack("<II", 7, 1 << 28 | 479 << 14 | 639)
        + struct.pack("<II", 9, 2 << 14 | 3),
        [(7, 639, 479, 1), (9, 3, 2, 0)],
    ),
    "dat wraps after 2**32 us": (
        "a.dat",
        b"% Version 2\n% Height 480\n% Width 640\n\x00\x08" + struct.pack("<IIII", 0xFFFFFFFE, 3, 4, 5),
        [((1 << 32) - 2, 3, 0, 0), ((1 << 32) + 4, 5, 0, 0)],
    ),
    "dat of version 1": (
        "a.dat",
        b"% Version 1\n% Height 240\n% Width 304\n\x0c\x08" + struct.pack("<II", 7, 1 << 17 | 239 << 9 | 303),
        [(7, 303, 239, 1)],
    ),
    "nmnist": (
        "a.bin",
        bytes([1, 2, 0x80 | 0x12, 0x34, 0x56, 33, 33, 0, 0, 0])
        + bytes([0, 240, 0x12, 0x40, 0, 5, 6, 0x12, 0x34, 0x57]),
        [(0x123456, 1, 2, 1)],
    ),
    "csv": (
        "a.csv",
        b"# a comment\n\n10, 1,2 ,1\r\n11,3,4,0\n  12,5,6,-1",
        [(10, 1, 2, 1), (11, 3, 4, 0), (12, 5, 6, 0)],
    ),
    "csv with names": (
        "a.csv",
        b"x,y,frame,p,t,note\n1,2,77,1,10,hello\n3,4,78,0,11,\n",
        [(10, 1, 2, 1), (11, 3, 4, 0)],
    ),
    "text with spaces": ("a.txt", b"10 1 2 1\n11  3\t4 0 \n", [(10, 1, 2, 1), (11, 3, 4, 0)]),
    "text with tabs": ("a.txt", b"t\tx\ty\tp\n10\t1\t2\t1\n", [(10, 1, 2, 1)]),
    "csv with semicolons, as faery writes it": ("a.csv", b"t;x@640;y@480;on\r\n10;1;5;1\r\n", [(10, 1, 5, 1)]),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("size", [1, 2, 1 << 20])
def test_files_assembled_by_hand_are_decoded(both_decoders, tmp_path, name, size):
    file, content, expected = FILES[name]
    (tmp_path / file).write_bytes(content)
    stated = (
        {}
        if "% " in content.decode("latin-1") or "@" in content.decode("latin-1") or file == "a.bin"
        else {"sensor_size": SIZE}
    )
    events, offset, reason = read_outcome(tmp_path / file, size, **stated)
    if name == "nmnist":
        # Its second event is a second earlier than the first, which is an error; without it, the rest is decoded.
        assert reason is not None
        (tmp_path / file).write_bytes(content[:5] + content[10:])
        events, offset, reason = read_outcome(tmp_path / file, size)
        expected = [*expected, (0x123457 + 8192, 5, 6, 0)]
    assert (events, offset, reason) == (expected, None, None)
    with open_events(tmp_path / file, **stated) as recording:
        stated_sizes = {
            "evt21, halves swapped": (1280, 720),
            "evt3": (1280, 720),
            "dat of version 1": (304, 240),
            "evt2": (640, 480),
        }
        assert recording.sensor_size == stated_sizes.get(name, recording.sensor_size)


HEADER_WITHOUT_END = b"% evt 2.0\n% geometry 640x480\n"
# The first word of the data, a time word that begins like a line of a header: "%", and other characters.
LIKE_HEADER = {
    "%": 0x25,
    "% ": 0x2025,
    "% and a line feed": 0x0A2025,
    "%, a line feed and a space": 0x200A25,
    "% e": 0x652025,
    "% and a percent sign": 0x252025,
    "two percent signs": 0x2525,
}


@pytest.mark.parametrize("name", LIKE_HEADER)
@pytest.mark.parametrize("follow", [b"", b"\n"], ids=["", "line feed later"])
def test_data_that_begin_like_a_header_line_are_decoded(both_decoders, tmp_path, name, follow):
    high = LIKE_HEADER[name]
    content = HEADER_WITHOUT_END + time_high(high) + evt2_word(1, 5, 7, 9) + time_high(high + 1) + evt2_word(0, 1, 2, 3)
    content += follow and time_high((high + 2) & ~255 | 0x0A)  # the byte of a line feed
    assert content[len(HEADER_WITHOUT_END)] == 0x25
    (tmp_path / "a.raw").write_bytes(content)
    expected = [(high * 64 + 5, 7, 9, 1), ((high + 1) * 64 + 1, 2, 3, 0)]
    assert read_outcome(tmp_path / "a.raw") == (expected, None, None)


@pytest.mark.parametrize(
    "rest",
    ["% note Gef\u00e4\u00df\n".encode(), b"% note Gef\xe4\xdf\n%\n%\t\n% end\n", b"%note\r\n% end\r\n"],
    ids=["UTF-8", "Latin-1 and empty lines", "Windows"],
)
def test_lines_of_a_header_need_not_be_ascii_and_may_be_empty_before_its_end(tmp_path, rest):
    data = time_high(5) + evt2_word(1, 5, 7, 9)
    (tmp_path / "a.raw").write_bytes(b"% Date 2014-02-28 13:37:42\n" + HEADER_WITHOUT_END + rest + data)
    assert read_outcome(tmp_path / "a.raw") == ([(5 * 64 + 5, 7, 9, 1)], None, None)


def test_prophesee_plugin_names_imply_the_sensor_size(tmp_path):
    for plugin, size in (
        ("hal_plugin_gen3_fx3", (640, 480)),
        ("hal_plugin_imx636_evk4", (1280, 720)),
        ("hal_plugin_genx320", (320, 320)),
    ):
        (tmp_path / "a.raw").write_bytes(f"% evt 3.0\n% plugin_name {plugin}\n% end\n".encode())
        assert describe(tmp_path / "a.raw")["sensor_size"] == size


def test_events_before_the_first_timestamp_are_dropped_with_a_warning(both_decoders, tmp_path):
    for content, count in (
        (b"% evt 2.0\n" + evt2_word(1, 1, 2, 3), 1),
        (b"% evt 3.0\n" + evt3_words((2, 1), (3, 5), (4, 7)), 4),
    ):
        (tmp_path / "a.raw").write_bytes(content)
        with pytest.warns(
            RuntimeWarning,
            match=rf"a\.raw: {count} events dropped: they precede the first timestamp",
        ):
            assert len(read_events(tmp_path / "a.raw", sensor_size=SIZE)) == 0
