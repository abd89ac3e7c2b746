"""Event streams: from event-camera files, sockets and cameras into spiking networks."""

from .errors import EventFileError as EventFileError
from .events import Events as Events
from .files import Recording as Recording
from .files import info as info
from .files import open_events as open_events
from .files import read_events as read_events
from .files import write_events as write_events
from .formats.aedat4 import Compression as Compression

__all__ = ["Compression", "EventFileError", "Events", "Recording", "info", "open_events", "read_events", "write_events"]
