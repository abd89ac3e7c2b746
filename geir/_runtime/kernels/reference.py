"""The definition of a run: the step, again and again."""

from typing import Any

import torch
from torch import Tensor

from ..._util.state import map_state


def reference(neuron: Any, xs: Tensor, state: Any, record_states: bool = False) -> tuple[Tensor, Any]:
    """Loop over time in Python. Every other kernel must agree with this one, gradients included."""
    prepared, dtype = neuron.prepare(), neuron.state_dtype(xs)
    outputs, states = [], []
    # Not `xs[t]`: the backward of indexing is quadratic in the number of steps.
    for x in xs.to(dtype).unbind(0):
        z, state = neuron.step(x, state, *prepared)
        outputs.append(z)
        if record_states:
            states.append(state)
    if not outputs:
        empty = map_state(lambda part: part.new_empty(0, *part.shape), state)
        return torch.empty_like(xs), empty if record_states else state
    return torch.stack(outputs).to(xs.dtype), map_state(
        lambda *parts: torch.stack(parts), *states
    ) if record_states else state
