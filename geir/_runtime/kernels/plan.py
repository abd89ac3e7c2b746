"""A run as values: everything but tensors in a `Plan`, and the tensors that enter and leave it by name.

PyTorch's operators and autograd functions take and return flat lists of tensors. `flatten` and `unflatten` are
the only code that knows their
order: first the tensors that are always there, then those of recurrence, then as many constants as there are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, NamedTuple, TypeVar

import torch

# A tensor argument, or a fact about it: whether it needs a gradient, or its batch dimension.
T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """All arguments of a run that are not tensors.

    Args:
        program: The traced step, as text; see `Program.dumps`.
        checkpoint_every: Number of steps between the states kept for the backward pass; 0 if there is none.
        output_dtype: Dtype of the output; with feedback, that of the input.
        record: Whether the run returns the state after every step instead of only the last.
        recurrent: Whether the output feeds back.
        sparse: Whether it does so through sparse connections instead of a matrix.
        needs_grad: In the backward pass, for each constant whether it needs a gradient.
    """

    program: str
    checkpoint_every: int
    output_dtype: torch.dtype
    record: bool
    recurrent: bool = False
    sparse: bool = False
    needs_grad: tuple[bool, ...] = ()

    @property
    def keeps_inputs(self) -> bool:
        """Whether the run returns its inputs with the feedback, which the backward pass needs."""
        return self.recurrent and (self.checkpoint_every > 0 or not self.sparse)

    def for_backward(self, needs_grad: Sequence[bool]) -> "Plan":
        """The plan of the backward pass."""
        return Plan(
            self.program,
            self.checkpoint_every,
            self.output_dtype,
            self.record,
            self.recurrent,
            self.sparse,
            tuple(needs_grad),
        )


class Structure(NamedTuple, Generic[T]):
    """Sparse connections without their weights, ordered by presynaptic neuron; see `Synapses`."""

    starts: T  # shape (neurons + 1,)
    targets: T  # shape (synapses,)
    delays: T  # shape (synapses,) or (1,)


class Feedback(NamedTuple, Generic[T]):
    """The tensors by which the output feeds back."""

    # Output before the first step, shape (..., neurons); with sparse connections those of as many steps as the longest
    # delay needs, shape (past, ..., neurons), the most recent last.
    z: T
    weights: T  # shape (neurons, neurons), or (synapses,)
    structure: Structure[T] | None = None  # of sparse connections

    def flatten(self) -> tuple[T, ...]:
        return self.z, self.weights, *(self.structure or ())

    @staticmethod
    def unflatten(flat: Sequence[T]) -> "Feedback[T]":
        z, weights, *structure = flat
        return Feedback(z, weights, Structure(*structure) if structure else None)

    @staticmethod
    def size(plan: Plan) -> int:
        """Number of tensors."""
        return 5 if plan.sparse else 2 if plan.recurrent else 0


class Tensors(NamedTuple, Generic[T]):
    """The tensor arguments of a run."""

    xs: T  # input, shape (time, ...); of several receptors (time, receptors, ...)
    state: T  # state before the first step, shape (parts, ...)
    feedback: Feedback[T] | None
    constants: Sequence[T]  # each broadcastable to (...)

    def flatten(self) -> tuple[T, ...]:
        feedback = () if self.feedback is None else self.feedback.flatten()
        return self.xs, self.state, *feedback, *self.constants

    @staticmethod
    def unflatten(plan: Plan, flat: Sequence[T]) -> "Tensors[T]":
        xs, state, *rest = flat
        size = Feedback.size(plan)
        return Tensors(xs, state, Feedback.unflatten(rest[:size]) if size else None, rest[size:])


class Outcome(NamedTuple, Generic[T]):
    """The results of a run."""

    zs: T  # output, shape (time, ...)
    state: T  # last state, shape (parts, ...), or all states, shape (parts, time, ...)
    checkpoints: T | None  # states before every chunk of steps, shape (chunks, parts, ...)
    inputs: T | None  # of a recurrent run: input and feedback added up, shape (time, ...)

    def flatten(self) -> tuple[T, ...]:
        return tuple(part for part in self if part is not None)

    @staticmethod
    def unflatten(plan: Plan, flat: Sequence[T]) -> "Outcome[T]":
        zs, state, *rest = flat
        checkpoints = rest.pop(0) if plan.checkpoint_every else None
        return Outcome(zs, state, checkpoints, rest.pop(0) if plan.keeps_inputs else None)


class SavedFeedback(NamedTuple, Generic[T]):
    """The tensors by which the output fed back, for the backward pass."""

    z: T
    weights: T
    zs: T  # output of the run
    structure: Structure[T] | None = None

    def flatten(self) -> tuple[T, ...]:
        return self.z, self.weights, self.zs, *(self.structure or ())

    @staticmethod
    def unflatten(flat: Sequence[T]) -> "SavedFeedback[T]":
        z, weights, zs, *structure = flat
        return SavedFeedback(z, weights, zs, Structure(*structure) if structure else None)


class BackwardTensors(NamedTuple, Generic[T]):
    """The tensor arguments of the backward pass."""

    xs: T  # input of the steps; of a recurrent run with the feedback added
    grad_zs: T
    grad_state: T | None  # gradient of `Outcome.state`; None stands for zero
    checkpoints: T
    feedback: SavedFeedback[T] | None
    constants: Sequence[T]

    def flatten(self) -> tuple[T | None, ...]:
        feedback = () if self.feedback is None else self.feedback.flatten()
        return self.xs, self.grad_zs, self.grad_state, self.checkpoints, *feedback, *self.constants

    @staticmethod
    def unflatten(plan: Plan, flat: Sequence[Any]) -> "BackwardTensors[Any]":
        xs, grad_zs, grad_state, checkpoints, *rest = flat
        size = Feedback.size(plan)
        feedback = SavedFeedback.unflatten(rest[: size + 1]) if size else None
        return BackwardTensors(xs, grad_zs, grad_state, checkpoints, feedback, rest[size + 1 if size else 0 :])


class Gradients(NamedTuple, Generic[T]):
    """The results of the backward pass."""

    xs: T
    state: T
    feedback: Feedback[T] | None  # without a structure
    constants: Sequence[T]  # of those constants that need a gradient

    flatten = Tensors.flatten

    @staticmethod
    def unflatten(plan: Plan, flat: Sequence[T]) -> "Gradients[T]":
        return Gradients(*Tensors.unflatten(replace(plan, sparse=False), flat))
