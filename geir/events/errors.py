"""What can be wrong with a file of events."""

from os import PathLike


class EventFileError(ValueError):
    """A file of events cannot be read, or not further.

    Attributes:
        path: The file.
        offset: Byte at which it went wrong; None if it is wrong as a whole.
        reason: What is wrong.
    """

    def __init__(self, path: str | PathLike[str], offset: int | None, reason: str):
        self.path, self.offset, self.reason = path, offset, reason
        super().__init__(path, offset, reason)

    def __str__(self) -> str:
        place = "" if self.offset is None else f" at byte {self.offset:,}"
        return f"{self.path}{place}: {self.reason}"
