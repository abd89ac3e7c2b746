"""A run as an operation of PyTorch: compiled, exported, differentiated, batched and transformed like any other.

`geir::run` and its vector-Jacobian product `geir::run_backward` take the traced program itself, as text, so that an exported model runs
wherever geir is installed, whether it has the neuron or not.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .run import backward as backward_over_time, forward as run_over_time

_library = torch.library.Library("geir", "DEF")
_library.define(
    "run(str program, Tensor xs, Tensor state, Tensor[] fixed, Tensor[] feedback, int every, ScalarType output, bool record) -> Tensor[]"
)
_library.define(
    "run_backward(str program, Tensor xs, Tensor dzs, Tensor? dstate, Tensor kept, Tensor[] fixed, bool[] wanted, Tensor[] feedback,"
    " int every, bool record) -> Tensor[]"
)
for _device in ("CPU", "CUDA"):
    _library.impl("run", run_over_time, _device)
    _library.impl("run_backward", backward_over_time, _device)


@torch.library.register_fake("geir::run", lib=_library)
def _(
    program: str,
    xs: Tensor,
    state: Tensor,
    fixed: list[Tensor],
    feedback: list[Tensor],
    every: int,
    output: torch.dtype,
    record: bool,
) -> list[Tensor]:
    after = state.new_empty([len(state), *xs.shape] if record else state.shape)
    kept = [state.new_empty([-(-len(xs) // every), *state.shape])] if every else []
    return [xs.new_empty(xs.shape, dtype=output), after, *kept, *([xs.new_empty(xs.shape)] if feedback else [])]


@torch.library.register_fake("geir::run_backward", lib=_library)
def _(
    program: str, xs: Tensor, dzs: Tensor, dstate: Tensor | None, kept: Tensor, fixed: list[Tensor], wanted: list[bool], feedback: list[Tensor],
    every: int, record: bool,
) -> list[Tensor]:  # fmt: skip
    dfixed = [t.new_empty(t.shape) for t, yes in zip(fixed, wanted, strict=True) if yes]
    dfeedback = (
        [feedback[0].new_empty(feedback[0].shape), feedback[1].new_empty(feedback[1].shape[::-1]).t()]
        if feedback
        else []
    )
    return [xs.new_empty(xs.shape), kept.new_empty(kept.shape[1:]), *dfixed, *dfeedback]


def run(
    program: str,
    xs: Tensor,
    state: Tensor,
    fixed: list[Tensor],
    feedback: Sequence[Tensor],
    every: int,
    output: torch.dtype,
    record: bool,
) -> tuple[Tensor, Tensor]:
    """Run a program over time, differentiably.

    Args:
        program: What `geir._runtime.kernels.trace.trace` found.
        xs: Input, shape (time, ...).
        state: State to start from, shape (parts, ...).
        fixed: What does not change over time, each broadcastable to (...).
        feedback: Nothing; or for a neuron that also receives its last output, that before the first step, shape (..., neurons), and the
            weights by which it does, shape (neurons, neurons).
        every: After how many steps the state is kept for the backward pass; 0 if there will be none.
        output: Dtype of the output; with feedback, that of the input.
        record: Whether to return the state after every step instead of only the last.

    Returns:
        Output, shape (time, ...), and the state, shape (parts, ...), or (parts, time, ...) if recorded.
    """
    zs, after, *_ = _fitting(_Run).apply(program, every, output, record, len(fixed), xs, state, *fixed, *feedback)  # pyright: ignore[reportGeneralTypeIssues]
    return zs, after


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(
        program: str,
        every: int,
        output: torch.dtype,
        record: bool,
        count: int,
        xs: Tensor,
        state: Tensor,
        *tensors: Tensor,
    ) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        operation = torch.ops.geir.run if _watched(xs) else run_over_time
        return tuple(operation(program, xs, state, tensors[:count], tensors[count:], every, output, record))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        program, every, _, record, count, xs, _, *tensors = inputs
        zs, _, *kept = output
        ctx.set_materialize_grads(False)  # else those of what is kept, which are not wanted, take memory
        ctx.mark_non_differentiable(*kept, *([] if zs.is_floating_point() else [zs]))
        if every:
            # What a neuron with feedback received is the last of the outputs.
            feedback = [*tensors[count:], zs] if len(tensors) > count else []
            ctx.save_for_backward(output[-1] if feedback else xs, kept[0], *tensors[:count], *feedback)
        ctx.settings = program, every, record, count, zs.dtype

    @staticmethod
    def backward(ctx: Any, dzs: Tensor | None, dstate: Tensor | None, *_: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        program, every, record, count, dtype = ctx.settings
        xs, kept, *tensors = ctx.saved_tensors
        dz = xs.new_zeros((), dtype=dtype).expand(xs.shape) if dzs is None else dzs
        wanted = list(ctx.needs_input_grad[7 : 7 + count])
        # Once is the rule; a function of its own is for what differentiates this or maps over it.
        once = torch.compiler.is_compiling() or not (torch.is_grad_enabled() or _transformed())
        differentiate = _Backward.forward if once else _fitting(_Backward).apply
        dxs, dstart, *rest = differentiate(program, every, record, count, wanted, xs, dz, dstate, kept, *tensors)  # pyright: ignore[reportGeneralTypeIssues]
        found = iter(rest)
        return *[None] * 5, dxs, dstart, *[next(found) if yes else None for yes in wanted], *found

    @staticmethod
    def vmap(  # pyright: ignore[reportIncompatibleMethodOverride]
        info: Any,
        dims: Any,
        program: str,
        every: int,
        output: torch.dtype,
        record: bool,
        count: int,
        xs: Tensor,
        state: Tensor,
        *tensors: Tensor,
    ) -> Any:
        if len(tensors) > count and dims[-1] is not None:
            return _one_by_one(_Run, info, dims, program, every, output, record, count, xs, state, *tensors)
        xs, state = _batched(xs, dims[5], 1, info.batch_size), _batched(state, dims[6], 1, info.batch_size)
        fixed = [_lifted(t, d, xs.dim() - 1) for t, d in zip(tensors[:count], dims[7:], strict=False)]
        feedback = [_batched(z, dims[-2], 0, info.batch_size) for z in tensors[count:-1]] + list(tensors[count + 1 :])
        results = _Run.apply(program, every, output, record, count, xs, state, *fixed, *feedback)
        return results, (1, 1 + record, *([2] if every else []), *([1] if feedback else []))  # pyright: ignore[reportArgumentType]


class _Backward(torch.autograd.Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        program: str, every: int, record: bool, count: int, wanted: list[bool], xs: Tensor, dzs: Tensor, dstate: Tensor | None, kept: Tensor,
        *tensors: Tensor,
    ) -> Any:  # fmt: skip
        operation = torch.ops.geir.run_backward if _watched(xs) else backward_over_time
        return tuple(operation(program, xs, dzs, dstate, kept, tensors[:count], wanted, tensors[count:], every, record))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise RuntimeError(
            "Kernels have no second derivative; take the reference loop for it: LIF(unroll=geir.reference)."
        )

    @staticmethod
    def vmap(  # pyright: ignore[reportIncompatibleMethodOverride]
        info: Any, dims: Any, program: str, every: int, record: bool, count: int, wanted: list[bool], xs: Tensor, dzs: Tensor, dstate: Tensor | None,
        kept: Tensor, *tensors: Tensor,
    ) -> Any:  # fmt: skip
        if len(tensors) > count:  # each sample has its own gradient of the weights
            return _one_by_one(
                _Backward, info, dims, program, every, record, count, wanted, xs, dzs, dstate, kept, *tensors
            )
        size, of_fixed = info.batch_size, dims[9:]
        xs, dzs = _batched(xs, dims[5], 1, size), _batched(dzs, dims[6], 1, size)
        dstate = None if dstate is None else _batched(dstate, dims[7], 1 + record, size)
        kept = _batched(kept, dims[8], 2, size)
        # The gradient of what all samples share is each sample's own here; who asked for it sums.
        shared = [_batched(t, d, 0, size) if yes else t for t, d, yes in zip(tensors, of_fixed, wanted, strict=True)]
        fixed = [
            _lifted(t, 0 if yes else d, xs.dim() - 1).contiguous()
            for t, d, yes in zip(shared, of_fixed, wanted, strict=True)
        ]
        dxs, dstart, *found = _Backward.apply(program, every, record, count, wanted, xs, dzs, dstate, kept, *fixed)  # pyright: ignore[reportGeneralTypeIssues]
        dfixed = [
            d.reshape(t.shape)
            for d, t in zip(found, (t for t, yes in zip(shared, wanted, strict=True) if yes), strict=True)
        ]
        return (dxs, dstart, *dfixed), (1, 1, *[0] * len(dfixed))


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


def _one_by_one(function: Any, info: Any, dims: Any, *arguments: Any) -> Any:
    """A batch sample by sample, where samples do not share the weights or their gradient."""
    samples = [
        function.apply(
            *(
                a if d is None or not isinstance(a, Tensor) else a.select(d, k)
                for a, d in zip(arguments, dims, strict=True)
            )
        )
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
