"""Linear recurrences by parallel scan, and neurons without reset that are made of them."""

from collections.abc import Callable
from typing import cast, ClassVar, Literal, NamedTuple

import torch
from torch import nn, Tensor

from .._util.precision import widen
from .._util.state import state_type
from .._util.validation import check_broadcastable, check_run, Input
from ..core.parameters import Declared, setting
from ..surrogates import ATan


def linear_scan(decay: Tensor, xs: Tensor, initial: Tensor | None = None) -> Tensor:
    r"""Solve a linear recurrence for all steps at once.

    .. math:: h_t = a_t h_{t-1} + x_t

    On a GPU the number of operations that follow one another grows with the logarithm of the number of steps: sums over
    two steps, four, eight and so on. On the CPU, steps follow one another. For the gradient, only the result is kept in
    memory. Differentiable in all arguments, any number of times.

    Reference: G. Blelloch, *Prefix sums and their applications*, 1990.

    Args:
        decay: Factors :math:`a_t`, which broadcast to the shape of `xs`; without a first dimension, or if it is 1, the
            same at all steps. Real or complex, with an absolute value of at most 1.
        xs: Input :math:`x_t`, shape (time, ...), real or complex.
        initial: :math:`h` before the first step, shape (...). Default: 0.

    Returns:
        :math:`h_t` of all steps, shape (time, ...).

    Raises:
        ValueError: If the shapes do not fit.

    >>> linear_scan(torch.tensor(0.5), torch.ones(4))
    tensor([1.0000, 1.5000, 1.7500, 1.8750])
    """
    if xs.dim() == 0:
        raise ValueError("linear_scan expected input of shape (time, ...), got a tensor without dimensions.")
    check_broadcastable("linear_scan", "decay", decay, xs.shape, "the input")
    if decay.dim() < xs.dim():
        decay = decay[(None,) * (xs.dim() - decay.dim())]
    dtype = torch.promote_types(decay.dtype, xs.dtype)
    decay, xs = widen(decay.to(dtype)), widen(xs.to(dtype))
    if initial is not None and len(xs):
        if initial.shape != xs.shape[1:]:
            raise ValueError(
                f"linear_scan expected as `initial` a tensor of the shape of one step of input, {tuple(xs.shape[1:])}, "
                f"got shape {tuple(initial.shape)}."
            )
        xs = torch.cat([(xs[0] + decay[0] * initial)[None], xs[1:]])
    return cast(Tensor, _Scan.apply(decay, xs)).to(dtype)


def _step_by_step(decay: Tensor, xs: Tensor) -> Tensor:
    """The recurrence as a loop: the fewest operations."""
    hs = xs.clone()
    for t in range(1, len(hs)):
        hs[t] += decay[t if len(decay) > 1 else 0] * hs[t - 1]
    return hs


def _by_doubling(decay: Tensor, xs: Tensor) -> Tensor:
    """The recurrence in few operations on many steps each."""
    hs, step = xs.clone(), 1
    # After each pass, `hs` is the sum over the last 2 * step inputs, and `decay` the product of as many factors.
    while step < len(hs):
        later = decay[step:] if len(decay) > 1 else decay
        hs = torch.cat([hs[:step], hs[step:] + later * hs[:-step]])
        decay = torch.cat([decay[:step], later * decay[:-step]]) if len(decay) > 1 else decay * decay
        step *= 2
    return hs


class _Scan(torch.autograd.Function):
    """The recurrence from 0. Its gradient is the recurrence backward in time, so it is differentiable again."""

    @staticmethod
    def forward(decay: Tensor, xs: Tensor) -> Tensor:
        return _step_by_step(decay, xs) if xs.device.type == "cpu" else _by_doubling(decay, xs)

    @staticmethod
    def setup_context(ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        decay, _ = inputs
        ctx.save_for_backward(decay, output)

    # PyTorch does not declare `saved_tensors`.
    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (grad,) = grads
        decay, hs = ctx.saved_tensors
        factor = decay.conj()
        if len(decay) > 1:
            # The gradient of step t is multiplied with the factor of step t + 1; nothing follows the last one.
            factor = torch.cat([factor[1:], factor[:1]]).flip(0)
        grad_xs = cast(Tensor, _Scan.apply(factor, grad.flip(0))).flip(0)
        before = torch.cat([torch.zeros_like(hs[:1]), hs[:-1]])
        grad_decay = (grad_xs * before.conj()).sum_to_size(decay.shape)
        return grad_decay, grad_xs


@state_type
class StateSpaceState(NamedTuple):
    """State of `StateSpaceNeuron`."""

    h: Tensor  # complex, shape (..., states)


class StateSpaceNeuron(Declared):
    r"""Spiking state-space neuron: a threshold on a diagonal linear system with complex states, without reset.

    .. math::
        \dot h_k = \lambda_k h_k + x, \qquad
        y_t = \mathrm{Re} \sum_{k=0}^{n-1} c_k h_{k,t} + d x_t, \qquad z_t = \Theta(y_t - b)

    The system is solved exactly for input that is constant during a step :math:`\Delta`, for all steps at once by
    `linear_scan`. Learnable, for each neuron of `shape`: the step, initially log-uniform in [0.001, 0.1]; the
    eigenvalues :math:`\lambda_k`, initially :math:`-1/2 + i \pi k`, whose real part is negative; :math:`c_k` and
    :math:`d`, initially normal; and the threshold :math:`b`, initially 1. The states of all steps are kept in memory: 8
    bytes each.

    References: A. Gu et al., *On the parameterization and initialization of diagonal state space models*, 2022
    (S4D-Lin); M. Stan & O. Rhodes, *Learning long sequences in spiking neural networks*, 2024.

    Args:
        states: Number of states :math:`n`.
        shape: Shape of the parameters, which broadcasts to one step of input: ``(100,)`` for 100 different neurons,
            ``(8, 1, 1)`` for 8 channels of images. Default: the same for all neurons.
        surrogate: Threshold function, from the distance to threshold to spikes, with its surrogate derivative.

    >>> zs, state = StateSpaceNeuron(4, shape=(10,))(torch.rand(50, 2, 10))
    >>> state.h.shape
    torch.Size([2, 10, 4])
    """

    states: int = setting(
        default=8,
        kw_only=False,
        accepts=int,
        check=lambda count: count > 0,
        expected="a positive number of states",
    )
    shape: tuple[int, ...] = setting(
        default=(),
        accepts=tuple,
        check=lambda shape: all(isinstance(size, int) and size > 0 for size in shape),
        expected="a tuple of positive integers such as (100,)",
    )
    surrogate: Callable[[Tensor], Tensor] = setting(
        default=ATan(), accepts=Callable, expected="a surrogate such as geir.surrogates.ATan()"
    )

    # For `geir.reset` and `geir.initial_state`.
    rests_at_zero: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        shape = (*self.shape, self.states)
        self.log_step = nn.Parameter(torch.empty(self.shape).uniform_(-3, -1) * torch.tensor(10.0).log())
        self.log_decay = nn.Parameter(torch.full(shape, 0.5).log())
        self.frequency = nn.Parameter((torch.pi * torch.arange(self.states)).expand(shape).clone())
        # Real and imaginary parts: `module.double()` leaves complex parameters as they are.
        self.output_weight = nn.Parameter(torch.randn(*shape, 2))
        self.input_weight = nn.Parameter(torch.randn(self.shape))
        self.threshold = nn.Parameter(torch.ones(self.shape))

    def time_role(self) -> Literal["time"]:
        """It takes all steps."""
        return "time"

    def forward(self, xs: Input, state: StateSpaceState | None = None) -> tuple[Tensor, StateSpaceState]:
        """Run over time.

        Args:
            xs: Input, shape (time, ...), or the previous module's `(output, state)` tuple; its state is ignored.
            state: State to continue from. Default: 0.

        Returns:
            Spikes, shape (time, ...), and the state after the last step.

        Raises:
            TypeError: If `xs` is not a floating-point tensor, or is float64 where the parameters are not.
            ValueError: If `xs` has no time dimension, or `shape` or `state` does not fit.
        """
        xs = check_run(self, xs, self.threshold)
        check_broadcastable(type(self).__name__, "threshold", self.threshold, xs.shape[1:])
        step = widen(self.log_step).exp()[..., None]
        rate = torch.complex(-widen(self.log_decay).exp(), widen(self.frequency))
        decay = (step * rate).exp()
        inputs = widen(xs)
        initial = None if state is None else state.h
        if initial is not None and initial.shape != (*xs.shape[1:], self.states):
            raise ValueError(
                f"StateSpaceState.h has shape {tuple(initial.shape)}, but {type(self).__name__} needs "
                f"{(*xs.shape[1:], self.states)}."
            )
        hs = linear_scan(decay, (decay - 1) / rate * inputs[..., None], initial)
        weight = torch.view_as_complex(widen(self.output_weight))
        ys = (weight * hs).sum(-1).real + widen(self.input_weight) * inputs
        last = hs[-1] if len(hs) else hs.new_zeros(hs.shape[1:]) if initial is None else initial
        return self.surrogate(ys - widen(self.threshold)).to(xs.dtype), StateSpaceState(last)
