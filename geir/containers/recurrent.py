"""Modules in sequence with feedback from the last to the first."""

from typing import NamedTuple

from torch import nn, Tensor

from .._util.state import state_type
from .sequential import SequentialState
from .time_axis import Role


@state_type
class RecurrentSequentialState(NamedTuple):
    """State of `RecurrentSequential`."""

    cache: Tensor  # output of the last module, added to the next input
    state: tuple[object, ...]  # states of the modules


class RecurrentSequential(nn.Module):
    """Run modules in sequence and add the output of the last one to the next input.

    It processes one step; wrap it in `Lift` to run over time.

    Args:
        *modules: The modules. The output of the last must have the shape of the input of the first.
        output_modules: Index of the module whose output to return, or a list of indices to return a
            list of outputs. Default: the last module.

    Raises:
        ValueError: If `output_modules` contains an index out of range.
    """

    def __init__(self, *modules: nn.Module, output_modules: int | list[int] = -1):
        super().__init__()
        self.modules_in_sequence = SequentialState(*modules, return_hidden=True)
        self.output_modules = output_modules
        for index in [output_modules] if isinstance(output_modules, int) else output_modules:
            if not -len(modules) <= index < len(modules):
                raise ValueError(
                    f"RecurrentSequential has {len(modules)} modules, but output_modules contains the index {index}."
                )

    def time_role(self) -> Role:
        """It processes one step."""
        return "step"

    def forward(
        self, x: Tensor, state: RecurrentSequentialState | None = None
    ) -> tuple[Tensor | list[Tensor], RecurrentSequentialState]:
        """Advance by one step.

        Args:
            x: One step of input.
            state: State before the step. Default: all modules at their resting states, no feedback.

        Returns:
            The selected output or list of outputs, and the state after the step.

        Raises:
            ValueError: If the output that is fed back does not have the shape of the input.
        """
        if state is not None:
            if state.cache.shape != x.shape:
                raise ValueError(
                    f"RecurrentSequential feeds back an output of shape {tuple(state.cache.shape)}, "
                    f"but its input has shape {tuple(x.shape)}; both must be the same."
                )
            x = x + state.cache
        outputs, states = self.modules_in_sequence(x, None if state is None else state.state)
        selected = self.output_modules
        output = outputs[selected] if isinstance(selected, int) else [outputs[index] for index in selected]
        return output, RecurrentSequentialState(outputs[-1], states)
