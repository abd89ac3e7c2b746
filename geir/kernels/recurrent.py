"""Recurrent neurons: kernels of one step at a time, between them the product with the recurrent weights."""

import ctypes
import functools
import math
from importlib.resources import files
from typing import Any

import torch
from torch import Tensor, nn

from . import compiler, cpu

# Below this share of firing neurons, gathering the rows of those that fire is faster than a matrix product.
_SPARSE = 0.1


@functools.cache
def _sparse(dtype: torch.dtype) -> Any:
    text = files("geir.kernels").joinpath("sparse.c").read_text()
    library = compiler.load(text.replace("{{real}}", "float" if dtype == torch.float32 else "double"))
    library.count.restype = ctypes.c_int64
    return library


def add_product(z: Tensor, weights: Tensor, out: Tensor, outer: bool = False) -> None:
    """``out += z @ weights``, or with `outer` ``out += z.T @ weights``, by way of the spikes in `z` if they are few. All are contiguous matrices."""
    rows, inner = z.shape
    library, width = _sparse(z.dtype), weights.shape[1]
    if library.count(ctypes.c_void_p(z.data_ptr()), ctypes.c_int64(z.numel())) > _SPARSE * z.numel():
        out.addmm_(z.t() if outer else z, weights)
        return
    pointers = [ctypes.c_void_p(t.data_ptr()) for t in (z, weights, out)]
    # On one thread: beside those of the matrix products, which wait by spinning, a second one costs more than it gains.
    library.gather(*pointers, *(ctypes.c_int64(n) for n in (rows, inner, width, int(outer))))


class _Weights:
    """A dense recurrent connection, given by its matrix."""

    def __init__(self, weights: Tensor):
        self.weights, self.by_source = weights.contiguous(), weights.t().contiguous()

    def add(self, z: Tensor, out: Tensor) -> None:
        add_product(z.view(-1, z.shape[-1]), self.by_source, out.view(-1, out.shape[-1]))

    def back(self, d: Tensor, t: int) -> Tensor:
        return (d.view(-1, d.shape[-1]) @ self.weights).view(d.shape)

    def gradients(self, z: Tensor, zs: Tensor, dtotal: Tensor) -> list[Tensor]:
        """That of the matrix, in one product over all times."""
        size = z.shape[-1]
        transposed = torch.zeros_like(self.weights)
        add_product(zs[:-1].view(-1, size), dtotal[1:].view(-1, size), transposed, outer=True)
        add_product(z.view(-1, size), dtotal[0].view(-1, size), transposed, outer=True)
        return [transposed.t()]


class _Module:
    """Any module as recurrent connection; autograd differentiates it step by step."""

    def __init__(self, module: nn.Module, parameters: list[Tensor], learning: bool):
        self.module, self.parameters, self.learning = module, parameters, learning
        self.steps: list[tuple[Tensor, Tensor]] = []
        self.found: list[Tensor] = []

    def add(self, z: Tensor, out: Tensor) -> None:
        with torch.set_grad_enabled(self.learning):
            z = z.detach().clone().requires_grad_(self.learning)
            fed = self.module(z)
        if self.learning:
            self.steps.append((z, fed))
        out += fed.detach()

    def back(self, d: Tensor, t: int) -> Tensor:
        z, fed = self.steps[t]
        if t == len(self.steps) - 1:
            self.found = [torch.zeros_like(p) for p in self.parameters]
        if not fed.requires_grad:
            return torch.zeros_like(z)
        # Kept, for who goes backward twice.
        inputs, d = [z, *self.parameters], d.view(fed.shape).to(fed.dtype)
        dz, *found = torch.autograd.grad(fed, inputs, d, allow_unused=True, retain_graph=True)
        self.found = [total if new is None else total + new for total, new in zip(self.found, found, strict=True)]
        return torch.zeros_like(z) if dz is None else dz

    def gradients(self, z: Tensor, zs: Tensor, dtotal: Tensor) -> list[Tensor]:
        return self.found


def forward(text: str, xs: Tensor, z: Tensor, weights: Any, state: list[Tensor], fixed: list[Tensor], every: int, record: bool) -> list[Tensor]:
    """Run over time: what arrives is the input and what comes back of the last output, by a matrix or a connection."""
    connection = _Weights(weights) if isinstance(weights, Tensor) else weights
    found = cpu.kernel(text, cpu.shared(fixed), (False,) * len(fixed), xs.dtype, xs.dtype)
    total, zs = xs.clone(memory_format=torch.contiguous_format), torch.empty(xs.shape, dtype=xs.dtype)
    last = [part.clone(memory_format=torch.contiguous_format) for part in state]
    kept = [part.new_empty(-(-len(xs) // every), *part.shape) for part in last]
    recorded = [part.new_empty(xs.shape) for part in last] if record else []
    values, places = cpu.laid_out(fixed, xs.shape[1:])
    size = math.prod(xs.shape[1:])
    call = cpu.Call(
        found.forward, [total, zs, *cpu.interleaved(last, [None] * len(last), recorded or [None] * len(last)), *values], [1, size, 1, *places]
    )
    for t, (arriving, out) in enumerate(zip(total, zs, strict=True)):
        connection.add(z.contiguous(), arriving)
        call.pointers[0], call.pointers[1] = arriving.data_ptr(), out.data_ptr()
        for k in range(len(last)):
            call.pointers[3 + 3 * k] = kept[k][t // every].data_ptr() if t % every == 0 else None
            if recorded:
                call.pointers[4 + 3 * k] = recorded[k][t].data_ptr()
        call()
        z = out
    return [zs, *(recorded or last), total, *kept]


def backward(
    text: str,
    total: Tensor,
    z: Tensor,
    zs: Tensor,
    weights: Any,
    dzs: Tensor,
    dstate: list[Tensor],
    kept: list[Tensor],
    fixed: list[Tensor],
    wanted: list[bool],
    every: int,
    record: bool,
) -> list[Tensor]:
    """The vector-Jacobian product of `forward`: gradients of xs, z, each part of the state, each fixed value, and the connection."""
    connection = _Weights(weights) if isinstance(weights, Tensor) else weights
    found = cpu.kernel(text, cpu.shared(fixed), tuple(wanted), total.dtype, total.dtype)
    shape, size = total.shape[1:], math.prod(total.shape[1:])
    dtotal, back = torch.empty_like(total), torch.zeros(shape, dtype=total.dtype)
    gradients = [torch.zeros(shape, dtype=d.dtype) if record else d.clone(memory_format=torch.contiguous_format) for d in dstate]
    recorded = [d.contiguous() if record else None for d in dstate]
    learned = [torch.zeros(shape, dtype=t.dtype) for t, yes in zip(fixed, wanted, strict=True) if yes]
    values, places = cpu.laid_out(fixed, shape)
    pointers = [total, back, dtotal, *cpu.interleaved(gradients, kept, recorded), *values, *learned]
    call = cpu.Call(found.backward, pointers, [1, size, 1, *places])
    for start in reversed(range(0, len(total), every)):
        block = total[start : start + every]
        before = [part[start // every] for part in kept]
        _, *after = cpu.forward(text, block[:-1], before, fixed, 0, block.dtype, True)
        for j in reversed(range(len(block))):
            dz = dzs[start + j] + back
            call.pointers[0], call.pointers[1], call.pointers[2] = block[j].data_ptr(), dz.data_ptr(), dtotal[start + j].data_ptr()
            for k in range(len(kept)):
                call.pointers[4 + 3 * k] = (after[k][j - 1] if j else before[k]).data_ptr()
                if record:
                    call.pointers[5 + 3 * k] = recorded[k][start + j].data_ptr()  # pyright: ignore[reportOptionalSubscript]
            call()
            back = connection.back(dtotal[start + j], start + j)
    return [dtotal, back, *gradients, *cpu.reduced(learned, fixed, wanted), *connection.gradients(z, zs, dtotal)]


class RunModule(torch.autograd.Function):
    """`forward` with a module as recurrent connection: its parameters follow the fixed values."""

    @staticmethod
    def forward(
        ctx: Any, text: str, every: int, record: bool, module: nn.Module, states: int, count: int, xs: Tensor, z: Tensor, *tensors: Tensor
    ) -> Any:
        state, fixed, parameters = tensors[:states], tensors[states : states + count], tensors[states + count :]
        ctx.connection = _Module(module, list(parameters), any(ctx.needs_input_grad))
        zs, *rest = forward(text, xs, z, ctx.connection, list(state), list(fixed), every, record)
        ctx.save_for_backward(z, zs, *rest[states:], *fixed)
        ctx.settings = text, every, record, states
        return zs, *rest[:states]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dzs: Tensor, *dstate: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        text, every, record, states = ctx.settings
        z, zs, total, *rest = ctx.saved_tensors
        kept, fixed = rest[:states], rest[states:]
        wanted = list(ctx.needs_input_grad[8 + states : 8 + states + len(fixed)])
        found = backward(text, total, z, zs, ctx.connection, dzs, list(dstate), kept, fixed, wanted, every, record)
        of_fixed = [d if yes else None for d, yes in zip(found[2 + states : 2 + states + len(fixed)], wanted, strict=True)]
        return None, None, None, None, None, None, *found[: 2 + states], *of_fixed, *found[2 + states + len(fixed) :]
