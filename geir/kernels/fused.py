"""Run a neuron by kernels derived from its step; where that cannot be, by the reference loop."""

import ctypes
import functools
import math
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..state import leaves, map_state
from . import cpu
from .emit import NotFusableError
from .reference import reference
from .trace import Fixed, Program, fixed_of, trace

_programs: dict[Any, Program] = {}
# Below this many neuron steps one thread is faster than two.
_SMALL = 65_536


def fused(neuron: Any, xs: Tensor, state: Any, record_states: bool = False) -> tuple[Tensor, Any]:
    """Like `reference`, with the loop over time inside a compiled kernel: `LIF(unroll=fused)`.

    For float32 and float64 on the CPU, in eager mode. A step that is not elementwise, or a machine without a C compiler, takes the reference
    loop with one warning; so do, without a warning, other devices, function transforms, compilation, and runs that record states.
    """
    if record_states or xs.device.type != "cpu" or not xs.numel() or torch.compiler.is_compiling() or _transformed():
        return reference(neuron, xs, state, record_states)
    fixed = fixed_of(neuron, neuron.prepare())
    try:
        program = _program_of(neuron, state, fixed)
        given = [_aligned(t.to(xs.dtype), xs.shape[1:]) for t in fixed.tensors]
        zs, *last = _Run.apply(program, xs, *(part for _, part in leaves(state)), *given)  # pyright: ignore[reportGeneralTypeIssues]
    except (NotFusableError, cpu.NoCompilerError) as error:
        _warn_once(f"{type(neuron).__name__} runs on the reference loop: {error}.")
        return reference(neuron, xs, state, record_states)
    parts = iter(last)
    return zs, map_state(lambda _: next(parts), state)


@functools.cache
def _warn_once(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=4)


def _transformed() -> bool:
    """Whether a function transform or forward-mode differentiation is under way."""
    inside = torch._C._functorch.peek_interpreter_stack() is not None  # pyright: ignore[reportAttributeAccessIssue]  (not in its stubs)
    return inside or torch.autograd.forward_ad._current_level >= 0


def _program_of(neuron: Any, state: Any, fixed: Fixed) -> Program:
    """The program of all neurons that differ in nothing but tensors."""
    settings = [(type(m), {k: v for k, v in vars(m).items() if not k.startswith("_") and k != "training"}) for m in neuron.modules()]
    key = repr(settings), tuple(fixed.names), len(fixed.tensors)
    if key not in _programs:
        _programs[key] = trace(neuron, state, fixed)
    return _programs[key]


def _aligned(t: Tensor, shape: torch.Size) -> Tensor:
    """A fixed tensor as it is if its values repeat regularly over the neurons, else one value for each neuron."""
    return t if t.numel() == 1 or _inner(t.shape, shape) else t.expand(shape)


def _inner(small: torch.Size, shape: torch.Size) -> int:
    """Over how many consecutive neurons a value of a tensor of shape `small` stays the same; 0 if it does not repeat regularly."""
    sizes = [1] * (len(shape) - len(small)) + list(small)
    used = [k for k, n in enumerate(sizes) if n > 1]
    if any(sizes[k] != shape[k] for k in range(min(used, default=0), max(used, default=-1) + 1)):
        return 0
    return math.prod(shape[max(used, default=-1) + 1 :])


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, program: Program, xs: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        xs = xs.contiguous()
        state, fixed = tensors[: program.states], [t.contiguous() for t in tensors[program.states :]]
        steps, size = len(xs), xs[0].numel()
        learning = any(ctx.needs_input_grad)
        zs = torch.empty_like(xs)
        last = [part.clone(memory_format=torch.contiguous_format) for part in state]
        kept = [xs.new_empty(-(-steps // cpu.K) * size) if learning else None for _ in state]
        wanted = tuple(ctx.needs_input_grad[2 + program.states :])
        kernel = _kernel(program, xs.dtype, tuple(t.numel() == 1 for t in fixed), wanted)
        places = _places(fixed, xs.shape[1:])
        pairs = [t for pair in zip(last, kept, strict=True) for t in pair]
        _call(kernel.forward, steps, size, [xs, zs, *pairs], places)
        if learning:
            ctx.save_for_backward(xs, *fixed, *kept)
            ctx.kernel, ctx.program, ctx.wanted, ctx.places = kernel, program, wanted, places
        return zs, *last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dzs: Tensor, *dlast: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        xs, *rest = ctx.saved_tensors
        fixed, kept = rest[: ctx.program.fixed], rest[ctx.program.fixed :]
        steps, size, shape = len(xs), xs[0].numel(), xs.shape[1:]
        dxs = torch.empty_like(xs)
        dstate = [d.clone(memory_format=torch.contiguous_format) for d in dlast]
        dfixed = [xs.new_empty(shape) for wanted in ctx.wanted if wanted]
        pairs = [t for pair in zip(dstate, kept, strict=True) for t in pair]
        _call(ctx.kernel.backward, steps, size, [xs, dzs.contiguous(), dxs, *pairs, *dfixed], ctx.places)
        found = iter(dfixed)
        gradients = [next(found).sum_to_size(t.shape) if wanted else None for t, wanted in zip(fixed, ctx.wanted, strict=True)]
        return None, dxs, *dstate, *gradients


@functools.cache
def _kernel_of(text: str) -> cpu.Kernel:
    return cpu.load(text)


_kernels: dict[Any, cpu.Kernel] = {}


def _kernel(program: Program, dtype: torch.dtype, shared: tuple[bool, ...], wanted: tuple[bool, ...]) -> cpu.Kernel:
    key = id(program.step), dtype, shared, wanted
    if key not in _kernels:
        _kernels[key] = _kernel_of(cpu.source(program, cpu.c_type(dtype), shared, wanted))
    return _kernels[key]


def _places(fixed: list[Tensor], shape: torch.Size) -> list[Any]:
    """Pointer, number of values and repetition of each fixed tensor, as C wants them."""
    return [v for t in fixed for v in (t, t.numel(), max(1, _inner(t.shape, shape)))]


def _call(function: Any, steps: int, size: int, tensors: list[Tensor | None], places: list[Any]) -> None:
    """Call a kernel, split over neurons between as many threads as PyTorch uses."""

    def argument(value: Any) -> Any:
        if isinstance(value, int):
            return ctypes.c_int64(value)
        return ctypes.c_void_p(None if value is None else value.data_ptr())

    arguments = [argument(v) for v in (*tensors, *places, steps, size)]
    threads = 1 if steps * size < _SMALL else min(torch.get_num_threads(), -(-size // 1024))
    bounds = [size * k // threads // 16 * 16 for k in range(threads)] + [size]
    jobs = [(ctypes.c_int64(a), ctypes.c_int64(b)) for a, b in pairwise(bounds)]
    others = [_pool(os.getpid(), threads).submit(function, *arguments, a, b) for a, b in jobs[1:]]
    function(*arguments, *jobs[0])
    for other in others:
        other.result()


@functools.cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)
