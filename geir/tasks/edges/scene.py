"""A scene that moves, seen by an event camera that does not exist."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ...events import Events

# Seconds after which the scene is as it was, and between two looks at it.
_TURN, _LOOK = 4.0, 4e-3
# Change of log intensity that makes an event, and how often a pixel makes one for no reason, in hertz.
_CONTRAST, _NOISE = 0.25, 0.1


class Scene:
    """A bar that turns, a disc that goes round and a frame that swings: events without end, for `FileInput`.

    A pixel remembers the logarithm of the intensity at its last event and makes events where that has changed by a contrast. The same seed makes
    the same events.

    Args:
        sensor_size: Width and height in pixels.
        seed: Of times within a look, and of noise.

    >>> next(Scene((64, 48)).chunks()).sensor_size
    (64, 48)
    """

    def __init__(self, sensor_size: tuple[int, int] = (320, 240), seed: int = 0):
        self.sensor_size = Events.empty(sensor_size).sensor_size
        self._seed = seed
        self._turn: list[Events] = []

    def chunks(self, size: int = 0, /) -> Iterator[Events]:
        """Events of one look after another, however many there are; the first turn is made as it goes, the later ones repeat it."""
        looks = round(_TURN / _LOOK)
        generator = torch.Generator().manual_seed(self._seed)
        # From the end of the last turn on, so that nothing appears all at once.
        reference = self._intensity(1 - 1 / looks)
        made: list[Events] = []
        for k in range(looks):
            if not self._turn:
                events, reference = self._look(self._intensity(k / looks), reference, k, generator)
                made.append(events)
                yield events
            else:
                yield self._turn[k]
        self._turn = self._turn or made
        for turn in range(1, 1 << 31):
            for events in self._turn:
                t = events.t + turn * round(_TURN * 1e6)
                yield Events.unchecked(t, events.x, events.y, events.p, self.sensor_size)

    def _look(self, intensity: Tensor, reference: Tensor, k: int, generator: torch.Generator) -> tuple[Events, Tensor]:
        width, height = self.sensor_size
        steps = ((intensity - reference) / _CONTRAST).trunc_()
        noise = int(torch.poisson(torch.tensor(_NOISE * _LOOK * width * height), generator))
        at = torch.cat([steps.flatten().nonzero()[:, 0], torch.randint(width * height, (noise,), generator=generator)])
        times = torch.rand(len(at), generator=generator)
        t, order = (1e6 * _LOOK * (k + times.double())).long().sort()
        change = steps.flatten()[at]
        brighter = torch.where(change == 0, times < 0.5, change > 0)
        x, y = at % width, at // width
        events = Events.unchecked(
            t, x[order].short(), y[order].short(), brighter[order].to(torch.uint8), self.sensor_size
        )
        return events, reference + steps * _CONTRAST

    def _intensity(self, phase: float) -> Tensor:
        """Logarithm of the intensity at a part of the turn."""
        width, height = self.sensor_size
        unit, turn = min(width, height), 2 * math.pi * phase
        x, y = (torch.arange(width) - width / 2) / unit, (torch.arange(height)[:, None] - height / 2) / unit

        def box(x: Tensor, y: Tensor, angle: float, wide: float, high: float) -> Tensor:
            """Distance to a box, negative inside."""
            c, s = math.cos(angle), math.sin(angle)
            return torch.maximum((c * x + s * y).abs() - wide, (c * y - s * x).abs() - high)

        bar = box(x, y, turn, 0.3, 0.035)
        disc = ((x - 0.52 * math.cos(turn)) ** 2 + (y + 0.34 * math.sin(turn)) ** 2).sqrt_() - 0.09
        frame = (box(x - 0.06 * math.sin(2 * turn), y, 0.15 * math.sin(turn), 0.47, 0.36)).abs() - 0.012
        # Edges are two pixels wide.
        return sum(((0.5 - unit / 2 * shape).clamp_(0, 1) for shape in (bar, disc, frame)), torch.zeros(height, width))
