"""Run a neuron by kernels derived from its step; where that cannot be, by the reference loop."""

import dataclasses
import functools
import itertools
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..._util.state import leaves, map_state, map_tensors, tensors_of
from ..native import NoCompilerError
from .cpu import source
from .operation import run
from .program import NotFusableError, Program
from .reference import reference
from .trace import trace, with_tensors


@dataclass(frozen=True)
class Fused:
    """Runs a neuron over time inside kernels that are derived from its step: the default.

    A step that is not elementwise, or a machine without a C compiler, takes the reference loop, with one warning; so does forward-mode
    differentiation, without one.

    Args:
        checkpoint_every: After how many steps the state is kept for the backward pass, which recomputes the others. Gradients do not depend on it.
            Default: such that what is kept is a small part of the input.
        output_dtype: ``torch.bool`` or ``torch.uint8`` for spikes in a quarter of the memory of float32; they carry no gradient.
            Default: the input's dtype.

    Raises:
        ValueError: If `checkpoint_every` is not a positive number of steps, or `output_dtype` another dtype.
    """

    checkpoint_every: int | None = None
    output_dtype: torch.dtype | None = None

    def __post_init__(self) -> None:
        if self.checkpoint_every is not None and not (
            isinstance(self.checkpoint_every, int) and self.checkpoint_every > 0
        ):
            raise ValueError(
                f"Fused.checkpoint_every must be a positive number of steps, got {self.checkpoint_every!r}."
            )
        if self.output_dtype not in (None, torch.bool, torch.uint8):
            raise ValueError(f"Fused.output_dtype must be torch.bool or torch.uint8, got {self.output_dtype!r}.")

    def __call__(self, neuron: Any, xs: Tensor, state: Any, record_states: bool = False) -> tuple[Tensor, Any]:
        """Like `reference`."""
        possible = neuron.elementwise and xs.numel() and xs.device.type in ("cpu", "cuda")
        if not possible or torch.autograd.forward_ad._current_level >= 0:
            return reference(neuron, xs, state, record_states)
        try:
            return (self._run_recurrent if neuron.recurrent else self._run)(neuron, xs, state, record_states)
        except (NotFusableError, NoCompilerError) as error:
            _warn_once(f"{type(neuron).__name__} runs on the reference loop: {error}.")
            return reference(neuron, xs, state, record_states)

    def _run(self, neuron: Any, xs: Tensor, state: Any, record: bool) -> tuple[Tensor, Any]:
        program, start, fixed = _program_of(neuron, "step", state, neuron.prepare())
        every = self._every(start) if torch.is_grad_enabled() else 0
        zs, after = run(program, xs, start, fixed, (), every, self.output_dtype or xs.dtype, record)
        return zs, _rebuilt(state, after)

    def _run_recurrent(self, neuron: Any, xs: Tensor, state: Any, record: bool) -> tuple[Tensor, Any]:
        weights, *prepared = neuron.prepare()
        program, start, fixed = _program_of(neuron, "react", state.neuron, prepared)
        every, connection, arriving = self._every(start), neuron.recurrent_weights, xs.to(state.z.dtype)
        if type(connection) is nn.Linear and not connection._forward_hooks and not connection._forward_pre_hooks:
            weights = connection.weight
            arriving = arriving if connection.bias is None else arriving + connection.bias
        if weights is not None and not xs.is_cuda:
            zs, after = run(
                program, arriving, start, fixed, (state.z, weights.to(arriving.dtype)), every, arriving.dtype, record
            )
        else:
            z, after, steps = state.z, start, []
            feedback = (
                connection
                if weights is None
                else functools.partial(functional.linear, weight=weights.to(arriving.dtype))
            )
            for x in arriving.split(1):  # any other connection stands between two runs of one step
                z, after = run(program, x + feedback(z), after, fixed, (), 1, x.dtype, False)
                steps.append((z, after))
                z = z[0]
            zs = torch.cat([z for z, _ in steps])
            after = torch.stack([each for _, each in steps], 1) if record else after
        return zs.to(self.output_dtype or xs.dtype), type(state)(
            _rebuilt(state.neuron, after), zs if record else zs[-1]
        )

    def _every(self, state: Tensor) -> int:
        return self.checkpoint_every or max(32, 8 * len(state))


fused = Fused()


@functools.cache
def _warn_once(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=4)


def _fixed_of(neuron: Any, prepared: Any) -> tuple[list[str], list[Tensor]]:
    """Names of parameters and buffers; and these with the tensors among what was prepared."""
    named, coefficients = tensors_of(neuron), []
    map_tensors(coefficients.append, prepared)
    return list(named), [*named.values(), *coefficients]


def _rebuilt(state: Any, parts: Tensor) -> Any:
    # One by one, for parts of an `unbind` may not be changed in place.
    places = itertools.count()
    return map_state(lambda _: parts[next(places)], state)


_programs: dict[Any, Any] = {}


def _program_of(neuron: Any, name: str, state: Any, prepared: Any) -> tuple[str, Tensor, list[Tensor]]:
    """The program of a step, by its name; the state, its parts stacked; and what else the program takes."""
    names, tensors = _fixed_of(neuron, prepared)
    start = torch.stack([part for _, part in leaves(state)])
    dtype = start.dtype
    if torch.compiler.is_compiling():
        for module in neuron.modules():
            _looked_at(vars(module))
        program, used = _constant_program(neuron, name, dtype)
    else:
        program, used = _remembered(neuron, name, state, prepared, names, len(tensors), dtype)
    return program, start, [tensors[k] if tensors[k].dtype == dtype else tensors[k].to(dtype) for k in used]


@torch.compiler.assume_constant_result
def _constant_program(neuron: Any, name: str, dtype: torch.dtype) -> tuple[str, list[int]]:
    """The program, as a constant of what `torch.compile` makes."""
    state, prepared = neuron.resting_state(), neuron.prepare()
    if name == "react":
        state, (_, *prepared) = state.neuron, prepared
    names, tensors = _fixed_of(neuron, prepared)
    return _remembered(neuron, name, state, prepared, names, len(tensors), dtype)


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


def _remembered(
    neuron: Any, name: str, state: Any, prepared: Any, names: list[str], count: int, dtype: torch.dtype
) -> tuple[str, list[int]]:
    """The program, which is that of all neurons that differ in nothing but tensors."""
    settings = [
        (type(m), k, v) for m in neuron.modules() for k, v in m.__dict__.items() if k[0] != "_" and k != "training"
    ]
    key = name, *names, count, dtype, *((kind, k, _key(v)) for kind, k, v in settings)
    if key not in _programs:
        try:
            found = trace(with_tensors(neuron, getattr(neuron, name), names, prepared), state, count, dtype)
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
    state = neuron.initial_state(x)
    program, _, fixed = _program_of(neuron, "step", state, neuron.prepare())
    return source(
        Program.loads(program), [t.numel() == 1 for t in fixed], [t.requires_grad for t in fixed], x.dtype, x.dtype
    )
