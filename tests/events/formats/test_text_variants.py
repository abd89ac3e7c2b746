"""Text of other programs: units of time, names, quotes, signs and the order of columns."""

from decimal import Decimal, ROUND_HALF_UP

import numpy as np
import pytest
from event_samples import read_outcome, rows, SIZE
from hypothesis import given, strategies as st

from geir.events import describe, EventFileError, open_events, read_events
from geir.events.formats.csv_lines import parse_number

EXPECTED = [(10, 1, 2, 1), (11, 3, 4, 0), (12, 5, 6, 1)]

# Content, options, and the events.
TEXTS = {
    "seconds, below the sensor size (rpg)": (
        b"320 240\n0.003811 96 133 0\n0.003820 197 1 1\n",
        {},
        [(3811, 96, 133, 0), (3820, 197, 1, 1)],
    ),
    "seconds of an absolute clock": (b"1504645177.420008000 5 6 1\n", {}, [(1504645177420008, 5, 6, 1)]),
    "seconds, the first one 0": (b"0.000000 1 2 1\n1.000000 3 4 0\n", {}, [(0, 1, 2, 1), (10**6, 3, 4, 0)]),
    "seconds with exponents, as NumPy writes them": (
        b"# t x y p\n3.811000000000000000e-03 1.000000000000000000e+00 2e+00 -1e0\n",
        {},
        [(3811, 1, 2, 0)],
    ),
    "seconds of which some are whole": (
        b"0.5,1,2,1\n1.0,3,4,0\n2,3,4,0\n",
        {},
        [(500_000, 1, 2, 1), (10**6, 3, 4, 0), (2 * 10**6, 3, 4, 0)],
    ),
    "a byte-order mark": (b"\xef\xbb\xbft,x,y,p\n10,1,2,1\n11,3,4,0\n12,5,6,1\n", {}, EXPECTED),
    "a byte-order mark without names": (b"\xef\xbb\xbf10,1,2,1\n11,3,4,0\n12,5,6,1\n", {}, EXPECTED),
    "names in capitals": (b"X,Y,T,P\r\n1,2,10,1\r\n3,4,11,0\r\n5,6,12,1\r\n", {}, EXPECTED),
    "time": (b"time,x,y,polarity\n10,1,2,1\n11,3,4,0\n12,5,6,1\n", {}, EXPECTED),
    "Timestamp": (b"Timestamp;X;Y;Pol\n10;1;2;1\n11;3;4;0\n12;5;6;1\n", {}, EXPECTED),
    "quoted names": (b'"p","x","y","timestamp"\n1,1,2,10\n0,3,4,11\n1,5,6,12\n', {}, EXPECTED),
    "quoted numbers": (b'"t","x","y","p"\n"10","1","2","1"\n"11","3","4","0"\n"12","5","6","1"\n', {}, EXPECTED),
    "True and False": (b"t,x,y,p\n10,1,2,True\n11,3,4,False\n12,5,6,true\n", {}, EXPECTED),
    "-1 and +1": (b"10 1 2 1\n11 3 4 -1\n12 5 6 +1\n", {}, EXPECTED),
    "an index, as pandas writes it": (b",t,x,y,p\n0,10,1,2,1\n1,11,3,4,0\n2,12,5,6,1\n", {}, EXPECTED),
    "an index in quotes": (b'"",t,x,y,p\n"a,b",10,1,2,1\n"c",11,3,4,0\n"",12,5,6,1\n', {}, EXPECTED),
    "integers as floats": (b"t,x,y,p\n10.0,1.0,2.0,1.0\n11.0,3.0,4.0,0.0\n12.0,5.0,6.0,1.0\n", {}, EXPECTED),
    "names in a comment": (b"# x y p t\n1 2 1 10\n3 4 0 11\n5 6 1 12\n", {}, EXPECTED),
    "columns=xypt": (b"1,2,1,10\n3,4,0,11\n5,6,1,12\n", {"columns": "xypt"}, EXPECTED),
    "columns=_txyp": (b"0,10,1,2,1\n1,11,3,4,0\n2,12,5,6,1\n", {"columns": "_txyp"}, EXPECTED),
    "columns= instead of names": (b"a,b,c,d\n1,2,1,10\n3,4,0,11\n5,6,1,12\n", {"columns": "xypt"}, EXPECTED),
    "a unit in the name": (b"x,y,t_ns,p\n1,2,10000,1\n3,4,11000,0\n5,6,12499,1\n", {}, EXPECTED),
    "a unit in brackets": (b"time [ms],x,y,p\n0.01,1,2,1\n0.011,3,4,0\n0.012,5,6,1\n", {}, EXPECTED),
    "time_unit=s": (b"10,1,2,1\n", {"time_unit": "s"}, [(10_000_000, 1, 2, 1)]),
    "time_unit=us": (b"10.4,1,2,1\n10.5,1,2,1\n", {"time_unit": "us"}, [(10, 1, 2, 1), (11, 1, 2, 1)]),
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_text_of_other_programs_is_read(both_decoders, tmp_path, name, size):
    content, options, expected = TEXTS[name]
    (tmp_path / "events.txt").write_bytes(content)
    size_stated = b"320 240\n" in content
    given_size = {} if size_stated else {"sensor_size": SIZE}
    assert read_outcome(tmp_path / "events.txt", size, **given_size, **options) == (expected, None, None)
    if size_stated:
        assert describe(tmp_path / "events.txt")["sensor_size"] == (320, 240)


@given(
    st.decimals(-(10**9), 10**9, places=9, allow_nan=False) | st.decimals(-1, 1, places=12, allow_nan=False),
    st.sampled_from(["f", "e", "E"]),
)
def test_seconds_are_rounded_exactly_to_microseconds(time, form):
    text = f"{time:.12f}" if form == "f" else f"{time:.25{form}}"
    exact = int((Decimal(text) * 10**6).quantize(Decimal(1), ROUND_HALF_UP))
    assert parse_number(text.encode(), exponent=6, rounds=True) == exact


# Content, options and the error.
INVALID = {
    "decimals after whole microseconds": (
        b"10,1,2,1\n" * 9000 + b"10.5,1,2,1\n",
        {},
        r"at byte 81,000: invalid line, expected integers t, x, y and p: '10\.5,1,2,1'; "
        r'if times are not in microseconds, pass time_unit="s"; the 9,000 events before',
    ),
    "a coordinate with decimals": (
        b"0.25,1.5,2,1\n",
        {},
        "expected a time in s and integers x, y and p: '0.25,1.5,2,1'",
    ),
    "a polarity of 2": (b"1,1,2,2\n", {}, "invalid line"),
    "nan": (b"t,x,y,p\nnan,1,2,0\n", {}, "invalid line"),
    "a time of 19 digits": (b"1234567890123456789,1,2,0\n", {}, "invalid line"),
    "unknown names": (
        b"when,x,y,p\n1,2,3,1\n",
        {},
        "the first line must name the fields t, x, y and p, got 'when,x,y,p'; if it has other names, pass columns=",
    ),
    "UTF-16": ("t,x,y,p\n1,2,3,1\n".encode("utf-16"), {}, "the text is in UTF-16; save it as UTF-8"),
}


@pytest.mark.parametrize("name", INVALID)
def test_invalid_text_is_rejected_with_its_byte(both_decoders, tmp_path, name):
    content, options, message = INVALID[name]
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(EventFileError, match=message):
        read_events(tmp_path / "a.csv", sensor_size=SIZE, **options)


def test_arrays_saved_by_numpy_as_text_are_read(tmp_path):
    random = np.random.default_rng(0)
    t = np.sort(random.uniform(0, 2, 5000)).round(6)
    x, y, p = (random.integers(0, n, 5000) for n in (*SIZE, 2))
    np.savetxt(tmp_path / "a.txt", np.stack([x, y, t, p], 1), header="x y t p")
    expected = list(zip(np.rint(t * 1e6).astype(int).tolist(), x.tolist(), y.tolist(), p.tolist(), strict=True))
    assert rows(read_events(tmp_path / "a.txt", sensor_size=SIZE)) == expected


def test_options_that_are_invalid_or_do_not_apply_are_rejected(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"1,2,3,1\n")
    (tmp_path / "a.raw").write_bytes(b"% evt 3.0\n% geometry 9x9\n% end\n")
    cases = [
        ("a.csv", {"columns": "xyp"}, ValueError, "columns must have each of the letters t, x, y and p once"),
        ("a.csv", {"time_unit": "minutes"}, ValueError, "time_unit must be one of s, ms, us, ns, got 'minutes'"),
        ("a.csv", {"stream": 1}, ValueError, "stream does not apply to files of the format csv"),
        ("a.raw", {"columns": "txyp"}, ValueError, "columns does not apply to files of the format evt3"),
        ("a.raw", {"stream": 1.5}, TypeError, "stream must be a number or a name, got 1.5"),
        (
            "a.raw",
            {"color": 1},
            TypeError,
            "unexpected argument 'color'; the further arguments are stream, columns, time_unit",
        ),
    ]
    for file, options, error, message in cases:
        with pytest.raises(error, match=message):
            open_events(tmp_path / file, sensor_size=SIZE, **options)
