"""Kernels for the CPU: the C source of a program, compiled, and called on threads over neurons."""

import ctypes
import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch

from .. import compiler, memory, threads
from ..arguments import ctypes_structure, fill_structure, update_structure, Value
from .c_source import backward_arguments, block_size, Feedback, forward_arguments, source
from .program import Program

# Products of steps and neurons below which one thread is faster than two.
SMALL = 32_768
# Samples that share what is read of the weights where only some products are needed; ROWS in selected.c.
_SELECTED_SAMPLES = 16


class Kernel(NamedTuple):
    """The kernels of a program. They take arguments by the names that `geir._runtime.kernels.arguments` declares."""

    constants: list[str]
    forward: Callable[[Mapping[str, Value]], None]
    backward: Callable[[Mapping[str, Value]], None]
    # The same in two parts: takes the arguments that stay the same, and returns a function of those that change.
    repeat_backward: Callable[[Mapping[str, Value]], Callable[[Mapping[str, Value]], None]]
    # The rest only on the CPU.
    forward_recurrent: Callable[[Mapping[str, Value]], None] | None = None
    # One chunk of steps of the backward pass with sparse connections, or with a matrix of which only some products are
    # needed; and the gradients of the weights of sparse connections, which takes the connections alone.
    backward_recurrent: Callable[[Mapping[str, Value]], None] | None = None
    synapse_gradients: Callable[[ctypes.Structure], None] | None = None
    direct: "DirectFunctions | None" = None


Integers = ctypes.Array[ctypes.c_int64]


class DirectFunctions(NamedTuple):
    """Functions of the template for direct calls. Their arguments are arrays of 64-bit integers."""

    run: Callable[[Integers, bytes], int]  # `run_directly`, on the calling thread
    run_backward: Callable[[bytes], None]  # `run_backward_directly`, likewise
    unchanged: Callable[[Integers, bytes], int]
    forward: threads.Function  # `forward_directly`, for several threads
    backward: threads.Function
    forward_names: list[str]  # of the arguments, in their order
    backward_names: list[str]
    block: int  # neurons that a thread takes at a time, at most
    workspace: int  # numbers that a thread needs for every step between two checkpoints


@functools.cache
def kernel(
    text: str,
    shared: tuple[bool, ...],
    needs_grad: tuple[bool, ...],
    input_dtype: torch.dtype,
    output_dtype: torch.dtype,
    feedback: Feedback = "",
) -> Kernel:
    """The compiled kernels of a program; see `c_source.source` for the arguments.

    Raises:
        NoCompilerError: If there is no C compiler, or if it fails.
        NotFusableError: If the step has too many values for every neuron. Already the kernel without gradients is
            refused if the one with all of them is, so that a run never fails in its backward pass.
    """
    program = Program.loads(text)
    block_size(program, shared, (True,) * len(shared))
    largest = block_size(program, shared, needs_grad)
    library = compiler.load(source(program, shared, needs_grad, input_dtype, output_dtype, feedback))
    tape_rows = len(program.tape(program.gradients(needs_grad)))
    real = torch.empty(0, dtype=getattr(torch, program.real))
    forward_struct = ctypes_structure(forward_arguments(program))
    backward_struct = ctypes_structure(backward_arguments(program))

    def forward(arguments: Mapping[str, Value]) -> None:
        block, count = _split(arguments, largest)
        threads.run(library.forward, fill_structure(forward_struct, arguments), block, count)

    def forward_recurrent(arguments: Mapping[str, Value]) -> None:
        block, count = _split_samples(arguments)
        function = library.forward_sparse if feedback == "synapses" else library.forward_recurrent
        threads.run(function, fill_structure(forward_struct, arguments), block, count)

    def repeat_backward(fixed: Mapping[str, Value]) -> Callable[[Mapping[str, Value]], None]:
        block, count = _split(fixed, largest)
        workspace = memory.empty([count * tape_rows * _integer(fixed, "checkpoint_every") * largest], real)
        fixed = {**fixed, "workspace": workspace}
        filled = fill_structure(backward_struct, fixed)

        # `kept` keeps the tensors alive that `filled` points to.
        def backward(changing: Mapping[str, Value], kept: Mapping[str, Value] = fixed) -> None:
            update_structure(filled, changing)
            threads.run(library.backward, filled, block, count)

        return backward

    def backward(arguments: Mapping[str, Value]) -> None:
        repeat_backward(arguments)({})

    def backward_recurrent(arguments: Mapping[str, Value]) -> None:
        block, count = _split_samples(arguments, _SELECTED_SAMPLES if feedback == "selected" else 1)
        workspace = memory.empty([count * tape_rows * largest], real)
        filled = fill_structure(backward_struct, {**arguments, "workspace": workspace})
        function = library.backward_sparse if feedback == "synapses" else library.backward_selected
        threads.run(function, filled, block, count)

    def synapse_gradients(connections: ctypes.Structure) -> None:
        count = 1 if is_small(connections.steps, connections.stride) else torch.get_num_threads()
        threads.run(library.synapse_gradients, connections, max(1, connections.neurons // (4 * count)), count)

    direct = DirectFunctions(
        run=library.run_directly,
        run_backward=library.run_backward_directly,
        unchanged=library.unchanged,
        forward=library.forward_directly,
        backward=library.backward,
        forward_names=[argument.name for argument in forward_arguments(program)],
        backward_names=[argument.name for argument in backward_arguments(program)],
        block=largest,
        workspace=tape_rows * largest,
    )
    return Kernel(
        constants=program.constants,
        forward=forward,
        backward=backward,
        repeat_backward=repeat_backward,
        forward_recurrent=forward_recurrent,
        backward_recurrent=backward_recurrent if feedback else None,
        synapse_gradients=synapse_gradients if feedback == "synapses" else None,
        direct=direct,
    )


def _integer(arguments: Mapping[str, Value], name: str) -> int:
    value = arguments[name]
    assert isinstance(value, int)
    return value


def _split(arguments: Mapping[str, Value], largest: int) -> threads.Split:
    return split(_integer(arguments, "steps"), _integer(arguments, "neurons"), largest)


def is_small(steps: int, neurons: int) -> bool:
    """Whether the start of threads would take longer than they save."""
    return steps * neurons < SMALL


def split(steps: int, neurons: int, largest: int) -> threads.Split:
    """The neurons that a thread takes at a time, and the number of threads.

    Args:
        steps: Number of time steps.
        neurons: Number of neurons.
        largest: The block size of the kernel; see `block_size`.
    """
    count = 1 if is_small(steps, neurons) else torch.get_num_threads()
    return threads.Split(min(largest, -(-neurons // count // 64) * 64), count)


def _split_samples(arguments: Mapping[str, Value], together: int = 1) -> threads.Split:
    """The same for a recurrent run, where a thread takes whole samples, some together if there are enough."""
    neurons, width = _integer(arguments, "neurons"), _integer(arguments, "width")
    count = torch.get_num_threads() if _integer(arguments, "steps") * neurons > SMALL else 1
    samples = neurons // width
    return threads.Split(max(1, min(together, -(-samples // count)), samples // (4 * count)) * width, count)
