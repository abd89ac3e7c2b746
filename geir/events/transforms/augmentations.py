"""Events moved, thinned and disturbed, to see more than was recorded. Random ones take a `generator`; the default is PyTorch's own.

In the worker processes of a `DataLoader` leave `generator` out: PyTorch's own is another one in each worker, a given one is the same in all.
"""

import math
from dataclasses import replace

import torch
from torch import Generator, Tensor

from ..._util.function_module import module_of
from ..store import Events
from .common import batched, microseconds


@batched
def crop(events: Events, size: tuple[int, int], corner: tuple[int, int] | None = None) -> Events:
    """What a smaller sensor would have seen.

    Args:
        events: Any.
        size: Its width and height.
        corner: Column and row of its left upper corner. Default: so that it is in the middle.

    Raises:
        ValueError: If it does not lie within the sensor.
    """
    (left, top), (width, height) = (
        corner or [(whole - part) // 2 for whole, part in zip(events.sensor_size, size, strict=True)],
        size,
    )
    if not (0 <= left < left + width <= events.sensor_size[0] and 0 <= top < top + height <= events.sensor_size[1]):
        raise ValueError(
            f"crop: {width}x{height} pixels from ({left}, {top}) on do not lie within {events.sensor_size[0]}x{events.sensor_size[1]}."
        )
    return _within(events.t, events.x.int() - left, events.y.int() - top, events.p, (width, height))


@batched
def random_crop(events: Events, size: tuple[int, int], generator: Generator | None = None) -> Events:
    """`crop` at a random place."""
    left, top = (
        int(torch.randint(max(0, whole - part) + 1, (), generator=generator, device=_device(generator)))
        for whole, part in zip(events.sensor_size, size, strict=True)
    )
    return crop(events, size, (left, top))


@batched
def crop_time(events: Events, duration: float, start: float = 0.0) -> Events:
    """The events of `duration` seconds from `start` seconds after the first one on; they share memory."""
    span = microseconds("crop_time", duration=duration)
    if not len(events):
        return events
    first = int(events.t[0]) + round(start * 1e6)
    return events.slice_time(first, first + round(span))


@batched
def flip(events: Events, x: bool = False, y: bool = False, polarity: bool = False, time: bool = False) -> Events:
    """Mirror: left and right, top and bottom, brighter and darker, first and last (what became brighter then becomes darker)."""
    width, height = events.sensor_size
    if time and len(events):
        events = Events.unchecked(*(column.flip(0) for column in events.columns()), sensor_size=events.sensor_size)
        events = replace(events, t=events.t[0] + events.t[-1] - events.t)
    return Events.unchecked(
        events.t,
        width - 1 - events.x if x else events.x,
        height - 1 - events.y if y else events.y,
        1 - events.p if polarity != time else events.p,
        events.sensor_size,
    )


@batched
def random_flip(
    events: Events,
    x: float = 0.5,
    y: float = 0.0,
    polarity: float = 0.0,
    time: float = 0.0,
    generator: Generator | None = None,
) -> Events:
    """`flip` each with a probability."""
    chances = {"x": x, "y": y, "polarity": polarity, "time": time}
    _check_shares("random_flip", **chances)
    drawn = torch.rand(4, generator=generator, device=_device(generator)).tolist()
    return flip(events, **{name: d < chance for d, (name, chance) in zip(drawn, chances.items(), strict=True)})


@batched
def affine(events: Events, angle: float = 0.0, scale: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)) -> Events:
    """Rotate and scale about the middle of the sensor, then shift. What leaves the sensor is lost.

    Args:
        events: Any.
        angle: In radians, anticlockwise as one looks at the picture.
        scale: Factor on sizes.
        shift: To the right and downward, in pixels.

    Raises:
        ValueError: If `scale` is not positive.
    """
    if not 0 < scale < math.inf:
        raise ValueError(f"affine: scale must be positive and finite, got {scale}.")
    across, down = ((n - 1) / 2 for n in events.sensor_size)
    x, y = events.x - across, events.y - down
    c, s = scale * math.cos(angle), scale * math.sin(angle)
    x, y = torch.round(c * x + s * y + across + shift[0]), torch.round(-s * x + c * y + down + shift[1])
    return _within(events.t, x, y, events.p, events.sensor_size)


@batched
def rotate(events: Events, angle: float) -> Events:
    """Rotate about the middle of the sensor by an angle in radians, anticlockwise as one looks at the picture. What leaves the sensor is lost."""
    return affine(events, angle)


@batched
def random_affine(
    events: Events,
    angle: float = 0.0,
    scale: tuple[float, float] = (1.0, 1.0),
    shift: tuple[float, float] = (0.0, 0.0),
    generator: Generator | None = None,
) -> Events:
    """`affine` with an angle in [-angle, angle], a scale between two, and shifts in [-shift, shift], all uniform."""
    a, s, right, down = torch.rand(4, generator=generator, device=_device(generator)).tolist()
    return affine(
        events,
        (2 * a - 1) * angle,
        scale[0] + s * (scale[1] - scale[0]),
        ((2 * right - 1) * shift[0], (2 * down - 1) * shift[1]),
    )


@batched
def downsample(events: Events, space: int = 1, time: float | None = None) -> Events:
    """Join `space` by `space` pixels to one, and round times down to multiples of `time` seconds. All events stay.

    Raises:
        ValueError: If `space` is not a positive whole number, or `time` less than a microsecond.
    """
    if not isinstance(space, int) or space < 1:
        raise ValueError(f"downsample: space must be a positive whole number of pixels, got {space!r}.")
    width, height = (-(-n // space) for n in events.sensor_size)
    t = events.t
    if time is not None:
        step = round(microseconds("downsample", time=time))
        t = t.div(step, rounding_mode="floor") * step
    return Events.unchecked(t, events.x // space, events.y // space, events.p, (width, height))


@batched
def drop_events(events: Events, share: float, generator: Generator | None = None) -> Events:
    """Drop each event with a probability."""
    _check_shares("drop_events", share=share)
    return events[torch.rand(len(events), device=events.t.device, generator=generator) >= share]


@batched
def drop_time(events: Events, share: float, generator: Generator | None = None) -> Events:
    """Drop the events within a share of the recording's duration, at a random place."""
    _check_shares("drop_time", share=share)
    if not len(events):
        return events
    start = (
        events.t[0]
        + float(torch.rand((), generator=generator, device=_device(generator))) * (1 - share) * events.duration
    )
    return events[(events.t < start) | (events.t > start + share * events.duration)]


@batched
def drop_area(events: Events, share: float, generator: Generator | None = None) -> Events:
    """Drop the events within a rectangle of the sensor's proportions and a share of its area, at a random place."""
    _check_shares("drop_area", share=share)
    inside = torch.ones(len(events), dtype=torch.bool, device=events.t.device)
    for n, column in zip(events.sensor_size, (events.x, events.y), strict=True):
        side = round(math.sqrt(share) * n)
        first = int(torch.randint(n - side + 1, (), generator=generator, device=_device(generator)))
        inside &= (column >= first) & (column < first + side)
    return events[~inside]


@batched
def jitter(events: Events, space: float = 0.0, time: float = 0.0, generator: Generator | None = None) -> Events:
    """Add normal noise to places and times. What leaves the sensor is lost, and the order of time is restored.

    Args:
        events: Any.
        space: Standard deviation in pixels.
        time: Standard deviation in seconds.

    Raises:
        ValueError: If one of them is negative.
    """
    if not (0 <= space < math.inf and 0 <= time < math.inf):
        raise ValueError(f"jitter: space and time must not be negative, got {space} pixels and {time} s.")

    def noise(deviation: float) -> Tensor:
        return torch.round(
            deviation * torch.randn(len(events), device=events.t.device, generator=generator, dtype=torch.float64)
        ).long()

    x, y = (column + noise(space) if space else column for column in (events.x, events.y))
    t = events.t + noise(1e6 * time) if time else events.t
    moved = _within(t, x, y, events.p, events.sensor_size)
    return moved.sorted() if time else moved


@batched
def uniform_noise(events: Events, rate: float, generator: Generator | None = None) -> Events:
    """Add events at random pixels, times and polarities, over the recording's duration.

    Args:
        events: In the order of time.
        rate: Of each pixel, in events a second.

    Raises:
        ValueError: If `rate` is negative.
    """
    if not 0 <= rate < math.inf:
        raise ValueError(f"uniform_noise: rate must not be negative, in events a second of each pixel, got {rate}.")
    if not len(events):
        return events
    (width, height), where = events.sensor_size, {"generator": generator, "device": events.t.device}
    number = int(
        torch.poisson(
            torch.tensor(rate * width * height * events.duration * 1e-6, device=where["device"]), generator=generator
        )
    )
    t = int(events.t[0]) + torch.randint(events.duration + 1, (number,), **where)
    x, y, p = (torch.randint(n, (number,), **where) for n in (width, height, 2))
    noise = Events.unchecked(t, x.to(torch.int16), y.to(torch.int16), p.to(torch.uint8), events.sensor_size)
    return Events.cat([events, noise]).sorted()


def _within(t: Tensor, x: Tensor, y: Tensor, p: Tensor, size: tuple[int, int]) -> Events:
    """Those of some events that lie on the sensor."""
    inside = (x >= 0) & (x < size[0]) & (y >= 0) & (y < size[1])
    return Events.unchecked(t[inside], x[inside].to(torch.int16), y[inside].to(torch.int16), p[inside], size)


def _device(generator: Generator | None) -> torch.device | None:
    return None if generator is None else generator.device


def _check_shares(caller: str, **shares: float) -> None:
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise ValueError(f"{caller}: {name} must lie in [0, 1], got {share}.")


class Crop(module_of(crop)):
    """`crop` as a module."""


class RandomCrop(module_of(random_crop)):
    """`random_crop` as a module."""


class CropTime(module_of(crop_time)):
    """`crop_time` as a module."""


class Flip(module_of(flip)):
    """`flip` as a module."""


class RandomFlip(module_of(random_flip)):
    """`random_flip` as a module."""


class Affine(module_of(affine)):
    """`affine` as a module."""


class RandomAffine(module_of(random_affine)):
    """`random_affine` as a module."""


class Rotate(module_of(rotate)):
    """`rotate` as a module."""


class Downsample(module_of(downsample)):
    """`downsample` as a module."""


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
