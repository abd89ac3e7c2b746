"""Prophesee's DAT: events of 8 bytes, decoded from what the camera sent."""

import numpy

from .reader import checked_size, Parts, RecordReader, Target, text_header, whole_number

# Types of events that have the same layout: 2D, and contrast detection, which is what they are.
_CHANGES = (0, 12)


class Dat(RecordReader):
    """DAT, versions 1 and 2, which differ in how many bits a coordinate has."""

    name, suffixes, record = "dat", (".dat",), 8

    @classmethod
    def recognizes(cls, head: bytes, suffix: str) -> bool:
        return suffix == ".dat" and head.startswith(b"%")

    def open(self) -> None:
        self.metadata, at = text_header(self.source)
        version = whole_number(self.source, self.metadata, "Version", 1)
        if version not in (1, 2):
            raise self.source.error(f"DAT has versions 1 and 2, got {version}")
        kind, size = self.source.read(at, 2, "the type of its events")
        if kind not in _CHANGES or size != self.record:
            raise self.source.error(
                f"its events are of type {kind} with {size} bytes, but geir reads changes of brightness (0 or 12, 8 bytes)",
                at,
            )
        self.start, self.decoder = at + 2, f"dat{version}"
        self.first_time = whole_number(self.source, self.metadata, "T0")

    def stated_size(self) -> tuple[int, int] | None:
        if "Width" in self.metadata or "Height" in self.metadata:
            return checked_size(
                self.source, *(whole_number(self.source, self.metadata, key) for key in ("Width", "Height"))
            )
        return None

    def summary(self) -> dict[str, int]:
        return {"events": (self.source.size - self.start) // self.record}


def write(file: Target, parts: Parts, sensor_size: tuple[int, int]) -> None:
    """Write events, as version 2."""
    width, height = sensor_size
    if max(sensor_size) > 1 << 14:
        raise ValueError(
            f"dat has 14 bits for a coordinate, which are too few for a sensor of {width}x{height} pixels."
        )
    head = f"% Data file containing CD events\n% Version 2\n% Width {width}\n% Height {height}\n"
    previous, first = None, 0
    for part in parts:
        if not len(part):
            continue
        t, x, y, p = (column.numpy().astype(numpy.int64) for column in part.columns())
        if previous is None:
            # What 32 bits cannot tell, the header does, as faery's do.
            first = int(t[0]) >> 32 << 32
            file.write(f"{head}% T0 {first}\n".encode() + bytes([12, 8]))
            previous = t[0]
        if abs(numpy.diff(t, prepend=previous)).max() >= 1 << 31:
            raise ValueError("dat cannot say that more than 35 minutes pass between two events.")
        words = numpy.stack([t - first, p << 28 | y << 14 | x], 1) & 0xFFFFFFFF
        file.write(words.astype("<u4").tobytes())
        previous = t[-1]
    if previous is None:
        file.write(head.encode() + bytes([12, 8]))
