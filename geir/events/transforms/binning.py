"""Division of time into frames."""

import inspect
from collections.abc import Callable
from typing import NamedTuple, TypedDict, TypeVar

import torch
from torch import Tensor

from ..store import Events
from .common import check_sorted, to_microseconds

Function = TypeVar("Function", bound=Callable[..., object])


class Binning(TypedDict, total=False):
    """How time is divided into frames. Exactly one of `dt`, `bins` and `count` is required.

    Functions that take these keyword arguments declare them as ``**binning: Unpack[Binning]``, pass
    `binning` to `divide_time`, and are decorated with `takes_binning`.
    """

    dt: float | None  # duration of a frame in seconds; the last frame has the full duration, too
    bins: int | None  # number of frames, of equal duration
    count: int | None  # number of events per frame; the last frame has the remaining ones
    start: int | None  # start of the first frame in microseconds; default: the time of the first event
    stop: int | None  # events from this time on, in microseconds, are excluded; default: no limit


class Frames(NamedTuple):
    """Frames of events: frame k holds the events from offsets[k] to offsets[k + 1] (exclusive)."""

    offsets: Tensor  # shape (frames + 1,)
    ends: Tensor  # end of each frame in microseconds (exclusive); with `count`, the time of its last event; (frames,)


def takes_binning(function: Function) -> Function:
    """List the arguments of `Binning` in the signature of a function that takes them as ``**binning``.

    `help`, the documentation, and the modules made from functions read this signature.
    """
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())[:-1]
    positional = [parameter for parameter in parameters if parameter.kind is not inspect.Parameter.KEYWORD_ONLY]
    keyword_only = [parameter for parameter in parameters if parameter.kind is inspect.Parameter.KEYWORD_ONLY]
    binning = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in Binning.__annotations__.items()
    ]
    function.__dict__["__signature__"] = signature.replace(parameters=[*positional, *binning, *keyword_only])
    return function


def divide_time(caller: str, events: Events, binning: Binning) -> Frames:
    """Divide events into frames.

    Raises:
        TypeError: If an argument is unknown.
        ValueError: If not exactly one of `dt`, `bins` and `count` is given, one of them is out of
            range, `stop` lies before `start`, or events are not in the order of time.
    """
    if unknown := binning.keys() - Binning.__annotations__.keys():
        raise TypeError(f"{caller} has no argument {min(unknown)!r}.")
    given = [name for name in ("dt", "bins", "count") if binning.get(name) is not None]
    if len(given) != 1:
        raise ValueError(
            f"{caller} needs exactly one of dt=..., bins=... and count=..., got {' and '.join(given) or 'none'}."
        )
    check_sorted(caller, events)
    t = events.t.contiguous()
    start, stop = binning.get("start"), binning.get("stop")
    if start is None:
        start = int(t[0]) if len(t) else stop or 0
    if stop is None:
        stop = max(start, int(t[-1]) + 1) if len(t) else start
    if stop < start:
        raise ValueError(f"{caller}: stop must not lie before start, got {start} and {stop}.")
    if (count := binning.get("count")) is not None:
        check_positive(caller, count=count)
        first = int(torch.searchsorted(t, start))
        last = int(torch.searchsorted(t, stop))
        offsets = torch.tensor([*range(first, last, count), last], device=t.device)
        return Frames(offsets, ends=t[offsets[1:] - 1])
    if (bins := binning.get("bins")) is not None:
        check_positive(caller, bins=bins)
        # Rounded up, so that an event belongs to the frame of its exact time.
        edges = start + (torch.arange(bins + 1, device=t.device) * (stop - start) + bins - 1) // bins
    else:
        step = to_microseconds(caller, dt=binning.get("dt"))
        steps = torch.arange(-int(-(stop - start) // step) + 1, device=t.device)
        edges = start + (steps * step if isinstance(step, int) else torch.ceil(steps.double() * step).long())
    return Frames(torch.searchsorted(t, edges.clamp(max=stop)), ends=edges[1:])


def check_positive(caller: str, **numbers: object) -> None:
    """Check that arguments are positive integers.

    Raises:
        ValueError: If one is not.
    """
    for name, value in numbers.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{caller}: {name} must be a positive integer, got {value!r}.")
