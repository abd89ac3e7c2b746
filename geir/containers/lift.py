"""Call modules with and without state in the same way, for one step or over time."""

import inspect
from collections.abc import Sequence
from typing import Any, TypeGuard

import torch
from torch import nn, Tensor

from .._util.inputs import AnyInput, first_receptor, is_named_tuple, unbind_time
from .._util.time_distributed import fold_time
from .constant_input import is_constant, is_modified, register_samplewise, run_once
from .time_axis import check_batch, check_lifted, Role, role
from .time_chunks import run_in_chunks

# How a container calls a module: (module, input, state) to (output, next state). `()` stands for "no state".


class Lift(nn.Module):
    """Run a module that processes one step over time.

    A stateless module is applied to all steps at once, with time folded into the batch, so batch
    normalization computes its statistics over time as well. A stateful module, such as a
    `SequentialState` of cells, is stepped through time.

    An input that is the same at every step, ``x.expand(steps, *x.shape)``, is processed once, and the output
    is copied to all steps. The result and the gradients of the parameters are those of the computation at
    every step, up to the order of sums: the gradients of all steps are added first and then passed back
    once. This holds for modules known to be deterministic and to treat every sample by itself: linear,
    convolutional, pooling and normalization layers (`BatchNorm` in evaluation mode only), elementwise activations,
    `Flatten`, and a `torch.nn.Sequential` of them; add your own with `register_samplewise`. Modules with
    hooks, subclasses, and inputs that require a gradient are computed at every step.

    On the CPU, the same modules process a large input in chunks of time if an intermediate result is at least
    twice as large as the output, as with a convolution followed by pooling, so that it stays in the processor's
    cache. Outputs and gradients are equal up to the order of sums. A `SequentialState` does the same with
    consecutive modules.

    Args:
        module: The module to lift.

    Raises:
        TypeError: If `module` is not a module, or runs over time itself, such as `torch.nn.LSTM` or `LIF`.

    >>> Lift(nn.Conv2d(1, 8, 3))(torch.zeros(20, 16, 1, 28, 28)).shape
    torch.Size([20, 16, 8, 26, 26])
    """

    def __init__(self, module: nn.Module):
        super().__init__()
        if not isinstance(module, nn.Module):
            raise TypeError(f"Lift expected a module, got {module!r}.")
        check_lifted(module)
        self.module = module

    def time_role(self) -> Role:
        """It takes all steps."""
        return "time"

    def forward(self, xs: Tensor | tuple[Tensor, object], state: object = None) -> Tensor | tuple[Tensor, object]:
        """Run over time.

        Args:
            xs: Input, shape (time, batch, ...), or the previous module's `(output, state)` tuple; its
                state is ignored.
            state: State to continue from, for a stateful module. Default: the resting state.

        Returns:
            Output, shape (time, batch, ...). For a stateful module, the tuple of the output and the
            state after the last step.

        Raises:
            ValueError: If `xs` has no batch dimension, or no time step to run a stateful module on.
        """
        inputs: AnyInput = xs[0] if isinstance(xs, tuple) and not is_named_tuple(xs) else xs
        if not is_stateful(self.module):
            return _run_stateless(self.module, inputs)
        first = first_receptor(inputs)
        if first.dim() == 0 or not len(first):
            raise ValueError(
                f"Lift steps {type(self.module).__name__} through time: "
                f"expected input of shape (time, ...) with at least one step, got {tuple(first.shape)}."
            )
        outputs = []
        for x in unbind_time(inputs):
            output, state = call_module(self.module, x, state)
            outputs.append(output)
        return torch.stack(outputs), state

    @staticmethod
    def register_samplewise(module_class: type[nn.Module]) -> type[nn.Module]:
        """Declare that modules of a class may be run once on an input that is the same at every step, and in chunks.

        Their output must depend on the input and the parameters only, without random numbers or buffers
        that change, and every sample of the batch must be processed by itself. Subclasses are not included.

        Args:
            module_class: The class.

        Returns:
            The class, so that this can be used as a decorator.

        Raises:
            TypeError: If `module_class` is not a class of modules.
        """
        return register_samplewise(module_class)


def _run_stateless(module: nn.Module, xs: AnyInput) -> AnyInput:
    check_batch(module, xs)
    if is_constant(xs):
        ys, count = run_once([module], xs)
    else:
        ys, count = run_in_chunks([module], xs)
    return ys if count else fold_time(module, xs)


def run_constant_input(modules: Sequence[nn.Module], xs: Tensor, lift: bool) -> tuple[Tensor, int]:
    """Run the leading modules of a container once if its input is the same at every step.

    Args:
        modules: The modules of the container.
        xs: Its input.
        lift: Whether the container lifts stateless modules.

    Returns:
        The output of the last module that was run, and how many were run.
    """
    if not isinstance(xs, Tensor) or not is_constant(xs):
        return xs, 0
    return run_once(leading_lifted(modules, lift), xs)


def leading_lifted(modules: Sequence[nn.Module], lift: bool) -> list[nn.Module]:
    """The leading modules of a container that are lifted, or would be if they are stateless."""
    leading = []
    for module in modules:
        if type(module) is Lift and not is_modified(module):
            leading.append(module.module)
        elif lift:
            leading.append(module)
        else:
            break
    return leading


_RECURRENT = (nn.RNNBase, nn.RNNCellBase)


def is_stateful(module: nn.Module) -> bool:
    """Whether a module is called as `module(x, state)` and returns `(output, state)`.

    True for modules whose `forward` takes an argument `state` after its input, and for PyTorch's
    recurrent modules. A `Lift` is stateful if the module that it lifts is.
    """
    if isinstance(module, Lift):
        return is_stateful(module.module)
    return isinstance(module, _RECURRENT) or _accepts_state(type(module))


def _accepts_state(module_class: type[nn.Module]) -> bool:
    forward: Any = getattr(module_class, "forward", None)
    if hasattr(forward, "__wrapped__"):
        forward = inspect.unwrap(forward)
    # Reads the code object because torch.compile cannot trace inspect.signature. Modules of TorchScript have none.
    code = getattr(forward, "__code__", None)
    return code is not None and "state" in code.co_varnames[2 : code.co_argcount + code.co_kwonlyargcount]


def is_container_state(state: object) -> TypeGuard[Sequence[object]]:
    """Whether `state` is a plain tuple or list, as for a container. The state of a neuron is a named tuple."""
    return isinstance(state, tuple | list) and not hasattr(state, "_fields")


def call_module(module: nn.Module, x: Tensor, state: object, stateful: bool | None = None) -> tuple[Tensor, object]:
    """Call a module on its input as it is.

    Args:
        module: A module with or without state.
        x: Its input.
        state: Its state; `()` or `None` for the resting state. Ignored if the module is stateless.
        stateful: Whether the module is stateful, if the caller knows.

    Returns:
        The module's output and next state, `()` if it is stateless.
    """
    if not (is_stateful(module) if stateful is None else stateful):
        return module(x), ()
    result = module(x, None if isinstance(state, tuple) and not state else state)
    # PyTorch's cells return their next state only; the output of an LSTM cell is the first part of it.
    if isinstance(module, nn.RNNCellBase):
        return result[0] if isinstance(module, nn.LSTMCell) else result, result
    return result


def call_over_time(module: nn.Module, xs: Tensor, state: object, stateful: bool | None = None) -> tuple[Tensor, object]:
    """Call a module on input over time, shape (time, batch, ...), and lift it if it processes one step.

    A stateful module must run over time by itself: a neuron such as `LIF`, not a cell. The arguments are those of
    `call_module`.
    """
    if is_stateful(module) if stateful is None else stateful:
        return call_module(module, xs, state, True)
    runs_over_time = isinstance(module, Lift) or role(module) == "time"
    return (module(xs) if runs_over_time else _run_stateless(module, xs)), ()
