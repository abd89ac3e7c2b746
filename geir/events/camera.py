"""Events from a camera, by way of its maker's software."""

import importlib.util
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .buffer import Overflow
from .store import Events
from .input import LiveInput

# How long to wait when a camera has nothing.
_PAUSE = 1e-3


class CameraInput(LiveInput):
    """Events of a camera: iniVation's through ``dv-processing``, others' through ``faery``, whichever is installed.

    Args:
        camera: What one of them opened: an object of ``dv_processing.io`` with `getNextEventBatch`, or a stream of events of ``faery``. It stays its
            owner's to close. Default: the first camera that is found, at every opening.
        overflow: What happens when more events come than the buffer holds.
        dt: Width in seconds of the bins of an iteration.
        device: Where tensors and events are wanted.
        capacity: How many events the buffer holds, 13 bytes each.

    Raises:
        ImportError: On opening, if neither is installed.
        OSError: On opening, if no camera is found.
        TypeError: If `camera` is something else.
    """

    def __init__(self, camera: Any = None, overflow: Overflow = Overflow.COALESCE, **settings: Any):
        super().__init__(overflow=overflow, **settings)
        if (
            camera is not None
            and not hasattr(camera, "getNextEventBatch")
            and not (hasattr(camera, "dimensions") and hasattr(camera, "__iter__"))
        ):
            raise TypeError(
                f"CameraInput.camera must be a camera of dv-processing or a stream of events of faery, got {camera!r}."
            )
        self.camera = camera

    @contextmanager
    def _source(self) -> Iterator[Iterator[Events]]:
        camera = _first_camera() if self.camera is None else self.camera
        of_dv = hasattr(camera, "getNextEventBatch")
        width, height = camera.getEventResolution() if of_dv else camera.dimensions()
        self.sensor_size = int(width), int(height)
        yield (
            self._batches(camera) if of_dv else (Events.from_structured(packet, self.sensor_size) for packet in camera)
        )

    def _batches(self, camera: Any) -> Iterator[Events]:
        while camera.isRunning():
            batch = camera.getNextEventBatch()
            if batch is None:
                time.sleep(_PAUSE)
                yield Events.empty(self.sensor_size)  # so that it can be closed meanwhile
            else:
                yield Events.from_structured(batch.numpy(), self.sensor_size)


def _first_camera() -> Any:
    cameras = "no camera"
    if importlib.util.find_spec("dv_processing"):
        import dv_processing  # pyright: ignore[reportMissingImports]  (optional)

        if dv_processing.io.camera.discover():
            return dv_processing.io.camera.open()
        cameras = "dv-processing finds no camera of iniVation"
    if importlib.util.find_spec("faery"):
        import faery  # pyright: ignore[reportMissingImports]  (optional)

        try:
            return faery.events_stream_from_camera()
        except Exception as error:
            raise OSError(f"CameraInput: {cameras}, and faery: {error}") from error
    if cameras == "no camera":
        raise ImportError(
            "CameraInput needs dv-processing (iniVation's cameras) or faery; install one with: pip install dv-processing"
        )
    raise OSError(
        f"CameraInput: {cameras}; plug it in, and see that you may use it (udev rules). For other makers: pip install faery"
    )
