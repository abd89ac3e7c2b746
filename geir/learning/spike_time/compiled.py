"""The layer in compiled code: event-driven forward and adjoint, on threads over the batch.

Forward keeps only the spikes. Backward replays them and goes back through the events.
"""

import ctypes
import functools
from importlib.resources import files
from typing import cast

import numpy as np
import torch
from torch import Tensor

from ..._runtime import native, threads
from ..._runtime.arguments import c_struct, ctypes_structure, fill_structure, Number, Pointer
from ..._runtime.template import render_template
from ..._runtime.untyped import Context, Untyped
from .equations import Equations
from .modes import Array, Modes, modes_of, ON_THRESHOLD
from .network import GRAZING, most_counted, Outcome, refuse_second_derivative, Setup
from .times import NO_UNIT

_SOURCES = ("flow.c", "simulate.c", "adjoint.c")
# Gradients of parameters are added up in this many sums, whatever the number of threads, so that results do not
# depend on it.
_SLOTS = 8
_INPUTS = ("times", "weight", "delay", "recurrent_weight", "recurrent_delay", *Equations._fields[:4], "initial", "at")
_SUMMED = ("weight", "delay", "recurrent_weight", "recurrent_delay", *Equations._fields[:4], "at")
_ARGUMENTS = [
    Pointer("times", "double", "(batch, inputs)"),
    Pointer("units", "int32_t", "(batch, inputs)"),
    Pointer("weight", "double", "(input_units, neurons)"),
    Pointer("delay", "double", "(input_units, neurons)", optional=True),
    Pointer("recurrent_weight", "double", "(neurons, neurons), presynaptic first", optional=True),
    Pointer("recurrent_delay", "double", "(neurons, neurons)", optional=True),
    Pointer("flow", "double", "(count, SIZE, SIZE)"),
    Pointer("threshold", "double", "(count, SIZE)"),
    Pointer("reset", "double", "(count, SIZE, SIZE)"),
    Pointer("arrival", "double", "(count, SIZE)"),
    Pointer("tables", "double", "(count, sizeof(table) / 8)"),
    Pointer("initial", "double", "(batch, neurons, SIZE)"),
    Pointer("at", "double", "(readings)", optional=True),
    Pointer("duration", "double", "(1)"),
    Pointer("grazing", "double", "(1)"),
    Pointer("out_times", "double", "(batch, max_spikes)"),
    Pointer("out_units", "int32_t", "(batch, max_spikes)"),
    Pointer("out_order", "int32_t", "(batch, max_spikes): number of the event; negative if the spike is forced"),
    Pointer("out_totals", "int64_t", "(batch)"),
    Pointer("out_grazing", "int64_t", "(batch)"),
    Pointer("out_failed", "int64_t", "(batch)"),
    Pointer("states", "double", "(batch, readings, neurons, SIZE)", optional=True),
    Pointer("grad_out", "double", "(batch, max_spikes)", optional=True),
    Pointer("grad_states", "double", "(batch, readings, neurons, SIZE)", optional=True),
    Pointer("grad_times", "double", "(batch, inputs)", optional=True),
    Pointer("grad_initial", "double", "(batch, neurons, SIZE)", optional=True),
    *(Pointer(f"grad_{name}", "double", f"(slots, ...), as {name}", optional=True) for name in _SUMMED),
    Number("batch"),
    Number("inputs"),
    Number("input_units"),
    Number("neurons"),
    Number("count", "of different neurons: 1 or all"),
    Number("readings"),
    Number("max_spikes"),
    Number("most_counted"),
    Number("slots"),
    Number("needs_flow", "whether the gradient of M is wanted"),
]
_STRUCTURE = ctypes_structure(_ARGUMENTS)


@functools.cache
def load(size: int) -> ctypes.CDLL:
    """The compiled code for neurons of this many parts, the constant included.

    Raises:
        NoCompilerError: If there is no C compiler, or it fails.
    """
    regions = {
        "size": str(size),
        "on_threshold": repr(ON_THRESHOLD),
        "arguments": c_struct("arguments", _ARGUMENTS),
    }
    folder = files("geir.learning.spike_time")
    source = "\n".join(folder.joinpath(name).read_text() for name in _SOURCES)
    return native.load(render_template(source, regions))


def simulate_compiled(setup: Setup) -> Outcome:
    """Simulate a batch.

    Raises:
        NoCompilerError: If there is no C compiler, or it fails.
        MemoryError: If there is too little memory.
    """
    library = load(setup.initial.shape[-1])
    inputs = {**setup.wiring._asdict(), **setup.equations._asdict()} | {
        "times": setup.times,
        "initial": setup.initial,
        "at": setup.at,
    }
    return Outcome(*_EventProp.apply(setup, library, *(inputs[name] for name in _INPUTS)))


class _EventProp(torch.autograd.Function):
    @staticmethod
    def forward(*args: Untyped, **_: Untyped) -> Untyped:
        ctx, setup, library, *inputs = args
        values = {name: None if x is None else x.detach().contiguous() for name, x in zip(_INPUTS, inputs, strict=True)}
        batch, size = len(setup.times), setup.max_spikes
        outputs = {
            "out_times": torch.full((batch, size), torch.inf, dtype=torch.float64),
            "out_units": torch.full((batch, size), NO_UNIT, dtype=torch.int32),
            "out_order": torch.zeros(batch, size, dtype=torch.int32),
            "out_totals": torch.zeros(batch, dtype=torch.int64),
            "out_grazing": torch.zeros(batch, dtype=torch.int64),
        }
        states = None
        if setup.at is not None:
            shape = batch, len(setup.at), *setup.initial.shape[1:]
            states = torch.zeros(shape, dtype=torch.float64)
        _run(library.forward, setup, values, {**outputs, "states": states})
        ctx.setup, ctx.library, ctx.values, ctx.outputs = setup, library, values, outputs
        totals, grazing, units = outputs["out_totals"], outputs["out_grazing"], outputs["out_units"].long()
        ctx.mark_non_differentiable(units, totals, grazing)
        return outputs["out_times"].clone(), units, totals, grazing, states

    @staticmethod
    def backward(ctx: Context, *grad_outputs: Untyped) -> Untyped:
        refuse_second_derivative(ctx.setup.owner)
        grad_times, _, _, _, grad_states = grad_outputs
        setup, values, wanted = ctx.setup, ctx.values, dict(zip(_INPUTS, ctx.needs_input_grad[2:], strict=True))
        slots = min(_SLOTS, max(1, len(setup.times)))
        # The adjoint is written for all; a delay that is None has none.
        sums = {
            name: torch.zeros(slots, *values[name].shape, dtype=torch.float64)
            for name in _SUMMED
            if values[name] is not None
        }
        grads = {name: torch.zeros_like(values[name]) for name in ("times", "initial")}
        given = {"grad_out": grad_times, "grad_states": grad_states}
        given = {name: None if grad is None else grad.contiguous() for name, grad in given.items()}
        if given["grad_out"] is None:
            given["grad_out"] = torch.zeros_like(ctx.outputs["out_times"])
        if setup.at is not None and given["grad_states"] is None:
            shape = len(setup.times), len(setup.at), *setup.initial.shape[1:]
            given["grad_states"] = torch.zeros(shape, dtype=torch.float64)
        named = {f"grad_{name}": tensor for name, tensor in {**sums, **grads}.items()}
        extra = {**ctx.outputs, **given, **named, "slots": slots, "needs_flow": int(wanted["flow"])}
        _run(ctx.library.backward, setup, values, extra)
        grads |= {name: tensor.sum(0) for name, tensor in sums.items()}
        return None, None, *(grads[name] if wanted[name] else None for name in _INPUTS)


def _run(
    function: threads.Function, setup: Setup, values: dict[str, Tensor | None], more: dict[str, Tensor | int | None]
) -> None:
    """Call a compiled function.

    Raises:
        MemoryError: If there is too little memory.
    """
    flow, weight = cast(Tensor, values["flow"]), cast(Tensor, values["weight"])
    modes = modes_of(setup.owner, flow, cast(Tensor, values["threshold"]), setup.duration)
    batch, inputs = setup.times.shape
    failed = torch.zeros(batch, dtype=torch.int64)
    filled: dict[str, Tensor | int | None] = {
        **values,
        **more,
        "units": setup.units,
        "tables": torch.from_numpy(np.stack([_table(mode) for mode in modes])),
        "duration": torch.tensor([setup.duration], dtype=torch.float64),
        "grazing": torch.tensor([GRAZING], dtype=torch.float64),
        "out_failed": failed,
        "batch": batch,
        "inputs": inputs,
        "input_units": len(weight),
        "neurons": weight.shape[1],
        "count": len(flow),
        "readings": 0 if setup.at is None else len(setup.at),
        "max_spikes": setup.max_spikes,
        "most_counted": most_counted(setup.max_spikes),
    }
    threads.run(function, fill_structure(_STRUCTURE, filled), 1, max(1, min(torch.get_num_threads(), batch)))
    if bool(failed.any()):
        raise MemoryError(f"{setup.owner}: too little memory for the events of sample {int(failed.argmax())}.")


def _table(modes: Modes) -> Array:
    """The struct `table` in flow.c."""
    size = len(modes.threshold)
    flow, eigenvalues = modes.flow, modes.eigenvalues
    states = sorted(np.linalg.eigvals(flow[:-1, :-1]).real, reverse=True)
    two = size <= 3 and not eigenvalues.imag.any() and states[0] <= 0
    slow, fast = (states[0], states[-1]) if two else (0.0, 0.0)
    slope = modes.threshold @ flow
    curvature = slope @ flow - slow * slope if size == 3 else np.zeros(size)
    nothing = np.zeros((size, size), dtype=np.complex128)
    vectors, inverse = (nothing if x is None else x for x in (modes.vectors, modes.inverse))
    first, second, s, o = np.zeros((size, size)), np.zeros((size, size)), np.zeros(size), np.zeros(size)
    for k, level in enumerate(modes.levels):
        first[k], second[k], s[k], o[k] = level
    kind = 1 if two else 2 if modes.vectors is not None else 3
    numbers = [
        np.array([kind, slow, fast]),
        slope,
        curvature,
        np.array([modes.window, modes.horizon, len(modes.levels)]),
    ]
    numbers += [first.ravel(), second.ravel(), s, o]
    pairs = [eigenvalues, (first @ vectors).ravel(), (second @ vectors).ravel(), inverse.ravel()]
    numbers += [np.ascontiguousarray(x, dtype=np.complex128).view(np.float64) for x in pairs]
    return np.concatenate(numbers)
