"""Kernels for the CPU: a program printed into the C template, compiled, and called on threads over neurons."""

import ctypes
import functools
import math
import os
import re
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from itertools import pairwise
from textwrap import indent
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import compiler
from .emit import C, Language, emit
from .program import Program

BLOCK = 2048  # as in template.c
# Below this many neuron steps one thread is faster than two.
_SMALL = 65_536

_C = Language(
    C,
    lambda number: f"((real){number!r})".replace("inf", "INFINITY").replace("nan", "NAN"),
    ("const {kind} {name} = {text};", "{kind} {name}[BLOCK]; EACH {name}[n] = {text};", "const {kind} {name} = {text};"),
    "{name}[n]",
)
# How numbers lie in memory: the type in C, how it is read, how it is written.
_STORED = {
    torch.float32: ("float", "", ""),
    torch.float64: ("double", "", ""),
    torch.bfloat16: ("uint16_t", "from_bfloat16", "to_bfloat16"),
    torch.float16: ("_Float16", "(real)", "(_Float16)"),
    torch.bool: ("uint8_t", "(real)", "0 != "),
    torch.uint8: ("uint8_t", "(real)", "(uint8_t)"),
}
_LIBRARY = ("log", "log1p", "log2", "exp2", "sqrt", "erf", "erfc", "sin", "cos", "atan", "floor", "ceil", "rint", "trunc")
_FLOAT = {
    "integer": "int32_t", "unsigned": "uint32_t", "bias": "127", "mantissa": "23", "lowest": "-104", "highest": "89", "degree": "7",
    "ln2_high": "0.693359375", "ln2_low": "-2.12194440054690583e-4",
}  # fmt: skip
_DOUBLE = {
    "integer": "int64_t", "unsigned": "uint64_t", "bias": "1023", "mantissa": "52", "lowest": "-746", "highest": "710", "degree": "13",
    "ln2_high": "6.93147180369123816490e-01", "ln2_low": "1.90821492927058770002e-10",
}  # fmt: skip


class Kernel(NamedTuple):
    """The two compiled functions."""

    forward: Any
    backward: Any


def source(program: Program, shared: list[bool], wanted: list[bool], stored: torch.dtype, output: torch.dtype) -> str:
    """The C source of a program.

    Args:
        program: The traced step.
        shared: For each fixed value, whether all neurons share one number.
        wanted: For each fixed value, whether backward must find its gradient.
        stored: Dtype of the input and its gradient.
        output: Dtype of the output and its gradient.
    """
    states, fixed = range(program.states), range(program.fixed)
    learned = [k for k in fixed if wanted[k]]
    results = program.backward[: 1 + program.states] + [program.backward[1 + program.states + k] for k in learned]
    step = emit(program, program.step, _C, shared)
    back = emit(program, results, _C, shared)
    z, *after = step.results
    dx, *gradients = back.results

    def each(text: str, over: Iterable[int] = states, values: list[str] | None = None) -> str:
        return "\n".join(text.format(k=k, value=v) for k, v in zip(over, values or [""] * (program.states + program.fixed), strict=False))

    def pointers(first: int, *names: str, also: str = "") -> str:
        """Take the pointers of each part of the state, then those of the fixed values."""
        count = len(names)
        lines = [f"{name.format(k=k)} = a[{first + count * k + j}];" for k in states for j, name in enumerate(names)]
        return "\n".join([*lines, each(f"const real *P{{k}} = a[{first + count * program.states} + {{k}}];", fixed), also])

    suffix = "f" if program.real == "float32" else ""
    functions = [f"#define {name}_(a) {name}{suffix}(a)" for name in _LIBRARY]
    functions += [f"#define pow_(a, b) pow{suffix}(a, b)", f"#define abs_(a) fabs{suffix}(a)"]
    after_fixed = 3 + 3 * program.states + program.fixed
    parts = (_FLOAT if suffix else _DOUBLE) | {
        "real": "float" if suffix else "double",
        "in": _STORED[stored][0],
        "out": _STORED[output][0],
        "load": _STORED[stored][1],
        "load_dz": _STORED[output][1],
        "store": _STORED[output][2],
        "store_dx": _STORED[stored][2],
        "states": str(program.states),
        "functions": "\n".join(functions),
        "forward_pointers": pointers(2, "real *S{k}", "real *C{k}", "real *H{k}"),
        "backward_pointers": pointers(
            3,
            "real *D{k}",
            "const real *C{k}",
            "const real *G{k}",
            also="\n".join(f"real *L{k} = a[{after_fixed + j}];" for j, k in enumerate(learned)),
        ),
        "scalars": "\n".join([each("const real p{k} = P{k}[0];", [k for k in fixed if shared[k]]), *step.scalars]),
        "own": "\n".join(
            [f"real p{k}[BLOCK]; EACH p{k}[n] = P{k}[(o + n) / q[{4 + 2 * k}] % q[{3 + 2 * k}]];" for k in fixed if not shared[k]] + step.neurons
        ),
        "load_state": each("real b{k}[BLOCK]; memcpy(b{k}, S{k} + o, m * sizeof(real));"),
        "checkpoint": each("if (C{k} && t % K == 0) memcpy(C{k} + t / K * N + o, b{k}, m * sizeof(real));"),
        "state_from_block": each("const real s{k} = b{k}[n];"),
        "step": "\n".join(step.steps),
        "z": z,
        "state_to_block": each("b{k}[n] = {value};", states, after),
        "record": each("if (H{k}) memcpy(H{k} + at, b{k}, m * sizeof(real));"),
        "store_state": each("memcpy(S{k} + o, b{k}, m * sizeof(real));"),
        "history": each("real *const w{k} = work + history * {k};"),
        "load_gradient": each("real g{k}[BLOCK]; memcpy(g{k}, D{k} + o, m * sizeof(real));")
        + each("real l{k}[BLOCK]; memcpy(l{k}, L{k} + o, m * sizeof(real));", learned),
        "recall": each("memcpy(w{k}, C{k} + from / K * N + o, m * sizeof(real));"),
        "row": each("real *restrict r{k} = w{k} + (t - from) * BLOCK;"),
        "state_from_row": each("const real s{k} = r{k}[n];"),
        "state_to_next_row": each("r{k}[BLOCK + n] = {value};", states, after),
        "add_recorded": each("if (G{k}) EACH g{k}[n] += G{k}[at + n];"),
        "gradient_from_block": each("const real d{k} = g{k}[n];"),
        "backward_scalars": "\n".join(back.scalars),
        "backward_own": "\n".join(back.neurons),
        "backward_step": "\n".join(back.steps),
        "dx": dx,
        "gradient_to_block": each("g{k}[n] = {value};", states, gradients) + each("l{k}[n] += {value};", learned, gradients[program.states :]),
        "store_gradient": each("memcpy(D{k} + o, g{k}, m * sizeof(real));") + each("memcpy(L{k} + o, l{k}, m * sizeof(real));", learned),
    }
    text = files("geir.kernels").joinpath("template.c").read_text()
    for name, value in parts.items():
        # What stands alone on a line keeps its indentation.
        text = re.sub(r"^( *)\{\{" + name + r"\}\}$", lambda found, value=value: indent(value, found[1]), text, flags=re.MULTILINE)
        text = text.replace("{{" + name + "}}", value)
    return text


@functools.cache
def kernel(text: str, shared: tuple[bool, ...], wanted: tuple[bool, ...], stored: torch.dtype, output: torch.dtype) -> Kernel:
    """The compiled kernel of a program; for the arguments see `source`."""
    library = compiler.load(source(Program.loads(text), list(shared), list(wanted), stored, output))
    return Kernel(library.forward, library.backward)


def forward(text: str, xs: Tensor, state: list[Tensor], fixed: list[Tensor], every: int, output: torch.dtype, record: bool) -> list[Tensor]:
    """Run a program over time; see `geir.kernels.operation`."""
    found = kernel(text, shared(fixed), (False,) * len(fixed), xs.dtype, output)
    xs, size = xs.contiguous(), math.prod(xs.shape[1:])
    zs = _empty(xs.shape, output)
    last = [_own(part) for part in state]
    kept = [part.new_empty(-(-len(xs) // every), *part.shape) if every else None for part in last]
    recorded = [part.new_empty(xs.shape) if record else None for part in last]
    values, places = laid_out(fixed, xs.shape[1:])
    Call(found.forward, [xs, zs, *interleaved(last, kept, recorded), *values], [len(xs), size, every or len(xs), *places])()
    return [zs, *(recorded if record else last), *(kept if every else [])]  # pyright: ignore[reportReturnType]


def backward(
    text: str, xs: Tensor, dzs: Tensor, dstate: list[Tensor], kept: list[Tensor], fixed: list[Tensor], wanted: list[bool], every: int, record: bool
) -> list[Tensor]:
    """The vector-Jacobian product of `forward`."""
    found = kernel(text, shared(fixed), tuple(wanted), xs.dtype, dzs.dtype)
    xs, shape, size = xs.contiguous(), xs.shape[1:], math.prod(xs.shape[1:])
    dxs = _empty(xs.shape, xs.dtype)
    gradients = [torch.zeros(shape, dtype=d.dtype) if record else _own(d) for d in dstate]
    recorded = [d.contiguous() if record else None for d in dstate]
    learned = [torch.zeros(shape, dtype=t.dtype) for t, yes in zip(fixed, wanted, strict=True) if yes]
    values, places = laid_out(fixed, shape)
    pointers = [xs, dzs.contiguous(), dxs, *interleaved(gradients, kept, recorded), *values, *learned]
    Call(found.backward, pointers, [len(xs), size, every, *places])()
    return [dxs, *gradients, *reduced(learned, fixed, wanted)]


def _empty(shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """A new tensor; if it is large, in huge pages where there are such, for the first touch of small ones takes longer than a whole run."""
    tensor = torch.empty(shape, dtype=dtype)
    if sys.platform == "linux" and tensor.nbytes > 4 << 20:
        start = -(-tensor.data_ptr() // _PAGE) * _PAGE
        _libc().madvise(ctypes.c_void_p(start), ctypes.c_size_t(tensor.data_ptr() + tensor.nbytes - start), 14)  # MADV_HUGEPAGE
    return tensor


_PAGE = 4096


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def _own(part: Tensor) -> Tensor:
    return part.clone(memory_format=torch.contiguous_format)


def interleaved(*lists: Sequence[Tensor | None]) -> list[Tensor | None]:
    """The first of each list, then the second of each, ..."""
    return [t for part in zip(*lists, strict=True) for t in part]


def reduced(learned: list[Tensor], fixed: Sequence[Tensor], wanted: Sequence[bool]) -> list[Tensor]:
    """Gradients for each neuron summed to the shapes of the fixed values; empty tensors for those that are not wanted."""
    found = iter(learned)
    return [next(found).sum_to_size(t.shape) if yes else t.new_empty(0) for t, yes in zip(fixed, wanted, strict=True)]


def shared(fixed: Sequence[Tensor]) -> tuple[bool, ...]:
    """Which fixed values are one number for all neurons."""
    return tuple(t.numel() == 1 for t in fixed)


def laid_out(fixed: Sequence[Tensor], shape: torch.Size) -> tuple[list[Tensor], list[int]]:
    """Fixed tensors whose values repeat regularly over the neurons: as they are if they do, else one value for each neuron.

    Returns:
        The tensors, and for each its size and over how many neurons in a row each of its values holds.
    """
    values = [(t if t.numel() == 1 or _inner(t.shape, shape) else t.expand(shape)).contiguous() for t in fixed]
    return values, [number for t in values for number in (t.numel(), max(1, _inner(t.shape, shape)))]


def _inner(small: torch.Size, shape: torch.Size) -> int:
    """Over how many consecutive neurons a value of a tensor of shape `small` stays the same; 0 if it does not repeat regularly."""
    sizes = [1] * (len(shape) - len(small)) + list(small)
    used = [k for k, n in enumerate(sizes) if n > 1]
    if any(sizes[k] != shape[k] for k in range(min(used, default=0), max(used, default=-1) + 1)):
        return 0
    return math.prod(shape[max(used, default=-1) + 1 :])


class Call:
    """A call of a kernel, which may be repeated with other pointers.

    Args:
        function: The kernel.
        tensors: What it gets pointers to.
        numbers: Steps, neurons, steps between checkpoints, and the places of fixed values.
    """

    def __init__(self, function: Any, tensors: Sequence[Tensor | None], numbers: list[int]):
        self.function, self.tensors = function, tensors
        self.pointers = (ctypes.c_void_p * len(tensors))(*(None if t is None else t.data_ptr() for t in tensors))
        self.numbers = (ctypes.c_int64 * len(numbers))(*numbers)

    def __call__(self) -> None:
        """Do it, the neurons split between as many threads as PyTorch uses, or on one if there is little to do."""
        steps, size = self.numbers[0], self.numbers[1]
        threads = 1 if steps * size < _SMALL else max(1, min(torch.get_num_threads(), size // BLOCK))
        bounds = [size * k // threads // 16 * 16 for k in range(threads)] + [size]
        jobs = [(self.pointers, self.numbers, ctypes.c_int64(a), ctypes.c_int64(b)) for a, b in pairwise(bounds)]
        others = [_pool(os.getpid(), threads).submit(self.function, *job) for job in jobs[1:]]
        if any([self.function(*jobs[0]), *(other.result() for other in others)]):
            raise MemoryError("There is no memory for the states between two checkpoints: keep them more often, with Fused(every=...).")


@functools.cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    # By process, for threads do not survive a fork.
    return ThreadPoolExecutor(threads)
