"""Helpers of the transforms: batching, checks, and calls of C."""

import ctypes
import functools
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from torch import Generator, Tensor
from torch.nn.utils.rnn import pad_sequence

from ..._runtime import native
from .._native import load
from ..store import Events

Settings = ParamSpec("Settings")
Result = TypeVar("Result", Tensor, Events)


def batched(
    function: Callable[Concatenate[Events, Settings], Result],
) -> Callable[Concatenate[Any, Settings], Any]:
    """Extend a function of one recording to a list of recordings.

    A list of recordings is mapped to a list of events, or, if the function returns tensors (time,
    ...), to one tensor (time, batch, ...), padded with zeros to the longest.
    """

    # `Any` in the types: the type of the result depends on that of the argument, which a decorator
    # cannot express.
    @functools.wraps(function)
    def batched_function(events: Any, *args: Settings.args, **kwargs: Settings.kwargs) -> Any:
        if isinstance(events, Events):
            return function(events, *args, **kwargs)
        if not isinstance(events, Sequence) or not events or not all(isinstance(part, Events) for part in events):
            got = "an empty list" if isinstance(events, Sequence) and not events else type(events).__name__
            raise TypeError(f"{function.__name__} expected Events or a list of Events, got {got}.")
        results = [function(part, *args, **kwargs) for part in events]
        tensors = [result for result in results if isinstance(result, Tensor)]
        return pad_sequence(tensors) if tensors else results

    return batched_function


def check_sorted(caller: str, events: Events) -> None:
    """Check that events are in the order of time.

    Raises:
        ValueError: If they are not.
    """
    if not events.is_sorted:
        raise ValueError(f"{caller} expected events in the order of time; call events.sorted() first.")


def to_microseconds(caller: str, **durations: object) -> float:
    """Convert one duration, given by name, from seconds to microseconds.

    Raises:
        ValueError: If it is less than a microsecond.
    """
    ((name, seconds),) = durations.items()
    if not isinstance(seconds, int | float) or not 1e-6 <= seconds < 1e12:
        raise ValueError(f"{caller}: {name} must be at least a microsecond, in seconds, got {seconds!r}.")
    microseconds = seconds * 1e6
    # 0.3e-3 s is 299.99999999999994 us in floating point, but is meant as a whole number.
    return round(microseconds) if abs(microseconds - round(microseconds)) < 1e-9 * microseconds else microseconds


def pixel_indices(events: Events) -> Tensor:
    """Indices of events in a flattened image (height, width), int64."""
    return events.y.long() * events.sensor_size[0] + events.x


def load_for(events: Events, filename: str, **values: str) -> ctypes.CDLL | None:
    """Load a C source of `geir.events` if the events are on the CPU.

    Returns:
        The library; None if the events are on another device or there is no C compiler. Transforms
        then use PyTorch.
    """
    return load(filename, **values) if events.t.device.type == "cpu" else None


def call(function: object, tensors: Sequence[Tensor], numbers: Sequence[int], block: int = 1, threads: int = 1) -> None:
    """Call a C function. Tensors are made contiguous first; see `geir._runtime.native.call`."""
    native.call(function, [tensor.contiguous() for tensor in tensors], numbers, block, threads)


def thread_count(out: Tensor) -> int:
    """Number of threads for computing a result; waking threads does not pay for small results."""
    return 1 if out.nbytes < 1 << 21 else torch.get_num_threads()


def clip(t: Tensor, x: Tensor, y: Tensor, p: Tensor, size: tuple[int, int]) -> Events:
    """Make events of columns, and drop those that lie outside of a sensor of the given width and height."""
    width, height = size
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return Events.unchecked(t[inside], x[inside].to(torch.int16), y[inside].to(torch.int16), p[inside], size)


def generator_device(generator: Generator | None) -> torch.device | None:
    """The device on which a generator draws numbers; None for the default."""
    return None if generator is None else generator.device


def check_fractions(caller: str, **fractions: float) -> None:
    """Check that arguments lie in [0, 1].

    Raises:
        ValueError: If one does not.
    """
    for name, fraction in fractions.items():
        if not 0 <= fraction <= 1:
            raise ValueError(f"{caller}: {name} must lie in [0, 1], got {fraction}.")
