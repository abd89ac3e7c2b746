"""Causal filters of spikes over time."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from .._util.validation import check_has_time
from ..core.neuron import Dynamics
from ..core.parameters import Parameter, parameter
from ..wrappers import CellMixin

# So many steps at least are filtered by one product.
_BLOCK = 64


class ExponentialFilterState(NamedTuple):
    """State of `ExponentialFilter`."""

    y: Tensor  # what it returned last


class ExponentialFilter(Dynamics[ExponentialFilterState]):
    r"""Convolution with a decaying exponential, in one operation a step: the trace that every spike leaves.

    .. math:: y_t = \sum_{s \le t} e^{-(t - s) \Delta t / \tau} x_s = e^{-\Delta t / \tau} y_{t - 1} + x_t

    A spike acts from its own step on, there with 1. After a `torch.nn.Linear` it makes filtered synapses,
    ``SequentialState(Lift(nn.Linear(10, 5)), ExponentialFilter())``; `LIBox` is the filter with a gain of 1 for constant input.
    """

    tau: Parameter = parameter(default=10e-3, unit="s", above=0.0, doc="time constant")

    def rest(self) -> ExponentialFilterState:
        return ExponentialFilterState(y=torch.zeros(()))

    def prepare(self) -> tuple[Any, ...]:
        return (torch.exp(-self.dt / self.tau),)

    def step(self, x: Tensor, state: ExponentialFilterState, decay: Tensor) -> tuple[Tensor, ExponentialFilterState]:
        y = decay * state.y + x
        return y, ExponentialFilterState(y)


class ExponentialFilterCell(CellMixin, ExponentialFilter): ...


def exponential_filter(xs: Tensor, tau: float | Tensor = 10e-3, dt: float = 1e-3) -> Tensor:
    """Convolution over time with a decaying exponential, see `ExponentialFilter`.

    Args:
        xs: Spikes or values, shape (time, ...).
        tau: Time constant in seconds, a number or a tensor that broadcasts to one step of `xs`; differentiable.
        dt: Step size in seconds.

    Returns:
        The filtered, shape (time, ...).

    >>> exponential_filter(torch.tensor([1.0, 0.0, 0.0, 1.0]), tau=1e-3)
    tensor([1.0000, 0.3679, 0.1353, 1.0498])
    """
    dtype = torch.promote_types(check_has_time("exponential_filter", xs).dtype, torch.float32)
    # Not by the module's `to`, which would round a number to float32 first, and convert a parameter of the caller's in place.
    return ExponentialFilter(tau=torch.as_tensor(tau, dtype=dtype, device=xs.device), dt=dt)(xs)[0]


def causal_filter(xs: Tensor, kernel: Tensor) -> Tensor:
    r"""Convolution over time with any kernel, :math:`y_t = \sum_k \kappa_k x_{t - k}`.

    Args:
        xs: Spikes or values, shape (time, ...).
        kernel: :math:`\kappa`, the response to a spike from its own step on, shape (length,).

    Returns:
        The filtered, shape (time, ...). What is not finite spreads over some steps before it too.

    >>> causal_filter(torch.tensor([1.0, 0.0, 0.0, 1.0]), torch.tensor([0.5, 2.0]))
    tensor([0.5000, 2.0000, 0.0000, 0.5000])
    """
    check_has_time("causal_filter", xs)
    if kernel.dim() != 1 or not len(kernel) or kernel.dtype != xs.dtype:
        raise ValueError(
            f"causal_filter takes a kernel of shape (length,) in the dtype of its input, {xs.dtype}, "
            f"got shape {tuple(kernel.shape)} of {kernel.dtype}."
        )
    length, block = len(kernel), max(len(kernel), _BLOCK)
    steps = -(-len(xs) // block) * block
    trains = xs.flatten(1) if xs.dim() > 1 else xs[:, None]
    padded = functional.pad(trains, (0, 0, length - 1, steps - len(xs)))
    # Blocks of time, each with the past that it needs, times one matrix: many times faster than conv1d, which is slow for one channel.
    lag = torch.arange(length - 1, length - 1 + block, device=xs.device)[:, None] - torch.arange(
        block + length - 1, device=xs.device
    )
    responses = torch.where((lag >= 0) & (lag < length), kernel[lag.clamp(0, length - 1)], 0)
    filtered = responses @ padded.unfold(0, block + length - 1, block).transpose(1, 2)
    return filtered.flatten(0, 1)[: len(xs)].reshape(xs.shape)
