"""Causal filters of spike trains."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from .._util.precision import wide_dtype, widen
from .._util.validation import check_has_time
from ..core.neuron import Dynamics
from ..core.parameters import Parameter, parameter
from ..wrappers import CellMixin

# `causal_filter` computes at least this many steps with one matrix product.
_MIN_BLOCK = 64


class ExponentialFilterState(NamedTuple):
    """State of `ExponentialFilter`."""

    y: Tensor  # output of the last step


class ExponentialFilter(Dynamics[ExponentialFilterState]):
    r"""Convolution with a decaying exponential, computed recursively: every spike adds a decaying trace.

    .. math:: y_t = \sum_{s \le t} e^{-(t - s) \Delta t / \tau} x_s = e^{-\Delta t / \tau} y_{t - 1} + x_t

    A spike contributes 1 at its own step. After a `torch.nn.Linear` the filter models synapses:
    ``SequentialState(Lift(nn.Linear(10, 5)), ExponentialFilter())``. `LIBox` is the same filter scaled to a gain of 1
    for constant input.
    """

    tau: Parameter = parameter(default=10e-3, unit="s", above=0.0, doc="time constant")

    def rest(self) -> ExponentialFilterState:
        return ExponentialFilterState(y=torch.zeros(()))

    def prepare(self) -> tuple[Tensor, ...]:
        return (torch.exp(-self.dt / widen(self.tau)),)

    def step(self, x: Tensor, state: ExponentialFilterState, decay: Tensor) -> tuple[Tensor, ExponentialFilterState]:
        y = decay * state.y + x
        return y, ExponentialFilterState(y)


class ExponentialFilterCell(CellMixin, ExponentialFilter):
    """One step of `ExponentialFilter`."""


def exponential_filter(xs: Tensor, tau: float | Tensor = 10e-3, dt: float = 1e-3) -> Tensor:
    """Convolution over time with a decaying exponential; see `ExponentialFilter`.

    Args:
        xs: Spikes or values, shape (time, ...).
        tau: Time constant in seconds, a number or a tensor that broadcasts to one step of `xs`; differentiable.
        dt: Step size in seconds.

    Returns:
        Filtered values, shape (time, ...).

    Raises:
        ValueError: If `xs` has no step, or `tau` or `dt` is not positive.
        TypeError: If `xs` is not floating-point.

    >>> exponential_filter(torch.tensor([1.0, 0.0, 0.0, 1.0]), tau=1e-3)
    tensor([1.0000, 0.3679, 0.1353, 1.0498])
    """
    check_has_time("measures.exponential_filter", xs)
    dtype = wide_dtype(xs.dtype)
    # `tau` is converted here, not by the module's `to`: that would round a number to float32 first, and would convert
    # the caller's parameter in place.
    module = ExponentialFilter(tau=torch.as_tensor(tau, dtype=dtype, device=xs.device), dt=dt)
    ys, _ = module(xs)
    return ys


def causal_filter(xs: Tensor, kernel: Tensor) -> Tensor:
    r"""Convolution over time with an arbitrary kernel, :math:`y_t = \sum_k \kappa_k x_{t - k}`.

    Args:
        xs: Spikes or values, shape (time, ...).
        kernel: :math:`\kappa`, the response to a spike, beginning at the step of the spike, shape (length,).

    Returns:
        Filtered values, shape (time, ...). An input that is NaN or infinite may also affect some earlier steps.

    Raises:
        ValueError: If `xs` has no step, or `kernel` is not a non-empty vector in the dtype of `xs`.
        TypeError: If `xs` is not floating-point.

    >>> causal_filter(torch.tensor([1.0, 0.0, 0.0, 1.0]), torch.tensor([0.5, 2.0]))
    tensor([0.5000, 2.0000, 0.0000, 0.5000])
    """
    check_has_time("measures.causal_filter", xs)
    if kernel.dim() != 1 or not len(kernel) or kernel.dtype != xs.dtype:
        raise ValueError(
            f"measures.causal_filter expected a kernel of shape (length,) in the dtype of its input, {xs.dtype}, "
            f"got shape {tuple(kernel.shape)} and {kernel.dtype}."
        )
    # Time is divided into blocks. Each block, together with the `length - 1` steps before it, is multiplied by one
    # banded matrix that holds the kernel. This is many times faster than `conv1d`, which is slow for a single channel.
    length = len(kernel)
    past = length - 1
    block = max(length, _MIN_BLOCK)
    padded_steps = -(-len(xs) // block) * block
    trains = xs.flatten(1) if xs.dim() > 1 else xs[:, None]
    padded = functional.pad(trains, (0, 0, past, padded_steps - len(xs)))
    output_index = torch.arange(past, past + block, device=xs.device)
    input_index = torch.arange(past + block, device=xs.device)
    lag = output_index[:, None] - input_index
    banded = torch.where((lag >= 0) & (lag < length), kernel[lag.clamp(0, past)], 0)
    filtered = banded @ padded.unfold(0, past + block, block).transpose(1, 2)
    return filtered.flatten(0, 1)[: len(xs)].reshape(xs.shape)
