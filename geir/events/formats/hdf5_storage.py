"""Access to HDF5 files with h5py: members of groups, and whether datasets can be read."""

import importlib
import importlib.util
import math
from types import ModuleType
from typing import Any

from .source import Source

# A chunk is decompressed as a whole.
_MAX_CHUNK_BYTES = 1 << 28
# Errors that h5py raises on invalid files.
H5PY_ERRORS = (OSError, KeyError, RuntimeError, ValueError, TypeError, OverflowError, AttributeError)

# Objects of h5py, which has no types.
Group = Any
Dataset = Any
# A group, a dataset or None.
Found = Any

# Names of filters that the HDF5 library does not contain, by their registered numbers.
_FILTERS = {
    307: "bzip2",
    32001: "Blosc",
    32004: "LZ4",
    32008: "Bitshuffle",
    32013: "ZFP",
    32015: "Zstandard",
    32026: "Blosc2",
    0x8ECF: "Prophesee's ECF",
}
_ECF = 0x8ECF


def load_h5py() -> ModuleType:
    """Import h5py.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            "HDF5 files are read and written with h5py; install it: pip install 'geir[events]'"
        ) from error
    return h5py


def hard_member(group: Group, name: str) -> Found:
    """Return a member of a group, or None if it is a link, which may lead to another file."""
    link = group.get(name, getlink=True)
    return group[name] if type(link).__name__ == "HardLink" else None


def follow(file: Group, path: str) -> Found:
    """Return the object at a path, or None if there is none or a part of the path is a link."""
    h5py = load_h5py()
    found: Found = file
    for part in filter(None, path.split("/")):
        found = hard_member(found, part) if isinstance(found, h5py.Group) else None
    return found


def check_storage(source: Source, label: str, data: Dataset) -> None:
    """Check that a dataset is stored in the file itself, in chunks of a reasonable size, and readable.

    Raises:
        EventFileError: If it is not; a filter that is missing is named.
    """
    h5py = load_h5py()
    if data.external or data.is_virtual:
        raise source.error(f"{label} is stored in another file")
    if data.chunks and math.prod(data.chunks) * data.dtype.itemsize > _MAX_CHUNK_BYTES:
        raise source.error(f"{label} has chunks of {math.prod(data.chunks):,} numbers, which are too large")
    plist = data.id.get_create_plist()
    codes = [plist.get_filter(index)[0] for index in range(plist.get_nfilters())]
    missing = [code for code in codes if not h5py.h5z.filter_avail(code)]
    if missing and importlib.util.find_spec("hdf5plugin"):
        # The import registers its filters.
        importlib.import_module("hdf5plugin")
        missing = [code for code in missing if not h5py.h5z.filter_avail(code)]
    if not missing or not len(data):
        return
    try:
        # Filters may be optional; then chunks may do without them.
        data[:1]
    except OSError:
        code = missing[0]
        cure = "pip install hdf5plugin" if code in _FILTERS else "install its plugin and set HDF5_PLUGIN_PATH"
        if code == _ECF:
            cure = "install Prophesee's hdf5_ecf plugin, a part of OpenEB, and set HDF5_PLUGIN_PATH to its folder"
        raise source.error(
            f"{label} is compressed with {_FILTERS.get(code, 'an unknown filter')} (HDF5 filter {code}), "
            f"which is not installed: {cure}"
        ) from None
