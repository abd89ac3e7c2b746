"""Kernels for the GPU: the Triton source of a program, compiled, and launched over blocks of neurons."""

import functools
import hashlib
import importlib.util
import subprocess
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..._util.atomic import atomic_write
from .. import compiler
from ..arguments import Value
from .cpu import Kernel
from .emit import emit
from .order import most_alive, order_lines
from .program import Program
from .triton_source import backward_arguments, forward_arguments, source, TRITON_LANGUAGE

# Registers of a thread, at most, with which a multiprocessor runs 4, 3 or 2 blocks of 128 threads. Given as many as it
# asks for, it could not run enough threads to keep the memory busy; but a kernel that keeps many values through the
# steps would spill them. `benchmarks.gpu_code` shows what every neuron needs.
_REGISTERS, _MORE_REGISTERS, _MOST_REGISTERS = 128, 168, 255
# Registers that `backward` seems to need, counted by `most_registers`, with which the first two are enough.
_FEW_NEEDED, _MORE_NEEDED = 60, 120


def most_registers(program: Program, shared: Sequence[bool], needs_grad: Sequence[bool]) -> int:
    """The number of registers that a thread may have; `source` explains the arguments.

    Through its steps, `backward` keeps inputs, the gradients of states and constants, and what is computed from
    constants with a value for every neuron, each with an address of two registers. To these come the values of a step.
    """
    gradients = program.gradients(needs_grad)
    per_neuron = emit(program, gradients, TRITON_LANGUAGE, shared).per_neuron
    constants = sum(needs_grad) + len(shared) - sum(shared) + len(per_neuron)
    kept = len(program.inputs) + len(program.states) + constants
    alive = most_alive(order_lines(program, gradients), gradients)
    size = 2 if program.real == "float64" else 1
    needed = (size + 2) * kept + size * alive
    if needed <= _FEW_NEEDED:
        return _REGISTERS
    return _MORE_REGISTERS if needed <= _MORE_NEEDED else _MOST_REGISTERS


def compile_options(registers: int) -> Mapping[str, object]:
    """Triton's compile options, with a limit on the registers of a thread."""
    # Fusion of products and sums by the compiler would break equality with PyTorch to the bit; where that does not
    # matter, the program contains fused operations already.
    return {"enable_fp_fusion": False} | ({} if torch.version.hip else {"maxnreg": registers})


@functools.cache
def kernel(
    text: str,
    shared: tuple[bool, ...],
    needs_grad: tuple[bool, ...],
    input_dtype: torch.dtype,
    output_dtype: torch.dtype,
) -> Kernel:
    """The kernels of a program; for the arguments see `geir._runtime.kernels.c_source.source`. Triton compiles them
    at their first call.

    Raises:
        NoCompilerError: Here or at a call, if Triton is not installed or fails.
    """
    program = Program.loads(text)
    module = load(source(program, shared, needs_grad, input_dtype, output_dtype))
    real = getattr(torch, program.real)
    registers = most_registers(program, shared, needs_grad)
    forward_names = [argument.name for argument in forward_arguments(program)]
    backward_names = [argument.name for argument in backward_arguments(program)]

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
