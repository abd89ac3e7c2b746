"""Event streams: from event-camera files, sockets and cameras into spiking networks."""

from .dataset import collate as collate, EventDataset as EventDataset
from .errors import EventFileError as EventFileError
from .event_driven import EventDrivenLIF as EventDrivenLIF
from .excerpt import Excerpt as Excerpt
from .formats.compression import Compression as Compression
from .inputs import (
    CameraInput as CameraInput,
    EventInput as EventInput,
    FileInput as FileInput,
    LiveInput as LiveInput,
    Overflow as Overflow,
    Stats as Stats,
    UDPInput as UDPInput,
)
from .layouts import SPIF as SPIF, T32 as T32, T64 as T64
from .outputs import UDPOutput as UDPOutput
from .recording import (
    describe as describe,
    open_events as open_events,
    read_events as read_events,
    Recording as Recording,
)
from .spike_trains import SpikeTrain as SpikeTrain, SpikeTrains as SpikeTrains
from .store import Events as Events
from .writing import write_events as write_events
