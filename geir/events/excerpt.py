"""Parts of recordings."""

import os
from typing import NamedTuple

from .errors import EventFileError
from .store import Events


class Excerpt(NamedTuple):
    """A part of a recording, which `EventDataset` reads as a recording. Its times start at 0.

    Attributes:
        path: The file.
        start: Start of the part in microseconds, in the times of the file.
        stop: End of the part in microseconds, exclusive.

    >>> Excerpt("clip.aedat4", start=1_000_000, stop=3_000_000).of(Events([1_000_005], [1], [2], [1], (3, 3))).t
    tensor([5])
    """

    path: str | os.PathLike[str]
    start: int
    stop: int

    def of(self, events: Events) -> Events:
        """Select the part from the events of the whole file.

        Raises:
            EventFileError: If all events are earlier, so the file is not the whole recording.
        """
        if not len(events) or int(events.t.max()) < self.start:
            last = f"the last is at {int(events.t.max()):,} us" if len(events) else "there are none at all"
            raise EventFileError(
                self.path,
                None,
                f"expected events from {self.start:,} to {self.stop:,} us, but {last}; "
                "the file is incomplete, so unpack or download it again",
            )
        inside = events[(events.t >= self.start) & (events.t < self.stop)]
        return Events.unchecked(inside.t - self.start, *inside.columns()[1:], sensor_size=events.sensor_size)
