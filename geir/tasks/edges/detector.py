"""The edge detector: the network, run on a few milliseconds of events at a time."""

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn, Tensor

from ..._runtime import memory
from ...containers import Lift, SequentialState
from ...events import Events
from ...neurons import LIBox, LIF
from ...receptive_fields import spatial_receptive_field
from ...wrappers import Refractory
from .image import compose

# A single event raises the potential of a neuron to 0.25. Above that threshold, a spike takes two
# events within a few milliseconds.
THRESHOLD = 0.15
# Time constant of the trace of spikes, in seconds, and refractory period of the neurons. The trace
# of a single pixel thus never exceeds 1.6 times that of one spike.
TRACE_TAU = 30e-3
# Number of receptive fields, at evenly spaced angles, and their size in pixels.
ANGLES = 4
FIELD_SIZE = 9
# Responses below the minimum are not shown; it is more than any single pixel can evoke. Responses
# above the maximum are shown at full brightness. A line of simultaneous spikes evokes 1.
RESPONSE_MIN = 0.22
RESPONSE_MAX = 0.65
# Rows of the image that are convolved at a time.
_STRIP_HEIGHT = 16
# Steps per call of the network. More steps share the overhead of a call, but delay the image. Three
# calls make an image.
STEPS_PER_CALL = 11


def line_fields() -> Tensor:
    """Receptive fields for lines at several angles, normalized so that the response to a line of ones is 1.

    Returns:
        The fields, shape (angles, 1, size, size).
    """
    angles = torch.arange(ANGLES) * math.pi / ANGLES
    # The second derivative across the line, smoothed along it.
    fields = -spatial_receptive_field(1.6, angles, 2.25, size=FIELD_SIZE, dy=2)
    fields -= fields.mean((1, 2), keepdim=True)
    center_row = fields[0, FIELD_SIZE // 2]
    return (fields / center_row.sum())[:, None]


def network(threshold: float = THRESHOLD, dt: float = 1e-3) -> SequentialState:
    """The network: spiking neurons, a leaky trace of their spikes, and receptive fields applied to the trace.

    Args:
        threshold: Threshold of the neurons; a single event raises their potential to 0.25.
        dt: Step size in seconds.

    >>> edges, state = network()(torch.rand(8, 1, 1, 48, 64))
    >>> edges.shape
    torch.Size([8, 1, 4, 48, 64])
    """
    fields = nn.Conv2d(1, ANGLES, FIELD_SIZE, padding=FIELD_SIZE // 2, bias=False)
    # Normalizes the trace of one spike to 1.
    fields.weight.data = line_fields() / (1 - math.exp(-dt / TRACE_TAU))
    return SequentialState(
        Refractory(LIF(v_th=threshold, dt=dt), period=TRACE_TAU),
        LIBox(tau_mem=TRACE_TAU, dt=dt),
        Lift(fields.requires_grad_(False)),
    )


def describe_network(threshold: float) -> str:
    """The expression that constructs the network, for display."""
    neurons = f"Refractory(LIF(v_th={threshold:.3g}), period={TRACE_TAU:g}), LIBox(tau_mem={TRACE_TAU:g})"
    return f"SequentialState({neurons}, Lift(Conv2d(1, {ANGLES}, {FIELD_SIZE})))"


def convolve(image: Tensor, fields: Tensor) -> Tensor:
    """`Conv2d` of one channel with zero padding, as matrix products.

    On one thread, this is 10 to 100 times as fast as oneDNN.

    Args:
        image: Shape (height, width).
        fields: Kernels of odd size, shape (channels, size, size).

    Returns:
        Shape (channels, height, width).

    >>> convolve(torch.ones(2, 3), torch.ones(1, 3, 3))
    tensor([[[4., 6., 4.],
             [4., 6., 4.]]])
    """
    height, width = image.shape
    channels, size, _ = fields.shape
    kernels = fields.flatten(1)
    padded = nn.functional.pad(image, [size // 2] * 4)
    out = memory.empty((channels, height, width), image)
    # The unfolded pixels of one strip fit in the cache.
    for top in range(0, height, _STRIP_HEIGHT):
        strip = padded[top : top + _STRIP_HEIGHT + size - 1]
        patches = strip.unfold(0, len(strip) - size + 1, 1).unfold(1, width, 1).reshape(size * size, -1)
        out[:, top : top + _STRIP_HEIGHT] = (kernels @ patches).view(channels, -1, width)
    return out


class PendingImage(NamedTuple):
    """An image that is due, and the work done since the previous one."""

    render: Callable[[], Tensor]  # renders the image; may run in any thread, while the detector continues
    steps: int  # number of steps since the previous image
    events: int  # number of events in these steps
    seconds: float  # time that the network took for these steps
    completed_at: float  # when the last of these steps was complete, as `time.perf_counter`


class Detector:
    """Runs the network on a stream of events and renders images of events and edges.

    Every step goes through the neurons. The receptive fields have no state, so they are applied
    only when an image is rendered.

    Args:
        sensor_size: Width and height of the sensor in pixels.
        threshold: Threshold of the neurons.
        dt: Step size in seconds.

    >>> detector = Detector((64, 48))
    >>> detector.feed([Events([10, 20], [30, 31], [5, 5], [1, 0], (64, 48))])
    >>> detector.render().shape
    torch.Size([48, 128])
    """

    def __init__(self, sensor_size: tuple[int, int], threshold: float = THRESHOLD, dt: float = 1e-3):
        self.sensor_size = sensor_size
        self.dt = dt
        self.network = network(threshold, dt)
        self.neurons = self.network[:-1]
        self._fields = self.network.get_parameter("2.module.weight")[:, 0]
        self._threshold = threshold
        self._v_th = self.network.get_buffer("0.neuron.v_th")
        self.reset()

    def reset(self) -> None:
        """Return to the initial state."""
        width, height = self.sensor_size
        self._state: Any = None  # of the neurons, whose type is an internal matter of the container
        # Traces of the events, positive for an increase of brightness and negative for a decrease,
        # and of the spikes.
        self._event_trace = torch.zeros(height, width)
        self._spike_trace = torch.zeros(1, 1, height, width)
        # Input of the network. It is all zero between calls, because `feed` clears the elements
        # that it has set.
        self._frames = torch.zeros(STEPS_PER_CALL, 1, 1, height, width)

    @property
    def threshold(self) -> float:
        """Threshold of the neurons.

        Raises:
            ValueError: When set to a value that is not positive.
        """
        return self._threshold

    @threshold.setter
    def threshold(self, threshold: float) -> None:
        if not 0 < threshold < math.inf:
            raise ValueError(f"Detector.threshold must be a positive number, got {threshold!r}.")
        # Writing to the parameter invalidates the coefficients that the layers have cached, so it
        # is written only on change.
        if threshold != self._threshold:
            self._threshold = threshold
            self._v_th.fill_(threshold)

    @torch.inference_mode()
    def feed(self, steps: Sequence[Events]) -> None:
        """Process the events of consecutive steps."""
        if not steps:
            return
        width, height = self.sensor_size
        count = len(steps)
        if count > len(self._frames):
            self._frames = torch.zeros(count, 1, 1, height, width)
        xs = self._frames[:count]
        events = Events.cat(steps)
        step = torch.repeat_interleave(torch.arange(count), torch.tensor([len(part) for part in steps]))
        pixel = events.y.long() * width + events.x
        flat = step * (height * width) + pixel
        xs.view(-1).index_add_(0, flat, torch.ones(()).expand(len(flat)))
        age = torch.arange(count - 1, -1, -1)
        decay = torch.exp(age * (-self.dt / TRACE_TAU))
        self._event_trace *= math.exp(-self.dt / TRACE_TAU) ** count
        self._event_trace.view(-1).index_add_(0, pixel, torch.where(events.p > 0, decay[step], -decay[step]))
        traces, self._state = self.neurons(xs, self._state)
        xs.view(-1).index_fill_(0, flat, 0.0)
        self._spike_trace = traces[-1]

    @torch.inference_mode()
    def responses(self) -> Tensor:
        """Current responses of the receptive fields, shape (angles, height, width)."""
        return convolve(self._spike_trace[0, 0], self._fields)

    def render(self) -> Tensor:
        """Render events on the left and edges on the right.

        Returns:
            Color indices into `PALETTE`, uint8 of shape (height, 2 * width).
        """
        return self._capture()()

    def images(self, steps: Iterable[Events], steps_per_image: Callable[[], int]) -> Iterator[PendingImage]:
        """Process a stream of steps and yield an image whenever one is due.

        At the end, the remaining steps make an image.

        Args:
            steps: Events of consecutive steps.
            steps_per_image: Returns the current number of steps per image.
        """
        waiting: list[Events] = []
        step_count, event_count, seconds = 0, 0, 0.0
        for step in itertools.chain(steps, [None]):  # None marks the end of the stream
            if step is not None:
                waiting.append(step)
            is_due = step is None or step_count + len(waiting) >= steps_per_image()
            if not is_due and len(waiting) < STEPS_PER_CALL:
                continue
            start = time.perf_counter()
            self.feed(waiting)
            seconds += time.perf_counter() - start
            step_count += len(waiting)
            event_count += sum(map(len, waiting))
            waiting = []
            if is_due and step_count:
                yield PendingImage(self._capture(), step_count, event_count, seconds, completed_at=start)
                step_count, event_count, seconds = 0, 0, 0.0

    def _capture(self) -> Callable[[], Tensor]:
        """Capture the current state. The returned function renders it, possibly later and in another thread."""
        # `feed` updates the event trace in place, so it is copied (by the division); the spike
        # trace is replaced instead.
        events = self._event_trace / 1.5
        spikes = self._spike_trace[0, 0]

        def render() -> Tensor:
            responses = convolve(spikes, self._fields)
            return compose(events, (responses - RESPONSE_MIN) / (RESPONSE_MAX - RESPONSE_MIN))

        return render
