"""Errors in event files."""

from os import PathLike


class EventFileError(ValueError):
    """An event file cannot be read, or cannot be read any further.

    Attributes:
        path: The file.
        offset: Byte at which the error is; None if it concerns the file as a whole.
        reason: Description of the error.
    """

    def __init__(self, path: str | PathLike[str], offset: int | None, reason: str):
        self.path = path
        self.offset = offset
        self.reason = reason
        # All of them, so that the error can be pickled.
        super().__init__(path, offset, reason)

    def __str__(self) -> str:
        place = "" if self.offset is None else f" at byte {self.offset:,}"
        return f"{self.path}{place}: {self.reason}"
