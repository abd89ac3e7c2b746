"""The arguments of the kernels, declared once.

The C struct, the `ctypes` structure that fills it and the parameter list of the Triton function are all made from these lists, and every
caller passes arguments by name. The constants of a program follow the declared arguments: for each a pointer to its values, named as the
constant, and the numbers ``NAME_size`` and ``NAME_repeat``. Neuron k reads value ``k / NAME_repeat % NAME_size``.
"""

import ctypes
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

Value = Tensor | int | None


class Pointer(NamedTuple):
    """A pointer to the first element of a contiguous array."""

    name: str
    type: str  # of the elements: `in_t` (storage of the input), `out_t` (storage of the output) or `real` (arithmetic)
    shape: str
    optional: bool = False  # whether it may be null


class Number(NamedTuple):
    """A 64-bit integer."""

    name: str
    meaning: str = ""


Argument = Pointer | Number

SIZES = (
    Number("steps", "number of time steps"),
    Number("neurons", "of all samples together"),
    Number("checkpoint_every", "steps between checkpoints"),
)
FORWARD = (
    Pointer("input", "in_t", "(steps, neurons)"),
    Pointer("output", "out_t", "(steps, neurons)"),
    Pointer("initial_state", "real", "(states, neurons)"),
    Pointer("final_state", "real", "(states, neurons)"),
    Pointer("checkpoints", "real", "(chunks, states, neurons), the states before every chunk of steps", optional=True),
    Pointer("recorded_states", "real", "(states, steps, neurons)", optional=True),
    *SIZES,
)
# Further arguments of a run whose output feeds back. It adds the feedback to `input`, in place.
RECURRENCE = (
    Pointer("initial_output", "real", "(neurons), the output before the first step", optional=True),
    Pointer("weights", "real", "(width, width), by presynaptic neuron", optional=True),
    Number("width", "neurons of one sample"),
)
BACKWARD = (
    Pointer("input", "in_t", "(steps, neurons)"),
    Pointer("grad_output", "out_t", "(steps, neurons)"),
    Pointer("grad_input", "in_t", "(steps, neurons)"),
    Pointer("grad_final_state", "real", "(states, neurons)", optional=True),
    Pointer("grad_initial_state", "real", "(states, neurons)"),
    Pointer("checkpoints", "real", "(chunks, states, neurons)"),
    Pointer("grad_recorded_states", "real", "(states, steps, neurons)", optional=True),
    Pointer("grad_constants", "real", "(constants that need a gradient, neurons), added to"),
    *SIZES,
)
# Memory for the values of the steps between two checkpoints: the tape of every thread in C, the states of every program in Triton.
WORKSPACE = Pointer("workspace", "real", "memory for one chunk of steps, for every thread or program")

ARGUMENT_NAMES = {argument.name for argument in (*FORWARD, *RECURRENCE, *BACKWARD, WORKSPACE)}


def with_constants(declared: Sequence[Argument], constants: Sequence[str]) -> list[Argument]:
    """The declared arguments followed by those of a program's constants."""
    arguments = list(declared)
    for name in constants:
        arguments += [Pointer(name, "real", f"({name}_size)"), Number(f"{name}_size"), Number(f"{name}_repeat")]
    return arguments


def c_struct(name: str, arguments: Sequence[Argument]) -> str:
    """The declaration of the arguments as a C struct."""
    lines = ["typedef struct {"]
    for argument in arguments:
        if isinstance(argument, Pointer):
            note = argument.shape + (", or null" if argument.optional else "")
            lines.append(f"  {argument.type} *{argument.name};  // {note}")
        else:
            lines.append(f"  int64_t {argument.name};" + (f"  // {argument.meaning}" if argument.meaning else ""))
    return "\n".join([*lines, f"}} {name};"])


def ctypes_structure(arguments: Sequence[Argument]) -> type[ctypes.Structure]:
    """The class of the same struct for `ctypes`."""
    fields = [(each.name, ctypes.c_void_p if isinstance(each, Pointer) else ctypes.c_int64) for each in arguments]
    return type("Arguments", (ctypes.Structure,), {"_fields_": fields})


def fill_structure(structure: type[ctypes.Structure], values: Mapping[str, Value]) -> ctypes.Structure:
    """A struct with arguments by name; those that are not given are null or 0. The tensors must outlive its use."""
    return structure(**{name: v.data_ptr() if isinstance(v, Tensor) else v for name, v in values.items() if v is not None})


def triton_parameters(arguments: Sequence[Argument]) -> list[str]:
    """The parameter names of a Triton function; those of pointers end in `_ptr`."""
    return [f"{each.name}_ptr" if isinstance(each, Pointer) else each.name for each in arguments]
