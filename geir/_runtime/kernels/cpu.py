"""Kernels for the CPU: a program printed into the C template, compiled, and called on threads over neurons."""

import functools
from collections.abc import Callable, Iterable, Sequence
from importlib.resources import files
from typing import NamedTuple

import torch
from torch import Tensor

from .. import memory, native
from .emit import C, emit, filled, Language
from .program import Program

# Neurons that a thread takes at a time, at most; below so many neuron steps one thread is faster than two.
_BLOCK, _SMALL = 1024, 32_768

_C = Language(
    C,
    lambda number: f"((real){number!r})".replace("inf", "INFINITY").replace("nan", "NAN"),
    (
        "const {kind} {name} = {text};",
        "{kind} {name}[BLOCK]; EACH {name}[n] = {text};",
        "const {kind} {name} = {text};",
    ),
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


class Kernel(NamedTuple):
    """The kernels of a program, called with the tensors and the numbers that `template.c` lists."""

    forward: Callable[[Sequence[Tensor | None], Sequence[int]], None]
    backward: Callable[[Sequence[Tensor | None], Sequence[int]], None]
    feed: Callable[[Sequence[Tensor | None], Sequence[int]], None]


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
    gradients_wanted = program.gradients(wanted)
    tape = program.tape(gradients_wanted)
    step, back = emit(program, program.step, _C, shared), emit(program, gradients_wanted, _C, shared, tape)
    z, *after = step.results
    dx, *gradients = back.results
    own, order = [k for k in fixed if not shared[k]], [str(j) for j in range(len(learned))]

    def each(text: str, over: Iterable[int] = states, values: Sequence[str] | None = None) -> str:
        return "\n".join(text.format(k=k, value=v) for k, v in zip(over, values or over, strict=True))

    def fixed_from(first: int) -> str:
        return each("const real *P{k} = a[{value}];", fixed, [str(first + k) for k in fixed])

    return filled(
        files("geir._runtime.kernels") / "template.c",
        {
            "double": str(int(program.real == "float64")),
            "in": _STORED[stored][0],
            "out": _STORED[output][0],
            "load": _STORED[stored][1],
            "load_dz": _STORED[output][1],
            "store": _STORED[output][2],
            "store_dx": _STORED[stored][2],
            "block": str(_BLOCK),
            "states": str(program.states),
            "after_fixed": str(6 + program.fixed),
            "width": str(3 + 2 * program.fixed),
            "room": str(8 + program.fixed),
            "fixed": fixed_from(6),
            "backward_fixed": fixed_from(8),
            "scalars": "\n".join([each("const real p{k} = P{k}[0];", [k for k in fixed if shared[k]]), *step.scalars]),
            "own": "\n".join(
                [f"real p{k}[BLOCK]; spread(p{k}, P{k}, o, m, q[{3 + 2 * k}], q[{4 + 2 * k}]);" for k in own]
                + step.neurons
            ),
            "load_state": each("real b{k}[BLOCK]; memcpy(b{k}, start + {k} * N + o, m * sizeof(real));"),
            "checkpoint": each("memcpy(C + (t / K * STATES + {k}) * N + o, b{k}, m * sizeof(real));"),
            "state_from_block": each("const real s{k} = b{k}[n];"),
            "step": "\n".join(step.steps),
            "z": z,
            "state_to_block": each("b{k}[n] = {value};", states, after),
            "record": each("memcpy(H + {k} * q[0] * N + at, b{k}, m * sizeof(real));"),
            "store_state": each("memcpy(E + {k} * N + o, b{k}, m * sizeof(real));"),
            "load_gradient": each("real g{k}[BLOCK]; take(g{k}, D ? D + {k} * N + o : 0, m);"),
            "load_learned": each("real l{k}[BLOCK]; take(l{k}, L + {value} * N + o, m);", learned, order),
            "recall": each("real b{k}[BLOCK]; memcpy(b{k}, C + (from / K * STATES + {k}) * N + o, m * sizeof(real));"),
            "tape": each("real *restrict h_{value} = room + BLOCK * (K * {k} + t - from);", range(len(tape)), tape),
            "to_tape": each("h_{value}[n] = {value};", range(len(tape)), tape),
            "from_tape": each("const real {value} = h_{value}[n];", range(len(tape)), tape),
            "rows": str(len(tape)),
            "add_recorded": each("EACH g{k}[n] += G[{k} * T * N + at + n];"),
            "gradient_from_block": each("const real d{k} = g{k}[n];"),
            "backward_scalars": "\n".join(back.scalars),
            "backward_own": "\n".join(back.neurons),
            "backward_step": "\n".join(back.steps),
            "dx": dx,
            "gradient_to_block": each("g{k}[n] = {value};", states, gradients[: program.states]),
            "learn": each("l{k}[n] += {value};", learned, gradients[program.states :]),
            "store_gradient": each("memcpy(B + {k} * N + o, g{k}, m * sizeof(real));"),
            "store_learned": each("memcpy(L + {value} * N + o, l{k}, m * sizeof(real));", learned, order),
        },
    )


@functools.cache
def kernel(
    text: str, shared: tuple[bool, ...], wanted: tuple[bool, ...], stored: torch.dtype, output: torch.dtype
) -> Kernel:
    """The compiled kernels of a program; for the arguments see `source`."""
    program = Program.loads(text)
    library = native.load(source(program, list(shared), list(wanted), stored, output))
    rows = len(program.tape(program.gradients(wanted)))
    of_real = torch.empty(0, dtype=getattr(torch, program.real))

    def forward(tensors: Sequence[Tensor | None], numbers: Sequence[int]) -> None:
        native.call(library.forward, tensors, numbers, *_split(numbers))

    def feed(tensors: Sequence[Tensor | None], numbers: Sequence[int]) -> None:
        size, width = numbers[1], numbers[-1]
        threads = torch.get_num_threads() if numbers[0] * size > _SMALL else 1
        native.call(library.feed, tensors, numbers, max(1, size // width // (4 * threads)) * width, threads)

    def backward(tensors: Sequence[Tensor | None], numbers: Sequence[int]) -> None:
        block, threads = _split(numbers)
        room = memory.empty([threads * rows * numbers[2] * _BLOCK], of_real)
        native.call(library.backward, [*tensors, room], numbers, block, threads)

    return Kernel(forward, backward, feed)


def _split(numbers: Sequence[int]) -> tuple[int, int]:
    """How many neurons a thread takes at a time, and how many threads there are."""
    steps, size, *_ = numbers
    threads = 1 if steps * size < _SMALL else torch.get_num_threads()
    return min(_BLOCK, -(-size // threads // 64) * 64), threads
