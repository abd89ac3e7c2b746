"""Headers of NumPy arrays, read without Python's parser."""

import ast
import gc
import io
import sys
import threading
import time

import numpy
import pytest
from hypothesis import given, strategies as st
from numpy.lib import format as npy

from geir.events.formats.npy_header import parse_literal, read_raw_header

DTYPES = [
    "<i8",
    ">u2",
    "?",
    "<f4",
    [("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "?")],
    [("t (us)", "<i8"), ("x's", "<u2"), ('y "q"', "<u2"), ("p\\n\t", "u1")],
    [("größe", "<i8"), ("時間", "<u2")],
    [("xy", "<u2", (2,)), ("inner", [("a", "u1"), ("b", "<f8")])],
    [(("a title", "t"), "<i8"), ("x", "<u2")],
    numpy.dtype([("t", "<i8"), ("p", "u1")], align=True),
    numpy.dtype({"names": ["x", "t"], "formats": ["<u2", "<i8"], "offsets": [0, 6], "itemsize": 24}),
]


def file_of(array):
    file = io.BytesIO()
    npy.write_array(file, array, version=None)
    file.seek(0)
    return file


@pytest.mark.filterwarnings("ignore:Stored array in format")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(3,), (0,), (2, 5), ()])
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_a_header_is_what_numpy_reads(dtype, shape, version):
    array = numpy.zeros(shape, dtype)
    file = io.BytesIO()
    try:
        npy.write_array(file, array, version=version)
    except UnicodeEncodeError:
        pytest.skip("this version has no names in Unicode")
    file.seek(0)
    header, position = read_raw_header(file), file.tell()
    file.seek(0)
    npy.read_magic(file)
    expected = npy._read_array_header(file, version) if hasattr(npy, "_read_array_header") else None
    if expected is None:
        from numpy.lib import _format_impl

        expected = _format_impl._read_array_header(file, version)
    assert header == expected
    assert header.dtype == array.dtype
    assert position == file.tell()


def test_a_header_of_python_2_is_read():
    text = "{'descr': '<i8', 'fortran_order': False, 'shape': (3L, 4L), }"
    data = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()
    assert read_raw_header(io.BytesIO(data)).shape == (3, 4)


LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers(min_value=0) | st.text(),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(LITERALS)
def test_every_literal_is_read_as_python_reads_it(value):
    assert parse_literal(repr(value)) == value


@given(LITERALS, st.data())
def test_a_damaged_literal_is_read_as_python_reads_it_or_refused(value, data):
    text = repr(value)
    k = data.draw(st.integers(0, len(text)))
    changed = text[:k] + data.draw(st.sampled_from(["", ",", "(", "]", "'", "1", " ", "True"])) + text[k + 1 :]
    try:
        found = parse_literal(changed)
    except (ValueError, TypeError):
        return
    assert found == ast.literal_eval(changed.strip())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{'descr': '<i8', 'fortran_order': False}", "must state descr, fortran_order and shape"),
        ("{'descr': '<i8', 'fortran_order': 0, 'shape': (3,)}", "fortran_order must be True or False, got 0"),
        ("{'descr': '<i8', 'fortran_order': False, 'shape': [3]}", r"the shape must be a tuple of integers, got \[3\]"),
        ("{'descr': '<i8', 'fortran_order': False, 'shape': (True,)}", "the shape must be a tuple of integers"),
        ("{'descr': '<i8', 'fortran_order': False, 'shape': (3,", "ends within a value"),
        ("{'descr': '<i8', 'fortran_order': False, 'shape': (-3,)}", "unexpected character at 51: '-3,"),
        ("{'descr': '<i8' 'fortran_order': False, 'shape': (3,)}", "has \"'fortran_order'\" where ',' was expected"),
        ("__import__('os').abort()", "unexpected character at 0"),
        ("{} {}", "goes on after its value"),
        ("(" * 100 + ")" * 100, "nested more than 32 deep"),
        (" " * 20_000, "must have at most 10,000 bytes, got 20,000"),
        (",", "unexpected ','"),
    ],
)
def test_a_damaged_header_is_refused(text, message):
    data = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()
    with pytest.raises(ValueError, match=message):
        read_raw_header(io.BytesIO(data))


def test_a_truncated_header_and_an_unknown_version_are_refused():
    whole = file_of(numpy.zeros(3)).getvalue()
    with pytest.raises(ValueError, match="the header is truncated: expected 118 bytes, got 22"):
        read_raw_header(io.BytesIO(whole[:32]))
    with pytest.raises(ValueError, match=r"the version of the header must be 1.0, 2.0 or 3.0, got 9.0"):
        read_raw_header(io.BytesIO(whole[:6] + b"\x09" + whole[7:]))


def test_a_header_is_read_without_pythons_parser(monkeypatch):
    data = file_of(numpy.zeros(3, DTYPES[4]))

    def fail(*arguments, **keywords):
        raise SystemError("AST constructor recursion depth mismatch")

    # Not longer: pytest parses source code to report a failure.
    with monkeypatch.context() as patch:
        patch.setattr(ast, "parse", fail)
        patch.setattr(ast, "literal_eval", fail)
        header = read_raw_header(data)
    assert header.shape == (3,)


def test_headers_are_read_in_threads_while_another_thread_parses_source_code(monkeypatch):
    """CPython 3.11 fails here with `ast.literal_eval`: while it makes its objects, a finalizer may let others run."""

    class Finalized:
        def __init__(self):
            self.cycle = self

        def __del__(self):
            for _ in range(20):
                pass

    data, source = file_of(numpy.zeros(3, DTYPES[4])).getvalue(), "x = [a + 1, {'b': (2, 3)}]\n" * 50
    errors, stop = [], time.monotonic() + 2

    def repeat(function):
        while time.monotonic() < stop:
            Finalized()
            try:
                function()
            except SystemError as error:
                errors.append(str(error))

    threads = [threading.Thread(target=repeat, args=[lambda: read_raw_header(io.BytesIO(data))]) for _ in range(2)]
    threads.append(threading.Thread(target=repeat, args=[lambda: ast.parse(source)]))
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    try:
        sys.setswitchinterval(1e-6)
        gc.set_threshold(5, 2, 2)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
        gc.set_threshold(*thresholds)
    assert errors == []
