"""N-MNIST, N-Caltech101 and CIFAR10-DVS, in folders that have their layouts."""

import shutil

import pytest
import torch
from published_data import CIFAR10, random_rows, write_cifar10dvs, write_ncaltech101, write_nmnist
from recordings import rows
from torch.utils.data import DataLoader

from geir.events import collate, EventFileError
from geir.events.datasets import CIFAR10DVS, NCaltech101, NMNIST
from geir.events.transforms import CountFrames


def counts(data):
    return [len(events) for events, _ in data]


def test_cifar10dvs_is_split_by_the_numbers_of_its_files(tmp_path):
    write_cifar10dvs(tmp_path, number=12)
    train, test = (CIFAR10DVS(tmp_path, split, partial=True) for split in ("train", "test"))
    assert train.classes == test.classes == list(CIFAR10)
    # Of twelve recordings, the first eleven; in alphabetical order, 10 and 11 would precede 2.
    assert counts(train) == [*range(1, 12)] * 10
    assert counts(test) == [12] * 10
    assert [label for _, label in test] == [*range(10)]
    assert rows(test[3][0]) == [tuple(row) for row in random_rows(seed=11, number=12)]
    assert test[0][0].sensor_size == (128, 128)


def test_the_published_cifar10dvs_has_900_training_and_100_test_recordings_per_class(tmp_path):
    for name in CIFAR10:
        (tmp_path / name).mkdir()
        for k in range(1000):
            (tmp_path / name / f"cifar10_{name}_{k}.aedat").touch()
    train, test = (CIFAR10DVS(tmp_path, split) for split in ("train", "test"))
    assert (torch.bincount(torch.tensor(train.labels)).tolist(), len(test)) == ([900] * 10, 1000)
    assert {path.stem for path in test.source} == {f"cifar10_{n}_{k}" for n in CIFAR10 for k in range(900, 1000)}
    (tmp_path / "cat" / "cifar10_cat_7.aedat").unlink()
    with pytest.raises(
        ValueError,
        match="CIFAR10DVS: .* has 9,999 recordings, but the data set has 10,000; unpack airplane.zip to truck.zip again, "
        "or pass partial=True to use a part of the data set",
    ):
        CIFAR10DVS(tmp_path)


def test_ncaltech101_is_split_in_every_class(tmp_path):
    write_ncaltech101(tmp_path, {"BACKGROUND_Google": 21, "accordion": 10, "ant": 4})
    train, test = (NCaltech101(tmp_path, split, partial=True) for split in ("train", "test"))
    assert train.classes == ["BACKGROUND_Google", "accordion", "ant"]
    assert counts(train) == [*range(1, 20), *range(1, 10), *range(1, 5)]
    assert counts(test) == [20, 21, 10]
    assert test.labels == [0, 0, 1]
    assert rows(test[1][0]) == [tuple(row) for row in random_rows(seed=20, number=21, size=(233, 173))]
    assert test[0][0].sensor_size == (240, 180)


def test_nmnist_is_read_in_its_split(tmp_path):
    write_nmnist(tmp_path)
    train, test = (NMNIST(tmp_path, split, partial=True) for split in ("train", "test"))
    assert train.labels == test.labels == [k // 2 for k in range(20)]
    assert counts(train) == [20, 21] * 10
    assert "Test" in str(test.source[0])
    assert rows(train[6][0]) == [tuple(row) for row in random_rows(seed=3, number=20, size=(34, 34))]


DATASETS = {
    "NMNIST": (NMNIST, write_nmnist, "4", 'Train.zip and Test.zip from the page "N-MNIST" of Garrick Orchard'),
    "CIFAR10DVS": (
        CIFAR10DVS,
        write_cifar10dvs,
        "cat",
        'airplane.zip to truck.zip from the page "CIFAR10-DVS" of Hongm',
    ),
    "NCaltech101": (
        NCaltech101,
        lambda folder: write_ncaltech101(folder, {"ant": 10, "bass": 12}),
        "",
        'Caltech101.zip from the page "N-Caltech101" of Garrick Orchard',
    ),
}
every_dataset = pytest.mark.parametrize("name", DATASETS)


@every_dataset
def test_batches_are_loaded_by_workers_and_cached(tmp_path, name):
    make, write, *_ = DATASETS[name]
    options = {"partial": True, "prepare": CountFrames(bins=3), "cache": tmp_path / "cache"}
    data = make(write(tmp_path / "data"), **options)
    batches = list(DataLoader(data, batch_size=4, collate_fn=collate, num_workers=2))
    assert torch.cat([labels for _, labels in batches]).tolist() == data.labels
    plain = make(tmp_path / "data", partial=True)
    assert [int(n) for xs, _ in batches for n in xs.sum((0, 2, 3, 4))] == counts(plain)
    # Recordings of equal files differ in their paths.
    assert len(list((tmp_path / "cache").iterdir())) == len(data)


@every_dataset
def test_missing_folders_are_named_with_the_archive_and_its_page(tmp_path, name):
    make, write, part, origin = DATASETS[name]
    write(tmp_path / "data")
    folder = (
        next(path for path in (tmp_path / "data").rglob(part or "data*") if path.is_dir())
        if part
        else tmp_path / "data"
    )
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError, match=f"{name}: .*{folder.name} does not exist; unpack {origin}"):
        make(tmp_path / "data", "test" if "Test" in folder.parts else "train", partial=True)


@every_dataset
def test_incomplete_folders_and_unknown_splits_are_reported(tmp_path, name):
    make, write, *_ = DATASETS[name]
    folder = write(tmp_path / "data")
    with pytest.raises(
        ValueError, match=f"{name}: .* has .* (recordings|classes), but the data set has .*partial=True"
    ):
        make(folder)
    with pytest.raises(ValueError, match=f'{name}: split must be "train" or "test", got 1'):
        make(folder, 1)


def test_a_folder_that_is_no_class_is_named(tmp_path):
    write_cifar10dvs(tmp_path, number=1)
    (tmp_path / "download").mkdir()
    with pytest.raises(
        ValueError, match="CIFAR10DVS: .*download is none of the 10 classes; keep only the content of airplane.zip to"
    ):
        CIFAR10DVS(tmp_path, partial=True)
    # Files beside the folders, such as the archives, are ignored.
    (tmp_path / "download").rmdir()
    (tmp_path / "airplane.zip").touch()
    assert len(CIFAR10DVS(tmp_path, partial=True)) == 10


def test_a_damaged_recording_is_named(tmp_path):
    write_cifar10dvs(tmp_path, number=1)
    path = tmp_path / "cat" / "cifar10_cat_0.aedat"
    path.write_bytes(path.read_bytes()[:-3])
    data = CIFAR10DVS(tmp_path, partial=True)
    with pytest.raises(EventFileError, match="cifar10_cat_0.aedat"):
        data[3]
