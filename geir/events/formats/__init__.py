"""Formats of event files, one a file."""

from .aedat4 import Aedat4
from .csv import Csv
from .dat import Dat
from .evt import Evt2, Evt3, Evt21
from .hdf5 import Hdf5
from .nmnist import NMnist
from .npz import Npz
from .reader import Reader

# In the order in which they are asked whether they recognize a file: those that know it by its first bytes before those that know it by its name.
FORMATS: tuple[type[Reader], ...] = (Aedat4, Evt2, Evt21, Evt3, Hdf5, Npz, Dat, NMnist, Csv)
