"""Events from pipes, as `T64` records."""

import os
import select
import warnings
from collections.abc import Iterator
from typing import IO

import numpy

from ..errors import EventFileError
from ..layouts import Decoder, T64
from ..recording import check_error_mode, ErrorMode
from ..store import Events

# Seconds after which a silent pipe yields no events, so that the reading thread can be stopped.
_POLL_INTERVAL = 0.1


class Pipe:
    """Events from a pipe, for `FileInput`. The pipe carries `T64` records.

    Args:
        file: The read end of the pipe, such as ``sys.stdin.buffer``, of which nothing has been read
            yet.
        sensor_size: Width and height of the sensor in pixels.
        name: Name of the pipe in error messages.
        errors: ``"strict"`` raises where the events are invalid, ``"truncate"`` warns and ends
            there, ``"skip"`` leaves out events outside of the sensor.

    Raises:
        ValueError: If `errors` is none of these.

    Attributes:
        rejected: Number of events that ``"skip"`` has left out.
    """

    def __init__(
        self, file: IO[bytes], sensor_size: tuple[int, int], name: str = "stdin", errors: ErrorMode = "strict"
    ):
        check_error_mode("Pipe", errors)
        self.file = file
        self.errors: ErrorMode = errors
        self.rejected = 0
        self.sensor_size = Events.empty(sensor_size).sensor_size
        self.name = name

    def chunks(self, size: int = 1 << 18) -> Iterator[Events]:
        """Yield events as they arrive, at most `size` at a time, and none from time to time while the pipe is silent.

        Raises:
            EventFileError: If the pipe ends within an event, or an event lies outside of the
                sensor; the events before that are yielded first.
        """
        try:
            yield from self._decode(size)
        except EventFileError as error:
            if self.errors != "truncate":
                raise
            warnings.warn(f"{error}; only the events before it were read.", RuntimeWarning, stacklevel=2)

    def _decode(self, size: int) -> Iterator[Events]:
        decoder = Decoder(T64(), self.sensor_size)
        remainder = b""
        offset = 0
        while True:
            # `select` does not support pipes on Windows; there, reading blocks.
            if os.name == "posix" and not select.select([self.file], [], [], _POLL_INTERVAL)[0]:
                yield Events.empty(self.sensor_size)
                continue
            block = os.read(self.file.fileno(), size * T64.record)
            if not block:
                break
            data = numpy.frombuffer(remainder + block, numpy.uint8)
            records = len(data) // T64.record
            whole = records * T64.record
            events = decoder(data[:whole], [whole], 0)
            self.rejected = decoder.rejected
            if decoder.rejected and self.errors != "skip":
                # All of these precede the first one that was rejected.
                yield events[: decoder.first_rejected]
                reason = f"{decoder.rejected} of the next {records} events lie outside of the sensor"
                raise EventFileError(self.name, offset, reason)
            yield events
            remainder = data[whole:].tobytes()
            offset += whole
        if remainder:
            reason = f"the last event is truncated: it has {len(remainder)} of {T64.record} bytes"
            raise EventFileError(self.name, offset, reason)
