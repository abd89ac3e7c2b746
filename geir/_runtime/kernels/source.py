"""The source code of a model's kernels, for documentation and tests."""

from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from ..stepper import Steppable
from . import c_source
from .prepared_run import prepare_run
from .program import Program


class _Model(Steppable, Protocol):
    input_types: ClassVar[tuple[Any, ...]]

    def state_dtype(self, x: Tensor) -> torch.dtype: ...


def source_of(neuron: _Model) -> str:
    """The C source of a neuron's kernels, in its dtype and without the gradients of constants that need none.

    Raises:
        NotFusableError: If its step cannot become a kernel; the message says why.
    """
    x = torch.zeros(1, dtype=neuron.state_dtype(torch.zeros(())))
    stepper, state = neuron.stepper(x.dtype), neuron.initial_state(x)
    prepared = prepare_run(stepper, state if stepper.feedback is None else state[0], neuron.input_types[0])
    shared = [constant.numel() == 1 for constant in prepared.constants]
    needs_grad = [constant.requires_grad for constant in prepared.constants]
    return c_source.source(Program.loads(prepared.program), shared, needs_grad, x.dtype, x.dtype)
