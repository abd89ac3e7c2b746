"""Geometric transforms of events: crops, flips, affine maps, and lower resolutions.

Random transforms take a `generator`; the default is PyTorch's global generator. Leave `generator` unset
in the worker processes of a `DataLoader`: the global generator differs between workers, but a given
generator would be the same in all of them.
"""

import math
from dataclasses import replace

import torch
from torch import Generator

from ..._util.function_module import module_of
from ..store import Events
from .common import batched, check_fractions, clip, generator_device, to_microseconds


@batched
def crop(events: Events, size: tuple[int, int], corner: tuple[int, int] | None = None) -> Events:
    """Crop the sensor to a rectangle.

    Args:
        events: Events in any order.
        size: Width and height of the rectangle in pixels.
        corner: Column and row of its upper left corner. Default: the rectangle is centered.

    Raises:
        ValueError: If the rectangle does not lie within the sensor.
    """
    width, height = size
    sensor_width, sensor_height = events.sensor_size
    left, top = corner or ((sensor_width - width) // 2, (sensor_height - height) // 2)
    if not (0 <= left < left + width <= sensor_width and 0 <= top < top + height <= sensor_height):
        raise ValueError(
            f"crop: the rectangle of {width}x{height} pixels at ({left}, {top}) "
            f"does not lie within the sensor of {sensor_width}x{sensor_height} pixels."
        )
    return clip(events.t, events.x.int() - left, events.y.int() - top, events.p, (width, height))


@batched
def random_crop(events: Events, size: tuple[int, int], generator: Generator | None = None) -> Events:
    """`crop` at a random position.

    Raises:
        ValueError: If the rectangle is larger than the sensor.
    """
    left, top = (
        int(torch.randint(max(0, whole - part) + 1, (), generator=generator, device=generator_device(generator)))
        for whole, part in zip(events.sensor_size, size, strict=True)
    )
    return crop(events, size, (left, top))


@batched
def crop_time(events: Events, duration: float, start: float = 0.0) -> Events:
    """Select a period of time. The result shares memory with the events.

    Args:
        events: Events in the order of time.
        duration: Length of the period in seconds.
        start: Start of the period in seconds after the first event.

    Raises:
        ValueError: If `duration` is less than a microsecond.
    """
    length = to_microseconds("crop_time", duration=duration)
    if not len(events):
        return events
    first = int(events.t[0]) + round(start * 1e6)
    return events.slice_time(first, first + round(length))


@batched
def flip(events: Events, x: bool = False, y: bool = False, polarity: bool = False, time: bool = False) -> Events:
    """Mirror events horizontally (`x`) or vertically (`y`), invert polarities, or reverse time.

    Reversing time also inverts polarities: an increase of brightness becomes a decrease.
    """
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
    """`flip`, where each argument is the probability of that flip.

    Raises:
        ValueError: If a probability does not lie in [0, 1].
    """
    probabilities = {"x": x, "y": y, "polarity": polarity, "time": time}
    check_fractions("random_flip", **probabilities)
    drawn = torch.rand(4, generator=generator, device=generator_device(generator)).tolist()
    flips = {name: u < p for u, (name, p) in zip(drawn, probabilities.items(), strict=True)}
    return flip(events, **flips)


@batched
def affine(events: Events, angle: float = 0.0, scale: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)) -> Events:
    """Rotate and scale about the center of the sensor, then shift. Events that leave the sensor are dropped.

    Args:
        events: Events in any order.
        angle: Angle in radians, counterclockwise in the image.
        scale: Scale factor.
        shift: Shift to the right and downward, in pixels.

    Raises:
        ValueError: If `scale` is not positive.
    """
    if not 0 < scale < math.inf:
        raise ValueError(f"affine: scale must be positive and finite, got {scale}.")
    width, height = events.sensor_size
    center_x, center_y = (width - 1) / 2, (height - 1) / 2
    x, y = events.x - center_x, events.y - center_y
    c, s = scale * math.cos(angle), scale * math.sin(angle)
    right, down = shift
    new_x = torch.round(c * x + s * y + center_x + right)
    new_y = torch.round(-s * x + c * y + center_y + down)
    return clip(events.t, new_x, new_y, events.p, events.sensor_size)


@batched
def rotate(events: Events, angle: float) -> Events:
    """Rotate about the center of the sensor. Events that leave the sensor are dropped.

    Args:
        events: Events in any order.
        angle: Angle in radians, counterclockwise in the image.
    """
    return affine(events, angle)


@batched
def random_affine(
    events: Events,
    angle: float = 0.0,
    scale: tuple[float, float] = (1.0, 1.0),
    shift: tuple[float, float] = (0.0, 0.0),
    generator: Generator | None = None,
) -> Events:
    """`affine` with uniformly distributed parameters.

    Args:
        events: Events in any order.
        angle: Angles are drawn from [-angle, angle], in radians.
        scale: Smallest and largest scale factor.
        shift: Shifts are drawn from [-shift, shift], to the right and downward, in pixels.
        generator: Source of random numbers.

    Raises:
        ValueError: If the drawn scale is not positive.
    """
    a, s, right, down = torch.rand(4, generator=generator, device=generator_device(generator)).tolist()
    smallest, largest = scale
    max_right, max_down = shift
    return affine(
        events,
        angle=(2 * a - 1) * angle,
        scale=smallest + s * (largest - smallest),
        shift=((2 * right - 1) * max_right, (2 * down - 1) * max_down),
    )


@batched
def downsample(events: Events, space: int = 1, time: float | None = None) -> Events:
    """Reduce the resolution in space and time. No events are dropped.

    Args:
        events: Events in any order.
        space: Blocks of `space` by `space` pixels become one pixel.
        time: Times are rounded down to multiples of this duration in seconds. Default: unchanged.

    Raises:
        ValueError: If `space` is not a positive integer, or `time` is less than a microsecond.
    """
    if not isinstance(space, int) or space < 1:
        raise ValueError(f"downsample: space must be a positive integer, in pixels, got {space!r}.")
    width, height = (-(-n // space) for n in events.sensor_size)
    t = events.t
    if time is not None:
        step = round(to_microseconds("downsample", time=time))
        t = t.div(step, rounding_mode="floor") * step
    return Events.unchecked(t, events.x // space, events.y // space, events.p, (width, height))


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


class Rotate(module_of(rotate)):
    """`rotate` as a module."""


class RandomAffine(module_of(random_affine)):
    """`random_affine` as a module."""


class Downsample(module_of(downsample)):
    """`downsample` as a module."""
