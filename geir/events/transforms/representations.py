"""From events to tensors: frames, voxel grids, time surfaces.

Tensors are (time, polarity, height, width): polarity 0 is darker, 1 is brighter, rows are `y`. A list of recordings gives
(time, batch, polarity, height, width), padded with zeros to the longest.

Time is divided in one of three ways: frames of `dt` seconds, `bins` frames of equal duration, or frames of `count` events. It goes from `start` to
before `stop`, in microseconds as `Events.t`; by default from the first event to the last.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..._runtime import memory
from ..._util.function_module import module_of
from ..store import Events
from .common import batched, call, check_sorted, compiled, microseconds, places, threads_for

_C_NUMBERS = {torch.uint8: "uint8_t", torch.int16: "int16_t", torch.int32: "int32_t", torch.float32: "float"}
# Results of more bytes go past the caches, which could not hold them anyway.
_PAST = 1 << 24


class _Cuts(NamedTuple):
    """Frame k has events offsets[k] to offsets[k + 1] and ends before ends[k] microseconds."""

    offsets: Tensor
    ends: Tensor


@batched
def count_frames(
    events: Events,
    dt: float | None = None,
    bins: int | None = None,
    count: int | None = None,
    start: int | None = None,
    stop: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """The number of events in each pixel of each frame.

    Args:
        events: In the order of time.
        dt: Duration of a frame in seconds. The last frame has its full duration, and the events that there are.
        bins: Or the number of frames.
        count: Or the number of events a frame; the last has the rest.
        start: Time of the first frame in microseconds. Default: the first event's.
        stop: Events from then on do not count. Default: none.
        dtype: float32, or int32, int16 or uint8, which take less memory and stay at their largest number.

    Returns:
        Shape (time, 2, height, width).

    Raises:
        ValueError: If time is not divided in one way, or events are not in its order.

    >>> events = Events(t=[0, 900, 1100, 2500], x=[0, 0, 1, 1], y=[0, 0, 0, 0], p=[1, 1, 1, 0], sensor_size=(2, 1))
    >>> count_frames(events, dt=1e-3)[:, 1, 0]
    tensor([[2., 0.],
            [0., 1.],
            [0., 0.]])
    """
    if dtype not in _C_NUMBERS:
        raise TypeError(f"count_frames: dtype must be one of {', '.join(map(str, _C_NUMBERS))}, got {dtype}.")
    most = 1 << 24 if dtype.is_floating_point else torch.iinfo(dtype).max
    return _counted(events, _cut("count_frames", events, dt, bins, count, start, stop), most, dtype)


@batched
def binary_frames(
    events: Events,
    dt: float | None = None,
    bins: int | None = None,
    count: int | None = None,
    start: int | None = None,
    stop: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """1 in each pixel of each frame that has an event; otherwise as `count_frames`."""
    if dtype not in _C_NUMBERS:
        raise TypeError(f"binary_frames: dtype must be one of {', '.join(map(str, _C_NUMBERS))}, got {dtype}.")
    return _counted(events, _cut("binary_frames", events, dt, bins, count, start, stop), 1, dtype)


def sparse_frames(
    events: Events | Sequence[Events],
    dt: float | None = None,
    bins: int | None = None,
    count: int | None = None,
    start: int | None = None,
    stop: int | None = None,
) -> Tensor:
    """`count_frames` as a coalesced sparse tensor (COO), whose size follows the events and not the frames.

    >>> events = Events(t=[0, 900, 1100, 2500], x=[0, 0, 1, 1], y=[0, 0, 0, 0], p=[1, 1, 1, 0], sensor_size=(2, 1))
    >>> sparse_frames(events, dt=1e-3).values()
    tensor([2., 1., 1.])
    """
    many = [events] if isinstance(events, Events) else list(events)
    if not many or not all(isinstance(part, Events) for part in many) or len({part.sensor_size for part in many}) > 1:
        raise TypeError(
            f"sparse_frames takes Events or a list of them, of one sensor, got {[getattr(e, 'sensor_size', e) for e in many]}."
        )
    cuts = [_cut("sparse_frames", part, dt, bins, count, start, stop) for part in many]
    (width, height), frames = many[0].sensor_size, max(len(cut.ends) for cut in cuts)
    shape = (frames, len(many), 2, height, width)
    linear = [
        ((_frame_numbers(cut) * len(many) + k) * 2 + inside.p) * height * width + places(inside)
        for k, (inside, cut) in enumerate((_inside(part, cut), cut) for part, cut in zip(many, cuts, strict=True))
    ]
    where, number = torch.unique(torch.cat(linear), return_counts=True)
    indices = torch.stack(torch.unravel_index(where, shape))
    if isinstance(events, Events):
        indices, shape = indices[[0, 2, 3, 4]], (frames, 2, height, width)
    return torch.sparse_coo_tensor(indices, number.float(), shape, is_coalesced=True, check_invariants=False)


@batched
def voxel_grid(events: Events, bins: int, signed: bool = True) -> Tensor:
    r"""Events spread over the two nearest of `bins` times, bilinearly.

    .. math:: V_k(x, y) = \sum_i p_i \max(0, 1 - |k - t^*_i|), \qquad t^*_i = (B - 1) \frac{t_i - t_1}{t_N - t_1}

    with :math:`p_i` 1 for brighter and -1 for darker.

    Reference: A. Zhu et al., *Unsupervised event-based learning of optical flow, depth, and egomotion*, 2019.

    Args:
        events: In the order of time.
        bins: Number of times, :math:`B`.
        signed: Add up both polarities with their signs, or apart without.

    Returns:
        Shape (bins, 1, height, width), or (bins, 2, height, width).

    Raises:
        ValueError: If `bins` is not positive, or events are not in the order of time.
    """
    _check_number("voxel_grid", bins=bins)
    check_sorted("voxel_grid", events)
    (width, height), channels = events.sensor_size, 1 if signed else 2
    first, duration = int(events.t[0]) if len(events) else 0, events.duration
    speed = (bins - 1) / duration if duration else 0.0
    if (c := compiled(events, "transforms/surfaces.c")) is None:
        time = (events.t - first).double() * speed
        grid = torch.zeros((bins + 1) * channels * height * width, device=events.t.device)
        lower = time.floor()
        sign = torch.where(events.p == 0, -1.0, 1.0) if signed else torch.ones_like(time)
        for bin, weight in ((lower, 1 - (time - lower)), (lower + 1, time - lower)):
            channel = 0 if signed else events.p
            grid.index_add_(
                0, (bin.long() * channels + channel) * height * width + places(events), (weight * sign).float()
            )
        return grid.view(bins + 1, channels, height, width)[:bins]
    # Where the whole part of t* becomes k, and before and after all events.
    edges = [first - 1, *(first + -(-k * duration // max(1, bins - 1)) for k in range(bins if duration else 1))]
    edges += [first + duration + 1] * (bins + 2 - len(edges))
    cuts = torch.searchsorted(events.t.contiguous(), torch.tensor(edges))
    grid = memory.empty((bins, channels, height, width), events.t, torch.float32)
    tensors = [*events.columns(), cuts, torch.tensor(speed, dtype=torch.float64), grid]
    call(c.voxels, tensors, [bins, channels, width, height, first], threads=threads_for(grid))
    return grid


@batched
def time_surface(
    events: Events,
    tau: float,
    dt: float | None = None,
    bins: int | None = None,
    count: int | None = None,
    start: int | None = None,
    stop: int | None = None,
    linear: bool = False,
) -> Tensor:
    r"""How recent the last event of each pixel and polarity is at the end of each frame.

    .. math:: S_k(p, x, y) = e^{-(T_k - t_\text{last}) / \tau} \quad \text{or} \quad \max\left(0, 1 - \frac{T_k - t_\text{last}}{\tau}\right)

    and 0 where there was none. :math:`T_k` is where frame :math:`k` ends; in frames of `count` events the time of their last.

    Reference: X. Lagorce et al., *HOTS: a hierarchy of event-based time-surfaces for pattern recognition*, 2017.

    Args:
        events: In the order of time.
        tau: Time constant of the decay in seconds.
        dt: As for `count_frames`, and so are the others.
        linear: Decay linearly.

    Returns:
        Shape (time, 2, height, width).
    """
    rate = 1 / microseconds("time_surface", tau=tau)
    cuts = _cut("time_surface", events, dt, bins, count, start, stop)
    (width, height), frames = events.sensor_size, len(cuts.ends)
    last = torch.full((2, height, width), -torch.inf, dtype=torch.float64, device=events.t.device)
    surface = memory.empty((frames, 2, height, width), events.t, torch.float32)
    if (c := compiled(events, "transforms/surfaces.c")) is None:
        for k in range(frames):
            part = events[int(cuts.offsets[k]) : int(cuts.offsets[k + 1])]
            last.view(-1).scatter_reduce_(0, part.p * width * height + places(part), part.t.double(), "amax")
            since = (cuts.ends[k] - last) * rate
            surface[k] = (1 - since).clamp(min=0) if linear else torch.exp(-since)
        return surface
    tensors = [*events.columns(), *cuts, torch.tensor(rate, dtype=torch.float64), last, surface]
    # Each thread reads all events for the places that are its own.
    threads = threads_for(surface)
    call(c.surface, tensors, [frames, width, height, linear], block=-(-last.numel() // threads), threads=threads)
    return surface


def _counted(events: Events, cuts: _Cuts, most: int, dtype: torch.dtype) -> Tensor:
    (width, height), frames = events.sensor_size, len(cuts.ends)
    if (c := compiled(events, "transforms/count.c", number=_C_NUMBERS[dtype])) is None:
        inside = _inside(events, cuts)
        where = (_frame_numbers(cuts) * 2 + inside.p) * height * width + places(inside)
        counts = torch.zeros(frames * 2 * height * width, dtype=torch.int32, device=where.device)
        counts.index_add_(0, where, torch.ones_like(where, dtype=torch.int32))
        return counts.clamp_(max=most).to(dtype).view(frames, 2, height, width)
    out = memory.empty((frames, 2, height, width), events.t, dtype)
    call(
        c.count,
        [events.x, events.y, events.p, cuts.offsets, out],
        [frames, width, height, most, out.nbytes > _PAST],
        threads=threads_for(out),
    )
    return out


def _inside(events: Events, cuts: _Cuts) -> Events:
    return events[int(cuts.offsets[0]) : int(cuts.offsets[-1])]


def _frame_numbers(cuts: _Cuts) -> Tensor:
    return torch.repeat_interleave(cuts.offsets.diff())


def _cut(
    caller: str,
    events: Events,
    dt: float | None,
    bins: int | None,
    count: int | None,
    start: int | None,
    stop: int | None,
) -> _Cuts:
    given = {name: value for name, value in (("dt", dt), ("bins", bins), ("count", count)) if value is not None}
    if len(given) != 1:
        raise ValueError(f"{caller} takes one of dt=..., bins=... and count=..., got {' and '.join(given) or 'none'}.")
    check_sorted(caller, events)
    t, device = events.t.contiguous(), events.t.device
    if start is None:
        start = int(t[0]) if len(t) else stop or 0
    if stop is None:
        stop = max(start, int(t[-1]) + 1) if len(t) else start
    if stop < start:
        raise ValueError(f"{caller}: stop must not lie before start, got {start} and {stop}.")
    if count is not None:
        _check_number(caller, count=count)
        first, last = (int(torch.searchsorted(t, limit)) for limit in (start, stop))
        offsets = torch.tensor([*range(first, last, count), last], device=device)
        return _Cuts(offsets, t[offsets[1:] - 1])
    if bins is not None:
        _check_number(caller, bins=bins)
        edges = start + (torch.arange(bins + 1, device=device) * (stop - start) + bins - 1) // bins
    else:
        assert dt is not None
        step = microseconds(caller, dt=dt)
        steps = torch.arange(-int(-(stop - start) // step) + 1, device=device)
        edges = start + (steps * step if isinstance(step, int) else torch.ceil(steps.double() * step).long())
    return _Cuts(torch.searchsorted(t, edges.clamp(max=stop)), edges[1:])


def _check_number(caller: str, **numbers: Any) -> None:
    for name, value in numbers.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{caller}: {name} must be a positive whole number, got {value!r}.")


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
