"""Invalid arguments and uses of inputs and outputs."""

import pytest
from event_streams import random_events, SIZE

from geir.events import CameraInput, FileInput, SPIF, UDPInput, UDPOutput

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (
            lambda: FileInput("clip.raw", speed=0),
            ValueError,
            r"FileInput\.speed must be a positive number, or None .*, got 0\.",
        ),
        (lambda: FileInput("clip.raw", speed="fast"), ValueError, r"FileInput\.speed must be .* got 'fast'"),
        (
            lambda: FileInput("clip.raw", dt=0),
            ValueError,
            "FileInput: dt must be a number of seconds, at least 1e-6, got 0",
        ),
        (lambda: UDPInput(SIZE, dt=float("nan")), ValueError, "UDPInput: dt must be a number of seconds"),
        (
            lambda: FileInput("clip.raw", capacity=0),
            ValueError,
            r"FileInput\.capacity must be a number of events, at least 1, got 0\.",
        ),
        (
            lambda: UDPInput(SIZE, overflow="blok"),
            ValueError,
            r"UDPInput\.overflow must be one of Overflow\.BLOCK, Overflow\.DROP, .*, got 'blok'",
        ),
        (lambda: UDPInput(640), TypeError, "sensor_size must be the width and the height in pixels, got 640"),
        (
            lambda: UDPInput(SIZE, port=1 << 16),
            ValueError,
            r"UDPInput\.port must be a number from 0 to 65535, got 65536\.",
        ),
        (
            lambda: UDPInput(SIZE, layout="spif"),
            TypeError,
            r"UDPInput\.layout must be SPIF\(\), T32\(\) or T64\(\), got 'spif'",
        ),
        (lambda: UDPOutput(0), ValueError, r"UDPOutput\.port must be a number from 1 to 65535, got 0\."),
        (lambda: UDPOutput(layout=SPIF), TypeError, r"UDPOutput\.layout must be SPIF\(\), T32\(\) or T64\(\)"),
        (
            lambda: UDPOutput(datagram=8),
            ValueError,
            r"UDPOutput\.datagram must be a number of bytes from 16 to 65507, got 8\.",
        ),
        (lambda: UDPOutput().send(random_events(1)), ValueError, "UDPOutput is not open; use it in a with statement"),
        (lambda: UDPInput(SIZE).read(), ValueError, "UDPInput is not open; use it in a with statement"),
        (lambda: FileInput("clip.raw").frames(), ValueError, "FileInput is not open"),
        (
            lambda: CameraInput("first"),
            TypeError,
            "CameraInput.camera must be a camera of dv-processing or a stream of events of faery, got 'first'",
        ),
    ],
)
def test_invalid_arguments_and_uses_raise(wrong, error, message):
    with pytest.raises(error, match=message):
        wrong()
