"""Batch normalization that knows about time: tdBN, TEBN and BNTT, as layers over time."""

import math
from typing import cast, ClassVar, Literal, NamedTuple

import torch
from torch import nn, Tensor

from .._util.state import state_type
from .._util.validation import check_integer, Input, unwrap_output


@state_type
class StepCount(NamedTuple):
    """State of a normalization with parameters for each step."""

    steps: Tensor  # number of steps that were processed, an integer


class _BatchNormOverTime(nn.modules.batchnorm._BatchNorm):
    """Batch normalization of (time, batch, channels, ...), with PyTorch's parameters and running statistics."""

    def time_role(self) -> Literal["time"]:
        """It takes all steps."""
        return "time"

    def _check(self, xs: Input, channels: int) -> Tensor:
        name = type(self).__name__
        xs = unwrap_output(name, xs)
        if xs.dim() < 3 or xs.shape[2] != channels:
            raise ValueError(
                f"{name} expected input of shape (time, batch, channels, ...) with {channels} channels, "
                f"got shape {tuple(xs.shape)}."
            )
        return xs

    def _normalize(self, xs: Tensor, weight: Tensor, bias: Tensor | None, entries: slice = slice(None)) -> Tensor:
        """Normalize (samples, channels, ...), whose channels are these entries of the running statistics."""
        if not xs.numel():
            return xs
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        # PyTorch declares them as optional.
        mean, var = (cast(Tensor, statistics)[entries] for statistics in (self.running_mean, self.running_var))
        momentum = cast(float, self.momentum)
        return nn.functional.batch_norm(xs, mean, var, weight, bias, self.training, momentum, self.eps)

    def _check_input_dim(self, input: Tensor) -> None:
        """The base class asks its subclasses for a check; it has been done on the input over time."""


class ThresholdDependentBatchNorm(_BatchNormOverTime):
    r"""Threshold-dependent batch normalization (tdBN): statistics include time, the scale is that of the threshold.

    .. math:: y_t = \lambda \, \alpha V_\text{th} \frac{x_t - \mathrm E[x]}{\sqrt{\mathrm{Var}[x] + \epsilon}} + \beta

    Each channel has a mean and a variance over time, batch and space; in evaluation mode, running averages, so runs
    can be split. Scales :math:`\lambda`, initially 1, and offsets :math:`\beta`, initially 0, are learnable.
    `reset_parameters` of a model leaves them at these values.

    Reference: H. Zheng et al., *Going deeper with directly-trained larger spiking neural networks*, 2021.

    Args:
        num_features: Number of channels.
        v_th: The threshold, in units of the input: that of `Leaky` or `IAF`. For a neuron whose gain is not 1, such as
            `LIF`, its `threshold_weight`.
        alpha: Further factor: :math:`1 / \sqrt n` where the outputs of :math:`n` normalizations are added.
        eps: Added to the variance.
        momentum: Weight of a new value in the running averages.

    Raises:
        ValueError: If `v_th` or `alpha` is not positive and finite.

    >>> ThresholdDependentBatchNorm(8)(torch.rand(4, 2, 8, 5, 5)).shape
    torch.Size([4, 2, 8, 5, 5])
    """

    def __init__(
        self, num_features: int, v_th: float = 1.0, alpha: float = 1.0, eps: float = 1e-5, momentum: float = 0.1
    ):
        for name, number in (("v_th", v_th), ("alpha", alpha)):
            if not 0 < number < math.inf:
                raise ValueError(f"ThresholdDependentBatchNorm.{name} must be positive and finite, got {number!r}.")
        check_integer("ThresholdDependentBatchNorm", minimum=1, num_features=num_features)
        super().__init__(num_features, eps, momentum)
        self.v_th = v_th
        self.alpha = alpha

    @property
    def scale(self) -> float:
        """The standard deviation of the output for a weight of 1."""
        return self.alpha * self.v_th

    # PyTorch's modules call their input `input`; layers over time call theirs `xs`.
    def forward(self, xs: Input) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Normalize.

        Args:
            xs: Input, shape (time, batch, channels, ...), or the previous module's `(output, state)` tuple; its state
                is ignored.

        Returns:
            Output of the same shape.

        Raises:
            TypeError: If `xs` is not a floating-point tensor.
            ValueError: If `xs` has another shape.
        """
        xs = self._check(xs, self.num_features)
        return self._normalize(xs.flatten(0, 1), self.scale * self.weight, self.bias).view(xs.shape)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, v_th={self.v_th}, alpha={self.alpha}"


class _StepwiseBatchNorm(_BatchNormOverTime):
    """Batch normalization with parameters for each of a fixed number of steps; its state counts them."""

    # For `geir.reset` and `geir.initial_state`.
    rests_at_zero: ClassVar[bool] = True

    def __init__(self, num_features: int, steps: int, entries: int, eps: float, momentum: float):
        check_integer(type(self).__name__, minimum=1, num_features=num_features, steps=steps)
        super().__init__(entries, eps, momentum)
        self.steps = steps

    def _interval(self, xs: Tensor, state: StepCount | None) -> tuple[slice, StepCount]:
        """The steps that the input consists of, and the next state."""
        name = type(self).__name__
        if state is not None and not isinstance(state, StepCount):
            raise TypeError(f"{name} expected a StepCount as its state, got {type(state).__name__}.")
        first = 0 if state is None else int(state.steps)
        last = first + len(xs)
        if last > self.steps:
            given = f"{len(xs)} steps" + (f" after {first} others" if first else "")
            raise ValueError(
                f"{name} has parameters for {self.steps} steps, got {given}; build it with steps={last} or more, or "
                "start a new run without a state."
            )
        return slice(first, last), StepCount(torch.tensor(last))  # on the CPU: no transfer


class TemporalEffectiveBatchNorm(_StepwiseBatchNorm):
    r"""Temporal effective batch normalization (TEBN): statistics include time, and every step has its own factor.

    .. math:: y_t = p_t \left(\gamma \frac{x_t - \mathrm E[x]}{\sqrt{\mathrm{Var}[x] + \epsilon}} + \beta\right)

    Each channel has a mean and a variance over time, batch and space; in evaluation mode, running averages, so runs
    can be split. Factors :math:`p_t`, initially 1, :math:`\gamma` and :math:`\beta` are learnable.

    Reference: C. Duan et al., *Temporal effective batch normalization in spiking neural networks*, 2022.

    Args:
        num_features: Number of channels.
        steps: Largest number of steps of a run.
        eps: Added to the variance.
        momentum: Weight of a new value in the running averages.

    Raises:
        ValueError: If a number is not a positive integer.

    >>> ys, state = TemporalEffectiveBatchNorm(8, steps=4)(torch.rand(3, 2, 8, 5, 5))
    >>> state
    StepCount(steps=tensor(3))
    """

    def __init__(self, num_features: int, steps: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__(num_features, steps, num_features, eps, momentum)
        self.factors = nn.Parameter(torch.ones(steps))

    # PyTorch's modules call their input `input` and have no state.
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, xs: Input, state: StepCount | None = None
    ) -> tuple[Tensor, StepCount]:
        """Normalize.

        Args:
            xs: Input, shape (time, batch, channels, ...), or the previous module's `(output, state)` tuple; its state
                is ignored.
            state: State to continue from. Default: that before the first step.

        Returns:
            Output of the same shape, and the state after the last step.

        Raises:
            TypeError: If `xs` is not a floating-point tensor, or `state` is not a `StepCount`.
            ValueError: If `xs` has another shape, or the run is longer than `steps`.
        """
        xs = self._check(xs, self.num_features)
        interval, state = self._interval(xs, state)
        ys = self._normalize(xs.flatten(0, 1), self.weight, self.bias).view(xs.shape)
        return ys * self.factors[interval].to(ys.dtype).view(-1, *[1] * (ys.dim() - 1)), state

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, steps={self.steps}"


class BatchNormThroughTime(_StepwiseBatchNorm):
    r"""Batch normalization through time (BNTT): every step has its own statistics and scales, and no offset.

    .. math:: y_t = \gamma_t \frac{x_t - \mathrm E[x_t]}{\sqrt{\mathrm{Var}[x_t] + \epsilon}}

    Each channel has at each step a mean and a variance over batch and space; in evaluation mode, running averages.
    Scales :math:`\gamma_t` of each channel are learnable. Runs can be split, in training mode too.

    Reference: Y. Kim & P. Panda, *Revisiting batch normalization for training low-latency deep spiking neural networks
    from scratch*, 2021.

    Args:
        num_features: Number of channels.
        steps: Largest number of steps of a run.
        eps: Added to the variance.
        momentum: Weight of a new value in the running averages.

    Raises:
        ValueError: If a number is not a positive integer.
    """

    def __init__(self, num_features: int, steps: int, eps: float = 1e-5, momentum: float = 0.1):
        # Entry (t * channels + c) of PyTorch's parameters and statistics belongs to channel c at step t.
        super().__init__(num_features, steps, steps * num_features, eps, momentum)
        self.register_parameter("bias", None)
        self.channels = num_features

    def reset_parameters(self) -> None:
        """Scales of 1, and the initial running statistics."""
        self.reset_running_stats()
        nn.init.ones_(self.weight)

    # PyTorch's modules call their input `input` and have no state.
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, xs: Input, state: StepCount | None = None
    ) -> tuple[Tensor, StepCount]:
        """Normalize.

        Args:
            xs: Input, shape (time, batch, channels, ...), or the previous module's `(output, state)` tuple; its state
                is ignored.
            state: State to continue from. Default: that before the first step.

        Returns:
            Output of the same shape, and the state after the last step.

        Raises:
            TypeError: If `xs` is not a floating-point tensor, or `state` is not a `StepCount`.
            ValueError: If `xs` has another shape, or the run is longer than `steps`.
        """
        xs = self._check(xs, self.channels)
        interval, state = self._interval(xs, state)
        entries = slice(interval.start * self.channels, interval.stop * self.channels)
        # Steps as further channels.
        ys = self._normalize(xs.transpose(0, 1).flatten(1, 2), self.weight[entries], None, entries)
        return ys.unflatten(1, (len(xs), self.channels)).transpose(0, 1), state

    def extra_repr(self) -> str:
        return f"{self.channels}, eps={self.eps}, momentum={self.momentum}, steps={self.steps}"
