"""The decoders in C agree with the reference decoders in Python on any input."""

import ctypes
import re
from importlib.resources import files

import numpy as np
import pytest
import torch
from event_samples import random_events, write_sample
from hypothesis import given, strategies as st

from geir._runtime.native import NoCompilerError
from geir.events import _native, read_events
from geir.events.formats import aedat4_packets, columns, csv_lines, dat, decoder, evt, nmnist
from geir.events.formats.columns import EventColumns, MAX_ABS_TIME, valid_prefix
from geir.events.formats.decoder import Decoder, DecoderState

# Decoder, and the types of words that it knows, in their most significant 4 bits; empty if any bytes are valid.
DECODERS = {
    "evt2": (Decoder("evt.c", "decode_evt2", evt.reference_evt2, 4), [0, 0, 1, 1, 8, 10, 14, 15]),
    "evt21": (Decoder("evt.c", "decode_evt21", evt.reference_evt21, 8, 32), [0, 0, 1, 1, 8, 10, 14, 15]),
    "evt21_legacy": (
        Decoder("evt.c", "decode_evt21_legacy", evt.reference_evt21_legacy, 8, 32),
        [0, 0, 1, 1, 8, 10, 14, 15],
    ),
    "evt3": (
        Decoder("evt.c", "decode_evt3", evt.reference_evt3, 2, 16),
        [0, 2, 2, 2, 3, 4, 4, 5, 5, 6, 7, 8, 10, 14, 15],
    ),
    "dat1": (Decoder("dat.c", "decode_dat1", dat.reference_dat1, 8), []),
    "dat2": (Decoder("dat.c", "decode_dat2", dat.reference_dat2, 8), []),
    "nmnist": (Decoder("nmnist.c", "decode_nmnist", nmnist.reference_nmnist, 5), []),
}

needs_compiler = pytest.mark.skipif(_native.load("formats/evt.c") is None, reason="no C compiler")


def zero_columns(size):
    return EventColumns(*(torch.zeros(size, dtype=d) for d in (torch.int64, torch.int16, torch.int16, torch.uint8)))


def random_records(record_size, kinds, seed):
    """Records, most of them of a known type; all of them if `seed` is odd."""
    random = np.random.default_rng(seed)
    words = random.integers(0, 256, (400, record_size), dtype=np.uint8)
    if kinds:
        kind = random.choice(kinds, 400)
        if seed % 2 == 0:
            kind = np.where(random.random(400) < 0.997, kind, random.integers(0, 16, 400))
        words[:, -1] = kind << 4 | words[:, -1] & 15
    return words


def in_c_and_python(decode):
    """Results of a function that decodes, in C and in Python."""
    results = [decode()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_native, "load", lambda *_, **__: None)
        patch.setattr(decoder, "_warn_about_reference", lambda: None)
        results.append(decode())
    return results


def fields_of(state):
    return {name: getattr(state, name) for name, _ in state._fields_}


@needs_compiler
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", DECODERS)
def test_c_and_python_agree_on_any_records(name, seed):
    decode, kinds = DECODERS[name]
    words = random_records(decode.record_size, kinds, seed)
    if name == "evt21_legacy":
        words = np.concatenate([words[:, 4:], words[:, :4]], 1)
    data = words.reshape(-1)

    def decode_all():
        state, record, calls = DecoderState(), 0, []
        while record < len(words) and not state.invalid:
            columns = zero_columns(77 + 900 * (seed % 3))
            decode(data[record * decode.record_size :], len(words) - record, columns, state)
            record += state.records_read
            events = [column.tolist() for column in columns.part(0, state.events_written)]
            calls.append((events, fields_of(state)))
        return calls

    in_c, in_python = in_c_and_python(decode_all)
    assert in_c == in_python
    count = sum(state["events_written"] for _, state in in_c)
    assert seed % 2 == 0 or not kinds or count > 50, "too few events for this test to see anything"


def evt2_stream(random, words_per_time):
    """Words of EVT 2.0, of which every so many is one of time and few are of other types."""
    words = random.integers(0, 1 << 32, 6000, dtype=np.uint32)
    time = random.random(6000) < 1 / words_per_time
    kind = np.where(time, 8, random.integers(0, 2, 6000))
    kind = np.where(random.random(6000) < 0.001, random.choice([10, 14, 15], 6000), kind)
    return kind.astype(np.uint32) << 28 | words >> 4


def dat_stream(random, largest_step):
    """Records of DAT, whose times step by less than a limit; the counter of 32 bits wraps around."""
    steps = random.integers(-largest_step // 4, largest_step, 6000)
    t = (1 << 32) - 3000 + np.cumsum(steps)
    return np.stack([t, random.integers(0, 1 << 32, 6000)], 1) & 0xFFFFFFFF


@needs_compiler
@pytest.mark.parametrize(
    ("name", "stream", "argument"),
    [
        *(("evt2", evt2_stream, words) for words in (1.5, 3, 9, 40, 1000)),
        *((name, dat_stream, 1 << bits) for name in ("dat1", "dat2") for bits in (1, 12, 19, 22, 31, 34)),
    ],
)
def test_c_and_python_agree_on_streams_of_any_rate(name, stream, argument):
    # Long enough for the parts that C decodes at once.
    random = np.random.default_rng(7)
    decode, _ = DECODERS[name]
    data = stream(random, argument).astype("<u4").reshape(-1).view(np.uint8)
    count = len(data) // decode.record_size
    capacities = [int(random.choice([5, 31, 32, 33, 1023, 1024, 1025, 4000])) for _ in range(count)]

    def decode_all():
        state, record, calls = DecoderState(), 0, []
        while record < count and not state.invalid:
            columns = zero_columns(capacities[len(calls)])
            decode(data[record * decode.record_size :], count - record, columns, state)
            record += state.records_read
            calls.append(([column.tolist() for column in columns.part(0, state.events_written)], fields_of(state)))
        return calls

    in_c, in_python = in_c_and_python(decode_all)
    assert in_c == in_python
    assert sum(state["events_written"] for _, state in in_c) > 1000


@needs_compiler
@given(
    st.lists(
        st.sampled_from(
            [
                b"1,2,3,1",
                b" 12 , 3,4 ,0 ",
                b"5,6,7,-1",
                b"# hm",
                b"",
                b"\r",
                b"1,2,3",
                b"1,2,3,4",
                b"1,2,3,1,9",
                b"1,2,x,1",
                b"1 2 3 1",
                b"0.003811,2,3,True",
                b"1.5,2,3,False",
                b"12.0,2.0,3.00,-1.0",
                b"-1.2345675e-03,2,3,1e0",
                b".5,2,3,1.",
                b'"7","8",9,"true"',
                b'7,8,"a,b",1',
                b"123456789012345678,1,2,1",
                b"1234567890123456789,1,2,1",
                b"0000000000000000000000012,1,2,1",
                b"1e17,1,2,0",
                b"1e18,1,2,0",
                b"1e-999,1,2,0",
                b"0e999,1,2,0",
                b"1504645177.42,1,2,0",
            ]
        )
        | st.lists(st.sampled_from([*b'0123456789.e-+,"Tt rue']), max_size=20).map(bytes)
        | st.binary(max_size=9).filter(lambda line: b"\n" not in line),
        max_size=8,
    ),
    st.sampled_from([b",", b" ", b";"]),
    st.sampled_from([0, 3, 6, -3]),
)
def test_c_and_python_agree_on_any_text(lines, separator, exponent):
    text = np.frombuffer(b"".join(line.replace(b",", separator) + b"\n" for line in lines), np.uint8)
    decode = csv_lines.csv_decoder(csv_lines.LineLayout(0, 1, 2, 3, 4, ord(separator), exponent, exponent != 0))

    def decode_all():
        state, columns = DecoderState(), zero_columns(20)
        decode(text, len(text), columns, state)
        return [column.tolist() for column in columns], fields_of(state)

    in_c, in_python = in_c_and_python(decode_all)
    assert in_c == in_python


@needs_compiler
def test_c_and_python_agree_on_the_order_of_fields_in_text():
    text = np.frombuffer(b"9,3,1,2,10\n9,4,0,3,11\n", np.uint8)
    decode = csv_lines.csv_decoder(
        csv_lines.LineLayout(t_field=4, x_field=3, y_field=1, p_field=2, field_count=5, separator=ord(","))
    )

    def decode_all():
        state, columns = DecoderState(), zero_columns(2)
        decode(text, len(text), columns, state)
        return [column.tolist() for column in columns]

    assert in_c_and_python(decode_all) == [[[10, 11], [2, 3], [3, 4], [1, 0]]] * 2


def first_invalid(events):
    """The number of events before the first one that is invalid, and the latest time among them, one by one."""
    latest = -MAX_ABS_TIME
    for index, (t, x, y, p) in enumerate(events):
        if not (0 <= x < 4 and 0 <= y < 3 and p < 2 and abs(t) <= MAX_ABS_TIME and t >= latest - 1000):
            return index, latest
        latest = max(latest, t)
    return len(events), latest


@needs_compiler
@given(
    st.lists(
        st.tuples(
            st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(0, 3000),
            st.integers(-2, 5),
            st.integers(-1, 4),
            st.integers(0, 2),
        ),
        max_size=9,
    )
)
def test_c_and_python_agree_on_the_valid_prefix(events):
    t, x, y, p = zip(*events, strict=True) if events else [()] * 4
    dtypes = (torch.int64, torch.int16, torch.int16, torch.uint8)
    columns = EventColumns(*(torch.tensor(c, dtype=d) for c, d in zip((t, x, y, p), dtypes, strict=True)))
    results = in_c_and_python(lambda: valid_prefix(columns, (4, 3), 1000, -MAX_ABS_TIME))
    assert results == [first_invalid(events)] * 2


FAULTS = {"x": 4, "y": -1, "p": 2, "t": MAX_ABS_TIME + 1, "step": None, "none": None}


@needs_compiler
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("jitter", [0, 400, 1000])
@pytest.mark.parametrize("step", [0, 2, 700, 5000])
def test_one_fault_in_a_long_stream_is_found_where_it_is(step, jitter, fault):
    # Streams that are fast and slow, and in order and out of it, which C proves to be valid in different ways.
    random = np.random.default_rng(5)
    size = 3100
    sound = {
        "t": np.cumsum(random.integers(0, step + 1, size)) - random.integers(0, jitter + 1, size),
        "x": random.integers(0, 4, size),
        "y": random.integers(0, 3, size),
        "p": random.integers(0, 2, size),
    }
    for position in (0, 1, 511, 1022, 1023, 1024, 1025, 2047, 2048, 2500, 3071, 3072, size - 1):
        parts = {name: values.copy() for name, values in sound.items()}
        if fault in sound:
            parts[fault][position] = FAULTS[fault]
        elif fault == "step":
            parts["t"][position] = parts["t"][: max(position, 1)].max() - 1001
        columns = EventColumns(
            *(
                torch.from_numpy(part).to(column.dtype)
                for part, column in zip(parts.values(), zero_columns(0), strict=True)
            )
        )
        results = in_c_and_python(lambda columns=columns: valid_prefix(columns, (4, 3), 1000, -MAX_ABS_TIME))
        expected = first_invalid(list(zip(*(part.tolist() for part in parts.values()), strict=True)))
        assert results == [expected] * 2
        assert expected[0] == (size if fault == "none" or (fault, position) == ("step", 0) else position)


@pytest.mark.parametrize(
    ("structure", "source", "name"),
    [
        (DecoderState, "decoder.h", "DecoderState"),
        (columns.ColumnPointers, "decoder.h", "EventColumns"),
        (columns.ValidityLimits, "decoder.h", "ValidityLimits"),
        (csv_lines.LineLayout, "csv.c", "LineLayout"),
        (columns.CheckedEvents, "decoder.h", "CheckedEvents"),
        (aedat4_packets.PacketPlace, "aedat4.c", "PacketPlace"),
        (aedat4_packets.PacketWalk, "aedat4.c", "PacketWalk"),
    ],
)
def test_structures_have_the_same_fields_in_c_and_python(structure, source, name):
    text = files("geir.events.formats").joinpath(source).read_text()
    body = re.search(r"typedef struct \{([^}]*)\} " + name, text)[1]
    declarations = re.sub(r"//.*", "", body).split(";")
    fields = [re.findall(r"\w+", part)[-1] for line in declarations for part in line.split(",") if part.strip()]
    assert fields == [field for field, _ in structure._fields_]
    assert ctypes.sizeof(structure) == 8 * len(fields)


def test_without_a_compiler_python_decodes_and_warns_once(tmp_path, monkeypatch):
    def fail(source):
        raise NoCompilerError

    monkeypatch.setattr("geir._runtime.native.load", fail)
    _native.load.cache_clear()
    decoder._warn_about_reference.cache_clear()
    events = random_events(100)
    path = write_sample(tmp_path, "evt3", events)
    try:
        with pytest.warns(
            RuntimeWarning, match="decoded in Python, about 100 times slower .* install gcc or clang"
        ) as caught:
            results = [read_events(path) for _ in range(2)]
        assert len(caught) == 1
        assert all(result.equal(events) for result in results)
    finally:
        _native.load.cache_clear()
        decoder._warn_about_reference.cache_clear()
