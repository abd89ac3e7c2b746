"""Representations of events as tensors: frames, voxel grids, time surfaces.

Tensors have the shape (time, polarity, height, width). Polarity 0 is a decrease of brightness, 1 an
increase; rows are `y`. A list of recordings results in (time, batch, polarity, height, width),
padded with zeros to the longest recording.

Time is divided in one of three ways: into frames of `dt` seconds, into `bins` frames of equal
duration, or into frames of `count` events each. Frames extend from `start` to `stop` (exclusive),
in microseconds as `Events.t`; by default, from the first event to the last.
"""

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from ..._runtime import memory
from ..._util.function_module import module_of
from ..store import Events
from .binning import Binning, check_positive, divide_time, Frames, takes_binning
from .common import batched, call, check_sorted, load_for, pixel_indices, thread_count, to_microseconds

_C_TYPES = {torch.uint8: "uint8_t", torch.int16: "int16_t", torch.int32: "int32_t", torch.float32: "float"}
# Larger results, in bytes, are written with non-temporal stores, because the caches could not hold them anyway.
_MAX_CACHED_BYTES = 1 << 24
# float32 represents all integers up to this one.
_MAX_FLOAT_COUNT = 1 << 24


@batched
@takes_binning
def count_frames(events: Events, *, dtype: torch.dtype = torch.float32, **binning: Unpack[Binning]) -> Tensor:
    """Count the events in each pixel of each frame.

    Args:
        events: Events in the order of time.
        dt: Duration of a frame in seconds. The last frame has the full duration, too.
        bins: Alternatively, the number of frames.
        count: Alternatively, the number of events per frame. The last frame has the remaining ones.
        start: Start of the first frame in microseconds. Default: the time of the first event.
        stop: Events from this time on, in microseconds, are not counted. Default: no limit.
        dtype: float32, or int32, int16 or uint8, which need less memory and saturate at their
            largest value.

    Returns:
        Event counts, shape (time, 2, height, width).

    Raises:
        TypeError: If `dtype` is another one.
        ValueError: If not exactly one of `dt`, `bins` and `count` is given, one of them is out of
            range, `stop` lies before `start`, or events are not in the order of time.

    >>> events = Events(t=[0, 900, 1100, 2500], x=[0, 0, 1, 1], y=[0, 0, 0, 0], p=[1, 1, 1, 0], sensor_size=(2, 1))
    >>> count_frames(events, dt=1e-3)[:, 1, 0]
    tensor([[2., 0.],
            [0., 1.],
            [0., 0.]])
    """
    _check_dtype("count_frames", dtype)
    largest = _MAX_FLOAT_COUNT if dtype.is_floating_point else torch.iinfo(dtype).max
    return _count(events, divide_time("count_frames", events, binning), largest, dtype)


@batched
@takes_binning
def binary_frames(events: Events, *, dtype: torch.dtype = torch.float32, **binning: Unpack[Binning]) -> Tensor:
    """Mark the pixels of each frame that have an event with 1. Arguments and errors as for `count_frames`."""
    _check_dtype("binary_frames", dtype)
    return _count(events, divide_time("binary_frames", events, binning), 1, dtype)


@takes_binning
def sparse_frames(events: Events | Sequence[Events], **binning: Unpack[Binning]) -> Tensor:
    """`count_frames` as a coalesced sparse tensor (COO), whose size is that of the events and not that of the frames.

    Arguments and errors as for `count_frames`; in addition:

    Raises:
        TypeError: If `events` is not `Events` or a list of them, or the recordings have different
            sensor sizes.

    >>> events = Events(t=[0, 900, 1100, 2500], x=[0, 0, 1, 1], y=[0, 0, 0, 0], p=[1, 1, 1, 0], sensor_size=(2, 1))
    >>> sparse_frames(events, dt=1e-3).values()
    tensor([2., 1., 1.])
    """
    recordings = _check_recordings("sparse_frames", events)
    batch = len(recordings)
    width, height = recordings[0].sensor_size
    divisions = [divide_time("sparse_frames", recording, binning) for recording in recordings]
    steps = max(len(frames.ends) for frames in divisions)
    shape = (steps, batch, 2, height, width)
    flat = []
    for k, (recording, frames) in enumerate(zip(recordings, divisions, strict=True)):
        inside = _select(recording, frames)
        planes = (_frame_indices(frames) * batch + k) * 2 + inside.p
        flat.append(planes * height * width + pixel_indices(inside))
    flat, counts = torch.unique(torch.cat(flat), return_counts=True)
    coordinates = torch.stack(torch.unravel_index(flat, shape))
    if isinstance(events, Events):
        time, _, polarity, y, x = coordinates
        coordinates = torch.stack([time, polarity, y, x])
        shape = (steps, 2, height, width)
    return torch.sparse_coo_tensor(coordinates, counts.float(), shape, is_coalesced=True, check_invariants=False)


@batched
def voxel_grid(events: Events, bins: int, signed: bool = True) -> Tensor:
    r"""Distribute each event over the two nearest of `bins` times, with linear interpolation.

    .. math:: V_k(x, y) = \sum_i p_i \max(0, 1 - |k - t^*_i|), \qquad t^*_i = (B - 1) \frac{t_i - t_1}{t_N - t_1}

    where :math:`p_i` is 1 for an increase of brightness and -1 for a decrease.

    Reference: A. Zhu et al., *Unsupervised event-based learning of optical flow, depth, and
    egomotion*, 2019.

    Args:
        events: Events in the order of time.
        bins: Number of times, :math:`B`.
        signed: Whether to add both polarities with their signs, in one channel. If not, each
            polarity has its own channel and :math:`p_i` is 1.

    Returns:
        The grid, shape (bins, 1, height, width) if signed, else (bins, 2, height, width).

    Raises:
        ValueError: If `bins` is not positive, or events are not in the order of time.
    """
    check_positive("voxel_grid", bins=bins)
    check_sorted("voxel_grid", events)
    width, height = events.sensor_size
    channels = 1 if signed else 2
    first = int(events.t[0]) if len(events) else 0
    duration = events.duration
    bins_per_us = (bins - 1) / duration if duration else 0.0
    library = load_for(events, "transforms/voxel_grid.c")
    if library is None:
        return _reference_voxel_grid(events, bins, signed, bins_per_us)
    # Event times at which t* passes an integer, rounded up; preceded and followed by times beyond
    # all events. The events within one bin of bin k are then those from edges[k] to edges[k + 2].
    edges = [first - 1, *(first + -(-k * duration // max(1, bins - 1)) for k in range(bins if duration else 1))]
    edges += [first + duration + 1] * (bins + 2 - len(edges))
    offsets = torch.searchsorted(events.t.contiguous(), torch.tensor(edges))
    grid = memory.empty((bins, channels, height, width), events.t, torch.float32)
    tensors = [*events.columns(), offsets, torch.tensor(bins_per_us, dtype=torch.float64), grid]
    call(library.voxel_grid, tensors, [bins, channels, width, height, first], threads=thread_count(grid))
    return grid


@batched
@takes_binning
def time_surface(events: Events, tau: float, *, linear: bool = False, **binning: Unpack[Binning]) -> Tensor:
    r"""Recency of the last event of each pixel and polarity at the end of each frame.

    .. math:: S_k(p, x, y) = e^{-(T_k - t_\text{last}) / \tau} \quad \text{or} \quad
        \max\left(0, 1 - \frac{T_k - t_\text{last}}{\tau}\right)

    and 0 before the first event of the pixel. :math:`T_k` is the end of frame :math:`k`; with
    `count`, the time of its last event.

    Reference: X. Lagorce et al., *HOTS: a hierarchy of event-based time-surfaces for pattern
    recognition*, 2017.

    Args:
        events: Events in the order of time.
        tau: Time constant of the decay in seconds.
        dt: As for `count_frames`; so are `bins`, `count`, `start` and `stop`.
        linear: Whether the decay is linear instead of exponential.

    Returns:
        Recency in [0, 1], shape (time, 2, height, width).

    Raises:
        ValueError: If `tau` is less than a microsecond; and as for `count_frames`.
    """
    rate = 1 / to_microseconds("time_surface", tau=tau)
    frames = divide_time("time_surface", events, binning)
    width, height = events.sensor_size
    steps = len(frames.ends)
    surface = memory.empty((steps, 2, height, width), events.t, torch.float32)
    last = torch.full((2, height, width), -torch.inf, dtype=torch.float64, device=events.t.device)
    library = load_for(events, "transforms/time_surface.c")
    if library is None:
        return _reference_time_surface(events, frames, rate, linear, last, surface)
    tensors = [*events.columns(), *frames, torch.tensor(rate, dtype=torch.float64), last, surface]
    # Each thread reads all events and updates its own block of pixels.
    threads = thread_count(surface)
    block = -(-last.numel() // threads)
    call(library.time_surface, tensors, [steps, width, height, linear], block=block, threads=threads)
    return surface


def _count(events: Events, frames: Frames, largest: int, dtype: torch.dtype) -> Tensor:
    width, height = events.sensor_size
    steps = len(frames.ends)
    library = load_for(events, "transforms/count_frames.c", number=_C_TYPES[dtype])
    if library is None:
        inside = _select(events, frames)
        flat = (_frame_indices(frames) * 2 + inside.p) * height * width + pixel_indices(inside)
        counts = torch.zeros(steps * 2 * height * width, dtype=torch.int32, device=flat.device)
        counts.index_add_(0, flat, torch.ones_like(flat, dtype=torch.int32))
        return counts.clamp_(max=largest).to(dtype).view(steps, 2, height, width)
    out = memory.empty((steps, 2, height, width), events.t, dtype)
    tensors = [events.x, events.y, events.p, frames.offsets, out]
    bypass_caches = out.nbytes > _MAX_CACHED_BYTES
    call(library.count_frames, tensors, [steps, width, height, largest, bypass_caches], threads=thread_count(out))
    return out


def _reference_voxel_grid(events: Events, bins: int, signed: bool, bins_per_us: float) -> Tensor:
    (width, height), channels = events.sensor_size, 1 if signed else 2
    first = events.t[:1]
    time = (events.t - first).double() * bins_per_us
    # One bin more than requested receives the weight 0 of the last event.
    grid = torch.zeros((bins + 1) * channels * height * width, device=events.t.device)
    lower = time.floor()
    sign = torch.where(events.p == 0, -1.0, 1.0) if signed else torch.ones_like(time)
    channel = 0 if signed else events.p
    for k, weight in ((lower, 1 - (time - lower)), (lower + 1, time - lower)):
        flat = (k.long() * channels + channel) * height * width + pixel_indices(events)
        grid.index_add_(0, flat, (weight * sign).float())
    return grid.view(bins + 1, channels, height, width)[:bins]


def _reference_time_surface(
    events: Events, frames: Frames, rate: float, linear: bool, last: Tensor, surface: Tensor
) -> Tensor:
    width, height = events.sensor_size
    for k in range(len(frames.ends)):
        part = events[int(frames.offsets[k]) : int(frames.offsets[k + 1])]
        flat = part.p * width * height + pixel_indices(part)
        last.view(-1).scatter_reduce_(0, flat, part.t.double(), "amax")
        age = (frames.ends[k] - last) * rate
        surface[k] = (1 - age).clamp(min=0) if linear else torch.exp(-age)
    return surface


def _select(events: Events, frames: Frames) -> Events:
    """The events that lie in a frame."""
    return events[int(frames.offsets[0]) : int(frames.offsets[-1])]


def _frame_indices(frames: Frames) -> Tensor:
    """The index of the frame of each event that lies in one."""
    return torch.repeat_interleave(frames.offsets.diff())


def _check_dtype(caller: str, dtype: torch.dtype) -> None:
    if dtype not in _C_TYPES:
        raise TypeError(f"{caller}: dtype must be one of {', '.join(map(str, _C_TYPES))}, got {dtype}.")


def _check_recordings(caller: str, events: Events | Sequence[Events]) -> list[Events]:
    recordings = [events] if isinstance(events, Events) else list(events)
    are_events = all(isinstance(part, Events) for part in recordings)
    if not recordings or not are_events or len({part.sensor_size for part in recordings}) > 1:
        got = [part.sensor_size for part in recordings] if are_events else [type(part).__name__ for part in recordings]
        raise TypeError(f"{caller} expected Events or a list of Events, all of one sensor size, got {got}.")
    return recordings


class CountFrames(module_of(count_frames)):
    """`count_frames` as a module."""


class BinaryFrames(module_of(binary_frames)):
    """`binary_frames` as a module."""


class SparseFrames(module_of(sparse_frames)):
    """`sparse_frames` as a module."""


class VoxelGrid(module_of(voxel_grid)):
    """`voxel_grid` as a module."""


class TimeSurface(module_of(time_surface)):
    """`time_surface` as a module."""
