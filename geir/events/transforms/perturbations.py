"""Perturbations of events: random loss, jitter and noise.

Random transforms take a `generator`; the default is PyTorch's global generator. Leave `generator` unset
in the worker processes of a `DataLoader`: the global generator differs between workers, but a given
generator would be the same in all of them.
"""

import math

import torch
from torch import Generator, Tensor

from ..._util.function_module import module_of
from ..store import Events
from .common import batched, check_fractions, clip, generator_device


@batched
def drop_events(events: Events, fraction: float, generator: Generator | None = None) -> Events:
    """Drop each event with the probability `fraction`.

    Raises:
        ValueError: If `fraction` does not lie in [0, 1].
    """
    check_fractions("drop_events", fraction=fraction)
    return events[torch.rand(len(events), device=events.t.device, generator=generator) >= fraction]


@batched
def drop_time(events: Events, fraction: float, generator: Generator | None = None) -> Events:
    """Drop the events of a random period of time.

    Args:
        events: Events in the order of time.
        fraction: Length of the period as a fraction of the duration of the recording.
        generator: Source of random numbers.

    Raises:
        ValueError: If `fraction` does not lie in [0, 1].
    """
    check_fractions("drop_time", fraction=fraction)
    if not len(events):
        return events
    position = float(torch.rand((), generator=generator, device=generator_device(generator)))
    start = events.t[0] + position * (1 - fraction) * events.duration
    return events[(events.t < start) | (events.t > start + fraction * events.duration)]


@batched
def drop_area(events: Events, fraction: float, generator: Generator | None = None) -> Events:
    """Drop the events of a random rectangle, which has the aspect ratio of the sensor.

    Args:
        events: Events in any order.
        fraction: Area of the rectangle as a fraction of the area of the sensor.
        generator: Source of random numbers.

    Raises:
        ValueError: If `fraction` does not lie in [0, 1].
    """
    check_fractions("drop_area", fraction=fraction)
    inside = torch.ones(len(events), dtype=torch.bool, device=events.t.device)
    for n, column in zip(events.sensor_size, (events.x, events.y), strict=True):
        side = round(math.sqrt(fraction) * n)
        first = int(torch.randint(n - side + 1, (), generator=generator, device=generator_device(generator)))
        inside &= (column >= first) & (column < first + side)
    return events[~inside]


@batched
def jitter(events: Events, space: float = 0.0, time: float = 0.0, generator: Generator | None = None) -> Events:
    """Add Gaussian noise to positions and times.

    Events that leave the sensor are dropped. If times change, events are sorted again.

    Args:
        events: Events in any order.
        space: Standard deviation in pixels.
        time: Standard deviation in seconds.
        generator: Source of random numbers.

    Raises:
        ValueError: If a standard deviation is negative.
    """
    if not (0 <= space < math.inf and 0 <= time < math.inf):
        raise ValueError(f"jitter: space and time must not be negative, got {space} pixels and {time} s.")

    def noise(deviation: float) -> Tensor:
        normal = torch.randn(len(events), device=events.t.device, generator=generator, dtype=torch.float64)
        return torch.round(deviation * normal).long()

    x, y = (column + noise(space) if space else column for column in (events.x, events.y))
    t = events.t + noise(1e6 * time) if time else events.t
    moved = clip(t, x, y, events.p, events.sensor_size)
    return moved.sorted() if time else moved


@batched
def uniform_noise(events: Events, rate: float, generator: Generator | None = None) -> Events:
    """Add events at random pixels, times and polarities, over the duration of the recording.

    Args:
        events: Events in the order of time.
        rate: Noise events per pixel and second.
        generator: Source of random numbers.

    Raises:
        ValueError: If `rate` is negative.
    """
    if not 0 <= rate < math.inf:
        raise ValueError(f"uniform_noise: rate must not be negative, in events per pixel and second, got {rate}.")
    if not len(events):
        return events
    width, height = events.sensor_size
    device = events.t.device

    def uniform(limit: int) -> Tensor:
        return torch.randint(limit, (count,), generator=generator, device=device)

    mean = torch.tensor(rate * width * height * events.duration * 1e-6, device=device)
    count = int(torch.poisson(mean, generator=generator))
    t = int(events.t[0]) + uniform(events.duration + 1)
    x = uniform(width).to(torch.int16)
    y = uniform(height).to(torch.int16)
    p = uniform(2).to(torch.uint8)
    noise = Events.unchecked(t, x, y, p, events.sensor_size)
    return Events.cat([events, noise]).sorted()


class DropEvents(module_of(drop_events)):
    """`drop_events` as a module."""


class DropTime(module_of(drop_time)):
    """`drop_time` as a module."""


class DropArea(module_of(drop_area)):
    """`drop_area` as a module."""


class Jitter(module_of(jitter)):
    """`jitter` as a module."""


class UniformNoise(module_of(uniform_noise)):
    """`uniform_noise` as a module."""
