"""Events from cameras, through stand-ins for the packages that drive them."""

import sys
import types

import pytest
import torch
from event_streams import expected_frames, random_events, read_total, SIZE

from geir.events import CameraInput
from geir.events.inputs import camera as camera_module

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


class FakeCamera:
    """The interface of a camera of dv-processing."""

    def __init__(self, batches):
        self.batches = list(batches)

    def isRunning(self):  # noqa: N802  (the name in dv-processing)
        return bool(self.batches)

    def getEventResolution(self):  # noqa: N802  (the name in dv-processing)
        return SIZE

    def getNextEventBatch(self):  # noqa: N802  (the name in dv-processing)
        batch = self.batches.pop(0)
        return batch and types.SimpleNamespace(numpy=lambda: batch.to_structured(("timestamp", "x", "y", "polarity")))


def test_cameras_of_both_packages_are_read():
    events = random_events()
    with CameraInput(FakeCamera([None, events[:300], None, events[300:]])) as source:
        assert source.sensor_size == SIZE
        assert read_total(source).equal(expected_frames(events)[0])

    class Stream(list):
        def dimensions(self):
            return SIZE

    with CameraInput(
        Stream([events[:300].to_structured("txyp"), events[300:].to_structured(("t", "x", "y", "on"))])
    ) as source:
        frames = list(source.frames(1e-3))
    assert torch.stack(frames).sum(0).equal(expected_frames(events)[0])


def test_a_recording_opened_by_dv_processing_is_read(real_data):
    dv = pytest.importorskip("dv_processing")
    reader = dv.io.MonoCameraRecording(str(real_data / "events" / "person_320x240.aedat4"))
    with CameraInput(reader) as source:
        assert read_total(source).sum() == 111_954
        assert source.sensor_size == (320, 240)


def test_a_missing_package_or_camera_is_reported(monkeypatch):
    monkeypatch.setattr(camera_module.importlib.util, "find_spec", lambda name: None)
    with (
        pytest.raises(
            ImportError, match=r"needs dv-processing .* or faery; install one of them, .* pip install dv-processing"
        ),
        CameraInput(),
    ):
        pass
    dv = types.SimpleNamespace(io=types.SimpleNamespace(camera=types.SimpleNamespace(discover=list)))
    monkeypatch.setitem(sys.modules, "dv_processing", dv)
    monkeypatch.setattr(camera_module.importlib.util, "find_spec", lambda name: name == "dv_processing")
    with pytest.raises(OSError, match="dv-processing finds no iniVation camera; connect the camera"), CameraInput():
        pass
