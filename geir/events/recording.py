"""Files of events: read as a stream or at once, written, looked at."""

import itertools
import os
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from .errors import EventFileError
from .store import Events
from .formats import FORMATS, WRITERS
from .formats.decode import FAR, sound
from .formats.reader import Reader, Source, part

# Cameras may send events of one moment in an order that is not quite that of time. What is earlier by more microseconds is wrong.
STEP_BACK = 1000

PathLike = str | os.PathLike[str]


class Recording:
    """An opened file of events, which `open_events` makes; a context manager.

    Attributes:
        path: The file.
        format: The name of its format.
        sensor_size: Width and height of the sensor in pixels.
        metadata: What else the file says about itself.
    """

    def __init__(self, reader: Reader, errors: Literal["strict", "truncate"]):
        self._reader, self._errors = reader, errors
        self.path, self.format, self.sensor_size, self.metadata = (
            reader.source.path,
            reader.name,
            reader.sensor_size,
            reader.metadata,
        )

    def __repr__(self) -> str:
        return f"Recording({str(self.path)!r}, {self.format}, {self.sensor_size[0]}x{self.sensor_size[1]})"

    def chunks(self, size: int = 1 << 20) -> Iterator[Events]:
        """The events in the order of the file, at most about `size` at a time, in memory that does not grow with the file.

        An event may be earlier than one before it by `STEP_BACK` microseconds, for cameras do not always send what happens at one moment in
        order (`Events.is_sorted`, `Events.sorted`).

        Args:
            size: How many events at a time; a few more where one word of the file stands for several.

        Raises:
            EventFileError: Where the file is damaged or cut short, an event lies outside of the sensor, or time steps back further, after the
                events before that; with ``errors="truncate"`` this is a warning.
            ValueError: If `size` is not positive.
        """
        if size < 1:
            raise ValueError(f"Recording.chunks: size must be > 0 events, got {size}.")
        count = 0
        try:
            for events in self._sound(size):
                count += len(events)
                yield events
        except EventFileError as error:
            if self._errors == "truncate":
                warnings.warn(f"{error}; only the {count:,} events before it were read.", RuntimeWarning, stacklevel=2)
            else:
                hint = f'; the {count:,} events before it are readable with errors="truncate"' if count else ""
                raise EventFileError(error.path, error.offset, error.reason + hint) from None

    def _sound(self, size: int) -> Iterator[Events]:
        latest, count = -FAR, 0
        for offset, columns in self._reader.batches(size):
            length = len(columns[0])
            first, latest = sound(columns, self.sensor_size, STEP_BACK, latest)
            if good := Events.unchecked(*part(columns, 0, first), sensor_size=self.sensor_size):
                yield good
            if first < length:
                t, x, y, p = (int(column[first]) for column in columns)
                width, height = self.sensor_size
                if not (0 <= x < width and 0 <= y < height and p <= 1):
                    reason = f"event {count + first:,} is at x = {x}, y = {y} with polarity {p}, but the sensor has {width}x{height} pixels"
                elif abs(t) > FAR:
                    reason = f"event {count + first:,} is at {t} us, which is no time"
                else:
                    reason = f"event {count + first:,} is at {t} us, {latest - t:,} us earlier than one before it"
                raise EventFileError(self.path, offset, f"in what begins here, {reason}")
            count += length

    def close(self) -> None:
        """Let go of the file."""
        self._reader.close()

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_events(
    path: PathLike,
    errors: Literal["strict", "truncate"] = "strict",
    *,
    sensor_size: tuple[int, int] | None = None,
    format: str | None = None,
) -> Recording:
    """Open a file of events to read it in parts.

    Args:
        path: The file.
        errors: What happens where it is not sound: ``"strict"`` raises, ``"truncate"`` warns and ends there.
        sensor_size: Width and height of the sensor, for files that do not say it; it goes before what they say.
        format: The name of its format, if neither its first bytes nor its name tell.

    Raises:
        EventFileError: If it is no file of events that geir reads, or its beginning is damaged.
        ValueError: If `errors` or `format` is none of those there are.
    """
    if errors not in ("strict", "truncate"):
        raise ValueError(f'open_events: errors must be "strict" or "truncate", got {errors!r}.')
    if sensor_size is not None:
        sensor_size = Events.empty(sensor_size).sensor_size
    kind = None if format is None else _format(format)
    source = Source(path)
    try:
        return Recording((kind or _recognized(source))(source, sensor_size), errors)
    except BaseException:
        source.file.close()
        raise


def read_events(
    path: PathLike,
    errors: Literal["strict", "truncate"] = "strict",
    *,
    sensor_size: tuple[int, int] | None = None,
    format: str | None = None,
) -> Events:
    """All events of a file; arguments and errors are those of `open_events` and `Recording.chunks`."""
    with open_events(path, errors, sensor_size=sensor_size, format=format) as recording:
        return Events.cat([Events.empty(recording.sensor_size), *recording.chunks()])


def describe(path: PathLike, *, sensor_size: tuple[int, int] | None = None, format: str | None = None) -> dict[str, Any]:
    """What a file says about itself, without decoding its events.

    Returns:
        Its `path`, `format`, size in `bytes`, `sensor_size` and `metadata`; and, where they are stated or follow from the size, the number of
        `events` and the times of the first and last one, `start` and `stop`, in microseconds, else None.
    """
    with open_events(path, sensor_size=sensor_size, format=format) as recording:
        reader = recording._reader
        stated = {"events": None, "start": None, "stop": None} | reader.summary()
        about = {
            "path": recording.path,
            "format": recording.format,
            "bytes": reader.source.size,
            "sensor_size": recording.sensor_size,
        }
        return about | stated | {"metadata": recording.metadata}


def write_events(
    events: Events | Iterable[Events], path: PathLike, *, format: str | None = None, **options: Any
) -> None:
    """Write a file of events. A file that is there is replaced when the new one is whole.

    Args:
        events: Events, or parts of them in order, which need not fit into memory together.
        path: The file.
        format: ``"aedat4"``, ``"evt2"``, ``"evt3"``, ``"dat"``, ``"hdf5"``, ``"csv"`` or ``"npz"``. Default: by the file's name; ``.raw`` is EVT3.
        options: Of the format: ``compression`` (`geir.events.Compression` for AEDAT4, what h5py takes for HDF5), ``compressed`` for NPZ.

    Raises:
        ValueError: If geir does not write the format, the format cannot hold the events, or they are such as `read_events` refuses.
    """
    named = [kind for kind in WRITERS if Path(path).suffix.lower() in kind.suffixes]
    write = WRITERS.get(_format(format)) if format else WRITERS[named[-1]] if named else None
    if write is None:
        names = ", ".join(kind.name for kind in WRITERS)
        raise ValueError(f"write_events: {format or Path(path).name!r} is not of a format that geir writes: {names}.")
    parts = iter([events] if isinstance(events, Events) else events)
    first = next(parts, None)
    if first is None:
        raise ValueError(
            "write_events: there are no events, not even Events.empty(sensor_size), which would say of what sensor."
        )
    draft = Path(path).with_name(f"{Path(path).name}.part")
    try:
        with open(draft, "w+b") as file:
            write(file, _checked(itertools.chain([first], parts), first.sensor_size), first.sensor_size, **options)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _checked(parts: Iterable[Events], sensor_size: tuple[int, int]) -> Iterator[Events]:
    latest = -FAR
    for events in parts:
        if events.sensor_size != sensor_size:
            raise ValueError(
                f"write_events: a file has events of one sensor, got {sensor_size} and {events.sensor_size}."
            )
        events = events.to("cpu")
        first, latest = sound(events.columns(), sensor_size, STEP_BACK, latest)
        if first < len(events):
            t = int(events.t[first])
            raise ValueError(
                f"write_events: events must come in order, got {t} us after {latest} us; sort them with Events.sorted()."
            )
        yield events


def _format(name: str) -> type[Reader]:
    for kind in FORMATS:
        if kind.name == name:
            return kind
    raise ValueError(f"there is no format {name!r}; those that there are: {', '.join(kind.name for kind in FORMATS)}.")


def _recognized(source: Source) -> type[Reader]:
    if not source.size:
        raise source.error("the file is empty")
    head = source.read(0, min(source.size, 1 << 14), "the file")
    for kind in FORMATS:
        if kind.recognizes(head, source.path.suffix.lower()):
            return kind
    old = "this is AEDAT of a version that geir does not read (it reads 4.0)" if head.startswith(b"#!AER-DAT") else None
    raise source.error(old or "geir does not know what this is; say it with format= if you do")
