"""Kernels for the GPU: a program printed into the Triton template, launched over blocks of neurons."""

import functools
import hashlib
import importlib.util
import subprocess
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..._util.atomic import atomic_write
from .. import compiler
from ..arguments import Argument, Value
from ..template import render_template
from . import arguments as declared
from .cpu import Kernel
from .emit import Code, emit, for_each, join_lines, Language, TRITON
from .program import Program

_TRITON = Language(
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
# Registers of a thread, at most, with which a multiprocessor runs 4, 3 or 2 blocks of 128 threads. Given as many as it
# asks for, it could not run enough threads to keep the memory busy; but a kernel that keeps many values through the
# steps would spill them. `benchmarks.gpu_code` shows what every neuron needs.
_REGISTERS, _MORE_REGISTERS, _MOST_REGISTERS = 128, 168, 255
# Values kept through the steps of `backward` for which the first two are enough, beside those of its arithmetic.
_FEW_KEPT, _SOME_KEPT = 16, 32
# Steps in flight: the one that runs and those whose input is being loaded.
_STAGES = 4


def source(
    program: Program,
    shared: Sequence[bool],
    needs_grad: Sequence[bool],
    input_dtype: torch.dtype,
    output_dtype: torch.dtype,
) -> str:
    """The Triton source of a program; for the arguments see `geir._runtime.kernels.cpu.source`."""
    step = emit(program, program.step, _TRITON, shared)
    backward = emit(program, program.gradients(needs_grad), _TRITON, shared)
    learned = [name for name, needed in zip(program.constants, needs_grad, strict=True) if needed]
    regions = {
        **_declarations(program),
        **_constants(program, shared, step, backward),
        **_inputs(program.inputs, backward, input_dtype),
        **_forward(program.states, step, output_dtype),
        **_backward(program, learned, backward),
    }
    return render_template((files("geir._runtime.kernels") / "template.triton").read_text(), regions)


def most_registers(program: Program, shared: Sequence[bool], needs_grad: Sequence[bool]) -> int:
    """The number of registers that a thread may have; `source` explains the arguments.

    Through its steps, `backward` keeps the gradients of states and constants, and what is computed from constants with
    a value for every neuron.
    """
    backward = emit(program, program.gradients(needs_grad), _TRITON, shared)
    kept = len(program.states) + sum(needs_grad) + len(shared) - sum(shared) + len(backward.per_neuron)
    if kept <= _FEW_KEPT:
        return _REGISTERS
    return _MORE_REGISTERS if kept <= _SOME_KEPT else _MOST_REGISTERS


def compile_options(registers: int) -> Mapping[str, object]:
    """Triton's compile options, with a limit on the registers of a thread."""
    # Fusion of products and sums by the compiler would break equality with PyTorch to the bit; where that does not
    # matter, the program contains fused operations already.
    return {"enable_fp_fusion": False} | ({} if torch.version.hip else {"maxnreg": registers})


def _declarations(program: Program) -> dict[str, str]:
    """Mathematics, sizes and parameter lists."""
    mathematics = (files("geir._runtime") / "mathematics.triton").read_text()
    changing = ["steps", "checkpoint_every", *(f"{n}_{size}" for n in program.constants for size in ("size", "repeat"))]
    return {
        "mathematics": render_template(mathematics, _FLOAT32 if program.real == "float32" else _FLOAT64),
        "states": str(len(program.states)),
        "stages": str(_STAGES),
        "unspecialized": ", ".join(f'"{name}"' for name in changing),
        "forward_arguments": ", ".join(declared.triton_parameters(_forward_arguments(program))),
        "backward_arguments": ", ".join(declared.triton_parameters(_backward_arguments(program))),
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
    in_workspace = "workspace_ptr + {k} * chunk_size + (t - first_step) * BLOCK + lane"
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


def _forward_arguments(program: Program) -> list[Argument]:
    return declared.with_constants(declared.FORWARD, program.constants)


def _backward_arguments(program: Program) -> list[Argument]:
    return declared.with_constants([*declared.BACKWARD, declared.WORKSPACE], program.constants)


@functools.cache
def kernel(
    text: str,
    shared: tuple[bool, ...],
    needs_grad: tuple[bool, ...],
    input_dtype: torch.dtype,
    output_dtype: torch.dtype,
) -> Kernel:
    """The kernels of a program; for the arguments see `geir._runtime.kernels.cpu.source`. Triton compiles them
    at their first call.

    Raises:
        NoCompilerError: Here or at a call, if Triton is not installed or fails.
    """
    program = Program.loads(text)
    module = load(source(program, shared, needs_grad, input_dtype, output_dtype))
    real = getattr(torch, program.real)
    registers = most_registers(program, shared, needs_grad)
    forward_names = [argument.name for argument in _forward_arguments(program)]
    backward_names = [argument.name for argument in _backward_arguments(program)]

    def forward(arguments: Mapping[str, Value]) -> None:
        x, neurons = _input_and_neurons(arguments)
        shape = _launch_shape(x, neurons)
        values = [arguments[name] for name in forward_names]
        launch(module.forward, -(-neurons // shape.block), values, shape.block, shape.warps, registers)

    def repeat_backward(fixed: Mapping[str, Value]) -> Callable[[Mapping[str, Value]], None]:
        arguments = dict(fixed)

        def backward(changing: Mapping[str, Value]) -> None:
            arguments.update(changing)
            x, neurons = _input_and_neurons(arguments)
            every = arguments["checkpoint_every"]
            assert isinstance(every, int)
            shape = _launch_shape(x, neurons)
            chunk = len(program.states) * every * shape.block
            programs = min(-(-neurons // shape.block), max(shape.units, shape.cache // (chunk * real.itemsize)))
            if "workspace" not in arguments:
                arguments["workspace"] = x.new_empty(programs * chunk, dtype=real)
            values = [arguments[name] for name in backward_names]
            launch(module.backward, programs, values, shape.block, shape.warps, registers)

        return backward

    def backward(arguments: Mapping[str, Value]) -> None:
        repeat_backward(arguments)({})

    return Kernel(program.constants, forward, backward, repeat_backward)


def _input_and_neurons(arguments: Mapping[str, Value]) -> tuple[Tensor, int]:
    x, neurons = arguments["input"], arguments["neurons"]
    assert isinstance(x, Tensor)
    assert isinstance(neurons, int)
    return x, neurons


def load(text: str) -> ModuleType:
    """Import a source from a file, because Triton reads the source of a kernel from there.

    Raises:
        NoCompilerError: If Triton is not installed.
    """
    if importlib.util.find_spec("triton") is None:
        raise compiler.NoCompilerError("there is no Triton; `pip install triton`")
    path = compiler.cache_folder() / f"triton_{hashlib.sha256(text.encode()).hexdigest()[:32]}.py"
    if not path.exists() or path.read_text() != text:
        # Another process may write the same file, with the same content.
        with atomic_write(path) as draft:
            draft.write_text(text)
    spec: Any = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class LaunchShape(NamedTuple):
    """How a kernel is split over a device."""

    block: int  # neurons of a program
    warps: int  # of a program
    units: int  # programs that the device runs side by side, at least
    cache: int  # bytes of half of the device's cache


def _launch_shape(x: Tensor, neurons: int) -> LaunchShape:
    properties: Any = torch.cuda.get_device_properties(x.device) if x.is_cuda else None
    units, cache = (properties.multi_processor_count, properties.L2_cache_size // 2) if properties else (2, 0)
    # A thread has one neuron, or two of 2 bytes, because 4 bytes are the least that can be loaded ahead.
    per_thread = 2 if x.element_size() == 2 and neurons % 16 == 0 else 1
    warps = next((w for w in (4, 2) if neurons >= 4 * units * 32 * per_thread * w), 1)
    return LaunchShape(32 * per_thread * warps, warps, units, cache)


def launch(
    function: Any, programs: int, values: Sequence[Value], block: int, warps: int, registers: int = _REGISTERS
) -> None:
    """Launch a Triton function on the device of its first argument, with a limit on the registers of a thread.

    Raises:
        NoCompilerError: If Triton cannot compile it.
    """
    from triton import TritonError  # pyright: ignore[reportMissingImports]  (optional)

    with torch.cuda.device_of(values[0]):
        try:
            function[(programs,)](*values, BLOCK=block, num_warps=warps, **compile_options(registers))
        except (TritonError, subprocess.CalledProcessError, RuntimeError) as error:
            # Triton also needs a C compiler; other errors are the device's.
            if type(error) is RuntimeError and "compiler" not in str(error):
                raise
            raise compiler.NoCompilerError(f"Triton failed on {function.fn.__code__.co_filename}: {error}") from error
