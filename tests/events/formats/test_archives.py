"""NPZ and HDF5: files of other programs, damage, and links out of the file."""

import zipfile

import h5py
import numpy as np
import pytest
from event_samples import random_events, rows, SIZE, write_sample

from geir.events import EventFileError, read_events


def test_archives_of_other_programs_are_read_or_rejected(tmp_path):
    columns = {"timestamp": [5, 6], "x": [1, 2], "y": [3, 4], "polarity": [True, False]}
    np.savez(tmp_path / "a.npz", **columns)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, values in columns.items():
            file[name] = values
    for path in (tmp_path / "a.npz", tmp_path / "a.h5"):
        assert rows(read_events(path, sensor_size=SIZE)) == [(5, 1, 3, 1), (6, 2, 4, 0)]
        with pytest.raises(EventFileError, match="does not state its sensor size"):
            read_events(path)
    wrong = {
        "a float": (columns | {"x": [0.5, 1]}, "row 0: column x must hold an integer from -32,768 to 32,767, got 0.5"),
        "a length": (columns | {"x": [1]}, "differ in length"),
        "a number": (
            columns | {"x": [1, 1 << 20]},
            "row 1: column x must hold an integer from -32,768 to 32,767, got 1048576",
        ),
        "nothing": (
            {"x": [1]},
            "x must have the fields t, x, y and p, or a column for each, got one column|it has no dataset events/t",
        ),
    }
    for content, message in wrong.values():
        np.savez(tmp_path / "a.npz", **content)
        with h5py.File(tmp_path / "a.h5", "w") as file:
            for name, values in content.items():
                file[f"events/{name}"] = values
        for path in (tmp_path / "a.npz", tmp_path / "a.h5"):
            with pytest.raises(EventFileError, match=message):
                read_events(path, sensor_size=SIZE)
    np.savez(tmp_path / "a.npz", **columns, sensor_size=[1, 2, 3])
    with pytest.raises(EventFileError, match="sensor_size must be two integers, got 3"):
        read_events(tmp_path / "a.npz")


def test_an_archive_with_damaged_arrays_is_rejected(tmp_path):
    path = write_sample(tmp_path, "npz, stored", random_events(1000))
    content = bytearray(path.read_bytes())
    content[9500] ^= 1
    path.write_bytes(content)
    with pytest.raises(EventFileError, match="the file is damaged: Bad CRC-32"):
        read_events(path)
    header = {"descr": "<i8", "fortran_order": False, "shape": (1 << 60,)}
    with zipfile.ZipFile(path, "w") as archive:
        for name in "txyp":
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array_header_1_0(member, header)
    with pytest.raises(EventFileError, match="t has fewer numbers than it states"):
        read_events(path, sensor_size=SIZE)


def test_hdf5_files_with_data_in_other_files_are_rejected(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(800))
    for kind in ("external", "link"):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            for name in "xyp":
                file[f"events/{name}"] = np.zeros(100, int)
            if kind == "external":
                file.create_dataset("events/t", (100,), "i8", external=[(str(tmp_path / "secret"), 0, 800)])
            else:
                file["events/t"] = h5py.ExternalLink("b.h5", "t")
        with pytest.raises(EventFileError, match="events/t is stored in another file|it has no dataset events/t"):
            read_events(tmp_path / "a.h5", sensor_size=SIZE)
