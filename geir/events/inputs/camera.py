"""Events from cameras, through the software of their manufacturers."""

import importlib
import importlib.util
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable, Unpack

import numpy

from ..store import Events
from .base import InputSettings
from .buffer import Overflow
from .live import LiveInput

# Seconds to wait when the camera has no events.
_POLL_INTERVAL = 1e-3


class _Batch(Protocol):
    def numpy(self) -> numpy.ndarray: ...


@runtime_checkable
class DVCamera(Protocol):
    """A camera or recording of ``dv_processing.io``."""

    def getEventResolution(self) -> tuple[int, int]: ...  # noqa: N802  (the name in dv-processing)
    def getNextEventBatch(self) -> _Batch | None: ...  # noqa: N802  (the name in dv-processing)
    def isRunning(self) -> bool: ...  # noqa: N802  (the name in dv-processing)


@runtime_checkable
class FaeryStream(Protocol):
    """A stream of events of ``faery``, which yields structured arrays."""

    def dimensions(self) -> tuple[int, int]: ...
    def __iter__(self) -> Iterator[numpy.ndarray]: ...


class CameraInput(LiveInput):
    """Events of a camera, through ``dv-processing`` (iniVation) or ``faery`` (others), whichever is installed.

    Args:
        camera: A camera opened by one of them: an object of ``dv_processing.io`` with
            `getNextEventBatch`, or a stream of events of ``faery``. The caller closes it. Default:
            the first camera found whenever the input is opened.
        overflow: What happens when the buffer is full.
        dt: Default bin width in seconds.
        device: Device of the returned tensors and events.
        capacity: Maximum number of events in the buffer, 13 bytes each.

    Raises:
        ImportError: On opening, if neither package is installed.
        OSError: On opening, if no camera is found.
        TypeError: If `camera` is none of these.
    """

    def __init__(
        self,
        camera: DVCamera | FaeryStream | None = None,
        overflow: Overflow = Overflow.COALESCE,
        **settings: Unpack[InputSettings],
    ):
        super().__init__(overflow=overflow, **settings)
        if camera is not None and not isinstance(camera, (DVCamera, FaeryStream)):
            raise TypeError(
                f"CameraInput.camera must be a camera of dv-processing or a stream of events of faery, got {camera!r}."
            )
        self.camera = camera

    @contextmanager
    def _open_source(self) -> Iterator[Iterator[Events]]:
        camera = _first_camera() if self.camera is None else self.camera
        is_dv = isinstance(camera, DVCamera)
        width, height = camera.getEventResolution() if is_dv else camera.dimensions()
        self.sensor_size = int(width), int(height)
        yield self._dv_events(camera) if is_dv else self._faery_events(camera)

    def _dv_events(self, camera: DVCamera) -> Iterator[Events]:
        while camera.isRunning():
            batch = camera.getNextEventBatch()
            if batch is None:
                time.sleep(_POLL_INTERVAL)
                yield Events.empty(self.sensor_size)  # so that the thread can be stopped
            else:
                yield Events.from_structured(batch.numpy(), self.sensor_size)

    def _faery_events(self, stream: FaeryStream) -> Iterator[Events]:
        for packet in stream:
            yield Events.from_structured(packet, self.sensor_size)


def _first_camera() -> DVCamera | FaeryStream:
    problem = None
    if importlib.util.find_spec("dv_processing"):
        cameras: Any = importlib.import_module("dv_processing").io.camera  # an optional package without types
        if cameras.discover():
            return cameras.open()
        problem = "dv-processing finds no iniVation camera"
    if importlib.util.find_spec("faery"):
        faery: Any = importlib.import_module("faery")  # an optional package without types
        try:
            return faery.events_stream_from_camera()
        except Exception as error:
            raise OSError(f"CameraInput: {problem or 'no camera'}, and faery: {error}") from error
    if problem is None:
        raise ImportError(
            "CameraInput needs dv-processing (for iniVation cameras) or faery; "
            "install one of them, for example with: pip install dv-processing"
        )
    raise OSError(
        f"CameraInput: {problem}; connect the camera and check that you have permission to use it (udev rules). "
        "For cameras of other manufacturers: pip install faery"
    )
