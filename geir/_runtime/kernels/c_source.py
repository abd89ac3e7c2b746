"""The C source of a program's kernels: the program printed into the C template."""

from collections.abc import Sequence
from importlib.resources import files
from typing import Literal, NamedTuple, TypeAlias

import torch

from ..arguments import Argument, c_struct
from ..template import render_template
from . import arguments as declared
from .emit import C, Code, emit, for_each, join_lines, Language
from .program import NotFusableError, Program

# Neurons that a thread takes at a time, at most.
_BLOCK = 1024
# Bytes of the arrays of a block, at most. A thread's stack may be small: 128 KiB is the default of musl.
_STACK_BYTES = 96 << 10

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

# The file of further functions.
Feedback: TypeAlias = Literal["", "synapses", "selected"]


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


def source(
    program: Program,
    shared: Sequence[bool],
    needs_grad: Sequence[bool],
    input_dtype: torch.dtype,
    output_dtype: torch.dtype,
    feedback: Feedback = "",
) -> str:
    """The C source of a program.

    Args:
        program: The traced step.
        shared: For each constant, whether all neurons share one number.
        needs_grad: For each constant, whether backward computes its gradient.
        input_dtype: Dtype of the input and its gradient.
        output_dtype: Dtype of the output and its gradient.
        feedback: Which functions of recurrent runs to add: those for sparse connections, or the one for a backward
            pass through a matrix of which only some products are needed.
    """
    gradients = program.gradients(needs_grad)
    tape = program.tape(gradients)
    step = emit(program, program.step, C_LANGUAGE, shared)
    backward = emit(program, gradients, C_LANGUAGE, shared, tape)
    learned = [name for name, needed in zip(program.constants, needs_grad, strict=True) if needed]
    regions = {
        **_declarations(program, tape, input_dtype, output_dtype),
        "feedback": _feedback(feedback) if feedback else "",
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
        "forward_arguments": c_struct("forward_arguments", forward_arguments(program)),
        "backward_arguments": c_struct("backward_arguments", backward_arguments(program)),
        "inputs": str(len(program.inputs)),
        "states": str(len(program.states)),
        "tape_rows": str(len(tape)),
    }


def _feedback(kind: Literal["synapses", "selected"]) -> str:
    """Functions of recurrent runs."""
    text = (files("geir._runtime.kernels") / f"{kind}.c").read_text()
    arguments = {"synapses": declared.SYNAPSES, "selected": declared.SELECTED}[kind]
    name = "synapses" if kind == "synapses" else "selected_feedback"
    return render_template(text, {kind: c_struct(name, arguments)})


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


def forward_arguments(program: Program) -> list[Argument]:
    """The arguments of the forward functions."""
    return declared.with_constants([*declared.FORWARD, *declared.RECURRENCE, declared.CONNECTIONS], program.constants)


def backward_arguments(program: Program) -> list[Argument]:
    """The arguments of the backward functions."""
    return declared.with_constants([*declared.BACKWARD, declared.WORKSPACE, declared.CONNECTIONS], program.constants)
