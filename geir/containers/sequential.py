"""Containers that thread state through any mix of modules with and without it."""

import inspect
from typing import Any, NamedTuple

import torch
from torch import nn, Tensor

from .._util.time_distributed import fold_time


def _takes_state(kind: Any) -> bool:
    # Not inspect.signature, which torch.compile cannot trace.
    code = inspect.unwrap(kind.forward).__code__
    return "state" in code.co_varnames[2 : code.co_argcount + code.co_kwonlyargcount]


def is_stateful(module: nn.Module) -> bool:
    """Whether a module is called as `module(x, state)` and returns its state.

    So is one whose `forward` has a second argument `state`, and so are PyTorch's own recurrent modules.
    """
    if isinstance(module, Lift):
        return is_stateful(module.module)
    return isinstance(module, nn.RNNBase | nn.RNNCellBase) or _takes_state(type(module))


def call(module: nn.Module, x: Any, state: Any) -> tuple[Any, Any]:
    """The module's output and next state; `()` where it has none."""
    if not is_stateful(module):
        return module(x), ()
    result = module(x, None if isinstance(state, tuple) and not state else state)
    if isinstance(module, nn.LSTMCell):
        return result[0], result
    if isinstance(module, nn.RNNCellBase):
        return result, result
    return result


class SequentialState(nn.Sequential):
    """Modules in sequence, with their states threaded through.

    Each module may or may not have a state; neurons, cells, wrappers, `Lift`, PyTorch's recurrent modules, nested `SequentialState` and
    any module whose `forward` takes a second argument `state` have one. All work on one step of input, or all over time.

    Args:
        *modules: The modules, or one ordered dictionary of named modules.
        return_hidden: Return the list of every module's output instead of the last one's.

    >>> from geir import LICell, LIFCell
    >>> model = SequentialState(nn.Linear(3, 4), LIFCell(), nn.Linear(4, 2), LICell())
    >>> state = None
    >>> for x in torch.ones(10, 1, 3):
    ...     y, state = model(x, state)
    >>> y.shape
    torch.Size([1, 2])
    """

    def __init__(self, *modules: Any, return_hidden: bool = False):
        super().__init__(*modules)
        self.return_hidden = return_hidden

    def forward(self, x: Any, state: tuple[Any, ...] | None = None) -> tuple[Any, tuple[Any, ...]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Run the modules in sequence.

        Args:
            x: Input of the first module.
            state: What the previous call returned. Default: every module at rest.

        Returns:
            Output of the last module, and the state, a tuple with one entry a module, `()` for one that has none.

        Raises:
            ValueError: If the state has not one entry a module.
        """
        if state is None:
            state = ((),) * len(self)
        whole = isinstance(state, tuple | list) and not hasattr(state, "_fields")
        if not whole or len(state) != len(self):
            got = f"{len(state)} entries" if whole else type(state).__name__
            raise ValueError(
                f"{type(self).__name__} of {len(self)} modules continues from a tuple with one entry each, got {got}."
            )
        outputs, states = [], []
        for module, before in zip(self, state, strict=True):
            x, after = call(module, x, before)
            outputs.append(x)
            states.append(after)
        return outputs if self.return_hidden else x, tuple(states)


class Lift(nn.Module):
    """A module of one step made to work over time.

    A module without state is applied to all times at once, time folded into the batch; batch normalisation then takes its statistics over
    time too. One with state, such as a `SequentialState` of cells, is stepped through time.

    Args:
        module: The module to lift.

    >>> Lift(nn.Conv2d(1, 8, 3))(torch.zeros(20, 16, 1, 28, 28)).shape
    torch.Size([20, 16, 8, 26, 26])
    """

    def __init__(self, module: nn.Module):
        super().__init__()
        if not isinstance(module, nn.Module):
            raise TypeError(f"Lift takes a module, got {module!r}.")
        self.module = module

    def forward(self, xs: Any, state: Any = None) -> Any:
        """Run over time.

        Args:
            xs: Input, shape (time, batch, ...), or the pair of output and state that the module before returned, whose state is passed over.
            state: State of a module that has one, to continue from. Default: at rest.

        Returns:
            Output, shape (time, batch, ...); if the module has a state, the pair of output and its last state.
        """
        xs = xs[0] if isinstance(xs, tuple) else xs
        if not is_stateful(self.module):
            return fold_time(self.module, xs)
        if xs.dim() == 0 or not len(xs):
            raise ValueError(
                f"Lift steps {type(self.module).__name__} through time: it takes (time, ...) of at least one step, got {tuple(xs.shape)}."
            )
        outputs = []
        for x in xs.unbind(0):
            output, state = call(self.module, x, state)
            outputs.append(output)
        return torch.stack(outputs), state


class RecurrentSequentialState(NamedTuple):
    """State of `RecurrentSequential`."""

    cache: Any  # last output of the last module, fed back
    state: tuple[Any, ...]  # states of the modules


class RecurrentSequential(nn.Module):
    """Modules in sequence whose last output is added to their next input: one step at a time, or lifted over time.

    Args:
        *modules: The modules; the output of the last must have the shape of the first one's input.
        output_modules: Which module's output to return, or a list of them to return a list. Default: the last.
    """

    def __init__(self, *modules: nn.Module, output_modules: int | list[int] = -1):
        super().__init__()
        self.modules_in_sequence = SequentialState(*modules, return_hidden=True)
        self.output_modules = output_modules
        for index in [output_modules] if isinstance(output_modules, int) else output_modules:
            if not -len(modules) <= index < len(modules):
                raise ValueError(
                    f"RecurrentSequential has {len(modules)} modules, but output_modules asks for {index}."
                )

    def forward(self, x: Tensor, state: RecurrentSequentialState | None = None) -> tuple[Any, RecurrentSequentialState]:
        """Advance by one step.

        Args:
            x: One step of input.
            state: State before the step. Default: at rest, nothing fed back.

        Raises:
            ValueError: If what is fed back does not have the shape of the input.
        """
        if state is not None:
            if state.cache.shape != x.shape:
                raise ValueError(
                    f"RecurrentSequential feeds back shape {tuple(state.cache.shape)}, but its input has shape {tuple(x.shape)}."
                )
            x = x + state.cache
        outputs, states = self.modules_in_sequence(x, None if state is None else state.state)
        chosen = self.output_modules
        output = outputs[chosen] if isinstance(chosen, int) else [outputs[index] for index in chosen]
        return output, RecurrentSequentialState(outputs[-1], states)
