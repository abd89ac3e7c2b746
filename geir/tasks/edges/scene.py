"""A synthetic scene in motion, recorded by a simulated event camera."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ...events import Events

# Period of the motion, and interval between two samples of the intensity, in seconds.
_PERIOD = 4.0
_INTERVAL = 4e-3
# Change of the log intensity that triggers an event.
_CONTRAST = 0.25
# Rate of noise events per pixel, in hertz.
_NOISE_RATE = 0.1


class Scene:
    """A rotating bar, an orbiting disc and a swinging frame: an endless stream of events, for `FileInput`.

    A pixel stores the log intensity of its last event and emits an event whenever it has changed by
    a fixed contrast. The same seed results in the same events.

    Args:
        sensor_size: Width and height of the sensor in pixels.
        seed: Seed of the times of events within a sampling interval and of the noise.

    >>> next(Scene((64, 48)).chunks()).sensor_size
    (64, 48)
    """

    def __init__(self, sensor_size: tuple[int, int] = (320, 240), seed: int = 0):
        self.sensor_size = Events.empty(sensor_size).sensor_size
        self._seed = seed
        self._first_period: list[Events] = []  # once it has been generated completely

    def chunks(self, size: int = 0, /) -> Iterator[Events]:
        """Yield the events of consecutive sampling intervals.

        The first period is generated on the fly; later ones repeat it.

        Args:
            size: Ignored; a chunk has the events of one interval.
        """
        samples = round(_PERIOD / _INTERVAL)
        if self._first_period:
            yield from self._first_period
        else:
            generator = torch.Generator().manual_seed(self._seed)
            # Starts with the end of the period, so that the shapes do not appear all at once.
            reference = self._log_intensity(1 - 1 / samples)
            chunks: list[Events] = []
            for k in range(samples):
                events, reference = self._sample(self._log_intensity(k / samples), reference, k, generator)
                chunks.append(events)
                yield events
            self._first_period = self._first_period or chunks
        for period in range(1, 1 << 31):
            for events in self._first_period:
                t = events.t + period * round(_PERIOD * 1e6)
                yield Events.unchecked(t, events.x, events.y, events.p, self.sensor_size)

    def _sample(
        self, intensity: Tensor, reference: Tensor, k: int, generator: torch.Generator
    ) -> tuple[Events, Tensor]:
        """The events of interval k, and the log intensity of each pixel at its last event."""
        width, height = self.sensor_size
        steps = ((intensity - reference) / _CONTRAST).trunc_()
        noise_count = int(torch.poisson(torch.tensor(_NOISE_RATE * _INTERVAL * width * height), generator))
        noise = torch.randint(width * height, (noise_count,), generator=generator)
        pixels = torch.cat([steps.flatten().nonzero()[:, 0], noise])
        times = torch.rand(len(pixels), generator=generator)
        t, order = (1e6 * _INTERVAL * (k + times.double())).long().sort()
        change = steps.flatten()[pixels]
        brighter = torch.where(change == 0, times < 0.5, change > 0)
        x = (pixels % width)[order].short()
        y = (pixels // width)[order].short()
        p = brighter[order].to(torch.uint8)
        return Events.unchecked(t, x, y, p, self.sensor_size), reference + steps * _CONTRAST

    def _log_intensity(self, phase: float) -> Tensor:
        """Log intensity of each pixel at a phase of the period in [0, 1)."""
        width, height = self.sensor_size
        unit = min(width, height)
        angle = 2 * math.pi * phase
        x = (torch.arange(width) - width / 2) / unit
        y = (torch.arange(height)[:, None] - height / 2) / unit

        def box(x: Tensor, y: Tensor, angle: float, half_width: float, half_height: float) -> Tensor:
            """Distance to a rotated box, negative inside."""
            c, s = math.cos(angle), math.sin(angle)
            return torch.maximum((c * x + s * y).abs() - half_width, (c * y - s * x).abs() - half_height)

        bar = box(x, y, angle, 0.3, 0.035)
        disc = ((x - 0.52 * math.cos(angle)) ** 2 + (y + 0.34 * math.sin(angle)) ** 2).sqrt_() - 0.09
        frame = box(x - 0.06 * math.sin(2 * angle), y, 0.15 * math.sin(angle), 0.47, 0.36).abs() - 0.012
        # Edges are two pixels wide.
        shapes = ((0.5 - unit / 2 * distance).clamp_(0, 1) for distance in (bar, disc, frame))
        return sum(shapes, torch.zeros(height, width))
