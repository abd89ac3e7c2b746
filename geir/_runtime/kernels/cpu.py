"""Kernels for the CPU: a program printed into the C template, compiled, and called on threads over neurons."""

import ctypes
import functools
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import NamedTuple

import torch

from .. import compiler, memory, threads
from ..arguments import Argument, c_struct, ctypes_structure, fill_structure, update_structure, Value
from ..template import render_template
from . import arguments as declared
from .emit import C, Code, emit, for_each, join_lines, Language
from .program import NotFusableError, Program

# Neurons that a thread takes at a time, at most.
_BLOCK = 1024
# Bytes of the arrays of a block, at most. A thread's stack may be small: 128 KiB is the default of musl.
_STACK_BYTES = 96 << 10
# Products of steps and neurons below which one thread is faster than two.
SMALL = 32_768

C_LANGUAGE = Language(
    column=C,
    number=lambda number: f"((real){number!r})".replace("inf", "INFINITY").replace("nan", "NAN"),
    declarations=(
        "const {kind} {name} = {text};",
        "{kind} {name}[BLOCK]; EACH_LANE {name}[lane] = {text};",
        "const {kind} {name} = {text};",
    ),
    per_neuron="{name}[lane]",
)


class Storage(NamedTuple):
    """How C stores numbers of a dtype."""

    type: str
    load: str  # function or cast from the stored type
    store: str  # function or cast to it


_STORAGE = {
    torch.float32: Storage("float", "", ""),
    torch.float64: Storage("double", "", ""),
    torch.bfloat16: Storage("uint16_t", "from_bfloat16", "to_bfloat16"),
    torch.float16: Storage("_Float16", "(real)", "(_Float16)"),
    torch.bool: Storage("uint8_t", "(real)", "0 != "),
    # Of negative and large numbers the last 8 bits, and 0 for NaN, as in PyTorch.
    torch.uint8: Storage("uint8_t", "(real)", "(uint8_t)(mask)"),
}


class Kernel(NamedTuple):
    """The kernels of a program. They take arguments by the names that `geir._runtime.kernels.arguments` declares."""

    constants: list[str]
    forward: Callable[[Mapping[str, Value]], None]
    backward: Callable[[Mapping[str, Value]], None]
    # The same in two parts: takes the arguments that stay the same, and returns a function of those that change.
    repeat_backward: Callable[[Mapping[str, Value]], Callable[[Mapping[str, Value]], None]]
    # The rest only on the CPU.
    forward_recurrent: Callable[[Mapping[str, Value]], None] | None = None
    # Of a run with sparse connections: one chunk of steps of the backward pass, and the gradients of the weights, which
    # takes the connections alone.
    backward_sparse: Callable[[Mapping[str, Value]], None] | None = None
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


def source(
    program: Program,
    shared: Sequence[bool],
    needs_grad: Sequence[bool],
    input_dtype: torch.dtype,
    output_dtype: torch.dtype,
    sparse: bool = False,
) -> str:
    """The C source of a program.

    Args:
        program: The traced step.
        shared: For each constant, whether all neurons share one number.
        needs_grad: For each constant, whether backward computes its gradient.
        input_dtype: Dtype of the input and its gradient.
        output_dtype: Dtype of the output and its gradient.
        sparse: Whether to add the functions of recurrent runs with sparse connections.
    """
    gradients = program.gradients(needs_grad)
    tape = program.tape(gradients)
    step = emit(program, program.step, C_LANGUAGE, shared)
    backward = emit(program, gradients, C_LANGUAGE, shared, tape)
    learned = [name for name, needed in zip(program.constants, needs_grad, strict=True) if needed]
    regions = {
        **_declarations(program, tape, input_dtype, output_dtype),
        "synapses": _synapses() if sparse else "",
        "block": str(block_size(program, shared, needs_grad)),
        **declare_constants(program, shared, step),
        **_inputs(program, input_dtype, backward),
        **_forward(program.states, step),
        **_backward(program, learned, tape, backward),
    }
    return render_template((files("geir._runtime.kernels") / "template.c").read_text(), regions)


def block_size(program: Program, shared: Sequence[bool], needs_grad: Sequence[bool]) -> int:
    """The number of neurons in a block, such that the arrays of a block fit on a small stack.

    Arrays hold what every neuron has its own number of: state, constants, what is computed from constants once, and
    gradients.

    Raises:
        NotFusableError: If even the arrays of the smallest block are too large.
    """
    gradients = program.gradients(needs_grad)
    step = emit(program, program.step, C_LANGUAGE, shared)
    backward = emit(program, gradients, C_LANGUAGE, shared, program.tape(gradients))
    constants = len(shared) - sum(shared) + len(step.per_neuron) + len(backward.per_neuron)
    arrays = max(1, constants + 2 * len(program.states) + sum(needs_grad))
    lanes = _STACK_BYTES // (arrays * getattr(torch, program.real).itemsize)
    if not lanes:
        raise NotFusableError(f"it has {arrays} values per neuron, too many for the stack of a thread")
    return min(_BLOCK, lanes // 64 * 64 or lanes)


def _declarations(
    program: Program, tape: Sequence[str], input_dtype: torch.dtype, output_dtype: torch.dtype
) -> dict[str, str]:
    """Types, sizes and argument structs."""
    stored_input, stored_output = _STORAGE[input_dtype], _STORAGE[output_dtype]
    return {
        "double": str(int(program.real == "float64")),
        "input_type": stored_input.type,
        "output_type": stored_output.type,
        "to_output": stored_output.store,
        "from_grad_output": stored_output.load,
        "forward_arguments": c_struct("forward_arguments", _forward_arguments(program)),
        "backward_arguments": c_struct("backward_arguments", _backward_arguments(program)),
        "inputs": str(len(program.inputs)),
        "states": str(len(program.states)),
        "tape_rows": str(len(tape)),
    }


def _synapses() -> str:
    """The functions of sparse connections."""
    text = (files("geir._runtime.kernels") / "synapses.c").read_text()
    return render_template(text, {"synapses": c_struct("synapses", declared.SYNAPSES)})


def declare_constants(program: Program, shared: Sequence[bool], step: Code) -> dict[str, str]:
    """The values of constants, and all that the step computes from them."""
    of_all = [name for name, one in zip(program.constants, shared, strict=True) if one]
    of_each = [name for name, one in zip(program.constants, shared, strict=True) if not one]
    gather = "gather_constants({name}, args->{name}, first, count, args->{name}_size, args->{name}_repeat);"
    return {
        "shared_constants": join_lines(for_each("const real {name} = args->{name}[0];", of_all), step.shared),
        "neuron_constants": join_lines(for_each("real {name}[BLOCK]; " + gather, of_each), step.per_neuron),
    }


def _inputs(program: Program, dtype: torch.dtype, backward: Code) -> dict[str, str]:
    """Loading the input and storing its gradient."""
    stored, names = _STORAGE[dtype], program.inputs
    return {
        "prefetch_input": for_each("PREFETCH(next_input + {k} * neurons);", names),
        "load_input": for_each(f"const real {{name}} = {stored.load}(input[{{k}} * neurons + lane]);", names),
        "grad_input": for_each(
            f"grad_input[{{k}}][lane - strip] = {stored.store}({{value}});", names, backward.results[: len(names)]
        ),
    }


def _forward(states: Sequence[str], step: Code) -> dict[str, str]:
    z, *next_state = step.results
    return {
        "load_state": for_each(
            "real *restrict {name}_block = rows->final[{k}] + first; "
            "if (!first_step) memcpy({name}_block, rows->initial[{k}] + first, count * sizeof(real));",
            states,
        ),
        "store_checkpoint": for_each(
            "memcpy(checkpoints + (t / every * STATES + {k}) * neurons + first, {name}_block, count * sizeof(real));",
            states,
        ),
        "state_from_block": for_each("const real {name} = {name}_block[lane];", states),
        "step": join_lines(step.per_step),
        "z": z,
        "state_to_block": for_each("{name}_block[lane] = {value};", states, next_state),
        "record_state": for_each(
            "memcpy(recorded_states + {k} * args->steps * neurons + row, {name}_block, count * sizeof(real));", states
        ),
    }


def _backward(program: Program, learned: Sequence[str], tape: Sequence[str], code: Code) -> dict[str, str]:
    states, gradients = program.states, code.results[len(program.inputs) :]
    of_states, of_constants = gradients[: len(states)], gradients[len(states) :]
    block, row = "real grad_{name}_block[BLOCK]; ", "{k} * neurons + first"
    return {
        "load_gradient": for_each(
            f"{block}load_or_zero(grad_{{name}}_block, grad_final_state ? grad_final_state + {row} : 0, count);", states
        ),
        "load_constant_gradients": for_each(
            f"{block}load_or_zero(grad_{{name}}_block, grad_constants + {row}, count);", learned
        ),
        "load_checkpoint": for_each(
            "real {name}_block[BLOCK]; "
            "memcpy({name}_block, checkpoints + (first_step / every * STATES + {k}) * neurons + first, "
            "count * sizeof(real));",
            states,
        ),
        "tape_rows_of_step": for_each(
            "real *restrict tape_{name} = tape + BLOCK * (every * {k} + t - first_step);", tape
        ),
        "to_tape": for_each("tape_{name}[lane] = {name};", tape),
        "from_tape": for_each("const real {name} = tape_{name}[lane];", tape),
        "backward_shared_constants": join_lines(code.shared),
        "backward_neuron_constants": join_lines(code.per_neuron),
        "add_recorded_gradient": for_each(
            "EACH_LANE grad_{name}_block[lane] += grad_recorded_states[{k} * steps * neurons + row + lane];", states
        ),
        "gradient_from_block": for_each("const real grad_{name} = grad_{name}_block[lane];", states),
        "backward_step": join_lines(code.per_step),
        "gradient_to_block": for_each("grad_{name}_block[lane] = {value};", states, of_states),
        "add_constant_gradients": for_each("grad_{name}_block[lane] += {value};", learned, of_constants),
        "store_gradient": for_each(
            f"memcpy(args->grad_initial_state + {row}, grad_{{name}}_block, count * sizeof(real));", states
        ),
        "store_constant_gradients": for_each(
            f"memcpy(grad_constants + {row}, grad_{{name}}_block, count * sizeof(real));", learned
        ),
    }


def _forward_arguments(program: Program) -> list[Argument]:
    return declared.with_constants([*declared.FORWARD, *declared.RECURRENCE, declared.CONNECTIONS], program.constants)


def _backward_arguments(program: Program) -> list[Argument]:
    return declared.with_constants([*declared.BACKWARD, declared.WORKSPACE, declared.CONNECTIONS], program.constants)


@functools.cache
def kernel(
    text: str,
    shared: tuple[bool, ...],
    needs_grad: tuple[bool, ...],
    input_dtype: torch.dtype,
    output_dtype: torch.dtype,
    sparse: bool = False,
) -> Kernel:
    """The compiled kernels of a program; see `source` for the arguments.

    Raises:
        NoCompilerError: If there is no C compiler, or if it fails.
        NotFusableError: If the step has too many values for every neuron. Already the kernel without gradients is
            refused if the one with all of them is, so that a run never fails in its backward pass.
    """
    program = Program.loads(text)
    block_size(program, shared, (True,) * len(shared))
    largest = block_size(program, shared, needs_grad)
    library = compiler.load(source(program, shared, needs_grad, input_dtype, output_dtype, sparse))
    tape_rows = len(program.tape(program.gradients(needs_grad)))
    real = torch.empty(0, dtype=getattr(torch, program.real))
    forward_struct = ctypes_structure(_forward_arguments(program))
    backward_struct = ctypes_structure(_backward_arguments(program))

    def forward(arguments: Mapping[str, Value]) -> None:
        block, count = _split(arguments, largest)
        threads.run(library.forward, fill_structure(forward_struct, arguments), block, count)

    def forward_recurrent(arguments: Mapping[str, Value]) -> None:
        block, count = _split_samples(arguments)
        function = library.forward_sparse if sparse else library.forward_recurrent
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

    def backward_sparse(arguments: Mapping[str, Value]) -> None:
        block, count = _split_samples(arguments)
        workspace = memory.empty([count * tape_rows * largest], real)
        filled = fill_structure(backward_struct, {**arguments, "workspace": workspace})
        threads.run(library.backward_sparse, filled, block, count)

    def synapse_gradients(connections: ctypes.Structure) -> None:
        count = 1 if is_small(connections.steps, connections.stride) else torch.get_num_threads()
        threads.run(library.synapse_gradients, connections, max(1, connections.neurons // (4 * count)), count)

    direct = DirectFunctions(
        library.run_directly,
        library.run_backward_directly,
        library.unchanged,
        library.forward_directly,
        library.backward,
        [argument.name for argument in _forward_arguments(program)],
        [argument.name for argument in _backward_arguments(program)],
        largest,
        tape_rows * largest,
    )
    return Kernel(
        program.constants,
        forward,
        backward,
        repeat_backward,
        forward_recurrent,
        backward_sparse if sparse else None,
        synapse_gradients if sparse else None,
        direct,
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


def _split_samples(arguments: Mapping[str, Value]) -> threads.Split:
    """The same for a recurrent run, where a thread takes whole samples."""
    neurons, width = _integer(arguments, "neurons"), _integer(arguments, "width")
    count = torch.get_num_threads() if _integer(arguments, "steps") * neurons > SMALL else 1
    return threads.Split(max(1, neurons // width // (4 * count)) * width, count)
