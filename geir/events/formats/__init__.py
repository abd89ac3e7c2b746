"""Formats of event files, one per module.

Where a format needs a decoder, it lies in a C file beside the module, which holds the same decoder
in Python.
"""

from collections.abc import Callable

from . import aedat4_writer, csv, dat, evt_writer, hdf5_writer, npy, npz
from .aedat2 import Aedat2
from .aedat3 import Aedat3
from .aedat4 import Aedat4
from .evt import Evt2, Evt3, Evt21
from .hdf5 import Hdf5
from .nmnist import NMnist
from .reader import Reader

# In the order in which they are tried on a file: formats recognized by their first bytes before those
# recognized by the suffix.
FORMATS: tuple[type[Reader], ...] = (
    Aedat4,
    Aedat3,
    Aedat2,
    Evt2,
    Evt21,
    Evt3,
    Hdf5,
    npz.Npz,
    npy.Npy,
    dat.Dat,
    NMnist,
    csv.Csv,
)

# Formats that geir writes. If two have the same suffix, the later one is the default.
WRITERS: dict[type[Reader], Callable[..., None]] = {
    Aedat4: aedat4_writer.write,
    Evt2: evt_writer.write_evt2,
    Evt3: evt_writer.write_evt3,
    dat.Dat: dat.write,
    Hdf5: hdf5_writer.write,
    csv.Csv: csv.write,
    npz.Npz: npz.write,
}
