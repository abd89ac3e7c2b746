"""DVS128 Gesture. The data set is not at hand; the folders here have the layout that its authors describe."""

import pytest
from published_data import GESTURES, random_rows, write_dvs_gesture, write_gesture_trial
from recordings import rows
from torch.utils.data import DataLoader

from geir.events import collate, EventFileError
from geir.events.datasets import DVSGesture
from geir.events.transforms import CountFrames


@pytest.fixture
def folder(tmp_path):
    return write_dvs_gesture(tmp_path / "DvsGesture")


def gesture(trial, start, stop):
    """The events of a gesture, from the events of its trial."""
    return [(t - start, x, y, p) for t, x, y, p in trial if start <= t < stop]


def test_gestures_are_cut_from_the_trials_of_the_split(folder):
    data = DVSGesture(folder, partial=True)
    assert [label for _, label in data] == [0, 10, 2, 0, 10, 2]
    assert (data.classes[0], data.classes[10]) == ("hand clapping", "other gestures")
    for k, name in enumerate(["user01_led", "user01_natural"]):
        for j, (_, start, stop) in enumerate(GESTURES):
            expected = gesture(random_rows(seed=len(name)), start, stop)
            assert len(expected) > 50
            assert rows(data[3 * k + j][0]) == expected
    test = DVSGesture(folder, "test", partial=True)
    assert len(test) == 3
    assert test[0][0].sensor_size == (128, 128)


def test_a_gesture_ends_where_the_next_one_begins(tmp_path):
    trial = random_rows(seed=0)
    write_dvs_gesture(tmp_path / "a")
    # As in user22_led_labels.csv.
    wrong = [(9, 20_000, 210_000), (10, 120_000, 200_000), (11, 200_000, 290_000)]
    write_gesture_trial(tmp_path / "a", "user24_led", trial, wrong)
    data = DVSGesture(tmp_path / "a", "test", partial=True)
    assert rows(data[0][0]) == gesture(trial, 20_000, 120_000)
    assert rows(data[1][0]) == gesture(trial, 120_000, 200_000)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_loader_reads_frames_from_the_cache(folder, tmp_path, workers):
    def data(dt=10e-3):
        frames = CountFrames(dt=dt, start=0, stop=80_000)
        return DVSGesture(folder, partial=True, prepare=frames, cache=tmp_path / "cache")

    data().fill_cache(workers)
    first = data()[1][0]
    assert first.shape == (8, 2, 128, 128)
    assert int(first.sum()) == len(gesture(random_rows(seed=10), 120_000, 200_000))
    assert len(list((tmp_path / "cache").iterdir())) == 6
    xs, labels = next(iter(DataLoader(data(), batch_size=6, collate_fn=collate, num_workers=workers)))
    assert xs.shape == (8, 6, 2, 128, 128)
    assert xs[:, 1].equal(first)
    assert labels.tolist() == [0, 10, 2, 0, 10, 2]
    assert len(list((tmp_path / "cache").iterdir())) == 6
    assert data(20e-3)[1][0].shape[0] == 4


def test_changed_times_and_events_are_noticed_by_the_cache(folder, tmp_path):
    def count():
        data = DVSGesture(folder, "test", partial=True, prepare=CountFrames(bins=1), cache=tmp_path / "cache")
        return int(data[0][0].sum())

    trial = random_rows(seed=10)
    assert count() == len(gesture(trial, 20_000, 100_000))
    # The table alone.
    for start, stop in ((20_000, 60_000), (30_000, 60_000)):
        (folder / "user24_led_labels.csv").write_text(f"class,startTime_usec,endTime_usec\n1,{start},{stop}\n")
        assert count() == len(gesture(trial, start, stop)) != len(gesture(trial, start + 10_000, stop))
    other = random_rows(seed=11)
    write_gesture_trial(folder, "user24_led", other, [(1, 20_000, 60_000)])
    assert count() == len(gesture(other, 20_000, 60_000)) != len(gesture(trial, 20_000, 60_000))


@pytest.mark.parametrize("name", ["trials_to_test.txt", "user24_led.aedat", "user24_led_labels.csv"])
def test_a_missing_file_is_named_with_the_archive_and_its_page(folder, name):
    (folder / name).unlink()
    with pytest.raises(
        FileNotFoundError,
        match=rf'DVSGesture: .*{name} does not exist; unpack DvsGesture.tar.gz from the page "DVS128 Gesture Dataset" '
        "of IBM Research, and pass the folder with its content",
    ):
        DVSGesture(folder, "test", partial=True)
    if name != "trials_to_test.txt":
        assert len(DVSGesture(folder, partial=True)) == 6


def test_missing_trials_are_reported(folder):
    with pytest.raises(
        ValueError,
        match=r"DVSGesture: .*trials_to_train.txt has 2 trials, but the data set has 98; unpack DvsGesture.tar.gz again",
    ):
        DVSGesture(folder)
    with pytest.raises(ValueError, match='split must be "train" or "test", got \'valid\''):
        DVSGesture(folder, "valid")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("12,5,6", r"line 2 must be the class, from 1 to 11, and the start and end in microseconds, got '12,5,6'"),
        ("0,5,6", "got '0,5,6'"),
        ("1,6,6", "got '1,6,6'"),
        ("1,-5,6", "got '1,-5,6'"),
        ("1,5", "got '1,5'"),
        ("1,5,x", "got '1,5,x'"),
        ("", "the table lists no gestures; unpack or download it again"),
    ],
)
def test_an_invalid_table_is_named(folder, line, message):
    (folder / "user24_led_labels.csv").write_text(f"class,startTime_usec,endTime_usec\r\n{line}\r\n")
    with pytest.raises(EventFileError, match=f"user24_led_labels.csv: .*{message}"):
        DVSGesture(folder, "test", partial=True)


def test_damaged_and_incomplete_trials_are_named(folder):
    path = folder / "user24_led.aedat"
    content = path.read_bytes()
    path.write_bytes(content[:-5])
    data = DVSGesture(folder, "test", partial=True)
    with pytest.raises(EventFileError, match=r"user24_led.aedat at byte [\d,]+: packet 1 is truncated"):
        data[0]
    # Without its second packet, the file is valid, but its later gestures are missing.
    path.write_bytes(content[: len(content) - 28 - 8 * 150])
    assert len(data[0][0]) > 50
    with pytest.raises(
        EventFileError,
        match=r"user24_led.aedat: expected events from 200,000 to 290,000 us, but the last is at 1\d\d,\d+ us; the file is "
        "incomplete, so unpack or download it again",
    ):
        data[2]
