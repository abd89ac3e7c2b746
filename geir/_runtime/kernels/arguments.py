"""The arguments of the kernels, declared once.

The C struct, the `ctypes` structure that fills it and the parameter list of the Triton function are all made
from these lists, and every caller passes arguments by name. Types of elements are `in_t` (storage of the
input), `out_t` (storage of the output) and `real` (arithmetic). The constants of a program follow the declared
arguments: for each a pointer to its values, named as the constant, and the numbers ``NAME_size`` and
``NAME_repeat``. Neuron k reads value ``k / NAME_repeat % NAME_size``.
"""

from collections.abc import Sequence

from ..arguments import Argument, Number, Pointer

SIZES = (
    Number("steps", "number of time steps"),
    Number("neurons", "of all samples together"),
    Number("checkpoint_every", "steps between checkpoints"),
)
FORWARD = (
    Pointer("input", "in_t", "(steps, receptors, neurons)"),
    Pointer("output", "out_t", "(steps, neurons)"),
    Pointer("initial_state", "real", "(states, neurons)"),
    Pointer("final_state", "real", "(states, neurons)"),
    Pointer("checkpoints", "real", "(chunks, states, neurons), the states before every chunk of steps", optional=True),
    Pointer("recorded_states", "real", "(states, steps, neurons)", optional=True),
    *SIZES,
)
# Further arguments of a run whose output feeds back. It writes its `input`, the sum of the given one and the feedback.
RECURRENCE = (
    Pointer("given_input", "real", "(steps, neurons)", optional=True),
    Pointer("initial_output", "real", "(neurons), the output before the first step", optional=True),
    Pointer("weights", "real", "(width, width), by presynaptic neuron", optional=True),
    Number("width", "neurons of one sample"),
)
# The struct of sparse connections, of a run and of its backward pass.
SYNAPSES = (
    Pointer("starts", "int64_t", "(neurons + 1), the first synapse of each neuron, and their number"),
    Pointer("targets", "int32_t", "(synapses), the postsynaptic neuron of each"),
    Pointer("delays", "int32_t", "(synapses), or one for all, in steps"),
    Pointer("weights", "real", "(synapses)"),
    Pointer("past_output", "real", "(past, stride), the outputs before the first step, the last one last"),
    Pointer("given", "real", "input without feedback, (steps, stride), or one row for all steps"),
    Pointer("recent_output", "real", "(least_delay + 1, stride), memory for outputs to deliver", optional=True),
    Pointer("active", "uint8_t", "(least_delay + 1, stride), whether the chunk from here on fired", optional=True),
    Pointer("output", "real", "(steps, stride)", optional=True),
    Pointer("grad_input", "real", "(steps, stride)", optional=True),
    Pointer("grad_output", "real", "(stride), memory for the gradient of one output", optional=True),
    Pointer("grad_past_output", "real", "(past, stride), added to", optional=True),
    Pointer("grad_weights", "real", "(synapses), added to", optional=True),
    Number("neurons", "of one sample"),
    Number("stride", "neurons of all samples together"),
    Number("steps", "of the run"),
    Number("first_step", "of the chunk of steps that goes backward"),
    Number("end_step", "of this chunk"),
    Number("past", "number of outputs before the first step"),
    Number("delay_stride", "1, or 0 if all synapses share one delay"),
    Number("least_delay", "in steps"),
    Number("given_stride", "numbers from one step of `given` to the next, or 0 if all are the same"),
    Number("rows", "of the buffer of inputs"),
    Number("window", "steps ahead of which a row of it is filled"),
)
# The struct of a backward pass through a matrix of weights, of which only some products are needed.
SELECTED = (
    Pointer("columns", "real", "(width, width), the weights by presynaptic neuron"),
    Pointer("needed", "uint8_t", "(steps of the chunk, neurons), whether the gradient of an output is needed"),
    Pointer("grad_output", "real", "(neurons), memory for the gradient of one output"),
    Number("width", "neurons of one sample"),
    Number("steps", "of the run"),
    Number("first_step", "of the chunk of steps that goes backward"),
    Number("end_step", "of this chunk"),
)
CONNECTIONS = Pointer(
    "connections", "const void", "`synapses` or `selected_feedback`, by which the output feeds back", optional=True
)
BACKWARD = (
    Pointer("input", "in_t", "(steps, receptors, neurons)"),
    Pointer("grad_output", "out_t", "(steps, neurons)"),
    Pointer("grad_input", "in_t", "(steps, receptors, neurons)"),
    Pointer("grad_final_state", "real", "(states, neurons)", optional=True),
    Pointer("grad_initial_state", "real", "(states, neurons)"),
    Pointer("checkpoints", "real", "(chunks, states, neurons)"),
    Pointer("grad_recorded_states", "real", "(states, steps, neurons)", optional=True),
    Pointer("grad_constants", "real", "(constants that need a gradient, neurons), added to"),
    *SIZES,
)
# Memory for the values of the steps between two checkpoints: the tape of every thread in C, the states of every
# program in Triton.
WORKSPACE = Pointer("workspace", "real", "memory for one chunk of steps, for every thread or program")

ARGUMENT_NAMES = {argument.name for argument in (*FORWARD, *RECURRENCE, CONNECTIONS, *BACKWARD, WORKSPACE)}


def with_constants(declared: Sequence[Argument], constants: Sequence[str]) -> list[Argument]:
    """The declared arguments followed by those of a program's constants."""
    arguments = list(declared)
    for name in constants:
        arguments += [Pointer(name, "real", f"({name}_size)"), Number(f"{name}_size"), Number(f"{name}_repeat")]
    return arguments


def triton_parameters(arguments: Sequence[Argument]) -> list[str]:
    """The parameter names of a Triton function; those of pointers end in `_ptr`."""
    return [f"{each.name}_ptr" if isinstance(each, Pointer) else each.name for each in arguments]
