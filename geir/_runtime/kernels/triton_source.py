"""The Triton source of a program's kernels: the program printed into the Triton template."""

from collections.abc import Sequence
from importlib.resources import files

import torch

from ..arguments import Argument
from ..template import render_template
from . import arguments as declared
from .emit import Code, emit, for_each, join_lines, Language, TRITON
from .order import order_lines
from .program import Program

TRITON_LANGUAGE = Language(
    column=TRITON,
    # A bare number can become a float32.
    number=lambda number: f"tl.full((), {number!r}, real)".replace("inf", 'float("inf")').replace(
        "nan", 'float("nan")'
    ),
    declarations=("{name} = {text}", "{name} = {text}", "{name} = {text}"),
    per_neuron="{name}",
)
# How a result is converted for storage. PyTorch rounds to half precision by way of float32, and so does this.
_STORE = {
    torch.float32: "{}.to(tl.float32)",
    torch.float64: "{}.to(tl.float64)",
    torch.bfloat16: "{}.to(tl.float32).to(tl.bfloat16)",
    torch.float16: "{}.to(tl.float32).to(tl.float16)",
    torch.bool: "{} != 0.0",
    torch.uint8: "{}.to(tl.int64).to(tl.uint8)",
}
_FLOAT32 = {
    "real": "float32",
    "divide": "tl.math.div_rn(x, y)",
    "root": "tl.math.sqrt_rn(x)",
    "integer": "int32",
    "bias": "127",
    "mantissa": "23",
    "lowest": "-104.0",
    "highest": "89.0",
    "degree": "7",
    "ln2_high": "-0.693359375",
    "ln2_low": "2.12194440054690583e-4",
}
_FLOAT64 = {
    "real": "float64",
    "divide": "x / y",
    "root": "tl.sqrt(x)",
    "integer": "int64",
    "bias": "1023",
    "mantissa": "52",
    "lowest": "-746.0",
    "highest": "710.0",
    "degree": "13",
    "ln2_high": "-6.93147180369123816490e-01",
    "ln2_low": "-1.90821492927058770002e-10",
}
# Steps in flight: the one that runs and those whose input is being loaded.
_STAGES = 4


def source(
    program: Program,
    shared: Sequence[bool],
    needs_grad: Sequence[bool],
    input_dtype: torch.dtype,
    output_dtype: torch.dtype,
) -> str:
    """The Triton source of a program; for the arguments see `geir._runtime.kernels.c_source.source`."""
    gradients = program.gradients(needs_grad)
    step = emit(order_lines(program, program.step), program.step, TRITON_LANGUAGE, shared)
    backward = emit(order_lines(program, gradients), gradients, TRITON_LANGUAGE, shared)
    learned = [name for name, needed in zip(program.constants, needs_grad, strict=True) if needed]
    regions = {
        **_declarations(program),
        **_constants(program, shared, step, backward),
        **_inputs(program.inputs, backward, input_dtype),
        **_forward(program.states, step, output_dtype),
        **_backward(program, learned, backward),
    }
    return render_template((files("geir._runtime.kernels") / "template.triton").read_text(), regions)


def _declarations(program: Program) -> dict[str, str]:
    """Mathematics, sizes and parameter lists."""
    mathematics = (files("geir._runtime") / "mathematics.triton").read_text()
    changing = ["steps", "checkpoint_every", *(f"{n}_{size}" for n in program.constants for size in ("size", "repeat"))]
    return {
        "mathematics": render_template(mathematics, _FLOAT32 if program.real == "float32" else _FLOAT64),
        "states": str(len(program.states)),
        "stages": str(_STAGES),
        "unspecialized": ", ".join(f'"{name}"' for name in changing),
        "forward_arguments": ", ".join(declared.triton_parameters(forward_arguments(program))),
        "backward_arguments": ", ".join(declared.triton_parameters(backward_arguments(program))),
    }


def _constants(program: Program, shared: Sequence[bool], step: Code, backward: Code) -> dict[str, str]:
    """The values of constants, and all that step and gradient compute from them."""
    of_all = [name for name, one in zip(program.constants, shared, strict=True) if one]
    of_each = [name for name, one in zip(program.constants, shared, strict=True) if not one]
    gather = "{name} = tl.load({name}_ptr + (start + lane) // {name}_repeat % {name}_size, mask=valid, other=1.0)"
    return {
        "shared_constants": join_lines(
            for_each("{name} = tl.load({name}_ptr)", of_all), dict.fromkeys(step.shared + backward.shared)
        ),
        "neuron_constants": join_lines(for_each(gather, of_each), dict.fromkeys(step.per_neuron + backward.per_neuron)),
    }


def _inputs(names: Sequence[str], backward: Code, dtype: torch.dtype) -> dict[str, str]:
    """Loading the input and storing its gradient."""
    place = f"(t * {len(names)} + {{k}}) * size + start + lane" if len(names) > 1 else "t * size + start + lane"
    return {
        "load_input": for_each(f"{{name}} = tl.load(input_ptr + {place}, mask=valid, other=0.0).to(real)", names),
        "store_grad_input": for_each(
            f"tl.store(grad_input_ptr + {place}, {_STORE[dtype].format('{value}')}, mask=valid)",
            names,
            backward.results[: len(names)],
        ),
    }


def _forward(states: Sequence[str], step: Code, output_dtype: torch.dtype) -> dict[str, str]:
    z, *next_state = step.results
    return {
        "load_state": for_each(
            "{name} = tl.load(initial_state_ptr + {k} * size + start + lane, mask=valid, other=0.0)", states
        ),
        "store_checkpoint": for_each(
            "tl.store(checkpoints_ptr + checkpoint + {k} * size + lane, {name}, mask=start + lane < stored)", states
        ),
        "step": "\n".join(step.per_step),
        "z": _STORE[output_dtype].format(z),
        "next_state": _assign("{name}", states, next_state),
        "record_state": for_each(
            "tl.store(recorded_states_ptr + {k} * size * steps + row + lane, {name}, mask=valid)", states
        ),
        "store_state": for_each("tl.store(final_state_ptr + {k} * size + start + lane, {name}, mask=valid)", states),
    }


def _backward(program: Program, learned: Sequence[str], code: Code) -> dict[str, str]:
    states, gradients = program.states, code.results[len(program.inputs) :]
    of_states, of_constants = gradients[: len(states)], gradients[len(states) :]
    row = "{k} * size + start + lane"
    in_workspace = "workspace_ptr + ((t - first_step) * STATES + {k}) * BLOCK + lane"
    return {
        "zero_gradient": for_each("grad_{name} = tl.full([BLOCK], 0.0, real)", states),
        "load_gradient": for_each(
            f"grad_{{name}} = tl.load(grad_final_state_ptr + {row}, mask=valid, other=0.0)", states
        ),
        "load_constant_gradients": for_each(
            f"grad_{{name}} = tl.load(grad_constants_ptr + {row}, mask=valid, other=0.0)", learned
        ),
        "load_checkpoint": for_each(
            "{name} = tl.load(checkpoints_ptr + (chunk * STATES + {k}) * size + start + lane, mask=valid, other=0.0)",
            states,
        ),
        "state_to_workspace": for_each(f"tl.store({in_workspace}, {{name}})", states),
        "state_from_workspace": for_each(f"{{name}} = tl.load({in_workspace})", states),
        "add_recorded_gradient": for_each(
            "grad_{name} += tl.load(grad_recorded_states_ptr + {k} * size * steps + row + lane, mask=valid, other=0.0)",
            states,
        ),
        "backward_step": "\n".join(code.per_step),
        "add_constant_gradients": for_each("grad_{name} += {value}", learned, of_constants),
        "next_gradient": _assign("grad_{name}", states, of_states),
        "store_gradient": for_each(f"tl.store(grad_initial_state_ptr + {row}, grad_{{name}}, mask=valid)", states),
        "store_constant_gradients": for_each(
            f"tl.store(grad_constants_ptr + {row}, grad_{{name}}, mask=valid)", learned
        ),
    }


def _assign(target: str, names: Sequence[str], values: Sequence[str]) -> str:
    """Assign all values at once, because they read each other. A number becomes a block: loop variables keep
    their type."""
    targets = ", ".join(target.format(name=name) for name in names)
    return targets + " = " + ", ".join(f"tl.broadcast_to({value}, [BLOCK])" for value in values)


def forward_arguments(program: Program) -> list[Argument]:
    """The arguments of `forward`."""
    return declared.with_constants(declared.FORWARD, program.constants)


def backward_arguments(program: Program) -> list[Argument]:
    """The arguments of `backward`."""
    return declared.with_constants([*declared.BACKWARD, declared.WORKSPACE], program.constants)
