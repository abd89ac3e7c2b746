"""The definition of a run: the step, repeated."""

import torch
from torch import Tensor

from ..._util.state import AnyState, map_state
from ..stepper import Stepper


def reference(stepper: Stepper, xs: Tensor, state: AnyState, record_states: bool = False) -> tuple[Tensor, AnyState]:
    """Loop over time in Python. Every kernel must agree with this loop, gradients included.

    Args:
        stepper: The model, ready to run.
        xs: Input, shape (time, ...).
        state: State before the first step.
        record_states: Whether to return the states after every step instead of only the last.

    Returns:
        Output, shape (time, ...), and the last state, or all states, each part of shape (time, ...).
    """
    outputs, states = [], []
    # Not `xs[t]`: the backward pass of indexing is quadratic in the number of steps.
    for x in xs.to(stepper.dtype).unbind(0):
        z, state = stepper.step(x, state, *stepper.prepared)
        outputs.append(z)
        if record_states:
            states.append(state)
    if not outputs:
        empty = map_state(lambda part: part.new_empty(0, *part.shape), state)
        return torch.empty_like(xs), empty if record_states else state
    if record_states:
        state = map_state(lambda *parts: torch.stack(parts), *states)
    return torch.stack(outputs).to(xs.dtype), state
