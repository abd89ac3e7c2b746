"""Events into frames that count them."""

import ctypes
import functools
from importlib.resources import files

import torch
from torch import Tensor

from .._runtime import native
from .store import Events


@functools.cache
def _library() -> ctypes.CDLL | None:
    try:
        return native.load(files("geir.events").joinpath("counts.c").read_text())
    except native.NoCompilerError:
        return None


def positions(events: Events) -> Tensor:
    """Where events lie in a frame (polarity, height, width), as int32 numbers of its elements.

    Raises:
        ValueError: If an event lies outside of the sensor.
    """
    width, height = events.sensor_size
    outside = (events.x < 0) | (events.x >= width) | (events.y < 0) | (events.y >= height) | (events.p > 1)
    _check(int(outside.sum()), events.sensor_size)
    return (events.p.int() * height + events.y) * width + events.x


def add_counts(events: Events, frame: Tensor) -> None:
    """Add to a contiguous float32 frame (polarity, height, width) of the size of the sensor how many events there are at every place.

    To a frame on another device only the positions travel, from pinned memory to a GPU.

    Raises:
        ValueError: If an event lies outside of the sensor.
    """
    if not len(events):
        return
    if frame.is_cuda and not events.t.is_cuda:
        at = positions(events).pin_memory().to(frame.device, non_blocking=True)
    elif frame.device.type == "cpu" and (library := _library()) is not None:
        outside = torch.empty((), dtype=torch.int64)
        # One thread: two may not add to the same place, and a frame's events are few.
        native.call(
            library.add_counts, [events.x, events.y, events.p, frame, outside], [len(events), *frame.shape[1:]], 1, 1
        )
        _check(int(outside), events.sensor_size)
        return
    else:
        at = positions(events).to(frame.device)
    frame.view(-1).index_add_(0, at, torch.ones((), device=frame.device).expand(len(at)))


def _check(outside: int, sensor_size: tuple[int, int]) -> None:
    if outside:
        raise ValueError(f"{outside} events lie outside of the sensor of {sensor_size[0]}x{sensor_size[1]} pixels.")
