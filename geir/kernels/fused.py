"""Run a neuron by kernels derived from its step; where that cannot be, by the reference loop."""

import dataclasses
import functools
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..state import leaves, map_state
from .compiler import NoCompilerError
from .cpu import source
from .operation import run, run_recurrent
from .program import NotFusableError, Program
from .recurrent import RunModule
from .reference import reference
from .trace import trace, with_tensors


@dataclass(frozen=True)
class Fused:
    """Runs a neuron over time inside kernels that are derived from its step: the default.

    A step that is not elementwise, or a machine without a C compiler, takes the reference loop, with one warning; so does forward-mode
    differentiation, without one.

    Args:
        every: After how many steps the state is kept for the backward pass, which recomputes the others. Gradients do not depend on it.
            Default: such that what is kept is a small part of the input.
        output: ``torch.bool`` or ``torch.uint8`` for spikes in a quarter of the memory of float32; they carry no gradient.
            Default: the input's dtype.

    Raises:
        ValueError: If `every` is not a positive number of steps, or `output` another dtype.
    """

    every: int | None = None
    output: torch.dtype | None = None

    def __post_init__(self) -> None:
        if self.every is not None and not (isinstance(self.every, int) and self.every > 0):
            raise ValueError(f"Fused.every must be a positive number of steps, got {self.every!r}.")
        if self.output not in (None, torch.bool, torch.uint8):
            raise ValueError(f"Fused.output must be torch.bool or torch.uint8, got {self.output!r}.")

    def __call__(self, neuron: Any, xs: Tensor, state: Any, record_states: bool = False) -> tuple[Tensor, Any]:
        """Like `reference`."""
        recurrent = neuron.recurrent
        if not xs.numel() or _out_of_reach(xs, recurrent):
            return reference(neuron, xs, state, record_states)
        try:
            return (self._run_recurrent if recurrent else self._run)(neuron, xs, state, record_states)
        except (NotFusableError, NoCompilerError) as error:
            _warn_once(f"{type(neuron).__name__} runs on the reference loop: {error}.")
            return reference(neuron, xs, state, record_states)

    def _run(self, neuron: Any, xs: Tensor, state: Any, record: bool) -> tuple[Tensor, Any]:
        program, parts, fixed = _program_of(neuron, "step", state, neuron.prepare())
        every = self._every(parts) if torch.is_grad_enabled() else 0
        zs, after = run(program, xs, parts, fixed, every, self.output or xs.dtype, record)
        return zs, _rebuilt(state, after)

    def _run_recurrent(self, neuron: Any, xs: Tensor, state: Any, record: bool) -> tuple[Tensor, Any]:
        weights, *prepared = neuron.prepare()
        program, parts, fixed = _program_of(neuron, "react", state.neuron, prepared)
        every, connection, arriving = self._every(parts), neuron.recurrent_weights, xs.to(state.z.dtype)
        if type(connection) is nn.Linear and not connection._forward_hooks and not connection._forward_pre_hooks:
            weights = connection.weight
            arriving = arriving if connection.bias is None else arriving + connection.bias
        if weights is not None:
            zs, after = run_recurrent(program, arriving, state.z, weights.to(arriving.dtype), parts, fixed, every, record)
        else:
            own = [p for p in connection.parameters() if p.requires_grad]
            zs, *after = RunModule.apply(program, every, record, connection, len(parts), len(fixed), arriving, state.z, *parts, *fixed, *own)  # pyright: ignore[reportGeneralTypeIssues]
        return zs.to(self.output or xs.dtype), type(state)(_rebuilt(state.neuron, after), zs if record else zs[-1])

    def _every(self, parts: list[Tensor]) -> int:
        return self.every or max(16, 8 * len(parts))


fused = Fused()


@functools.cache
def _warn_once(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=4)


def fixed_of(neuron: Any, prepared: Any) -> tuple[list[str], list[Tensor], Any]:
    """Names of parameters and buffers; these and the tensors among what was prepared; and how to build that again from tensors."""
    named = dict(neuron.named_parameters()) | dict(neuron.named_buffers())
    coefficients, structure = pytree.tree_flatten(prepared)
    places = [k for k, value in enumerate(coefficients) if isinstance(value, Tensor)]

    def rebuild(tensors: list[Tensor]) -> Any:
        values = list(coefficients)
        for k, tensor in zip(places, tensors, strict=True):
            values[k] = tensor
        return pytree.tree_unflatten(values, structure)

    return list(named), [*named.values(), *(coefficients[k] for k in places)], rebuild


def _out_of_reach(xs: Tensor, recurrent: bool) -> bool:
    """Whether a run is on a device or inside a transform for which there are no kernels."""
    if torch.autograd.forward_ad._current_level >= 0 or xs.device.type != "cpu":
        return True
    transformed = torch._C._functorch.peek_interpreter_stack() is not None  # pyright: ignore[reportAttributeAccessIssue]  (not in its stubs)
    return recurrent and transformed


def _rebuilt(state: Any, parts: list[Tensor]) -> Any:
    new = iter(parts)
    return map_state(lambda _: next(new), state)


_programs: dict[Any, Any] = {}


def _program_of(neuron: Any, name: str, state: Any, prepared: Any) -> tuple[str, list[Tensor], list[Tensor]]:
    """The program of a step, by its name; the parts of the state; and what else the program takes."""
    names, tensors, rebuild = fixed_of(neuron, prepared)
    parts = [part for _, part in leaves(state)]
    dtype = parts[0].dtype
    if torch.compiler.is_compiling():
        for module in neuron.modules():
            _looked_at(vars(module))
        program, used = _constant_program(neuron, name, dtype)
    else:
        program, used = _remembered(neuron, name, state, names, len(tensors), rebuild, dtype)
    return program, parts, [tensors[k].to(dtype) for k in used]


@torch.compiler.assume_constant_result
def _constant_program(neuron: Any, name: str, dtype: torch.dtype) -> tuple[str, list[int]]:
    """The program, as a constant of what `torch.compile` makes."""
    state, prepared = neuron.resting_state(), neuron.prepare()
    if name == "react":
        state, (_, *prepared) = state.neuron, prepared
    names, tensors, rebuild = fixed_of(neuron, prepared)
    return _remembered(neuron, name, state, names, len(tensors), rebuild, dtype)


def _looked_at(values: dict[str, Any]) -> int:
    """Read all settings, so that what was compiled is compiled again when one changes."""
    seen = 0
    for key, value in values.items():
        if key.startswith("_") or key == "training":
            continue
        if isinstance(value, int | float | str):
            seen += value == 0
        elif dataclasses.is_dataclass(value):
            seen += _looked_at(vars(value))
        else:
            seen += value is None
    return seen


def _described(value: Any, depth: int = 3) -> Any:
    """A setting by all that tells it from another: its type, which may share its name with an older one, its `repr`, and what is in it."""
    inside = vars(value) if hasattr(value, "__dict__") and depth else {}
    return id(type(value)), repr(value), [(k, _described(v, depth - 1)) for k, v in inside.items()]


def _remembered(neuron: Any, name: str, state: Any, names: list[str], count: int, rebuild: Any, dtype: torch.dtype) -> tuple[str, list[int]]:
    """The program, which is that of all neurons that differ in nothing but tensors."""
    settings = [(type(m), k, v) for m in neuron.modules() for k, v in vars(m).items() if not k.startswith("_") and k != "training"]
    described = repr([(id(kind), k, _described(v)) for kind, k, v in settings])
    key = type(neuron), described, name, tuple(names), count, dtype
    if key not in _programs:
        try:
            found = trace(with_tensors(neuron, getattr(neuron, name), names, rebuild), state, count, dtype)
        except NotFusableError as error:
            found = error
        # With the settings, so that the addresses in their descriptions are not used again.
        _programs[key] = found, settings
    found, _ = _programs[key]
    if isinstance(found, NotFusableError):
        raise found
    return found


def source_of(neuron: Any) -> str:
    """The C source of a neuron's kernels, in its dtype and without the gradients of what it does not learn.

    Raises:
        NotFusableError: If its step cannot be a kernel; the message says why.
    """
    x = torch.zeros(1, dtype=neuron.state_dtype(torch.zeros(())))
    state = neuron.initial_state(x)
    program, _, fixed = _program_of(neuron, "step", state, neuron.prepare())
    return source(Program.loads(program), [t.numel() == 1 for t in fixed], [t.requires_grad for t in fixed], x.dtype, x.dtype)
