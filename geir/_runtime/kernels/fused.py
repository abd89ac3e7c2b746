"""Run a model by kernels derived from its step; where that is not possible, by the reference loop."""

import dataclasses
import functools
import itertools
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn, Tensor
from torch.nn import functional

from ..._util.state import leaves, map_state, map_tensors, tensors_of
from ..native import NoCompilerError
from ..stepper import Steppable, Stepper
from .cpu import source
from .operation import run
from .program import NotFusableError, Program
from .reference import reference
from .trace import trace, with_tensors


@dataclass(frozen=True)
class Fused:
    """Runs a model over time inside kernels derived from its step. The default.

    A step that is not elementwise, or a machine without a C compiler, uses the reference loop, with one warning; so does forward-mode
    differentiation, without one.

    Args:
        checkpoint_every: Number of steps between the states kept for the backward pass, which recomputes the others. Gradients do not depend
            on it. Default: such that the states kept are a small part of the input.
        output_dtype: ``torch.bool`` or ``torch.uint8`` for spikes in a quarter of the memory of float32; they carry no gradient.
            Default: the dtype of the input.

    Raises:
        ValueError: If `checkpoint_every` is not a positive number of steps, or `output_dtype` is another dtype.
    """

    checkpoint_every: int | None = None
    output_dtype: torch.dtype | None = None

    def __post_init__(self) -> None:
        every = self.checkpoint_every
        if every is not None and not (isinstance(every, int) and every > 0):
            raise ValueError(f"Fused.checkpoint_every must be a positive number of steps, got {every!r}.")
        if self.output_dtype not in (None, torch.bool, torch.uint8):
            raise ValueError(f"Fused.output_dtype must be torch.bool or torch.uint8, got {self.output_dtype!r}.")

    def __call__(self, stepper: Stepper, xs: Tensor, state: Any, record_states: bool = False) -> tuple[Tensor, Any]:
        """Like `reference`."""
        possible = stepper.elementwise and xs.numel() and xs.device.type in ("cpu", "cuda")
        if not possible or torch.autograd.forward_ad._current_level >= 0:
            return reference(stepper, xs, state, record_states)
        try:
            if stepper.feedback is None:
                return self._run(stepper, xs, state, record_states)
            return self._run_recurrent(stepper, xs, state, record_states)
        except (NotFusableError, NoCompilerError) as error:
            _warn_once(f"{type(stepper.module).__name__} runs on the reference loop: {error}.")
            return reference(stepper, xs, state, record_states)

    def _run(self, stepper: Stepper, xs: Tensor, state: Any, record: bool) -> tuple[Tensor, Any]:
        program, start, fixed = _program_of(stepper, state)
        every = self._every(start) if torch.is_grad_enabled() else 0
        zs, after = run(program, xs, start, fixed, (), every, self.output_dtype or xs.dtype, record)
        return zs, _rebuilt(state, after)

    def _run_recurrent(self, stepper: Stepper, xs: Tensor, state: Any, record: bool) -> tuple[Tensor, Any]:
        inner_state, z = state
        assert stepper.feedback is not None
        connection: Any = stepper.feedback.connection
        weights = connection if isinstance(connection, Tensor) else None
        program, start, fixed = _program_of(stepper, inner_state)
        every, arriving = self._every(start), xs.to(z.dtype)
        if type(connection) is nn.Linear and not connection._forward_hooks and not connection._forward_pre_hooks:
            weights = connection.weight
            arriving = arriving if connection.bias is None else arriving + connection.bias
        if weights is not None and not xs.is_cuda:
            feedback = (z, weights.to(arriving.dtype))
            zs, after = run(program, arriving, start, fixed, feedback, every, arriving.dtype, record)
        else:
            after, steps = start, []
            if weights is not None:
                connection = functools.partial(functional.linear, weight=weights.to(arriving.dtype))
            for x in arriving.split(1):  # any other connection stands between two runs of one step
                z, after = run(program, x + connection(z), after, fixed, (), 1, x.dtype, False)
                steps.append((z, after))
                z = z[0]
            zs = torch.cat([z for z, _ in steps])
            after = torch.stack([each for _, each in steps], 1) if record else after
        return zs.to(self.output_dtype or xs.dtype), type(state)(_rebuilt(inner_state, after), zs if record else zs[-1])

    def _every(self, state: Tensor) -> int:
        return self.checkpoint_every or max(32, 8 * len(state))


fused = Fused()


@functools.cache
def _warn_once(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=4)


def _fixed_of(module: Any, prepared: Any) -> tuple[list[str], list[Tensor]]:
    """Names of parameters and buffers; and these with the tensors among what was prepared."""
    named, coefficients = tensors_of(module), []
    map_tensors(coefficients.append, prepared)
    return list(named), [*named.values(), *coefficients]


def _rebuilt(state: Any, parts: Tensor) -> Any:
    # One by one, for parts of an `unbind` may not be changed in place.
    places = itertools.count()
    return map_state(lambda _: parts[next(places)], state)


_programs: dict[Any, Any] = {}


def _program_of(stepper: Stepper, state: Any) -> tuple[str, Tensor, list[Tensor]]:
    """The program of a step; the state, its parts stacked; and what else the program takes."""
    part = stepper.feedback or stepper
    _, tensors = _fixed_of(stepper.module, part.prepared)
    start = torch.stack([leaf for _, leaf in leaves(state)])
    dtype = start.dtype
    if torch.compiler.is_compiling():
        for module in stepper.module.modules():  # pyright: ignore[reportAttributeAccessIssue]
            _looked_at(vars(module))
        program, used = _constant_program(stepper.module, dtype)
    else:
        program, used = _remembered(stepper, state, dtype)
    return program, start, [tensors[k] if tensors[k].dtype == dtype else tensors[k].to(dtype) for k in used]


@torch.compiler.assume_constant_result
def _constant_program(module: Steppable, dtype: torch.dtype) -> tuple[str, list[int]]:
    """The program, as a constant of what `torch.compile` makes."""
    stepper = module.stepper(dtype)
    state = module.initial_state(torch.empty((), device="meta"), dtype)
    return _remembered(stepper, state if stepper.feedback is None else state[0], dtype)


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


def _key(value: Any, depth: int = 3) -> Any:
    """A setting by all that tells it from another: its type and what is in it, else itself."""
    if value is None or isinstance(value, int | float | str | frozenset):
        return value
    if depth and (inside := getattr(value, "__dict__", None)):
        return type(value), *[(k, _key(v, depth - 1)) for k, v in inside.items()]
    return type(value), id(value), None if callable(value) else repr(value)


def _remembered(stepper: Stepper, state: Any, dtype: torch.dtype) -> tuple[str, list[int]]:
    """The program, which is that of all neurons that differ in nothing but tensors."""
    part = stepper.feedback or stepper
    module: Any = stepper.module
    names, tensors = _fixed_of(module, part.prepared)
    settings = [
        (type(m), k, v) for m in module.modules() for k, v in m.__dict__.items() if k[0] != "_" and k != "training"
    ]
    key = part.step.__name__, *names, len(tensors), dtype, *((kind, k, _key(v)) for kind, k, v in settings)
    if key not in _programs:
        try:
            found = trace(with_tensors(module, part.step, names, part.prepared), state, len(tensors), dtype)
        except NotFusableError as error:
            found = error
        # With the settings, so that what has an address in the key stays there.
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
    program, _, fixed = _program_of(neuron.stepper(x.dtype), neuron.initial_state(x))
    return source(
        Program.loads(program), [t.numel() == 1 for t in fixed], [t.requires_grad for t in fixed], x.dtype, x.dtype
    )
