"""Write event files."""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

from .._util.atomic import atomic_write
from .formats import WRITERS
from .formats.columns import EventColumns, MAX_ABS_TIME, valid_prefix
from .recording import find_format, MAX_BACKWARD_STEP_US, PathLike
from .store import Events


def write_events(
    events: Events | Iterable[Events], path: PathLike, *, format: str | None = None, **options: object
) -> None:
    """Write an event file. An existing file is replaced once the new one is complete.

    Args:
        events: Events, or chunks of them in order, which need not fit into memory together.
        path: The file.
        format: ``"aedat4"``, ``"evt2"``, ``"evt3"``, ``"dat"``, ``"hdf5"``, ``"csv"`` or ``"npz"``.
            Default: by the suffix of the file; ``.raw`` is EVT 3.0.
        options: Of the format: ``compression`` (a `geir.events.Compression` for AEDAT 4, a name
            that h5py accepts for HDF5); ``compressed`` (a bool) for NPZ.

    Raises:
        ImportError: If the package for the format or its compression is not installed.
        ValueError: If geir does not write the format, the format cannot hold the events, there is
            not even an empty chunk, chunks differ in sensor size, or `read_events` would reject the
            events.
    """
    suffix = Path(path).suffix.lower()
    named = [find_format("write_events", format)] if format else [kind for kind in WRITERS if suffix in kind.suffixes]
    write = WRITERS.get(named[-1]) if named else None
    if write is None:
        names = ", ".join(kind.name for kind in WRITERS)
        raise ValueError(
            f"write_events: geir cannot write the format of {format or Path(path).name!r}; it writes {names}."
        )
    chunks = iter([events] if isinstance(events, Events) else events)
    first = next(chunks, None)
    if first is None:
        raise ValueError(
            "write_events: got no chunks, so the sensor size is unknown; "
            "to write a file without events, pass Events.empty(sensor_size)."
        )
    with atomic_write(path) as draft, open(draft, "w+b") as file:
        write(file, _check_chunks(itertools.chain([first], chunks), first.sensor_size), first.sensor_size, **options)


def _check_chunks(chunks: Iterable[Events], sensor_size: tuple[int, int]) -> Iterator[Events]:
    """Move chunks to the CPU, and raise an error where `read_events` would not read them back."""
    latest = -MAX_ABS_TIME
    for events in chunks:
        if events.sensor_size != sensor_size:
            raise ValueError(
                f"write_events: all chunks must have one sensor size, got {sensor_size} and {events.sensor_size}."
            )
        events = events.to("cpu")
        valid, latest = valid_prefix(EventColumns(*events.columns()), sensor_size, MAX_BACKWARD_STEP_US, latest)
        if valid < len(events):
            raise ValueError(
                f"write_events: events must be in the order of time, got {int(events.t[valid])} us after {latest} us; "
                "sort them with Events.sorted()."
            )
        yield events
