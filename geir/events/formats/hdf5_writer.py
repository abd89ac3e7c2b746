"""Write events to HDF5 files."""

from ..store import COLUMNS
from .hdf5_storage import load_h5py
from .reader import BinaryFile, EventChunks

# Events in a chunk, which is compressed as a whole.
_WRITTEN_CHUNK_EVENTS = 1 << 16


def write(file: BinaryFile, chunks: EventChunks, sensor_size: tuple[int, int], compression: str | None = None) -> None:
    """Write events, with checksums.

    Args:
        file: Opened for reading and writing.
        chunks: The events.
        sensor_size: Width and height in pixels.
        compression: Name of a compression of h5py's.

    Raises:
        ImportError: If h5py is not installed.
    """
    with load_h5py().File(file, "w") as target:
        group = target.create_group("events")
        group.attrs["sensor_size"] = sensor_size
        for name, dtype in COLUMNS.items():
            group.create_dataset(
                name,
                (0,),
                str(dtype).removeprefix("torch."),
                maxshape=(None,),
                chunks=(_WRITTEN_CHUNK_EVENTS,),
                compression=compression,
                fletcher32=True,
            )
        count = 0
        for events in chunks:
            for name, column in zip(COLUMNS, events.columns(), strict=True):
                group[name].resize((count + len(events),))
                group[name][count:] = column.numpy()
            count += len(events)
