"""SHD and SSC, in files that have their layout."""

import pytest
import torch
from published_data import write_heidelberg
from torch.utils.data import DataLoader

from geir.events import collate, EventFileError
from geir.events.datasets import SHD, SSC

SPLITS = [
    ("shd", SHD, "train"),
    ("shd", SHD, "test"),
    ("ssc", SSC, "train"),
    ("ssc", SSC, "valid"),
    ("ssc", SSC, "test"),
]
every_split = pytest.mark.parametrize(("name", "make", "split"), SPLITS)


@pytest.fixture
def folder(tmp_path):
    write_heidelberg(tmp_path, "shd", ["train", "test"])
    return write_heidelberg(tmp_path, "ssc", ["train", "valid", "test"])


@every_split
def test_each_split_is_read_from_its_file(folder, name, make, split):
    data = make(folder, split)
    first = [s for n, _, s in SPLITS if n == name].index(split)
    assert data.labels.tolist() == [first + k for k in range(6)]
    assert data.speakers.tolist() == [0, 0, 1, 1, 2, 2]
    assert len(data[0].times) == 50


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("make", [SHD, SSC])
def test_a_data_loader_reads_frames(folder, make, workers):
    data = make(folder, dt=10e-3, steps=120)
    xs, labels = next(iter(DataLoader(data, batch_size=6, collate_fn=collate, num_workers=workers)))
    assert xs.shape == (120, 6, 700)
    assert labels.tolist() == data.labels.tolist()
    for k in range(6):
        # The first axis of numbers is time, the second the unit, both independent of the frames.
        times, units, _ = make(folder)[k]
        assert xs[:, k].sum(0).equal(torch.bincount(units, minlength=700).float())
        assert xs[:, k].sum(1).equal(torch.bincount((times * 100).long(), minlength=120).float())


@every_split
def test_a_missing_file_is_named_with_the_archive_and_its_page(folder, name, make, split):
    (folder / f"{name}_{split}.h5").unlink()
    with pytest.raises(
        FileNotFoundError,
        match=rf'{make.__name__}: .*{name}_{split}.h5 does not exist; unpack {name}_{split}.h5.gz from the page "Spiking '
        'Heidelberg Datasets" of Zenke Lab',
    ):
        make(folder, split)


def test_unknown_splits_are_rejected(folder):
    with pytest.raises(ValueError, match='SHD: split must be "train" or "test", got \'valid\''):
        SHD(folder, "valid")
    with pytest.raises(ValueError, match='SSC: split must be "train" or "valid" or "test", got None'):
        SSC(folder, None)


def test_a_damaged_file_is_named(folder):
    path = folder / "shd_train.h5"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(EventFileError, match=r"shd_train.h5.*: the file is damaged"):
        SHD(folder)
