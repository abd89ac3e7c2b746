"""From a neuron's step to a program: straight lines of elementwise operations for the step and for its vector-Jacobian product.

The step runs once, on a few numbers, while a dispatch mode writes down every operation; autograd's backward pass of it is written down too.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import nn, Tensor
from torch.func import functional_call

from ..._util.state import leaves, map_state, map_tensors
from .program import NotFusableError, Program
from .record import Recorder

Run = Callable[[Tensor, Any, list[Tensor]], tuple[Tensor, Any]]


def trace(step: Run, state: Any, fixed: int, dtype: torch.dtype) -> tuple[str, list[int]]:
    """Trace a step in which every tensor is an input; anything else is a constant.

    Args:
        step: From x, state and fixed tensors to z and the next state.
        state: A state of the structure that it takes.
        fixed: Number of fixed tensors.
        dtype: Of the arithmetic.

    Returns:
        The program, as text, and which of the fixed tensors it uses; it has only those.

    Raises:
        NotFusableError: If the step is not a straight line of elementwise operations.
    """

    def both() -> tuple[Program, list[int]]:
        # At two sizes, so that a shape that entered as a number shows.
        first, second = (_traced(step, state, fixed, dtype, size) for size in (2, 3))
        if first != second:
            raise NotFusableError("its step depends on the shape of its input")
        return first

    # In a thread of its own, where no transform, mode or autocast is active.
    with ThreadPoolExecutor(1) as thread:
        program, used = thread.submit(both).result()
    return program.dumps(), used


def _traced(step: Run, state: Any, fixed: int, dtype: torch.dtype, size: int) -> tuple[Program, list[int]]:
    def stand_ins(*names: str) -> list[Tensor]:
        tensors = [torch.full((size,), 0.5, dtype=dtype, device="cpu", requires_grad=True) for _ in names]
        recorder.names |= {t.data_ptr(): name for t, name in zip(tensors, names, strict=True)}
        return tensors

    recorder = Recorder(size, dtype)
    states = len(list(leaves(state)))
    x, *rest = stand_ins("x", *(f"s{k}" for k in range(states)), *(f"p{k}" for k in range(fixed)))
    cotangents = [t.detach() for t in stand_ins("dz", *(f"d{k}" for k in range(states)))]
    parts = iter(rest[:states])
    start = map_state(lambda _: next(parts), state)
    try:
        with recorder:
            z, after = step(x, start, rest[states:])
            outputs = [z, *(part for _, part in leaves(after))]
            forward = [recorder.result(t) for t in outputs]
        # A scalar, for `grad` with given gradients first imports half a second of symbolic mathematics.
        total: Any = sum((t * d).sum() for t, d in zip(outputs, cotangents, strict=True))
        with recorder:
            gradients = torch.autograd.grad(total, [x, *rest], allow_unused=True)
            backward = [0.0 if g is None else recorder.result(g) for g in gradients]
    except NotFusableError:
        raise
    except Exception as error:
        raise NotFusableError(
            f"its step cannot be traced ({type(error).__name__}: {str(error).splitlines()[0]})"
        ) from error
    return _pruned(
        Program(str(dtype).removeprefix("torch."), states, fixed, recorder.lines, forward, backward).loosened()
    )


def _pruned(program: Program) -> tuple[Program, list[int]]:
    """Without fixed inputs that nothing needs, and without lines that nothing needs."""
    lines = program.needed([*program.step, *program.backward])
    asked = {argument for line in lines for argument in line[2:]} | {*program.step, *program.backward}
    used = [k for k in range(program.fixed) if f"p{k}" in asked]
    renamed: dict[Any, str] = {f"p{k}": f"p{new}" for new, k in enumerate(used)}
    renamed |= {line[0]: f"t{k}" for k, line in enumerate(lines)}

    def new(arguments: list[Any]) -> list[Any]:
        return [renamed.get(a, a) for a in arguments]

    state_gradients, of_fixed = program.backward[: 1 + program.states], program.backward[1 + program.states :]
    backward = new([*state_gradients, *(of_fixed[k] for k in used)])
    return Program(
        program.real,
        program.states,
        len(used),
        [(*new([n]), op, *new(a)) for n, op, *a in lines],
        new(program.step),
        backward,
    ), used


class _Step(nn.Module):
    """Makes `step` callable by `functional_call`."""

    def __init__(self, neuron: Any, step: Callable[..., Any]):
        super().__init__()
        self.neuron = neuron
        self.run = step

    def forward(self, *arguments: Any) -> Any:
        return self.run(*arguments)


def with_tensors(neuron: nn.Module, step: Callable[..., Any], names: list[str], prepared: Any) -> Run:
    """A step as a function of x, state and a list of tensors: first those that `names` calls, then those in what was prepared.

    Raises:
        NotFusableError: When called, if the step changes an attribute of the neuron, which is then put back.
    """
    count = len(names)

    def run(x: Tensor, state: Any, fixed: list[Tensor]) -> Any:
        values = {f"neuron.{name}": value for name, value in zip(names, fixed, strict=False)}
        before = [(module, dict(vars(module))) for module in neuron.modules()]
        rest = iter(fixed[count:])
        result = functional_call(_Step(neuron, step), values, (x, state, *map_tensors(lambda _: next(rest), prepared)))
        for module, attributes in before:
            now = vars(module)
            if changed := [k for k in now.keys() | attributes.keys() if now.get(k) is not attributes.get(k)]:
                now.clear()
                now.update(attributes)
                raise NotFusableError(f"its step changes its attribute {changed[0]}; let it be a part of the state")
        return result

    return run
