"""Datasets of recordings."""

import functools

import pytest
from recordings import recording, SIZE
from torch import nn
from torch.utils.data import DataLoader, Dataset

from geir.events import collate, EventDataset, read_events, transforms as T, write_events


class TonicDataset(Dataset):
    """The interface of the datasets of tonic.

    Pairs of a structured array with the fields x, y, t, p and a label, and a sensor size with the number of polarities.
    """

    def __init__(self, sensor_size=(*SIZE, 2)):
        if sensor_size != "none":
            self.sensor_size = sensor_size

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return recording(seed=index).to_structured("xytp"), index


@pytest.fixture
def folder(tmp_path):
    for k, name in enumerate(["cat", "ant", "bee"]):
        (tmp_path / name).mkdir()
        for n in range(2):
            write_events(recording(100 + 50 * n, seed=2 * k + n), tmp_path / name / f"{n}.npz")
    return tmp_path


def test_each_folder_is_a_class(folder):
    data = EventDataset(folder)
    assert data.classes == ["ant", "bee", "cat"]
    assert [label for _, label in (data[k] for k in range(len(data)))] == [0, 0, 1, 1, 2, 2]
    assert data[0][0].equal(recording(100, seed=2))
    assert data[-1][0].equal(recording(150, seed=1))


FOREIGN = [
    *[".DS_Store", "._0.npz", ".ipynb_checkpoints", ".git", ".nfs0001", "Thumbs.db", "thumbs.db", "desktop.ini"],
    *["__MACOSX", "__pycache__", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found", "~$0.npz"],
]


@pytest.mark.parametrize("name", FOREIGN)
def test_hidden_files_and_folders_are_neither_recordings_nor_classes(folder, name):
    clean = EventDataset(folder)
    (folder / name).mkdir()
    (folder / name / "0.npz").write_bytes(b"not a recording")
    for kind in ("ant", "cat"):
        (folder / kind / name).write_bytes(b"not a recording")
    data = EventDataset(folder)
    assert (data.classes, data.labels) == (["ant", "bee", "cat"], [0, 0, 1, 1, 2, 2])
    assert data.source == clean.source


def test_batches_are_padded_with_and_without_worker_processes(folder):
    data = EventDataset(folder, transform=nn.Sequential(T.DropEvents(0.5), T.CountFrames(dt=3e-3)))
    loader = DataLoader(data, batch_size=4, collate_fn=collate, num_workers=2)
    (xs, labels), (rest, _) = loader
    assert xs.shape[1:] == (4, 2, 7, 9)
    assert rest.shape[1] == 2
    assert labels.tolist() == [0, 0, 1, 1]
    assert 0 < xs[:, 1].sum() < 120
    events, _ = next(iter(DataLoader(EventDataset(folder), batch_size=2, collate_fn=collate)))
    assert events[0].equal(recording(100, seed=2))


def read_and_log(path, log):
    log.write_text(log.read_text() + "r")
    return read_events(path)


def test_prepared_recordings_are_cached_until_a_setting_or_file_changes(folder, tmp_path):
    log = tmp_path / "log"
    log.write_text("")

    def reads():
        return len(log.read_text())

    def data(**changes):
        settings = {"prepare": T.CountFrames(dt=3e-3), "cache": tmp_path / "cache"}
        return EventDataset(folder, **settings | {"read": functools.partial(read_and_log, log=log)} | changes)

    first = data()[0][0]
    assert first.equal(T.count_frames(recording(100, seed=2), dt=3e-3))
    assert data()[0][0].equal(first)
    assert reads() == 1
    assert data(transform=lambda x: 2 * x)[0][0].equal(2 * first)
    assert reads() == 1
    assert data(prepare=T.CountFrames(dt=2e-3))[0][0].shape != first.shape
    assert reads() == 2
    write_events(recording(120, seed=9), folder / "ant" / "0.npz")
    assert data()[0][0].sum() == 120
    assert reads() == 3


def test_a_dataset_in_the_style_of_tonic_is_converted():
    data = EventDataset(TonicDataset(), transform=T.CountFrames(bins=2))
    frames, label = data[2]
    assert label == 2
    assert frames.equal(T.count_frames(recording(seed=2), bins=2))


@pytest.mark.parametrize("stated", [None, "none", (30, 30, 2)])
def test_the_sensor_size_of_arrays_can_be_given(stated):
    data = EventDataset(TonicDataset(stated), sensor_size=SIZE)
    assert data[1][0].equal(recording(seed=1))


def test_the_sensor_size_of_files_can_be_given(tmp_path):
    write_events(recording(), tmp_path / "a.npz")
    assert EventDataset([tmp_path / "a.npz"], sensor_size=(10, 20))[0][0].sensor_size == (10, 20)
    with pytest.raises(TypeError, match=r"sensor_size must be the width and the height in pixels, got 3"):
        EventDataset([tmp_path / "a.npz"], sensor_size=3)


INVALID = {
    "a missing folder": (
        lambda: EventDataset("/nowhere/at/all"),
        FileNotFoundError,
        "EventDataset: the folder /nowhere/at/all does not exist",
    ),
    "a wrong number of labels": (
        lambda: EventDataset([recording()], labels=[1, 2]),
        ValueError,
        "one label for each recording of a list: there are 1 recordings, got 2 labels",
    ),
    "a cache without prepare": (
        lambda: EventDataset([recording()], cache="x"),
        ValueError,
        "so `cache` needs a module or function as `prepare`, got None",
    ),
    "an index out of range": (
        lambda: EventDataset([recording()])[1],
        IndexError,
        "EventDataset has 1 recordings, got index 1",
    ),
    "arrays without a sensor size": (
        lambda: EventDataset(TonicDataset("none"))[0],
        ValueError,
        "the source contains structured arrays, but has no sensor_size, or it is None; pass sensor_size=",
    ),
    "arrays with the sensor size None": (
        lambda: EventDataset(TonicDataset(None))[0],
        ValueError,
        r"or it is None; pass sensor_size=\(width, height\), at least as large as the largest recording",
    ),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_datasets_raise(case):
    make, error, message = INVALID[case]
    with pytest.raises(error, match=message):
        make()


def test_a_folder_without_class_folders_raises(tmp_path):
    (tmp_path / "recording.npz").write_bytes(b"")
    with pytest.raises(ValueError, match="must contain one folder of recordings per class, but contains none"):
        EventDataset(tmp_path)
