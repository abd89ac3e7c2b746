"""Event inputs: recordings, sockets, cameras and pipes, read as frames or as events."""

from .base import EventInput as EventInput, Stats as Stats
from .buffer import Overflow as Overflow
from .camera import CameraInput as CameraInput
from .file import FileInput as FileInput
from .live import LiveInput as LiveInput
from .pipe import Pipe as Pipe
from .udp import UDPInput as UDPInput
