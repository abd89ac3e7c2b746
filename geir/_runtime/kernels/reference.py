"""The definition of a run: the step, repeated."""

import torch
from torch import Tensor

from ..._util.inputs import AnyInput, first_receptor, map_input, unbind_time
from ..._util.state import AnyState, map_state
from ..stepper import Stepper


def reference(stepper: Stepper, xs: AnyInput, state: AnyState, record_states: bool = False) -> tuple[Tensor, AnyState]:
    """Loop over time in Python. Every kernel must agree with this loop, gradients included.

    Args:
        stepper: The model, ready to run.
        xs: Input, shape (time, ...); of several receptors a named tuple, each part of shape (time, ...).
        state: State before the first step.
        record_states: Whether to return the states after every step instead of only the last.

    Returns:
        Output, shape (time, ...), and the last state, or all states, each part of shape (time, ...).
    """
    outputs, states = [], []
    first = first_receptor(xs)
    for x in unbind_time(map_input(lambda part: part.to(stepper.dtype), xs)):
        z, state = stepper.advance(x, state)
        outputs.append(z)
        if record_states:
            states.append(state)
    if not outputs:
        empty = map_state(lambda part: part.new_empty(0, *part.shape), state)
        return torch.empty_like(first), empty if record_states else state
    if record_states:
        state = map_state(lambda *parts: torch.stack(parts), *states)
    return torch.stack(outputs).to(first.dtype), state
