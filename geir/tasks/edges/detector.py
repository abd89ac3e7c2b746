"""From events to pictures of edges: the network, fed a few milliseconds at a time."""

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
from ...neurons import LIBox, LIFRefrac
from ...receptive_fields import spatial_receptive_field
from .picture import indexed

# One event alone lifts a neuron's potential to 0.25, so that above this threshold it takes two within a few milliseconds.
THRESHOLD = 0.15
# How long a spike is remembered, in seconds, and how long its neuron then rests, so that no pixel is remembered more than 1.6 times.
MEMORY = 30e-3
ANGLES, SIZE = 4, 9
# Responses from which an edge is seen, more than any pixel can evoke alone, and from which it is as bright as can be; a line of spikes evokes 1.
FLOOR, FULL = 0.22, 0.65
# Rows of an image that are convolved at a time.
_STRIP = 16
# Steps that the network takes at a time: more share what every call costs, and make a picture wait longer. Three times so many make a picture.
STEPS_AT_A_TIME = 11


def line_fields() -> Tensor:
    """Receptive fields for lines at several angles, shape (angles, 1, size, size): 1 is the response to a line of ones through the centre."""
    angles = torch.arange(ANGLES) * math.pi / ANGLES
    # The second derivative across the line, smoothed along it.
    fields = -spatial_receptive_field(1.6, angles, 2.25, size=SIZE, dy=2)
    fields -= fields.mean((1, 2), keepdim=True)
    return (fields / fields[0, SIZE // 2].sum())[:, None]


def network(threshold: float = THRESHOLD, dt: float = 1e-3) -> SequentialState:
    """Neurons that spike where events come, what they remember of it, and receptive fields that look at that.

    Args:
        threshold: Potential above which a neuron spikes, where one event alone lifts it to 0.25.
        dt: Step size in seconds.

    >>> edges, state = network()(torch.rand(8, 1, 1, 48, 64))
    >>> edges.shape
    torch.Size([8, 1, 4, 48, 64])
    """
    fields = nn.Conv2d(1, ANGLES, SIZE, padding=SIZE // 2, bias=False)
    # What one spike leaves behind is made 1.
    fields.weight.data = line_fields() / (1 - math.exp(-dt / MEMORY))
    return SequentialState(
        LIFRefrac(v_th=threshold, period=MEMORY, dt=dt),
        LIBox(tau_mem=MEMORY, dt=dt),
        Lift(fields.requires_grad_(False)),
    )


def filtered(image: Tensor, fields: Tensor) -> Tensor:
    """What `Conv2d` makes of one channel, with zeros around it, by matrix products: on one thread oneDNN takes ten to a hundred times as long.

    Args:
        image: Shape (height, width).
        fields: Shape (channels, size, size), of an odd size.

    Returns:
        Shape (channels, height, width).

    >>> filtered(torch.ones(2, 3), torch.ones(1, 3, 3))
    tensor([[[4., 6., 4.],
             [4., 6., 4.]]])
    """
    (height, width), size = image.shape, fields.shape[-1]
    padded = nn.functional.pad(image, [size // 2] * 4)
    out = memory.empty((len(fields), height, width), image)
    # A strip of rows, every pixel with its surroundings, stays in cache.
    for first in range(0, height, _STRIP):
        strip = padded[first : first + _STRIP + size - 1]
        rows = strip.unfold(0, len(strip) - size + 1, 1).unfold(1, width, 1)
        out[:, first : first + _STRIP] = (fields.flatten(1) @ rows.reshape(size * size, -1)).view(
            len(fields), -1, width
        )
    return out


def description(threshold: float) -> str:
    """The network as it is written."""
    neurons = f"LIFRefrac(v_th={threshold:.3g}, period={MEMORY:g}), LIBox(tau_mem={MEMORY:g})"
    return f"SequentialState({neurons}, Lift(Conv2d(1, {ANGLES}, {SIZE})))"


class Due(NamedTuple):
    """A picture that is due, and what was done for it."""

    draw: Callable[[], Tensor]  # in whichever thread, while the detector goes on
    steps: int  # that the network took since the picture before
    events: int  # in them
    seconds: float  # that it took for them
    complete: float  # when the last of them was complete, by `time.perf_counter`


class Detector:
    """The network in use: it takes events step after step and gives a picture when asked.

    The receptive fields have no memory, so they look only when there is to be a picture; every step goes through the neurons.

    Args:
        sensor_size: Width and height of the sensor in pixels.
        threshold: Potential above which neurons spike.
        dt: Width of a step in seconds.

    >>> detector = Detector((64, 48))
    >>> detector.feed([Events([10, 20], [30, 31], [5, 5], [1, 0], (64, 48))])
    >>> detector.picture().shape
    torch.Size([48, 128])
    """

    def __init__(self, sensor_size: tuple[int, int], threshold: float = THRESHOLD, dt: float = 1e-3):
        self.sensor_size, self.dt = sensor_size, dt
        self.network = network(threshold, dt)
        self.neurons, self._fields = self.network[:-1], self.network.get_parameter("2.module.weight")[:, 0]
        self._threshold, self._v_th = threshold, self.network.get_buffer("0.v_th")
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        width, height = self.sensor_size
        self._state: Any = None
        # What was seen lately: of events, brighter positive and darker negative, and of spikes.
        self._events, self._spikes = torch.zeros(height, width), torch.zeros(1, 1, height, width)
        self._frames = torch.zeros(STEPS_AT_A_TIME, 1, 1, height, width)  # filled, and emptied where it was filled

    @property
    def threshold(self) -> float:
        """Potential above which neurons spike."""
        return self._threshold

    @threshold.setter
    def threshold(self, threshold: float) -> None:
        if not 0 < threshold < math.inf:
            raise ValueError(f"Detector.threshold must be a positive number, got {threshold!r}.")
        if threshold != self._threshold:  # what layers have prepared for a threshold is good until it changes
            self._threshold = threshold
            self._v_th.fill_(threshold)

    @torch.inference_mode()
    def feed(self, steps: Sequence[Events]) -> None:
        """Take the events of one step after another."""
        if not steps:
            return
        width, height = self.sensor_size
        if len(steps) > len(self._frames):
            self._frames = torch.zeros(len(steps), 1, 1, height, width)
        xs = self._frames[: len(steps)]
        events, age = Events.cat(steps), torch.arange(len(steps) - 1, -1, -1)
        step = torch.repeat_interleave(len(steps) - 1 - age, torch.tensor([len(step) for step in steps]))
        at = events.y.long() * width + events.x
        filled = step * (height * width) + at
        xs.view(-1).index_add_(0, filled, torch.ones(()).expand(len(at)))
        decay = torch.exp(age * (-self.dt / MEMORY))
        self._events *= math.exp(-self.dt / MEMORY) ** len(steps)
        self._events.view(-1).index_add_(0, at, torch.where(events.p > 0, decay[step], -decay[step]))
        remembered, self._state = self.neurons(xs, self._state)
        xs.view(-1).index_fill_(0, filled, 0.0)
        self._spikes = remembered[-1]

    @torch.inference_mode()
    def edges(self) -> Tensor:
        """Responses of the receptive fields now, shape (angles, height, width)."""
        return filtered(self._spikes[0, 0], self._fields)

    def picture(self) -> Tensor:
        """Events on the left and edges on the right, as numbers of colours of `PALETTE`, uint8 of shape (height, 2 * width)."""
        return self._drawing()()

    def _drawing(self) -> Callable[[], Tensor]:
        """What draws the picture of now, later too."""
        events, spikes = self._events / 1.5, self._spikes[0, 0]
        return lambda: indexed(events, (filtered(spikes, self._fields) - FLOOR) / (FULL - FLOOR))

    def pictures(self, steps: Iterable[Events], each: Callable[[], int]) -> Iterator[Due]:
        """Feed steps as they come, and say when there is a picture to draw.

        Args:
            steps: Events of one step after another.
            each: How many steps there are to a picture now.
        """
        waiting: list[Events] = []
        done, events, seconds = 0, 0, 0.0
        # The end of the stream: what is left is shown too.
        for step in itertools.chain(steps, [None]):
            if step is not None:
                waiting.append(step)
            due = step is None or done + len(waiting) >= each()
            if not due and len(waiting) < STEPS_AT_A_TIME:
                continue
            start = time.perf_counter()
            self.feed(waiting)
            seconds += time.perf_counter() - start
            done, events, waiting = done + len(waiting), events + sum(map(len, waiting)), []
            if due and done:
                yield Due(self._drawing(), done, events, seconds, start)
                done, events, seconds = 0, 0, 0.0
