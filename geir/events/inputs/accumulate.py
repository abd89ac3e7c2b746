"""Accumulation of events in one frame of counts."""

import torch
from torch import Tensor

from ..._runtime import native
from .._native import load
from ..store import Events


def flat_indices(events: Events) -> Tensor:
    """Indices of events in a flattened frame (polarity, height, width), int32.

    Raises:
        ValueError: If an event lies outside of the sensor.
    """
    width, height = events.sensor_size
    outside = (events.x < 0) | (events.x >= width) | (events.y < 0) | (events.y >= height) | (events.p > 1)
    _check_none_outside(int(outside.sum()), events.sensor_size)
    return (events.p.int() * height + events.y) * width + events.x


def accumulate(events: Events, frame: Tensor) -> None:
    """Add the number of events in each pixel to a frame, in place.

    If the frame is on another device than the events, only the indices of the events are
    transferred, from pinned memory to a GPU.

    Args:
        events: Events in any order.
        frame: Contiguous float32 tensor of shape (polarity, height, width), of the size of the
            sensor.

    Raises:
        ValueError: If an event lies outside of the sensor.
    """
    if not len(events):
        return
    if frame.is_cuda and not events.t.is_cuda:
        indices = flat_indices(events).pin_memory().to(frame.device, non_blocking=True)
    elif frame.device.type == "cpu" and (library := load("inputs/accumulate.c")) is not None:
        outside = torch.empty((), dtype=torch.int64)
        tensors = [events.x, events.y, events.p, frame, outside]
        # One thread: two threads could add to the same pixel at once, and the events of one frame are few.
        native.call(library.accumulate, tensors, [len(events), *frame.shape[1:]], block=1, threads=1)
        _check_none_outside(int(outside), events.sensor_size)
        return
    else:
        indices = flat_indices(events).to(frame.device)
    frame.view(-1).index_add_(0, indices, torch.ones((), device=frame.device).expand(len(indices)))


def _check_none_outside(outside: int, sensor_size: tuple[int, int]) -> None:
    if outside:
        width, height = sensor_size
        raise ValueError(f"{outside} events lie outside of the sensor of {width}x{height} pixels.")
