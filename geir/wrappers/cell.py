"""The cell form of a model: one step instead of a run over time."""

from typing import ClassVar

from torch import Tensor

from .._runtime.kernels import prepare_call, run_directly
from .._util.inputs import first_receptor, map_input
from .._util.state import AnyState
from .._util.validation import Input
from ..core.neuron import Dynamics


class CellMixin(Dynamics):
    """Turns a model into a cell, which advances by one step when called.

    Written in front of the model: ``class LIFCell(CellMixin, LIF): ...``.
    """

    # Cells withdraw these settings.
    record_states: ClassVar[bool] = False  # pyright: ignore[reportIncompatibleVariableOverride]
    unroll: ClassVar[None] = None  # pyright: ignore[reportIncompatibleMethodOverride]

    def forward(self, xs: Input, state: AnyState = None) -> tuple[Tensor, AnyState]:
        """Advance by one step.

        Args:
            xs: One step of input, shape (...), or the previous module's `(output, state)` tuple; its state is ignored.
                Of several receptors a named tuple, each part of shape (...).
            state: State before the step, each part of shape (...). Default: the resting state.

        Returns:
            Output, shape (...), in the dtype of the input, and the state after the step.

        Raises:
            TypeError: If `xs` is not a floating-point tensor or of the model's `input_types`, or `state` is not a state
                of this model.
            ValueError: If the shapes of the parts of `xs` differ, or a part of `state` or a parameter does not fit the
                input.
        """
        if (result := run_directly(self, xs, state)) is not None:
            return result
        initial = state is None and self._rests_in_the_same_state()
        x = self.transform_input(self.check_input(xs), over_time=False)
        first = first_receptor(x)
        dtype = self.state_dtype(first)
        state = self.start_state(first, state, dtype)
        stepper = self.stepper(dtype)
        if first is xs:
            prepare_call(self, stepper, first, state, first.dtype, False, initial)
        z, state = stepper.advance(map_input(lambda part: part.to(dtype), x), state)
        return z.to(first.dtype), state
