"""SHD and SSC. No file of these is at hand; the files here have the layout that their authors describe."""

import pickle
from fractions import Fraction

import h5py
import numpy as np
import pytest
import torch
from published_data import write_spike_trains
from torch.utils.data import DataLoader

from geir.events import collate, EventFileError, SpikeTrains

TIMES = [[0.0, 0.25, 0.5, 0.5], [0.125], []]
UNITS = [[3, 699, 3, 3], [0], []]
LABELS = [4, 0, 19]


def write(path, times=TIMES, units=UNITS, labels=LABELS, **extra):
    return write_spike_trains(path, times, units, labels, **extra)


def test_spikes_and_labels_are_read(tmp_path):
    data = SpikeTrains(write(tmp_path / "shd.h5"))
    assert len(data) == 3
    for train, times, units, label in zip(data, TIMES, UNITS, LABELS, strict=True):
        assert (train.times.tolist(), train.units.tolist(), train.label) == (times, units, label)
    assert data.labels.tolist() == LABELS
    assert data.classes[19] == "digit 19"
    assert data.speakers.tolist() == [0, 0, 0]
    assert data[-1].label == 19
    with pytest.raises(IndexError, match="SpikeTrains has 3 recordings, got index 3"):
        data[3]


@pytest.mark.parametrize("speakers", [[1], [b"a", b"b", b"c"], [[1], [2], [3]]])
def test_speakers_are_one_number_per_recording_or_unknown(tmp_path, speakers):
    assert SpikeTrains(write(tmp_path / "a.h5", speakers=[7, 8, 9])).speakers.tolist() == [7, 8, 9]
    assert SpikeTrains(write(tmp_path / "b.h5", speakers=speakers)).speakers is None


def test_frames_count_the_spikes_of_each_unit_in_each_step(tmp_path):
    path = write(tmp_path / "shd.h5")
    frames, label = SpikeTrains(path, dt=0.125)[0]
    expected = torch.zeros(5, 700)
    expected[0, 3] = expected[2, 699] = 1
    expected[4, 3] = 2
    assert frames.equal(expected)
    assert label == 4
    frames, _ = SpikeTrains(path, dt=0.125, steps=3)[0]
    assert frames.equal(expected[:3])
    assert SpikeTrains(path, dt=0.125)[2][0].shape == (0, 700)
    # Multiples of 1 ms are not multiples in binary.
    path = write(tmp_path / "b.h5", [[k / 1000 for k in range(0, 1000, 125)]], [[0] * 8], [0])
    assert SpikeTrains(path, dt=1e-3)[0][0][:, 0].nonzero().squeeze().tolist() == list(range(0, 1000, 125))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_loader_reads_batches_with_time_first(tmp_path, workers):
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 50, 12)
    times = [np.sort(rng.uniform(0, 0.99, n)) for n in counts]
    units = [rng.integers(0, 700, n) for n in counts]
    data = SpikeTrains(write(tmp_path / "a.h5", times, units, range(12)), dt=0.01, steps=100)
    data[0]  # opened before the workers start
    batches = list(DataLoader(data, batch_size=4, collate_fn=collate, num_workers=workers))
    assert [tuple(xs.shape) for xs, _ in batches] == [(100, 4, 700)] * 3
    assert torch.cat([labels for _, labels in batches]).tolist() == list(range(12))
    for k, n in enumerate(counts):
        frames = batches[k // 4][0][:, k % 4]
        assert int(frames.sum()) == n
        expected = np.zeros((100, 700))
        for time, unit in zip(times[k].astype(np.float16).astype(float), units[k], strict=True):
            expected[int(Fraction(time) * 100), unit] += 1  # exact
        assert np.array_equal(frames, expected)


def test_a_data_set_can_be_sent_to_another_process(tmp_path):
    data = SpikeTrains(write(tmp_path / "a.h5"))
    assert pickle.loads(pickle.dumps(data))[1].times.tolist() == [0.125]


# Arguments of `write`, the recording that is invalid, and the error.
INVALID = {
    "a unit that does not exist": ({"units": [[3, 700, 3, 3], [0], []]}, 1, "recording 0 has an invalid spike 1: time 0.25 s, unit 700; times must be >= 0 s, and units 0 to 699"),
    "a negative time": ({"times": [[0, 0.25, 0.5, -1], [0], []]}, 3, "recording 0 has an invalid spike 3: time -1.0 s, unit 3"),
    "nan": ({"times": [[np.nan, 0.25, 0.5, 1], [0], []]}, 0, "recording 0 has an invalid spike 0: time nan s"),
    "fewer units": ({"units": [[3, 4], [0], []]}, 2, "recording 0 has 4 times, but 2 units"),
}  # fmt: skip


@pytest.mark.parametrize("name", INVALID)
def test_invalid_spikes_are_rejected_or_end_the_recording(tmp_path, name):
    content, readable, message = INVALID[name]
    path = write(tmp_path / "a.h5", **content)
    with pytest.raises(EventFileError, match=message):
        SpikeTrains(path)[0]
    with pytest.warns(RuntimeWarning, match=f"only the {readable} spikes before it were read"):
        assert len(SpikeTrains(path, errors="truncate")[0].times) == readable
    assert SpikeTrains(path)[1].units.tolist() == [0]


def test_other_files_and_arguments_are_rejected(tmp_path):
    path = write(tmp_path / "a.h5")
    with h5py.File(tmp_path / "events.h5", "w") as file:
        file["events/t"] = [1]
    with pytest.raises(EventFileError, match="it has no dataset spikes/times"):
        SpikeTrains(tmp_path / "events.h5")
    with h5py.File(tmp_path / "flat.h5", "w") as file:
        file["spikes/times"], file["spikes/units"], file["labels"] = [0.5], [1], [2]
    with pytest.raises(EventFileError, match="spikes/times must contain an array of numbers for each recording"):
        SpikeTrains(tmp_path / "flat.h5")
    with pytest.raises(EventFileError, match="differ in length: 3, 3 and 2"):
        SpikeTrains(write(tmp_path / "b.h5", labels=[1, 2]))
    (tmp_path / "text.h5").write_bytes(b"hello")
    with pytest.raises(EventFileError, match="the file is damaged"):
        SpikeTrains(tmp_path / "text.h5")
    for options, message in (
        ({"dt": 0}, "dt must be > 0 s, got 0"),
        ({"units": 0}, "units and steps must be > 0"),
        ({"steps": 5}, "steps is the number of time steps, so it needs dt, got steps=5"),
        ({"errors": "skip"}, 'errors must be "strict" or "truncate"'),
    ):
        with pytest.raises(ValueError, match=message):
            SpikeTrains(path, **options)


def test_damaged_files_raise_nothing_but_event_file_errors(tmp_path):
    content = write(tmp_path / "a.h5").read_bytes()
    random = np.random.default_rng(0)
    rejected = 0
    for bit in random.choice(len(content) * 8, 200, replace=False):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        (tmp_path / "b.h5").write_bytes(changed)
        try:
            for train in SpikeTrains(tmp_path / "b.h5"):
                assert len(train.times) == len(train.units)
        except EventFileError:
            rejected += 1
    assert rejected > 10
