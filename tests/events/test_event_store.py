"""Events: checked columns, slices without copies, exchange with other libraries."""

import itertools
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


def test_iteration_yields_each_event_once_and_ends(events):
    # Before, `events[4]` was empty instead of an error, so that iteration never ended.
    singles = list(itertools.islice(events, 10))
    assert [single.t.tolist() for single in singles] == [[10], [20], [20], [35]]
    assert [single.x.tolist() for single in reversed(events)] == [[3], [2], [1], [0]]
    assert Events.cat(singles).equal(events)
    assert list(Events.empty((4, 7))) == []
    assert events[2] in events
    assert Events([20], [2], [6], [0], (4, 7)) not in events


@pytest.mark.parametrize("index", [3, -1, numpy.int64(3), numpy.array(-1), torch.tensor(3)], ids=repr)
def test_an_index_selects_one_event(events, index):
    assert (events[index].t.tolist(), events[index].x.tolist()) == ([35], [3])


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        ([3, 0], [3, 0]),
        ((3, -4), [3, 0]),
        (torch.tensor([1, 1]), [1, 1]),
        (numpy.array([2], numpy.uint16), [2]),
        ([], []),
        ([True, False, True, False], [0, 2]),
        (numpy.array([False, True, False, True]), [1, 3]),
        (torch.tensor([False, False, False, False]), []),
        (slice(-2, None), [2, 3]),
        (slice(None, None, 2), [0, 2]),
    ],
    ids=repr,
)
def test_masks_indices_and_slices_select_events(events, index, expected):
    selected = events[index]
    assert selected.x.tolist() == expected
    assert all(column.is_contiguous() for column in selected.columns())


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (4, IndexError, r"Events: there are 4 events, got index 4\."),
        (-5, IndexError, r"Events: there are 4 events, got index -5\."),
        ([4], IndexError, "out of"),
        (torch.tensor([True]), IndexError, r"a mask must have one entry per event, 4, got 1\."),
        ([True] * 5, IndexError, r"a mask must have one entry per event, 4, got 5\."),
        (torch.tensor([1, 0, 1, 1], dtype=torch.uint8), TypeError, r"for a mask, compare first, as in events\.p == 1"),
        ([1.0], TypeError, "indices of a signed integer type, got torch.float64"),
        ([[0]], TypeError, r"got torch\.int64 of shape \(1, 1\)"),
        (True, TypeError, r"expected an index, a slice, a mask or indices, got True\."),
        (1.0, TypeError, r"got 1\.0\."),
        ("t", TypeError, r"got 't'\."),
        (None, TypeError, r"got None\."),
    ],
    ids=repr,
)
def test_invalid_indices_are_rejected(events, index, error, message):
    with pytest.raises(error, match=message):
        events[index]


@pytest.mark.parametrize("dtype", ["int8", "int16", "int64"])
def test_a_polarity_of_minus_one_is_stored_as_zero(dtype):
    expected = [0, 1, 0, 1]
    signed = numpy.array([-1, 1, -1, 1], dtype)
    columns = {"t": [1, 2, 3, 4], "x": [0] * 4, "y": [0] * 4}
    for polarity in (signed, torch.from_numpy(signed), signed.tolist()):
        assert Events(**columns, p=polarity, sensor_size=(1, 1)).p.tolist() == expected
    array = numpy.zeros(4, [("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", dtype)])  # tonic's order
    array["p"] = signed
    assert Events.from_structured(array, (1, 1)).p.tolist() == expected
    with pytest.raises(ValueError, match=r"Events\.p must fit torch\.uint8, got -2 to 1\."):
        Events(**columns, p=[-2, 1, 1, 1], sensor_size=(1, 1))


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
        (
            {"t": numpy.array([0, 1, 2, (1 << 63) + 5], numpy.uint64)},
            ValueError,
            r"Events\.t must fit torch\.int64, got 0 to 9223372036854775813\.",
        ),
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
