"""Event streams: from event-camera files, sockets and cameras into spiking networks."""

from .errors import EventFileError as EventFileError
from .events import Events as Events

__all__ = ["EventFileError", "Events"]
