"""Layouts of datagrams, and their decoder."""

import struct

import numpy
import torch
from event_streams import HEIGHT, LAYOUTS, SIZE, WIDTH
from hypothesis import given, strategies as st

from geir.events import Events, SPIF, T32, T64
from geir.events.layouts import Decoder


def test_encoded_datagrams_equal_those_of_spif_aestream_and_faery_byte_for_byte():
    events = Events(t=[1, (7 << 32) + 258], x=[5, 6], y=[7, 7], p=[0, 1], sensor_size=(640, 480))
    assert SPIF().encode(events).tobytes() == bytes.fromhex("07000580 07800680")
    assert SPIF(timestamps=True).encode(events).tobytes() == bytes.fromhex("07000500 01000000 07800600 02010000")
    assert T32().encode(events).tobytes() == struct.pack("<IHHIHH", 1, 5, 14, 258, 6, 15)
    assert T64().encode(events).tobytes() == struct.pack("<QHHBQHHB", 1, 5, 7, 0, (7 << 32) + 258, 6, 7, 1)


@given(
    st.sampled_from(LAYOUTS), st.lists(st.integers(-(2**31) + 1, 2**31 - 1), min_size=1, max_size=20), st.integers(1, 9)
)
def test_decoding_inverts_encoding_and_extends_timestamps_to_64_bits(layout, steps, size):
    first = 0 if layout.wraps else 2**36
    t = torch.cumsum(torch.tensor([first, *steps]), 0)
    if not layout.wraps and t.min() < 0:
        t -= t.min()
    count = len(t)
    events = Events(t, torch.arange(count) % WIDTH, torch.arange(count) % HEIGHT, torch.arange(count) % 2, SIZE)
    decoder, parts = Decoder(layout, SIZE), []
    for start in range(0, count, size):
        data = numpy.frombuffer(layout.encode(events[start : start + size]).tobytes(), numpy.uint8)
        parts.append(decoder(data, [len(data)], 77))
    expected = Events(torch.full_like(t, 77), *events.columns()[1:], SIZE) if layout == SPIF() else events
    assert Events.cat(parts).equal(expected)
    assert decoder.rejected == decoder.malformed == 0


def test_spif_events_with_and_without_timestamps_can_share_a_datagram():
    def word(x, y, p, timed):
        return (not timed) << 31 | x << 16 | p << 15 | y

    first = [
        word(1, 2, 1, False),
        word(3, 4, 0, True),
        0xFFFFFFF0,
        word(5, 6, 1, False),
        word(7, 8, 0, True),
        5,
        word(9, 9, 1, True),
    ]
    second = [word(2, 2, 0, False)]
    data = numpy.frombuffer(struct.pack("<8I", *first, *second), numpy.uint8)
    decoder = Decoder(SPIF(), SIZE)
    events = decoder(data, [28, 4], 42)
    assert events.x.tolist() == [1, 3, 5, 7, 2]
    assert events.y.tolist() == [2, 4, 6, 8, 2]
    assert events.p.tolist() == [1, 0, 1, 0, 0]
    assert events.t.tolist() == [42, 0xFFFFFFF0, 0xFFFFFFF0, (1 << 32) + 5, (1 << 32) + 5]
    assert decoder.malformed == 1


@given(st.sampled_from(LAYOUTS), st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=5))
def test_events_of_arbitrary_datagrams_lie_on_the_sensor_or_are_counted(layout, datagrams):
    whole = [d[: len(d) // layout.record * layout.record] for d in datagrams]
    whole = [d for d in whole if d]
    decoder = Decoder(layout, SIZE)
    events = decoder(numpy.frombuffer(b"".join(whole), numpy.uint8), [len(d) for d in whole], 1)
    Events(*events.columns(), SIZE)
    if not isinstance(layout, SPIF):
        assert len(events) + decoder.rejected == sum(map(len, whole)) // layout.record
    assert len(events) + decoder.rejected + decoder.malformed <= sum(map(len, whole)) // 4


def test_a_polarity_of_minus_one_is_decoded_as_zero():
    records = numpy.zeros(3, T64.dtype)
    records["p"] = numpy.array([-1, 1, 0], "i1").view("u1")
    decoder = Decoder(T64(), (4, 4))
    events = decoder(records.view(numpy.uint8), [records.nbytes], arrival=0)
    assert events.p.tolist() == [0, 1, 0]
    assert decoder.rejected == 0
