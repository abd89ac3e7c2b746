"""A run as an operation of PyTorch: compiled, exported, differentiated, batched and transformed like any other.

`geir::run` and its vector-Jacobian product `geir::run_backward` take the traced program itself, as text, so that an exported model runs
wherever geir is installed, whether it has the neuron or not.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .run import backward as backward_over_time
from .run import forward as run_over_time

_library = torch.library.Library("geir", "DEF")
_library.define(
    "run(str program, Tensor xs, Tensor[] state, Tensor[] fixed, Tensor[] feedback, int every, ScalarType output, bool record) -> Tensor[]"
)
_library.define(
    "run_backward(str program, Tensor xs, Tensor dzs, Tensor[] dstate, Tensor[] kept, Tensor[] fixed, bool[] wanted, Tensor[] feedback,"
    " int every, bool record) -> Tensor[]"
)
for _device in ("CPU", "CUDA"):
    _library.impl("run", run_over_time, _device)
    _library.impl("run_backward", backward_over_time, _device)


@torch.library.register_fake("geir::run", lib=_library)
def _(
    program: str, xs: Tensor, state: list[Tensor], fixed: list[Tensor], feedback: list[Tensor], every: int, output: torch.dtype, record: bool
) -> list[Tensor]:
    steps, *shape = xs.shape
    parts = [part.new_empty(xs.shape if record else shape) for part in state]
    kept = [part.new_empty(-(-steps // every), *shape) for part in state] if every else []
    return [xs.new_empty(xs.shape, dtype=output), *parts, *kept, *([xs.new_empty(xs.shape)] if feedback else [])]


@torch.library.register_fake("geir::run_backward", lib=_library)
def _(
    program: str, xs: Tensor, dzs: Tensor, dstate: list[Tensor], kept: list[Tensor], fixed: list[Tensor], wanted: list[bool], feedback: list[Tensor],
    every: int, record: bool,
) -> list[Tensor]:  # fmt: skip
    starts = [d.new_empty(xs.shape[1:]) for d in dstate]
    dfixed = [t.new_empty(t.shape if yes else 0) for t, yes in zip(fixed, wanted, strict=True)]
    dfeedback = [feedback[0].new_empty(feedback[0].shape), feedback[1].new_empty(feedback[1].shape[::-1]).t()] if feedback else []
    return [xs.new_empty(xs.shape), *starts, *dfixed, *dfeedback]


def run(
    program: str, xs: Tensor, state: list[Tensor], fixed: list[Tensor], feedback: Sequence[Tensor], every: int, output: torch.dtype, record: bool
) -> tuple[Tensor, list[Tensor]]:
    """Run a program over time, differentiably.

    Args:
        program: What `geir.kernels.trace.trace` found.
        xs: Input, shape (time, ...).
        state: Parts of the state to start from, each of shape (...).
        fixed: What does not change over time, each broadcastable to (...).
        feedback: Nothing; or for a neuron that also receives its last output, that before the first step, shape (..., neurons), and the
            weights by which it does, shape (neurons, neurons).
        every: After how many steps the state is kept for the backward pass; 0 if there will be none.
        output: Dtype of the output; with feedback, that of the input.
        record: Whether to return the parts of the state after every step instead of only the last.

    Returns:
        Output, shape (time, ...), and the parts of the state, each of shape (...), or (time, ...) if recorded.
    """
    zs, *parts = _fitting(_Run).apply(program, every, output, record, len(state), len(fixed), xs, *state, *fixed, *feedback)  # pyright: ignore[reportGeneralTypeIssues]
    return zs, parts[: len(state)]


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(program: str, every: int, output: torch.dtype, record: bool, states: int, count: int, xs: Tensor, *tensors: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        state, fixed, feedback = _parts(tensors, states, count)
        operation = torch.ops.geir.run if _watched(xs) else run_over_time
        return tuple(operation(program, xs, state, fixed, feedback, every, output, record))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        program, every, _, record, states, count, xs, *tensors = inputs
        _, fixed, feedback = _parts(tensors, states, count)
        zs, kept = output[0], output[1 + states : 1 + 2 * states]
        ctx.set_materialize_grads(False)  # else those of what is kept, which are not wanted, take memory
        ctx.mark_non_differentiable(*output[1 + states :], *([] if zs.is_floating_point() else [zs]))
        # What a neuron with feedback received is the last of the outputs.
        ctx.save_for_backward(output[-1] if feedback else xs, *kept, *fixed, *([*feedback, zs] if feedback else []))
        ctx.settings = program, every, record, states, count, zs.dtype

    @staticmethod
    def backward(ctx: Any, dzs: Tensor | None, *gradients: Tensor | None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        program, every, record, states, count, dtype = ctx.settings
        xs, *tensors = ctx.saved_tensors
        kept, _, _ = _parts(tensors, states, count)
        shape = xs.shape if record else xs.shape[1:]
        dstate = [k.new_zeros(()).expand(shape) if d is None else d for d, k in zip(gradients[:states], kept, strict=True)]
        dz = xs.new_zeros((), dtype=dtype).expand(xs.shape) if dzs is None else dzs
        wanted = list(ctx.needs_input_grad[7 + states : 7 + states + count])
        # Once is the rule; a function of its own is for what differentiates this or maps over it.
        once = torch.compiler.is_compiling() or not (torch.is_grad_enabled() or _transformed())
        differentiate = _Backward.forward if once else _fitting(_Backward).apply
        dxs, *rest = differentiate(program, every, record, states, count, wanted, xs, dz, *dstate, *tensors)  # pyright: ignore[reportGeneralTypeIssues]
        dfixed = [d if yes else None for d, yes in zip(rest[states : states + count], wanted, strict=True)]
        return *[None] * 6, dxs, *rest[:states], *dfixed, *rest[states + count :]

    @staticmethod
    def vmap(  # pyright: ignore[reportIncompatibleMethodOverride]
        info: Any, dims: Any, program: str, every: int, output: torch.dtype, record: bool, states: int, count: int, xs: Tensor, *tensors: Tensor
    ) -> Any:
        if len(tensors) > states + count and dims[-1] is not None:
            return _one_by_one(_Run, info, dims, program, every, output, record, states, count, xs, *tensors)
        state, fixed, feedback = _parts(tensors, states, count)
        of_state, of_fixed, of_feedback = _parts(dims[7:], states, count)
        xs = _batched(xs, dims[6], 1, info.batch_size)
        state = [_batched(t, d, 0, info.batch_size) for t, d in zip(state, of_state, strict=True)]
        fixed = [_lifted(t, d, xs.dim() - 1) for t, d in zip(fixed, of_fixed, strict=True)]
        feedback = [_batched(t, d, 0, info.batch_size) for t, d in zip(feedback[:1], of_feedback, strict=False)] + list(feedback[1:])
        results = _Run.apply(program, every, output, record, states, count, xs, *state, *fixed, *feedback)
        return results, (1, *[int(record)] * states, *[1] * (len(results) - 1 - states))  # pyright: ignore[reportArgumentType]


class _Backward(torch.autograd.Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        program: str, every: int, record: bool, states: int, count: int, wanted: list[bool], xs: Tensor, dzs: Tensor, *tensors: Tensor
    ) -> Any:
        dstate, rest = tensors[:states], tensors[states:]
        kept, fixed, feedback = _parts(rest, states, count)
        operation = torch.ops.geir.run_backward if _watched(xs) else backward_over_time
        return tuple(operation(program, xs, dzs, dstate, kept, fixed, wanted, feedback, every, record))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise RuntimeError("Kernels have no second derivative; take the reference loop for it: LIF(unroll=geir.reference).")

    @staticmethod
    def vmap(  # pyright: ignore[reportIncompatibleMethodOverride]
        info: Any, dims: Any, program: str, every: int, record: bool, states: int, count: int, wanted: list[bool], xs: Tensor, dzs: Tensor,
        *tensors: Tensor,
    ) -> Any:  # fmt: skip
        if len(tensors) > 2 * states + count:  # each sample has its own gradient of the weights
            return _one_by_one(_Backward, info, dims, program, every, record, states, count, wanted, xs, dzs, *tensors)
        size, after = info.batch_size, dims[8:]
        xs, dzs = _batched(xs, dims[6], 1, size), _batched(dzs, dims[7], 1, size)
        dstate = [_batched(t, d, int(record), size) for t, d in zip(tensors[:states], after, strict=False)]
        kept = [_batched(t, d, 1, size) for t, d in zip(tensors[states : 2 * states], after[states:], strict=False)]
        fixed = []
        for t, d, yes in zip(tensors[2 * states :], after[2 * states :], wanted, strict=True):
            # The gradient of what all samples share is each sample's own here; who asked for it sums.
            fixed.append(_lifted(_batched(t, d, 0, size), 0, xs.dim() - 1).contiguous() if yes else _lifted(t, d, xs.dim() - 1))
        dxs, *found = _Backward.apply(program, every, record, states, count, wanted, xs, dzs, *dstate, *kept, *fixed)  # pyright: ignore[reportGeneralTypeIssues]
        dfixed = [
            d.reshape(size, *(n for k, n in enumerate(t.shape) if k != e)) if yes else d
            for d, t, e, yes in zip(found[states:], tensors[2 * states :], after[2 * states :], wanted, strict=True)
        ]
        return (dxs, *found[:states], *dfixed), (1, *[0] * states, *(0 if yes else None for yes in wanted))


def _plain(function: Any) -> Any:
    """The same in the older manner, for outside of function transforms: `torch.compile` understands it, and it is called faster."""

    class Plain(function):
        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> Any:
            output = function.forward(*inputs)
            function.setup_context(ctx, inputs, output)
            return output

        setup_context = torch.autograd.Function.setup_context

    return Plain


_PlainRun, _PlainBackward = _plain(_Run), _plain(_Backward)


def _fitting(function: Any) -> Any:
    return function if _transformed() else _PlainRun if function is _Run else _PlainBackward


def _transformed() -> bool:
    return not torch.compiler.is_compiling() and torch._C._functorch.peek_interpreter_stack() is not None  # pyright: ignore[reportAttributeAccessIssue]  (not in its stubs)


def _watched(xs: Tensor) -> bool:
    """Whether a compiler, a mode or a kind of tensors of its own must see the operation; else its call through PyTorch is saved."""
    return torch.compiler.is_compiling() or type(xs) is not Tensor or torch._C._len_torch_dispatch_stack() > 0


def _parts(tensors: Sequence[Any], states: int, count: int) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any]]:
    """Those of the state, those that are fixed, and the rest."""
    return tensors[:states], tensors[states : states + count], tensors[states + count :]


def _one_by_one(function: Any, info: Any, dims: Any, *arguments: Any) -> Any:
    """A batch sample by sample, where samples do not share the weights or their gradient."""
    samples = [
        function.apply(*(a if d is None or not isinstance(a, Tensor) else a.select(d, k) for a, d in zip(arguments, dims, strict=True)))
        for k in range(info.batch_size)
    ]
    return tuple(torch.stack(results) for results in zip(*samples, strict=True)), (0,) * len(samples[0])


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
