"""Find the outputs whose gradient matters, on the CPU."""

import ctypes
import functools
from collections.abc import Mapping, Sequence
from importlib.resources import files

import torch
from torch import Tensor

from .. import compiler, memory, threads
from ..arguments import Argument, c_struct, ctypes_structure, fill_structure, Number, Pointer, Value
from ..sparse import _gate
from ..template import render_template
from . import cpu
from .arguments import with_constants
from .emit import emit, for_each, join_lines
from .program import Program

_ARGUMENTS = (
    Pointer("input", "const real", "(steps, neurons)"),
    Pointer("states", "const real", "(steps, states, neurons), before the steps"),
    Pointer("active", "uint8_t", "(steps, neurons)"),
    Number("steps"),
    Number("neurons", "of all samples together"),
)


def find_active(
    program: str,
    shared: tuple[bool, ...],
    needs_grad: tuple[bool, ...],
    xs: Tensor,
    states: Tensor,
    constants: Mapping[str, Value],
) -> Tensor | None:
    """Find the outputs of some steps whose gradient matters, if they are few.

    A surrogate derivative with compact support (`Triangle`, `Rectangle`, `SparseFastSigmoid`) is exactly zero for
    most neurons. These pass no gradient on, so the gradient of their output need not be computed
    (N. Perez-Nieves & D. Goodman, *Sparse spiking gradient descent*, 2021). Whether it is zero is not declared but
    measured, for every neuron and step. One step in the middle tells first whether this is worth it.

    Args:
        program: The traced step, as text.
        shared: For each constant, whether all neurons share one number.
        needs_grad: For each constant, whether its gradient is computed.
        xs: Input of the steps, shape (time, ...).
        states: States before the steps, shape (time, parts, ...).
        constants: The arguments of the constants; see `layout_constants`.

    Returns:
        Bytes that are not zero where an output is active, shape (time, ...); None if many outputs are.
    """
    middle = slice(len(xs) // 2, len(xs) // 2 + 1)
    some = _run(program, shared, needs_grad, xs[middle], states[middle], constants)
    if some.count_nonzero().item() > _gate.MAX_SELECTED * some.numel():
        return None
    return _run(program, shared, needs_grad, xs, states, constants)


def _run(
    program: str,
    shared: tuple[bool, ...],
    needs_grad: tuple[bool, ...],
    xs: Tensor,
    states: Tensor,
    constants: Mapping[str, Value],
) -> Tensor:
    function, structure, block = _load(program, shared, needs_grad)
    active = memory.empty(xs.shape, xs, torch.uint8)
    sizes = {"steps": len(xs), "neurons": xs[0].numel()}
    arguments = fill_structure(structure, {"input": xs, "states": states, "active": active, **sizes, **constants})
    threads.run(function, arguments, *cpu.split(**sizes, largest=block))
    return active


@functools.cache
def _load(
    text: str, shared: tuple[bool, ...], needs_grad: tuple[bool, ...]
) -> tuple[threads.Function, type[ctypes.Structure], int]:
    """The compiled function, the structure of its arguments, and the number of neurons in a block."""
    program = Program.loads(text)
    library = compiler.load(source(program, shared, needs_grad))
    return library.find_active, ctypes_structure(_arguments(program)), cpu.block_size(program, shared, needs_grad)


def source(program: Program, shared: Sequence[bool], needs_grad: Sequence[bool]) -> str:
    """The C source for a program; see `cpu.source` for the arguments."""
    code = emit(program, program.gradients(needs_grad), cpu.C_LANGUAGE, shared)
    regions = {
        "double": str(int(program.real == "float64")),
        "arguments": c_struct("arguments", _arguments(program)),
        "block": str(cpu.block_size(program, shared, needs_grad)),
        "states": str(len(program.states)),
        **cpu.declare_constants(program, shared, code),
        "state": for_each("const real {name} = states[{k} * neurons + lane];", program.states),
        "gradient_of_state": for_each("const real grad_{name} = 0;", program.states),
        "backward_step": join_lines(code.per_step),
        "any": " | ".join(f"({result} != 0)" for result in code.results),
    }
    return render_template((files("geir._runtime.kernels") / "active.c").read_text(), regions)


def _arguments(program: Program) -> list[Argument]:
    return with_constants(_ARGUMENTS, program.constants)
