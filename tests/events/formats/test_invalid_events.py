"""Single invalid events of a file: what precedes them is kept, and errors="skip" leaves only them out."""

import itertools
import warnings

import h5py
import numpy as np
import pytest
import torch
from event_samples import every_format, evt2_word, random_events, rows, SIZE, time_high, write_sample

from geir.events import EventDataset, EventFileError, Events, FileInput, open_events, read_events, write_events
from geir.events.formats.columns import EventColumns
from geir.events.skipping import InvalidEventFilter

BACK = 1000


def write_columns(path, columns):
    """Write columns of any dtype and content, as another program may do."""
    if path.suffix == ".npz":
        np.savez(path, **columns, sensor_size=SIZE)
        return path
    if path.suffix == ".npy":
        array = np.empty(len(columns["t"]), [(name, values.dtype) for name, values in columns.items()])
        for name, values in columns.items():
            array[name] = values
        np.save(path, array)
        return path
    with h5py.File(path, "w") as file:
        group = file.create_group("events")
        group.attrs["sensor_size"] = SIZE
        for name, values in columns.items():
            group[name] = values
    return path


def wide_columns(events):
    return {name: column.numpy().astype("i8") for name, column in zip("txyp", events.columns(), strict=True)}


def read_with_warnings(path, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        return read_events(path, **options), [str(warning.message) for warning in caught]


# A bad value of a column, and the part of the message that names it.
BAD_VALUES = {
    "x beyond 16 bits": ("x", 70_000, "row 2,100,000: column x must hold an integer from -32,768 to 32,767, got 70000"),
    "y below 16 bits": (
        "y",
        -40_000,
        "row 2,100,000: column y must hold an integer from -32,768 to 32,767, got -40000",
    ),
    "x beside the sensor": ("x", 320, r"event 2,100,000 (\(in the batch that starts here\) )?is at x = 320"),
    "a polarity of 2": ("p", 2, "row 2,100,000: column p must hold a polarity of 0, 1 or -1, got 2"),
    "a polarity beyond 8 bits": (
        "p",
        1 << 40,
        "row 2,100,000: column p must hold a polarity of 0, 1 or -1, got 1099511627776",
    ),
    "an invalid time": ("t", 1 << 62 | 1, "row 2,100,000: column t must hold a time in us, got 4611686018427387905"),
    "a time far before the others": ("t", 7, r"event 2,100,000 (\(in the batch that starts here\) )?is at 7 us"),
}


@pytest.fixture(scope="module")
def three_million():
    return random_events(3_000_000, step=3)


@pytest.mark.parametrize("suffix", [".h5", ".npz", ".npy"])
@pytest.mark.parametrize("bad", BAD_VALUES)
def test_one_bad_row_costs_no_other_event(tmp_path, three_million, suffix, bad):
    name, value, message = BAD_VALUES[bad]
    row = 2_100_000
    columns = wide_columns(three_million)
    columns[name][row] = value
    path = write_columns(tmp_path / f"a{suffix}", columns)
    with pytest.raises(EventFileError, match=message + r".*; the 2,100,000 events before it are readable"):
        read_events(path, sensor_size=SIZE)
    part, _ = read_with_warnings(path, errors="truncate", sensor_size=SIZE)
    assert len(part) == row
    assert part.equal(three_million[:row])
    rest, messages = read_with_warnings(path, errors="skip", sensor_size=SIZE)
    assert rest.equal(Events.cat([three_million[:row], three_million[row + 1 :]]))
    assert len(messages) == 1
    assert "1 events were left out" in messages[0]


def test_a_time_beyond_64_bits_is_one_bad_row(tmp_path):
    events = random_events(100)
    columns = wide_columns(events)
    columns["t"] = columns["t"].astype("u8")
    columns["t"][60] = (1 << 64) - 1
    path = write_columns(tmp_path / "a.h5", columns)
    with pytest.raises(EventFileError, match="row 60: column t must hold a time in us, got 18446744073709551615"):
        read_events(path)
    assert read_with_warnings(path, errors="truncate")[0].equal(events[:60])


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_polarities_of_minus_one_are_read_as_zero(tmp_path, suffix):
    events = random_events(100)
    columns = wide_columns(events)
    columns["p"] = (2 * columns["p"] - 1).astype("i1")
    path = write_columns(tmp_path / f"a{suffix}", columns)
    assert set(columns["p"].tolist()) == {-1, 1}
    assert read_events(path).equal(events)


@every_format
def test_skip_leaves_out_events_outside_the_sensor_and_misplaced_in_time(tmp_path, name):
    sound = random_events(2000, size=(300, 240))
    events = Events(*sound.columns(), sensor_size=SIZE)
    outside = Events([int(events.t[700])], [310], [3], [1], SIZE)
    early = Events([int(events.t[1200]) - 20_000], [2], [3], [1], SIZE)
    late = Events([int(events.t[1500]) + 9_000_000], [2], [3], [1], SIZE)
    mixed = Events.cat([events[:700], outside, events[700:1200], early, events[1200:1500], late, events[1500:]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("geir.events.writing.MAX_BACKWARD_STEP_US", 1 << 40)
        path = write_sample(tmp_path, name, mixed)
    read, messages = read_with_warnings(path, errors="skip", sensor_size=(300, 240))
    assert read.equal(sound)
    assert len(messages) == 1
    assert "3 events were left out: 1 with invalid coordinates, polarity or time, 2 out of the order" in messages[0]
    with open_events(path, "skip", sensor_size=(300, 240)) as recording, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for chunk in recording.chunks(90):
            assert 0 < len(chunk) <= 90
        assert (recording.skipped.outside, recording.skipped.misplaced, recording.skipped.total) == (1, 2, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_events(write_sample(tmp_path, name, events), errors="skip").equal(events)


def test_skip_removes_a_run_of_events_whose_clock_ran_ahead(tmp_path):
    # One time word with a flipped bit: all events up to the next one are 2**26 us too late.
    words = [time_high(5), *[evt2_word(1, k, k, 9) for k in range(9)], time_high(6 + (1 << 20))]
    words += [evt2_word(1, k, k, 9) for k in range(8)]
    words += [time_high(7), *[evt2_word(0, k, k, 9) for k in range(9)]]
    path = tmp_path / "a.raw"
    path.write_bytes(b"% evt 2.0\n% geometry 640x480\n% end\n" + b"".join(words))
    read, messages = read_with_warnings(path, errors="skip")
    expected = [(5 * 64 + k, k, 9, 1) for k in range(9)] + [(7 * 64 + k, k, 9, 0) for k in range(9)]
    assert rows(read) == expected
    assert "8 events were left out" in messages[0]


def test_skip_leaves_out_lines_that_are_no_event(both_decoders, tmp_path):
    events = random_events(40_000)
    write_events(events, tmp_path / "a.csv")
    header, *lines = (tmp_path / "a.csv").read_bytes().splitlines(keepends=True)
    bad = [b"1,2\n", b"5,70000,3,1\n", b"five,1,2,3\n", b"1,1,1,7\n", b"\x00\xff,,\n"]
    positions = [0, 0, 100, 39_999, 40_000]
    for position, line in sorted(zip(positions, bad, strict=True), reverse=True):
        lines.insert(position, line)
    (tmp_path / "a.csv").write_bytes(header + b"".join(lines))
    read, messages = read_with_warnings(tmp_path / "a.csv", errors="skip")
    assert read.equal(events)
    assert len(messages) == 1
    assert "5 events were left out: 0 with invalid coordinates, polarity or time, 0 out" in messages[0]
    assert messages[0].endswith(", 5 as invalid records.")


def test_skip_leaves_out_words_of_an_unknown_type(both_decoders, tmp_path):
    words = [time_high(5), evt2_word(1, 1, 2, 3), evt2_word(5), evt2_word(7), evt2_word(0, 4, 5, 6)]
    (tmp_path / "a.raw").write_bytes(b"% evt 2.0\n% geometry 640x480\n% end\n" + b"".join(words))
    read, messages = read_with_warnings(tmp_path / "a.raw", errors="skip")
    assert rows(read) == [(5 * 64 + 1, 2, 3, 1), (5 * 64 + 4, 5, 6, 0)]
    assert "2 as invalid records" in messages[0]


def test_damage_that_prevents_decoding_remains_an_error(tmp_path):
    events = random_events(500)
    write_events(events, tmp_path / "a.raw", format="evt2")
    with open(tmp_path / "a.raw", "ab") as file:
        file.write(b"\x00\x00")
    with open_events(tmp_path / "a.raw", "skip") as recording:
        chunks = recording.chunks(100)
        assert Events.cat(itertools.islice(chunks, 5)).equal(events)
        with pytest.raises(EventFileError, match="the last record is truncated.*; the 500 events before it are valid"):
            next(chunks)


def reference_filter(times, window):
    """The rule for steps back in time, event by event. Returns the indices of the events that stay."""
    kept, k = [], 0
    while k < len(times):
        latest = max((times[i] for i in kept), default=times[k])
        if times[k] >= latest - BACK:
            kept.append(k)
            k += 1
            continue
        early = 0
        while early < window and k + early < len(times) and times[k + early] < latest - BACK:
            early += 1
        stay = next(n for n, i in enumerate(kept) if times[i] > times[k] + BACK)
        if len(kept) - stay < early:
            kept = kept[:stay]
        else:
            k += early
    return kept


def random_times(random, count):
    times = np.cumsum(random.integers(0, 300, count)) + random.integers(-400, 400, count)
    for _ in range(random.integers(1, 5)):
        first, length = random.integers(count), random.integers(1, 6)
        times[first : first + length] += random.choice([-50_000, 50_000, -3000, 3000, 1 << 50])
    return times


def test_the_filter_agrees_with_its_rule_however_the_events_are_divided(both_decoders):
    random = np.random.default_rng(0)
    removed = 0
    for _ in range(150):
        count, window = int(random.integers(1, 60)), int(random.integers(1, 12))
        times = random_times(random, count)
        expected = times[reference_filter(times.tolist(), window)]
        zeros = torch.zeros(count, dtype=torch.int16)
        columns = EventColumns(torch.from_numpy(times), zeros, zeros, zeros.to(torch.uint8))
        cuts = [0, *sorted(random.integers(0, count + 1, random.integers(0, 5)).tolist()), count]
        invalid = InvalidEventFilter((1, 1), BACK, window)
        parts = [invalid.add(columns.part(a, b)) for a, b in itertools.pairwise(cuts)]
        parts.append(invalid.add(columns.part(0, 0), is_last=True))
        assert torch.cat([part.t for part in parts]).tolist() == expected.tolist()
        assert invalid.counts.misplaced == count - len(expected)
        removed += count - len(expected)
    assert removed > 200


def test_skip_reaches_inputs_and_datasets(tmp_path):
    events = random_events(300)
    columns = wide_columns(events)
    columns["x"][100] = -1
    path = write_columns(tmp_path / "a.npz", columns)
    expected = Events.cat([events[:100], events[101:]])
    with pytest.warns(RuntimeWarning, match="1 events were left out"):
        assert EventDataset([path], errors="skip")[0][0].equal(expected)
    with pytest.warns(RuntimeWarning, match="only the 100 events before it were read"):
        assert EventDataset([path], errors="truncate")[0][0].equal(events[:100])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with FileInput(path, speed=None, errors="skip") as source:
            count = 0
            while not source.done:
                count += len(source.events())
    assert count == 299
    assert source.stats.rejected == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FileInput("a.raw", errors="ignore"), 'FileInput: errors must be "strict", "truncate" or "skip"'),
        (lambda: EventDataset(["a.raw"], errors="ignore"), 'EventDataset: errors must be "strict", "truncate" or'),
        (
            lambda: EventDataset(["a.raw"], errors="skip", read=lambda path: path),
            "EventDataset.errors applies to read_events; a function of your own, `read`, decides itself",
        ),
    ],
)
def test_invalid_error_modes_are_rejected(make, message):
    with pytest.raises(ValueError, match=message):
        make()
