"""Events through pipes, as records of `T64`."""

import os
import select
from collections.abc import Iterator
from typing import IO

import numpy

from .errors import EventFileError
from .store import Events
from .layouts import T64, Decoder

# Seconds between looks at whether anybody still wants to read.
_PATIENCE = 0.1


class Pipe:
    """What comes through a pipe, to be given to a `FileInput`.

    Args:
        file: Its end, such as ``sys.stdin.buffer``, of which nothing has been read.
        sensor_size: Width and height of the sensor in pixels.
        name: What to call it in errors.
    """

    def __init__(self, file: IO[bytes], sensor_size: tuple[int, int], name: str = "stdin"):
        self.file, self.sensor_size, self.name = file, Events.empty(sensor_size).sensor_size, name

    def chunks(self, size: int = 1 << 18) -> Iterator[Events]:
        """Events as they come, at most `size` at a time; none, now and then, if none come.

        Raises:
            EventFileError: If it ends within an event, or an event lies outside of the sensor.
        """
        decoder, left, offset = Decoder(T64(), self.sensor_size), b"", 0
        while True:
            # Windows cannot wait for a pipe.
            if os.name == "posix" and not select.select([self.file], [], [], _PATIENCE)[0]:
                yield Events.empty(self.sensor_size)
                continue
            block = os.read(self.file.fileno(), size * T64.record)
            if not block:
                break
            data = numpy.frombuffer(left + block, numpy.uint8)
            whole = len(data) // T64.record * T64.record
            yield decoder(data[:whole], [whole], 0)
            if decoder.rejected:
                raise EventFileError(
                    self.name,
                    offset,
                    f"{decoder.rejected} of the next {whole // T64.record} events lie outside of the sensor",
                )
            left, offset = data[whole:].tobytes(), offset + whole
        if left:
            raise EventFileError(
                self.name, offset, f"the last event is cut short: it has {len(left)} of {T64.record} bytes"
            )
