"""Run a model by kernels derived from its step, or by the reference loop where that is impossible."""

import functools
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from ..._util.inputs import AnyInput, first_receptor
from ..._util.state import AnyState
from ..compiler import NoCompilerError
from ..stepper import Stepper
from .autograd import run_differentiably
from .differentiable import needs_second_derivatives
from .plan import Plan, Tensors
from .prepared_run import prepare_run, stack_receptors, unstack_state
from .program import NotFusableError
from .recurrence import run_recurrent
from .reference import reference


@dataclass(frozen=True)
class Fused:
    """Runs a model over time inside kernels derived from its step. The default.

    A step that is not elementwise runs on the reference loop, with one warning, and so does every step on a
    machine without a C compiler. Forward-mode differentiation and `geir.learning.second_derivatives` use the
    reference loop without a warning.

    Args:
        checkpoint_every: Number of steps between the states kept for the backward pass, which recomputes the
            others. Gradients do not depend on it. Default: such that the kept states are small compared with
            the input.
        output_dtype: ``torch.bool`` or ``torch.uint8`` for spikes in a quarter of the memory of float32; they
            carry no gradient.
            Default: the dtype of the input.

    Raises:
        ValueError: If `checkpoint_every` is not a positive number of steps, or `output_dtype` is another dtype.
    """

    checkpoint_every: int | None = None
    output_dtype: torch.dtype | None = None

    def __post_init__(self) -> None:
        every = self.checkpoint_every
        if every is not None and not (isinstance(every, int) and every > 0):
            raise ValueError(f"Fused.checkpoint_every must be a positive number of steps, got {every!r}.")
        if self.output_dtype not in (None, torch.bool, torch.uint8):
            raise ValueError(f"Fused.output_dtype must be torch.bool or torch.uint8, got {self.output_dtype!r}.")

    def __call__(
        self, stepper: Stepper, xs: AnyInput, state: AnyState, record_states: bool = False
    ) -> tuple[Tensor, AnyState]:
        """Like `reference`."""
        first = first_receptor(xs)
        possible = stepper.elementwise and first.numel() and first.device.type in ("cpu", "cuda")
        if not possible or torch.autograd.forward_ad._current_level >= 0 or needs_second_derivatives():
            return self._run_reference(stepper, xs, state, record_states)
        try:
            run = _run_feedforward if stepper.feedback is None else run_recurrent
            return run(stepper, xs, state, record_states, self.checkpoint_every, self.output_dtype or first.dtype)
        except (NotFusableError, NoCompilerError) as error:
            _warn_once(f"{type(stepper.module).__name__} runs on the reference loop: {error}.")
            return self._run_reference(stepper, xs, state, record_states)

    def _run_reference(
        self, stepper: Stepper, xs: AnyInput, state: AnyState, record_states: bool
    ) -> tuple[Tensor, AnyState]:
        zs, state = reference(stepper, xs, state, record_states)
        return zs.to(self.output_dtype or zs.dtype), state


fused = Fused()


def _run_feedforward(
    stepper: Stepper,
    xs: AnyInput,
    state: AnyState,
    record: bool,
    checkpoint_every: int | None,
    output_dtype: torch.dtype,
) -> tuple[Tensor, AnyState]:
    prepared = prepare_run(stepper, state, type(xs))
    every = prepared.checkpoint_every(checkpoint_every) if torch.is_grad_enabled() else 0
    plan = Plan(prepared.program, every, output_dtype, record)
    outcome = run_differentiably(plan, Tensors(stack_receptors(xs), prepared.state, None, prepared.constants))
    return outcome.zs, unstack_state(state, outcome.state)


@functools.cache
def _warn_once(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=4)
