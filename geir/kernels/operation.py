"""A run as an operation of PyTorch: compiled, exported, differentiated, batched and transformed like any other.

`geir::run` and its vector-Jacobian product `geir::run_backward` take the traced program itself, as text, so that an exported model runs
wherever geir is installed, whether it has the neuron or not.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from . import cpu, recurrent

_library = torch.library.Library("geir", "DEF")
_library.define("run(str program, Tensor xs, Tensor[] state, Tensor[] fixed, int every, ScalarType output, bool record) -> Tensor[]")
_library.define(
    "run_backward(str program, Tensor xs, Tensor dzs, Tensor[] dstate, Tensor[] kept, Tensor[] fixed, bool[] wanted, int every, bool record)"
    " -> Tensor[]"
)
_library.define("run_recurrent(str program, Tensor xs, Tensor z, Tensor weights, Tensor[] state, Tensor[] fixed, int every, bool record) -> Tensor[]")
_library.define(
    "run_recurrent_backward(str program, Tensor total, Tensor z, Tensor zs, Tensor weights, Tensor dzs, Tensor[] dstate, Tensor[] kept,"
    " Tensor[] fixed, bool[] wanted, int every, bool record) -> Tensor[]"
)
_library.impl("run", cpu.forward, "CPU")
_library.impl("run_backward", cpu.backward, "CPU")
_library.impl("run_recurrent", recurrent.forward, "CPU")
_library.impl("run_recurrent_backward", recurrent.backward, "CPU")


@torch.library.register_fake("geir::run", lib=_library)
def _(program: str, xs: Tensor, state: list[Tensor], fixed: list[Tensor], every: int, output: torch.dtype, record: bool) -> list[Tensor]:
    steps, *shape = xs.shape
    parts = [part.new_empty(xs.shape if record else shape) for part in state]
    kept = [part.new_empty(-(-steps // every), *shape) for part in state] if every else []
    return [xs.new_empty(xs.shape, dtype=output), *parts, *kept]


@torch.library.register_fake("geir::run_backward", lib=_library)
def _(
    program: str, xs: Tensor, dzs: Tensor, dstate: list[Tensor], kept: list[Tensor], fixed: list[Tensor], wanted: list[bool], every: int, record: bool
) -> list[Tensor]:
    starts = [d.new_empty(xs.shape[1:]) for d in dstate]
    return [xs.new_empty(xs.shape), *starts, *(t.new_empty(t.shape if yes else 0) for t, yes in zip(fixed, wanted, strict=True))]


@torch.library.register_fake("geir::run_recurrent", lib=_library)
def _(program: str, xs: Tensor, z: Tensor, weights: Tensor, state: list[Tensor], fixed: list[Tensor], every: int, record: bool) -> list[Tensor]:
    steps, *shape = xs.shape
    parts = [part.new_empty(xs.shape if record else shape) for part in state]
    return [xs.new_empty(xs.shape), *parts, xs.new_empty(xs.shape), *(part.new_empty(-(-steps // every), *shape) for part in state)]


@torch.library.register_fake("geir::run_recurrent_backward", lib=_library)
def _(
    program: str, total: Tensor, z: Tensor, zs: Tensor, weights: Tensor, dzs: Tensor, dstate: list[Tensor], kept: list[Tensor],
    fixed: list[Tensor], wanted: list[bool], every: int, record: bool,
) -> list[Tensor]:  # fmt: skip
    starts = [d.new_empty(total.shape[1:]) for d in (z, *dstate)]
    of_fixed = [t.new_empty(t.shape if yes else 0) for t, yes in zip(fixed, wanted, strict=True)]
    return [total.new_empty(total.shape), *starts, *of_fixed, weights.new_empty(weights.shape).t().contiguous().t()]


def run(
    program: str, xs: Tensor, state: list[Tensor], fixed: list[Tensor], every: int, output: torch.dtype, record: bool
) -> tuple[Tensor, list[Tensor]]:
    """Run a program over time, differentiably.

    Args:
        program: What `geir.kernels.trace.trace` found.
        xs: Input, shape (time, ...).
        state: Parts of the state to start from, each of shape (...).
        fixed: What does not change over time, each broadcastable to (...).
        every: After how many steps the state is kept for the backward pass; 0 if there will be none.
        output: Dtype of the output.
        record: Whether to return the parts of the state after every step instead of only the last.

    Returns:
        Output, shape (time, ...), and the parts of the state, each of shape (...), or (time, ...) if recorded.
    """
    function = _CompilableRun if torch.compiler.is_compiling() else _Run
    zs, *parts = function.apply(program, every, output, record, len(state), xs, *state, *fixed)  # pyright: ignore[reportGeneralTypeIssues]
    return zs, parts[: len(state)]


def run_recurrent(
    program: str, xs: Tensor, z: Tensor, weights: Tensor, state: list[Tensor], fixed: list[Tensor], every: int, record: bool
) -> tuple[Tensor, list[Tensor]]:
    """Like `run`, of a neuron that also receives the product of `weights`, shape (neurons, neurons), and its last output; at first `z`."""
    function = _CompilableRunRecurrent if torch.compiler.is_compiling() else _RunRecurrent
    zs, *parts = function.apply(program, every, record, len(state), xs, z, weights, *state, *fixed)  # pyright: ignore[reportGeneralTypeIssues]
    return zs, parts[: len(state)]


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(program: str, every: int, output: torch.dtype, record: bool, states: int, xs: Tensor, *tensors: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return tuple(torch.ops.geir.run(program, xs, tensors[:states], tensors[states:], every, output, record))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        program, every, _, record, states, xs, *tensors = inputs
        zs, kept = output[0], output[1 + states :]
        ctx.set_materialize_grads(False)  # else those of what is kept, which are not wanted, take memory
        ctx.mark_non_differentiable(*kept, *([] if zs.is_floating_point() else [zs]))
        ctx.save_for_backward(xs, *kept, *tensors[states:])
        ctx.settings = program, every, record, states, zs.dtype

    @staticmethod
    def backward(ctx: Any, dzs: Tensor | None, *gradients: Tensor | None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        program, every, record, states, dtype = ctx.settings
        xs, *saved = ctx.saved_tensors
        dzs, dstate = _given(dzs, gradients[:states], xs, dtype, saved[:states], record)
        wanted = list(ctx.needs_input_grad[6 + states :])
        arguments = program, every, record, states, wanted, xs, dzs, *dstate, *saved
        dxs, *found = _Backward.forward(*arguments) if torch.compiler.is_compiling() else _Backward.apply(*arguments)  # pyright: ignore[reportGeneralTypeIssues]
        dfixed = [d if yes else None for d, yes in zip(found[states:], wanted, strict=True)]
        return None, None, None, None, None, dxs, *found[:states], *dfixed

    @staticmethod
    def vmap(info: Any, dims: Any, program: str, every: int, output: torch.dtype, record: bool, states: int, xs: Tensor, *tensors: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        xs = _batched(xs, dims[5], 1, info.batch_size)
        state = [_batched(t, d, 0, info.batch_size) for t, d in zip(tensors[:states], dims[6 : 6 + states], strict=True)]
        fixed = [_lifted(t, d, xs.dim() - 1) for t, d in zip(tensors[states:], dims[6 + states :], strict=True)]
        results = _Run.apply(program, every, output, record, states, xs, *state, *fixed)
        return results, (1, *[int(record)] * states, *[1] * (len(results) - 1 - states))  # pyright: ignore[reportArgumentType]


class _Backward(torch.autograd.Function):
    @staticmethod
    def forward(program: str, every: int, record: bool, states: int, wanted: list[bool], xs: Tensor, dzs: Tensor, *tensors: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        dstate, kept, fixed = tensors[:states], tensors[states : 2 * states], tensors[2 * states :]
        return tuple(torch.ops.geir.run_backward(program, xs, dzs, dstate, kept, fixed, wanted, every, record))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise RuntimeError("Kernels have no second derivative; take the reference loop for it: LIF(unroll=geir.reference).")

    @staticmethod
    def vmap(  # pyright: ignore[reportIncompatibleMethodOverride]
        info: Any, dims: Any, program: str, every: int, record: bool, states: int, wanted: list[bool], xs: Tensor, dzs: Tensor, *tensors: Tensor
    ) -> Any:
        size = info.batch_size
        xs, dzs = _batched(xs, dims[5], 1, size), _batched(dzs, dims[6], 1, size)
        after = dims[7:]
        dstate = [_batched(t, d, int(record), size) for t, d in zip(tensors[:states], after[:states], strict=True)]
        kept = [_batched(t, d, 1, size) for t, d in zip(tensors[states : 2 * states], after[states : 2 * states], strict=True)]
        fixed = []
        for t, d, yes in zip(tensors[2 * states :], after[2 * states :], wanted, strict=True):
            # The gradient of what all samples share is each sample's own here; who asked for it sums.
            fixed.append(_lifted(_batched(t, d, 0, size), 0, xs.dim() - 1).contiguous() if yes else _lifted(t, d, xs.dim() - 1))
        dxs, *found = _Backward.apply(program, every, record, states, wanted, xs, dzs, *dstate, *kept, *fixed)  # pyright: ignore[reportGeneralTypeIssues]
        dfixed = [
            d.reshape(size, *_without(t.shape, e)) if yes else d
            for d, t, e, yes in zip(found[states:], tensors[2 * states :], after[2 * states :], wanted, strict=True)
        ]
        return (dxs, *found[:states], *dfixed), (1, *[0] * states, *(0 if yes else None for yes in wanted))


class _RunRecurrent(torch.autograd.Function):
    @staticmethod
    def forward(program: str, every: int, record: bool, states: int, xs: Tensor, z: Tensor, weights: Tensor, *tensors: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return tuple(torch.ops.geir.run_recurrent(program, xs, z, weights, tensors[:states], tensors[states:], every, record))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        program, every, record, states, _, z, weights, *tensors = inputs
        zs, rest = output[0], output[1 + states :]
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*rest)
        ctx.save_for_backward(z, zs, weights, *rest, *tensors[states:])
        ctx.settings = program, every, record, states

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dzs: Tensor | None, *gradients: Tensor | None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        program, every, record, states = ctx.settings
        z, zs, weights, total, *rest = ctx.saved_tensors
        dzs, dstate = _given(dzs, gradients[:states], total, zs.dtype, rest[:states], record)
        kept, fixed, wanted = rest[:states], rest[states:], list(ctx.needs_input_grad[7 + states :])
        dxs, dz, *found, dweights = torch.ops.geir.run_recurrent_backward(
            program, total, z, zs, weights, dzs, dstate, kept, fixed, wanted, every, record
        )
        dfixed = [d if yes else None for d, yes in zip(found[states:], wanted, strict=True)]
        return None, None, None, None, dxs, dz, dweights, *found[:states], *dfixed


def _compilable(function: Any) -> Any:
    """The same as `torch.compile` understands it: it mistakes the context when a variable number of arguments follows."""

    class Compilable(function):
        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> Any:
            output = function.forward(*inputs)
            function.setup_context(ctx, inputs, output)
            return output

        setup_context = torch.autograd.Function.setup_context

    return Compilable


_CompilableRun, _CompilableRunRecurrent = _compilable(_Run), _compilable(_RunRecurrent)


def _given(
    dzs: Tensor | None, dstate: Sequence[Tensor | None], xs: Tensor, dtype: torch.dtype, kept: Sequence[Tensor], record: bool
) -> tuple[Tensor, list[Tensor]]:
    """Gradients of output and state, zero where there are none."""
    shape = xs.shape if record else xs.shape[1:]
    parts = [k.new_zeros(shape) if d is None else d for d, k in zip(dstate, kept, strict=True)]
    return xs.new_zeros(xs.shape, dtype=dtype) if dzs is None else dzs, parts


def _batched(t: Tensor, dim: int | None, to: int, size: int) -> Tensor:
    """A tensor with the batch at dimension `to`."""
    if dim is not None:
        return t.movedim(dim, to)
    return t.unsqueeze(to).expand(*t.shape[:to], size, *t.shape[to:])


def _lifted(t: Tensor, dim: int | None, dims: int) -> Tensor:
    """A fixed value with the batch in front of the dimensions of a step, if it has a batch."""
    if dim is None:
        return t
    t = t.movedim(dim, 0)
    return t.reshape(len(t), *[1] * (dims - t.dim()), *t.shape[1:])


def _without(shape: torch.Size, dim: int | None) -> list[int]:
    return [n for k, n in enumerate(shape) if k != dim]
