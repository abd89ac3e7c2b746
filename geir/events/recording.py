"""Event files: opened as a stream, read at once and described."""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeAlias, TypedDict, Unpack

from .errors import EventFileError
from .formats import FORMATS
from .formats.columns import EventColumns, MAX_ABS_TIME, MAX_BACKWARD_STEP_US, UNFIT, valid_prefix, ValidPrefix
from .formats.fields import check_options, ReadOptions
from .formats.reader import Reader
from .formats.source import Source
from .skipping import InvalidEventFilter, SkippedCounts
from .store import Events

# Bytes of a file by which formats are recognized.
_HEAD_BYTES = 1 << 14

PathLike: TypeAlias = str | os.PathLike[str]
ErrorMode: TypeAlias = Literal["strict", "truncate", "skip"]
ERROR_MODES: tuple[ErrorMode, ...] = ("strict", "truncate", "skip")

# Minimum number of events decoded per batch with errors="skip", because some of them are held back.
_MIN_SKIPPING_BATCH = 1 << 18


class Description(TypedDict):
    """Properties of a file that are known without decoding its events."""

    path: Path
    format: str
    bytes: int
    sensor_size: tuple[int, int]
    events: int | None
    start: int | None
    stop: int | None
    metadata: dict[str, object]


class Recording:
    """An opened event file, as `open_events` returns it; a context manager.

    Attributes:
        path: The file.
        format: Name of its format.
        sensor_size: Width and height of the sensor in pixels.
        metadata: What else the file states about itself.
        reader: The reader of its format.
        skipped: Numbers of events that ``errors="skip"`` has left out since `chunks` was last called:
            those `outside` the sensor or with an invalid polarity or time, those `misplaced` in
            time, records of the file that are `undecodable`, and the `total`.
    """

    def __init__(self, reader: Reader, errors: ErrorMode):
        self.reader = reader
        self.path = reader.source.path
        self.format = reader.name
        self.sensor_size = reader.sensor_size
        self.metadata = reader.metadata
        self.skipped = SkippedCounts()
        self._errors: ErrorMode = errors

    def __repr__(self) -> str:
        return f"Recording({str(self.path)!r}, {self.format}, {self.sensor_size[0]}x{self.sensor_size[1]})"

    def chunks(self, size: int = 1 << 20) -> Iterator[Events]:
        """Read the events in the order of the file, in memory that does not grow with the file.

        An event may be up to `MAX_BACKWARD_STEP_US` microseconds earlier than one before it,
        because cameras do not always send simultaneous events in order (see `Events.is_sorted` and
        `Events.sorted`).

        Args:
            size: Events of a chunk at most; a few more if one word of the file stands for several.

        Raises:
            EventFileError: Where the file is damaged or truncated, an event is outside the sensor,
                or time steps back further; the events before that are yielded first. With
                ``errors="truncate"`` it is a warning instead. With ``errors="skip"``, events that
                are outside the sensor or misplaced in time, and lines and words that are invalid,
                are skipped, counted in `skipped` and reported in a warning; other damage, such as a
                truncated end, remains an error.
            ValueError: If `size` is not positive.
        """
        if size < 1:
            raise ValueError(f"Recording.chunks: size must be > 0 events, got {size}.")
        count = 0
        try:
            for events in self._skipping(size) if self._errors == "skip" else self._validated(size):
                count += len(events)
                yield events
        except EventFileError as error:
            if self._errors == "truncate":
                warnings.warn(f"{error}; only the {count:,} events before it were read.", RuntimeWarning, stacklevel=2)
            else:
                cure = "valid" if self._errors == "skip" else 'readable with errors="truncate"'
                hint = f"; the {count:,} events before it are {cure}" if count else ""
                raise EventFileError(error.path, error.offset, error.reason + hint) from None

    def _validated(self, size: int) -> Iterator[Events]:
        """Decode chunks and check them, up to the first event that is invalid."""
        latest, count = -MAX_ABS_TIME, 0
        for offset, columns, unfit, checked in self.reader.batches(size):
            if checked and checked.follow(latest):
                valid, latest = ValidPrefix(columns.size, max(latest, checked.latest))
            else:
                valid, latest = valid_prefix(columns, self.sensor_size, MAX_BACKWARD_STEP_US, latest)
            if valid:
                yield Events.unchecked(*columns.part(0, valid), sensor_size=self.sensor_size)
            if valid < columns.size:
                if unfit is not None and _is_unfit(columns, valid):
                    raise unfit
                event = f"event {count + valid:,}"
                if offset is not None:
                    # The byte of the event itself is unknown, because decoders do not keep it.
                    event += " (in the batch that starts here)"
                raise EventFileError(self.path, offset, f"{event} {self._describe_invalid(columns, valid, latest)}")
            count += columns.size

    def _skipping(self, size: int) -> Iterator[Events]:
        """Decode chunks and leave out the events that are invalid."""
        invalid = InvalidEventFilter(self.sensor_size, MAX_BACKWARD_STEP_US)
        self.skipped = SkippedCounts()
        damage = None
        self.reader.skips_invalid, self.reader.invalid_records = True, 0
        try:
            for _, columns, *_ in self.reader.batches(max(size, _MIN_SKIPPING_BATCH)):
                yield from self._split(invalid.add(columns), size)
                self.skipped = invalid.counts._replace(undecodable=self.reader.invalid_records)
        except EventFileError as error:
            damage = error
        # The events that were held back.
        yield from self._split(invalid.add(EventColumns.allocate(0), is_last=True), size)
        self.skipped = invalid.counts._replace(undecodable=self.reader.invalid_records)
        if self.skipped.total:
            warnings.warn(f"{self.path}: {self.skipped}.", RuntimeWarning, stacklevel=3)
        if damage is not None:
            raise damage

    def _split(self, columns: EventColumns, size: int) -> Iterator[Events]:
        for first in range(0, columns.size, size):
            yield Events.unchecked(*columns.part(first, first + size), sensor_size=self.sensor_size)

    def _describe_invalid(self, columns: EventColumns, index: int, latest: int) -> str:
        t, x, y, p = (int(column[index]) for column in columns)
        width, height = self.sensor_size
        if not (0 <= x < width and 0 <= y < height and p <= 1):
            return f"is at x = {x}, y = {y} with polarity {p}, but the sensor has {width}x{height} pixels"
        if abs(t) > MAX_ABS_TIME:
            return f"has an invalid timestamp, {t} us"
        return (
            f"is at {t} us, {latest - t:,} us earlier than one before it; "
            f"at most {MAX_BACKWARD_STEP_US:,} us are allowed"
        )

    def close(self) -> None:
        """Close the file."""
        self.reader.close()

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_events(
    path: PathLike,
    errors: ErrorMode = "strict",
    *,
    sensor_size: tuple[int, int] | None = None,
    format: str | None = None,
    **options: Unpack[ReadOptions],
) -> Recording:
    """Open an event file to read it in chunks.

    Args:
        path: The file.
        errors: What happens where the file is invalid: ``"strict"`` raises an error, ``"truncate"``
            warns and ends there, and ``"skip"`` leaves out single invalid events, counts them and
            goes on; see `Recording.chunks`.
        sensor_size: Width and height of the sensor, for files that do not state it; overrides what
            they state.
        format: Name of the format, for files that are recognized neither by their first bytes nor
            by their name.
        options: For files that do not say it themselves. ``stream``: one of several streams of events,
            by its number in AEDAT 3.1 and 4, its path in HDF5, its name in NPZ. ``columns``: order of the
            columns in text and arrays, such as ``"xypt"``, with ``_`` for a column to skip. ``time_unit``:
            ``"s"``, ``"ms"``, ``"us"`` or ``"ns"``; default is microseconds for integers and seconds for
            times with decimals in text and arrays.

    Raises:
        EventFileError: If the format is not recognized, the head of the file is invalid, or the
            sensor size is unknown.
        OSError: If the file cannot be opened.
        TypeError: If `sensor_size` is not a pair of positive integers, or there is an unknown option.
        ValueError: If `errors` or `format` is not one of the above, or an option is invalid or does
            not apply to the format.
    """
    check_error_mode("open_events", errors)
    if sensor_size is not None:
        sensor_size = Events.empty(sensor_size).sensor_size
    named = None if format is None else find_format("open_events", format)
    check_options(options)
    source = Source(path)
    try:
        reader = named or _recognize(source)
        return Recording(reader(source, sensor_size, options), errors)
    except BaseException:
        source.close()
        raise


def check_error_mode(caller: str, errors: object) -> None:
    """Check the argument `errors` of a caller.

    Raises:
        ValueError: If it is not one of `ERROR_MODES`.
    """
    if errors not in ERROR_MODES:
        raise ValueError(f'{caller}: errors must be "strict", "truncate" or "skip", got {errors!r}.')


def read_events(
    path: PathLike,
    errors: ErrorMode = "strict",
    *,
    sensor_size: tuple[int, int] | None = None,
    format: str | None = None,
    **options: Unpack[ReadOptions],
) -> Events:
    """Read all events of a file. Arguments and errors are those of `open_events` and `Recording.chunks`."""
    with open_events(path, errors, sensor_size=sensor_size, format=format, **options) as recording:
        return Events.cat([Events.empty(recording.sensor_size), *recording.chunks()])


def describe(
    path: PathLike,
    *,
    sensor_size: tuple[int, int] | None = None,
    format: str | None = None,
    **options: Unpack[ReadOptions],
) -> Description:
    """Describe an event file without decoding its events. Arguments and errors are those of `open_events`.

    Returns:
        Its `path`, `format`, size in `bytes`, `sensor_size` and `metadata`; and the number of
        `events` and the times of the first and last one, `start` and `stop`, in microseconds, each
        None where the file does not state it and it does not follow from the size.
    """
    with open_events(path, sensor_size=sensor_size, format=format, **options) as recording:
        summary = recording.reader.summary()
        return {
            "path": recording.path,
            "format": recording.format,
            "bytes": recording.reader.source.size,
            "sensor_size": recording.sensor_size,
            "events": summary.get("events"),
            "start": summary.get("start"),
            "stop": summary.get("stop"),
            "metadata": recording.metadata,
        }


def _is_unfit(columns: EventColumns, index: int) -> bool:
    """Whether an event has numbers that do not fit its columns."""
    event = columns.part(index, index + 1)._asdict()
    return any(int(event[name]) == number for name, number in UNFIT.items())


def find_format(caller: str, name: str) -> type[Reader]:
    """Find the format of a name, for a caller.

    Raises:
        ValueError: If there is none.
    """
    for kind in FORMATS:
        if kind.name == name:
            return kind
    raise ValueError(f"{caller}: unknown format {name!r}; the formats are {', '.join(kind.name for kind in FORMATS)}.")


def _recognize(source: Source) -> type[Reader]:
    """Find the format of a file by its first bytes and its suffix."""
    if not source.size:
        raise source.error("the file is empty")
    head = source.read(0, min(source.size, _HEAD_BYTES), "the file")
    for kind in FORMATS:
        if kind.recognizes(head, source.path.suffix.lower()):
            return kind
    if head.startswith(b"#!AER-DAT"):
        raise source.error("unsupported version of AEDAT; geir reads 2.0, 3.1 and 4.0")
    raise source.error("unrecognized file format; pass format=...")
