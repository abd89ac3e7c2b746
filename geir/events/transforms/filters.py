"""Filters of events: noise, hot pixels, and pixels that are too quick."""

import math

import torch
from torch import Tensor

from ..._util.function_module import module_of
from ..store import Events
from .common import batched, call, check_sorted, compiled, microseconds, places

# Before any event, and far enough from the least number that a duration can be taken off.
_NEVER = -(1 << 62)


@batched
def denoise(events: Events, duration: float = 10e-3, diagonal: bool = True) -> Events:
    """Keep the events that another one supports: of a neighbouring pixel, of either polarity, earlier by at most `duration`.

    Sensors send events at random too, the background activity, which rarely come together in space and time. The first event of an edge has
    no support and is lost.

    Reference: T. Delbruck, *Frame-free dynamic digital vision*, 2008.

    Args:
        events: In the order of time.
        duration: In seconds.
        diagonal: Whether the four diagonal neighbours support too.

    Raises:
        ValueError: If events are not in the order of time, or `duration` is less than a microsecond.

    >>> events = Events(t=[0, 10, 9000], x=[0, 1, 1], y=[0, 1, 2], p=[1, 1, 1], sensor_size=(3, 3))
    >>> denoise(events, duration=1e-3).t
    tensor([10])
    """
    check_sorted("denoise", events)
    span = math.floor(microseconds("denoise", duration=duration))
    width, height = events.sensor_size
    if (c := compiled(events, "transforms/filters.c")) is None:
        return events[_supported(events, span, diagonal)]
    last = torch.full((height + 2, width + 2), _NEVER)
    keep = torch.empty(len(events), dtype=torch.bool)
    call(c.support, [events.t, events.x, events.y, last, keep], [len(events), width, span, diagonal])
    return events[keep]


@batched
def refractory_filter(events: Events, period: float) -> Events:
    """Drop the events that follow within less than `period` the last one of the same pixel that was kept.

    Args:
        events: In the order of time.
        period: In seconds.

    Raises:
        ValueError: If events are not in the order of time, or `period` is less than a microsecond.

    >>> events = Events(t=[0, 700, 1400, 1400], x=[0, 0, 0, 1], y=[0, 0, 0, 0], p=[1, 0, 1, 1], sensor_size=(2, 1))
    >>> refractory_filter(events, period=1e-3).t
    tensor([   0, 1400, 1400])
    """
    check_sorted("refractory_filter", events)
    span = math.ceil(microseconds("refractory_filter", period=period))
    width, height = events.sensor_size
    if (c := compiled(events, "transforms/filters.c")) is None:
        return events[_after_period(events, span)]
    last = torch.full((height, width), _NEVER)
    keep = torch.empty(len(events), dtype=torch.bool)
    call(c.refractory, [events.t, events.x, events.y, last, keep], [len(events), width, span])
    return events[keep]


def hot_pixels(events: Events, max_rate: float = 1000.0) -> Tensor:
    """The pixels with more than `max_rate` events a second over the recording, of either polarity, as truth values (height, width).

    Raises:
        ValueError: If `max_rate` is not positive.
    """
    if not 0 < max_rate < math.inf:
        raise ValueError(f"hot_pixels: max_rate must be positive and finite, in events a second, got {max_rate}.")
    width, height = events.sensor_size
    counts = torch.bincount(places(events), minlength=width * height).view(height, width)
    return counts > max_rate * events.duration * 1e-6


@batched
def drop_pixels(events: Events, pixels: Tensor) -> Events:
    """Drop the events of some pixels.

    Args:
        events: Any.
        pixels: Truth values (height, width), such as `hot_pixels` of a recording made for it.

    Raises:
        ValueError: If `pixels` are not truth values of the shape of the sensor.
    """
    width, height = events.sensor_size
    if pixels.shape != (height, width) or pixels.dtype != torch.bool:
        raise ValueError(
            f"drop_pixels takes truth values of shape ({height}, {width}), got {pixels.dtype} of shape {tuple(pixels.shape)}."
        )
    return events[~pixels.view(-1)[places(events)]]


@batched
def remove_hot_pixels(events: Events, max_rate: float = 1000.0) -> Events:
    """Drop the events of the recording's own `hot_pixels`."""
    return drop_pixels(events, hot_pixels(events, max_rate))


def _supported(events: Events, span: int, diagonal: bool) -> Tensor:
    """What `support` in C does, by searching: events ordered by pixel and then by number, each looks for the one before its own number next door."""
    (width, height), number = events.sensor_size, torch.arange(len(events), device=events.t.device)
    keys = torch.sort(places(events) * len(events) + number).values
    keep = torch.zeros_like(number, dtype=torch.bool)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            if dx == dy == 0 or (dx and dy and not diagonal):
                continue
            x, y = events.x.long() + dx, events.y.long() + dy
            own = (y * width + x) * len(events)
            found = keys[(torch.searchsorted(keys, own + number) - 1).clamp(min=0)] - own
            there = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (found >= 0) & (found < number)
            keep |= there & (events.t[torch.where(there, found, 0)] >= events.t - span)
    return keep


def _after_period(events: Events, span: int) -> Tensor:
    """What `refractory` in C does, by jumping: from each event to the next of its pixel that is late enough; kept is what the first one reaches."""
    order = torch.sort(places(events), stable=True).indices
    pixel, t = places(events)[order], events.t[order]
    first, length = (int(t.min()), int(t.max() - t.min()) + span + 1) if len(t) else (0, 1)
    keys = pixel * length + t - first
    jump = torch.searchsorted(keys, keys + span)
    # The end, from which there is no way, is a place of its own; so is another pixel.
    end = len(events)
    jump = torch.where((jump < end) & (pixel[jump.clamp(max=max(end - 1, 0))] == pixel), jump, end)
    jump = torch.cat([jump, jump.new_tensor([end])])
    reached = torch.cat([pixel[:1] == pixel[:1], pixel[1:] != pixel[:-1], pixel.new_zeros(1, dtype=torch.bool)])
    # After k rounds all that 2^k jumps reach.
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
