"""Find the outputs whose gradient matters, on the CPU."""

import ctypes
import functools
from collections.abc import Mapping, Sequence
from importlib.resources import files

import numpy as np
import torch
from torch import Tensor

from .. import compiler, memory, threads
from ..arguments import Argument, c_struct, ctypes_structure, fill_structure, Number, Pointer, Value
from ..template import render_template
from . import c_source, cpu
from .arguments import with_constants
from .emit import emit, for_each, join_lines
from .plan import Plan
from .program import Program

_ARGUMENTS = (
    Pointer("input", "const real", "(steps, neurons)"),
    Pointer("states", "const real", "(steps, states, neurons), before the steps"),
    Pointer("active", "uint8_t", "(steps, neurons)"),
    Number("steps"),
    Number("neurons", "of all samples together"),
)


# Share of active outputs below which computing only their gradient is faster than a dense product, by enough to pay for
# finding them.
MAX_ACTIVE = 0.3
# Neurons of a sample, and multiplications of a product, from which on it saves time.
MIN_WIDTH, MIN_MULTIPLICATIONS = 256, 1 << 20


class ActiveOutputs:
    """Finds the outputs whose gradient matters, if they are few.

    A surrogate derivative with compact support (`Triangle`, `Rectangle`, `SparseFastSigmoid`) is exactly zero for
    most neurons. These pass no gradient on, so the gradient of their output need not be computed
    (N. Perez-Nieves & D. Goodman, *Sparse spiking gradient descent*, 2021). Whether it is zero is not declared but
    measured, for every neuron and step. Whether they are few is decided by the last step of a run, so that results do
    not depend on the chunks.

    Args:
        plan: The backward pass.
        shared: For each constant, whether all neurons share one number.
        constants: The arguments of the constants; see `layout_constants`.
    """

    def __init__(self, plan: Plan, shared: tuple[bool, ...], constants: Mapping[str, Value]):
        self._constants = constants
        self._function, self._structure, self._block = _load(plan.program, shared, plan.needs_grad)
        self._few: bool | None = None  # not known before the last step

    def find(self, xs: Tensor, states: Tensor) -> Tensor | None:
        """Find the active outputs of a chunk of steps. The first chunk must be the last of the run.

        Args:
            xs: Input of the steps, shape (time, ...).
            states: States before the steps, shape (time, parts, ...).

        Returns:
            Whether each output is active, shape (time, ...); None if they are many.
        """
        if self._few is None:
            # NumPy counts booleans ten times as fast as PyTorch.
            count = np.count_nonzero(self._find(xs[-1:], states[-1:]).numpy())
            self._few = bool(count <= MAX_ACTIVE * xs[0].numel())
        return self._find(xs, states) if self._few else None

    def _find(self, xs: Tensor, states: Tensor) -> Tensor:
        active = memory.empty(xs.shape, xs, torch.bool)
        sizes = {"steps": len(xs), "neurons": xs[0].numel()}
        values = {"input": xs, "states": states, "active": active, **sizes, **self._constants}
        arguments = fill_structure(self._structure, values)
        threads.run(self._function, arguments, *cpu.split(**sizes, largest=self._block))
        return active


def can_select(xs: Tensor, states: Tensor) -> bool:
    """Whether gradients of outputs can be left out of a run, and the layer is large enough for it to save time.

    Args:
        xs: Input, shape (time, ..., neurons).
        states: States in the dtype of the kernel.
    """
    width = xs.shape[-1]
    large = width >= MIN_WIDTH and xs[0].numel() * width >= MIN_MULTIPLICATIONS
    return large and xs.device.type == "cpu" and xs.dtype == states.dtype


@functools.cache
def _load(
    text: str, shared: tuple[bool, ...], needs_grad: tuple[bool, ...]
) -> tuple[threads.Function, type[ctypes.Structure], int]:
    """The compiled function, the structure of its arguments, and the number of neurons in a block."""
    program = Program.loads(text)
    library = compiler.load(source(program, shared, needs_grad))
    return library.find_active, ctypes_structure(_arguments(program)), c_source.block_size(program, shared, needs_grad)


def source(program: Program, shared: Sequence[bool], needs_grad: Sequence[bool]) -> str:
    """The C source for a program; see `c_source.source` for the arguments."""
    code = emit(program, program.gradients(needs_grad), c_source.C_LANGUAGE, shared)
    regions = {
        "double": str(int(program.real == "float64")),
        "arguments": c_struct("arguments", _arguments(program)),
        "block": str(c_source.block_size(program, shared, needs_grad)),
        "states": str(len(program.states)),
        **c_source.declare_constants(program, shared, code),
        "state": for_each("const real {name} = states[{k} * neurons + lane];", program.states),
        "gradient_of_state": for_each("const real grad_{name} = 0;", program.states),
        "backward_step": join_lines(code.per_step),
        "any": " | ".join(f"({result} != 0)" for result in code.results),
    }
    return render_template((files("geir._runtime.kernels") / "active.c").read_text(), regions)


def _arguments(program: Program) -> list[Argument]:
    return with_constants(_ARGUMENTS, program.constants)
