"""Event streams: from event-camera files, sockets and cameras into spiking networks."""

from .buffer import Overflow as Overflow
from .camera import CameraInput as CameraInput
from .dataset import EventDataset as EventDataset, collate as collate
from .errors import EventFileError as EventFileError
from .store import Events as Events
from .file_input import FileInput as FileInput
from .recording import (
    Recording as Recording,
    describe as describe,
    open_events as open_events,
    read_events as read_events,
    write_events as write_events,
)
from .formats.compression import Compression as Compression
from .input import Stats as Stats
from .layouts import SPIF as SPIF, T32 as T32, T64 as T64
from .lazy import LazyLIF as LazyLIF
from .udp import UDPInput as UDPInput, UDPOutput as UDPOutput

__all__ = [
    "SPIF",
    "T32",
    "T64",
    "CameraInput",
    "Compression",
    "EventDataset",
    "EventFileError",
    "Events",
    "FileInput",
    "LazyLIF",
    "Overflow",
    "Recording",
    "Stats",
    "UDPInput",
    "UDPOutput",
    "collate",
    "describe",
    "open_events",
    "read_events",
    "write_events",
]
