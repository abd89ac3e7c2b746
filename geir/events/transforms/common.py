"""What transforms of events share: batches, checks, and the way to C."""

import ctypes
import functools
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any, Concatenate, ParamSpec

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..._runtime import native
from ..store import Events

Settings = ParamSpec("Settings")


def batched(function: Callable[Concatenate[Events, Settings], Any]) -> Callable[Concatenate[Any, Settings], Any]:
    """Let a function of events also take several recordings.

    Events become a list of events; tensors (time, ...) become one of shape (time, batch, ...), padded with zeros to the longest.
    """

    @functools.wraps(function)
    def of_many(events: Any, *arguments: Settings.args, **keywords: Settings.kwargs) -> Any:
        if isinstance(events, Events):
            return function(events, *arguments, **keywords)
        if not isinstance(events, Sequence) or not events or not all(isinstance(part, Events) for part in events):
            raise TypeError(f"{function.__name__} takes Events or a list of them, got {_said(events)}.")
        results = [function(part, *arguments, **keywords) for part in events]
        return pad_sequence(results) if isinstance(results[0], Tensor) else results

    return of_many


def _said(thing: Any) -> str:
    return "an empty list" if isinstance(thing, Sequence) and not thing else type(thing).__name__


def check_sorted(caller: str, events: Events) -> None:
    """Raise an error unless events are in the order of time."""
    if not events.is_sorted:
        raise ValueError(f"{caller} takes events in the order of time; call events.sorted() first.")


def microseconds(caller: str, **durations: float) -> float:
    """One duration in seconds as microseconds, or an error unless it is at least one."""
    ((name, seconds),) = durations.items()
    if not isinstance(seconds, int | float) or not 1e-6 <= seconds < 1e12:
        raise ValueError(f"{caller}: {name} must be at least a microsecond, in seconds, got {seconds!r}.")
    # What is meant as a whole number should be one: 0.3e-3 s is 299.99999999999994 us.
    return round(seconds * 1e6) if abs(seconds * 1e6 - round(seconds * 1e6)) < 1e-9 * seconds * 1e6 else seconds * 1e6


def places(events: Events) -> Tensor:
    """The number of each event's place in (height, width), int64."""
    return events.y.long() * events.sensor_size[0] + events.x


def source(path: str, **names: str) -> str:
    """A C source of `geir.events`, `{{name}}` replaced."""
    text = files("geir.events").joinpath(path).read_text()
    for name, value in names.items():
        text = text.replace(f"{{{{{name}}}}}", value)
    return text


@functools.cache
def library(path: str, **names: str) -> ctypes.CDLL | None:
    """The same compiled; None without a compiler, where PyTorch does the same more slowly."""
    try:
        return native.load(source(path, **names))
    except native.NoCompilerError:
        return None


def compiled(events: Events, path: str, **names: str) -> ctypes.CDLL | None:
    """The same where the events are in this machine's memory."""
    return library(path, **names) if events.t.device.type == "cpu" else None


def call(function: Any, tensors: Sequence[Tensor], numbers: Sequence[int], block: int = 1, threads: int = 1) -> None:
    """Call C with contiguous tensors."""
    native.call(function, [tensor.contiguous() for tensor in tensors], numbers, block, threads)


def threads_for(out: Tensor) -> int:
    """How many threads are worth waking for a result."""
    return 1 if out.nbytes < 1 << 21 else torch.get_num_threads()
