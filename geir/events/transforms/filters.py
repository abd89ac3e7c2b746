"""Filters of events: background activity, hot pixels, refractory periods."""

import math

import torch
from torch import Tensor

from ..._util.function_module import module_of
from ..store import Events
from .common import batched, call, check_sorted, load_for, pixel_indices, to_microseconds

# A time before any event, far enough from the limit of int64 that a duration can be subtracted.
_NEVER = -(1 << 62)


@batched
def denoise(events: Events, duration: float = 10e-3, diagonal: bool = True) -> Events:
    """Keep the events that follow an event of a neighboring pixel, of either polarity, within `duration`.

    Sensors also emit random events, the background activity, which rarely coincide in space and
    time. The first event of an edge has no such predecessor and is dropped.

    Reference: T. Delbruck, *Frame-free dynamic digital vision*, 2008.

    Args:
        events: Events in the order of time.
        duration: Maximum time between the two events in seconds.
        diagonal: Whether the four diagonal neighbors count as neighbors.

    Raises:
        ValueError: If events are not in the order of time, or `duration` is less than a
            microsecond.

    >>> events = Events(t=[0, 10, 9000], x=[0, 1, 1], y=[0, 1, 2], p=[1, 1, 1], sensor_size=(3, 3))
    >>> denoise(events, duration=1e-3).t
    tensor([10])
    """
    check_sorted("denoise", events)
    duration_us = math.floor(to_microseconds("denoise", duration=duration))
    width, height = events.sensor_size
    library = load_for(events, "transforms/filters.c")
    if library is None:
        return events[_reference_denoise(events, duration_us, diagonal)]
    last = torch.full((height + 2, width + 2), _NEVER)
    keep = torch.empty(len(events), dtype=torch.bool)
    tensors = [events.t, events.x, events.y, last, keep]
    call(library.denoise, tensors, [len(events), width, duration_us, diagonal])
    return events[keep]


@batched
def refractory_filter(events: Events, period: float) -> Events:
    """Drop the events that follow an event of the same pixel within less than `period`.

    Dropped events do not start a new period.

    Args:
        events: Events in the order of time.
        period: Refractory period in seconds.

    Raises:
        ValueError: If events are not in the order of time, or `period` is less than a microsecond.

    >>> events = Events(t=[0, 700, 1400, 1400], x=[0, 0, 0, 1], y=[0, 0, 0, 0], p=[1, 0, 1, 1], sensor_size=(2, 1))
    >>> refractory_filter(events, period=1e-3).t
    tensor([   0, 1400, 1400])
    """
    check_sorted("refractory_filter", events)
    period_us = math.ceil(to_microseconds("refractory_filter", period=period))
    width, height = events.sensor_size
    library = load_for(events, "transforms/filters.c")
    if library is None:
        return events[_reference_refractory(events, period_us)]
    last = torch.full((height, width), _NEVER)
    keep = torch.empty(len(events), dtype=torch.bool)
    tensors = [events.t, events.x, events.y, last, keep]
    call(library.refractory_filter, tensors, [len(events), width, period_us])
    return events[keep]


def hot_pixels(events: Events, max_rate: float = 1000.0) -> Tensor:
    """Find the pixels with more than `max_rate` events per second, of either polarity.

    Args:
        events: The recording.
        max_rate: Highest normal event rate of a pixel in events per second.

    Returns:
        Mask of the hot pixels, bool of shape (height, width).

    Raises:
        ValueError: If `max_rate` is not positive.
    """
    if not 0 < max_rate < math.inf:
        raise ValueError(f"hot_pixels: max_rate must be positive and finite, in events per second, got {max_rate}.")
    width, height = events.sensor_size
    counts = torch.bincount(pixel_indices(events), minlength=width * height).view(height, width)
    return counts > max_rate * events.duration * 1e-6


@batched
def drop_pixels(events: Events, pixels: Tensor) -> Events:
    """Drop the events of some pixels.

    Args:
        events: Events in any order.
        pixels: Mask of the pixels, bool of shape (height, width), such as the result of
            `hot_pixels`.

    Raises:
        ValueError: If `pixels` is not a bool tensor of the shape of the sensor.
    """
    width, height = events.sensor_size
    if pixels.shape != (height, width) or pixels.dtype != torch.bool:
        raise ValueError(
            f"drop_pixels: pixels must be a bool tensor of shape ({height}, {width}), "
            f"got {pixels.dtype} of shape {tuple(pixels.shape)}."
        )
    return events[~pixels.view(-1)[pixel_indices(events)]]


@batched
def remove_hot_pixels(events: Events, max_rate: float = 1000.0) -> Events:
    """Drop the events of the hot pixels of the recording; see `hot_pixels`.

    Raises:
        ValueError: If `max_rate` is not positive.
    """
    return drop_pixels(events, hot_pixels(events, max_rate))


def _reference_denoise(events: Events, duration_us: int, diagonal: bool) -> Tensor:
    """`denoise` of filters.c as PyTorch operations. Returns the mask of the events to keep.

    The keys pixel * N + index are sorted by pixel, then by time. For each event and each
    neighboring pixel, a binary search finds the last event of that pixel with a smaller index.
    """
    width, height = events.sensor_size
    count = len(events)
    index = torch.arange(count, device=events.t.device)
    keys = torch.sort(pixel_indices(events) * count + index).values
    keep = torch.zeros_like(index, dtype=torch.bool)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            if dx == dy == 0 or (dx and dy and not diagonal):
                continue
            x, y = events.x.long() + dx, events.y.long() + dy
            pixel_key = (y * width + x) * count
            previous = keys[(torch.searchsorted(keys, pixel_key + index) - 1).clamp(min=0)] - pixel_key
            on_sensor = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            exists = on_sensor & (previous >= 0) & (previous < index)
            keep |= exists & (events.t[torch.where(exists, previous, 0)] >= events.t - duration_us)
    return keep


def _reference_refractory(events: Events, period_us: int) -> Tensor:
    """`refractory_filter` of filters.c as PyTorch operations. Returns the mask of the events to keep.

    `jump` maps each event to the next event of its pixel that is late enough to pass, if this one
    passes. The events that pass are those reached from the first event of each pixel. They are
    found by pointer doubling: after k rounds, all events within 2^k jumps are reached.
    """
    order = torch.sort(pixel_indices(events), stable=True).indices
    pixel, t = pixel_indices(events)[order], events.t[order]
    first = int(t.min()) if len(t) else 0
    length = int(t.max()) - first + period_us + 1 if len(t) else 1
    keys = pixel * length + t - first
    jump = torch.searchsorted(keys, keys + period_us)
    # Jumps beyond the last event of the pixel lead to the end, which is an additional place that
    # leads to itself.
    end = len(events)
    jump = torch.where((jump < end) & (pixel[jump.clamp(max=max(end - 1, 0))] == pixel), jump, end)
    jump = torch.cat([jump, jump.new_tensor([end])])
    is_first = torch.ones_like(pixel, dtype=torch.bool)
    is_first[1:] = pixel[1:] != pixel[:-1]
    reached = torch.cat([is_first, is_first.new_zeros(1)])
    for _ in range(max(end, 1).bit_length()):
        reached[jump[reached]] = True
        jump = jump[jump]
    return torch.zeros_like(reached[:end]).index_put_((order,), reached[:end])


class Denoise(module_of(denoise)):
    """`denoise` as a module."""


class RefractoryFilter(module_of(refractory_filter)):
    """`refractory_filter` as a module."""


class DropPixels(module_of(drop_pixels)):
    """`drop_pixels` as a module."""


class RemoveHotPixels(module_of(remove_hot_pixels)):
    """`remove_hot_pixels` as a module."""
