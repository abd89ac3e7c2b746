"""Formats of event files, one a file."""

from collections.abc import Callable

from . import aedat4, csv, dat, evt, hdf5, npz
from .nmnist import NMnist
from .reader import Reader

# In the order in which they are asked whether they recognize a file: those that know it by its first bytes before those that know it by its name.
FORMATS: tuple[type[Reader], ...] = (
    aedat4.Aedat4,
    evt.Evt2,
    evt.Evt21,
    evt.Evt3,
    hdf5.Hdf5,
    npz.Npz,
    dat.Dat,
    NMnist,
    csv.Csv,
)

# Those that geir writes; of two with one suffix, the later.
WRITERS: dict[type[Reader], Callable[..., None]] = {
    aedat4.Aedat4: aedat4.write,
    evt.Evt2: evt.write_evt2,
    evt.Evt3: evt.write_evt3,
    dat.Dat: dat.write,
    hdf5.Hdf5: hdf5.write,
    csv.Csv: csv.write,
    npz.Npz: npz.write,
}
