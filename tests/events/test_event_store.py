"""Events: checked columns, slices without copies, exchange with other libraries."""

import pickle

import numpy
import pytest
import torch

from geir.events import EventFileError, Events


@pytest.fixture
def events():
    return Events(t=[10, 20, 20, 35], x=[0, 1, 2, 3], y=[5, 5, 6, 0], p=[1, 0, 1, 1], sensor_size=(4, 7))


def test_columns_are_converted_to_their_dtypes_and_contiguous(events):
    every_second = numpy.arange(8, dtype=numpy.uint32)[::2]
    from_strided = Events(every_second, every_second, every_second, every_second > 3, (8, 8))
    for some in (events, from_strided):
        assert [c.dtype for c in some.columns()] == [torch.int64, torch.int16, torch.int16, torch.uint8]
        assert all(c.is_contiguous() for c in some.columns())
    assert from_strided.t.tolist() == [0, 2, 4, 6]
    assert from_strided.p.tolist() == [0, 0, 1, 1]


def test_slices_share_memory(events):
    assert events[1:3].t.data_ptr() == events.t[1:].data_ptr()
    middle = events.slice_time(20, 35)
    assert middle.t.tolist() == [20, 20]
    assert middle.x.data_ptr() == events.x[1:].data_ptr()
    assert events.slice_time().equal(events)
    assert events.slice_time(stop=20).t.tolist() == [10]
    assert len(events.slice_time(36)) == 0
    assert events[-1].t.tolist() == [35]
    assert events[events.p == 0].x.tolist() == [1]


def test_concatenated_parts_equal_the_whole(events):
    assert Events.cat([events[:1], events[1:1], events[1:]]).equal(events)
    assert not events[:3].equal(events)
    assert not Events.cat([events[2:], events[:2]]).equal(events)


def test_sorting_is_stable(events):
    shuffled = events[[3, 2, 0, 1]]
    assert events.is_sorted
    assert not shuffled.is_sorted
    assert shuffled.sorted().x.tolist() == [0, 2, 1, 3]
    assert events.duration == 25
    assert Events.empty((4, 7)).duration == 0


@pytest.mark.parametrize(
    "order", ["txyp", ("x", "y", "t", "p"), ("t", "x", "y", "on"), ("timestamp", "x", "y", "polarity")]
)
def test_structured_arrays_convert_in_both_directions(events, order):
    array = events.to_structured(order)
    assert array.dtype.names == tuple(order)
    assert Events.from_structured(array, (4, 7)).equal(events)


def test_a_packed_array_with_booleans_is_accepted(events):
    packed = numpy.array([(10, 1, 2, True), (12, 3, 4, False)], [("t", "<u8"), ("x", "<u2"), ("y", "<u2"), ("on", "?")])
    some = Events.from_structured(packed, (4, 7))
    assert some.columns()[0].tolist() == [10, 12]
    assert some.p.tolist() == [1, 0]


def test_columns_are_exchanged_without_copies_and_pickled(events):
    given = [torch.from_dlpack(numpy.from_dlpack(c)) for c in events.columns()]
    again = Events(*given, sensor_size=(4, 7))
    assert again.equal(events)
    assert again.t.data_ptr() == events.t.data_ptr()
    assert pickle.loads(pickle.dumps(events)).equal(events)
    assert events.to("meta").t.device.type == "meta"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"sensor_size": 4},
            TypeError,
            r"sensor_size must be the width and the height in pixels, got 4; both must be integers from 1 to 32,768\.",
        ),
        ({"sensor_size": (0, 7)}, TypeError, "sensor_size must be"),
        (
            {"t": [1.0, 2, 3, 4]},
            TypeError,
            r"Events\.t must be a one-dimensional sequence of integers, got float64",
        ),
        (
            {"x": [[0, 1, 2, 3]]},
            TypeError,
            r"Events\.x must be a one-dimensional sequence of integers, got torch\.int64 of shape \(1, 4\)",
        ),
        ({"y": [5, 5, 6]}, ValueError, r"Events\.y has 3 entries, but Events\.t has 4\."),
        ({"x": [0, 1, 2, 4]}, ValueError, r"Events\.x must be in \[0, 4\), got 4; the sensor has 4x7 pixels\."),
        ({"y": [0, -1, 2, 4]}, ValueError, r"Events\.y must be in \[0, 7\), got -1"),
        ({"p": [0, 1, 2, 1]}, ValueError, r"Events\.p must be in \[0, 2\), got 2"),
        ({"x": [0, 1, 2, 1 << 16]}, ValueError, r"Events\.x must fit torch\.int16, got 0 to 65536\."),
    ],
)
def test_invalid_columns_are_rejected(events, change, error, message):
    columns = dict(zip("txyp", events.columns(), strict=True)) | {"sensor_size": (4, 7)} | change
    with pytest.raises(error, match=message):
        Events(**columns)


def test_invalid_arguments_of_methods_are_rejected(events):
    with pytest.raises(ValueError, match=r"all with the same sensor size, got 2 parts of sizes \[\(4, 7\), \(8, 7\)\]"):
        Events.cat([events, Events.empty((8, 7))])
    with pytest.raises(ValueError, match="got 0 parts"):
        Events.cat([])
    with pytest.raises(ValueError, match="stop must not be before start, got start=3 and stop=2"):
        events.slice_time(3, 2)
    with pytest.raises(ValueError, match=r"needs a field t or timestamp or ts, got x, y, p\."):
        Events.from_structured(events.to_structured("xyp"), (4, 7))


def test_a_file_error_states_place_and_reason():
    error = EventFileError("clip.raw", 48211, "truncated")
    assert str(error) == "clip.raw at byte 48,211: truncated"
    assert str(EventFileError("clip.raw", None, "empty")) == "clip.raw: empty"
    again = pickle.loads(pickle.dumps(error))
    assert (again.path, again.offset, again.reason) == ("clip.raw", 48211, "truncated")
