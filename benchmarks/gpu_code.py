"""Compile the kernels of every neuron for GPUs, without one: `python -m benchmarks.gpu_code`.

Registers and shared memory decide how many threads a multiprocessor runs at once; spilled registers go through memory.
Every neuron is compiled in a process of its own, which is stopped after `TIME_LIMIT` seconds.
"""

import argparse
import inspect
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch

import geir
from geir._runtime.kernels import gpu, triton_source
from geir._runtime.kernels.prepared_run import prepare_run
from geir._runtime.kernels.program import Program
from geir.core.parameters import Declared

from .__main__ import RESULTS
from .report import format_table

ARCHITECTURES = (80, 90)  # A100 and H100
WARPS = 4
BLOCK = 32 * WARPS
# Of one multiprocessor of both architectures.
REGISTERS = 65536
MOST_THREADS = 2048
TIME_LIMIT = 300


class Usage(NamedTuple):
    """Registers and shared memory of a kernel."""

    registers: int  # of a thread
    spilled: int  # bytes of a thread that are stored and loaded because registers are lacking
    spilled_in_steps: int  # instructions that do so in every step
    shared: int  # bytes of shared memory of a block

    @property
    def occupancy(self) -> float:
        """The share of its threads that a multiprocessor can run at once, as far as registers allow."""
        blocks = REGISTERS // (-(-self.registers // 8) * 8 * 32 * WARPS)
        return min(1.0, blocks * 32 * WARPS / MOST_THREADS)

    def cells(self) -> list[object]:
        """The cells of the table, as in `COLUMNS`."""
        return [self.registers, self.spilled, self.spilled_in_steps, self.shared, f"{self.occupancy:.0%}"]


def neurons() -> list[type[geir.Dynamics]]:
    """The neurons and leaky integrators that have kernels of their own.

    Cells and recurrent layers run those of their neuron. Compartments, whose currents are a product of matrices, have
    none; like recurrent layers, they are told their number.
    """
    classes = [
        kind for kind in vars(geir.neurons).values() if inspect.isclass(kind) and issubclass(kind, geir.Dynamics)
    ]
    return [
        kind
        for kind in dict.fromkeys(classes)
        if not issubclass(kind, geir.wrappers.CellMixin) and "hidden_size" not in inspect.signature(kind).parameters
    ]


def compile_kernel(function: Any, architecture: int, absent: str, registers: int) -> Usage:
    """Compile a kernel in float32 for a compute capability and ask the assembler what it needs.

    Args:
        function: The Triton function.
        architecture: Ten times the compute capability.
        absent: Name of a pointer that is None.
        registers: The most that a thread may have.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    known = {"BLOCK": BLOCK, absent: None}
    types = {name: "*fp32" if name.endswith("_ptr") else "i32" for name in function.arg_names} | dict.fromkeys(
        known, "constexpr"
    )
    aligned = {
        (k,): [["tt.divisibility", 16]]
        for k, (name, kind) in enumerate(types.items())
        if kind[0] == "*" or name == "neurons"
    }
    options = {"num_warps": WARPS, **gpu.compile_options(registers)}
    target = GPUTarget("cuda", architecture, 32)
    compiled = triton.compile(ASTSource(function, types, known, aligned), target=target, options=options)
    return Usage(*_assemble(compiled.asm["ptx"], architecture), compiled.metadata.shared)


def _assemble(ptx: str, architecture: int) -> tuple[int, int, int]:
    """Registers of a thread, bytes of spilled ones, and instructions that spill in every step."""
    from triton.backends.nvidia.compiler import get_ptxas

    suffix = "a" if architecture == 90 else ""
    with tempfile.TemporaryDirectory() as folder:
        source, binary = Path(folder, "kernel.ptx"), Path(folder, "kernel.cubin")
        source.write_text(ptx)
        assembler = Path(get_ptxas(architecture).path)
        command = [assembler, "-v", f"-arch=sm_{architecture}{suffix}", source, "-o", binary]
        log = subprocess.run(command, capture_output=True, text=True, check=True).stderr
        command = [assembler.with_name("cuobjdump"), "-sass", binary]
        code = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    registers = re.search(r"Used (\d+) registers", log)
    spilled = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", log)
    assert registers, log
    assert spilled, log
    return int(registers[1]), int(spilled[1]) + int(spilled[2]), _local_in_steps(code)


def _local_in_steps(code: str) -> int:
    """The instructions of the innermost loops that load and store a thread's own memory, where spilled registers are.

    Args:
        code: The disassembled kernel.
    """
    lines = re.findall(r"/\*([0-9a-f]{4,})\*/ +(.*?) *;", code)
    instructions = [(int(address, 16), text) for address, text in lines]
    jumps = [(address, re.search(r"BRA.* 0x([0-9a-f]+)", text)) for address, text in instructions]
    # The last instruction jumps to itself.
    loops = [(int(jump[1], 16), end) for end, jump in jumps if jump and int(jump[1], 16) < end]
    innermost = [
        (start, end) for start, end in loops if not any(start <= jump < end for first, jump in loops if first >= start)
    ]
    local = [address for address, text in instructions if re.search(r"\b(LDL|STL)\b", text)]
    return sum(any(start <= address <= end for start, end in innermost) for address in local)


def measure(kind: type[geir.Dynamics], input_type: Any, architecture: int, learnable: bool) -> list[object]:
    """A row of the table.

    Args:
        kind: The neuron.
        input_type: One of its types of input.
        architecture: Ten times the compute capability.
        learnable: Whether every parameter has a value for each neuron and a gradient; else all are fixed numbers.
    """
    model = kind()
    if learnable:
        for module in model.modules():
            if isinstance(module, Declared):
                for name, value in module.declared_parameters().items():
                    setattr(module, name, geir.learnable(value.detach().expand(BLOCK).clone()))
    x = torch.zeros(BLOCK)
    prepared = prepare_run(model.stepper(x.dtype), model.initial_state(x), input_type)
    shared = [constant.numel() == 1 for constant in prepared.constants]
    needs_grad = [constant.requires_grad for constant in prepared.constants]
    program = Program.loads(prepared.program)
    module = gpu.load(triton_source.source(program, shared, needs_grad, x.dtype, x.dtype))
    registers = gpu.most_registers(program, shared, needs_grad)
    forward = compile_kernel(module.forward, architecture, "recorded_states_ptr", registers)
    backward = compile_kernel(module.backward, architecture, "grad_recorded_states_ptr", registers)
    given = "" if input_type is torch.Tensor else f", {input_type.__name__}"
    return [f"{kind.__name__}{given}{', learnable' if learnable else ''}", *forward.cells(), *backward.cells()]


def measure_all(name: str) -> dict[int, list[list[object]]]:
    """The rows of a neuron for each architecture."""
    (kind,) = [kind for kind in neurons() if kind.__name__ == name]
    return {
        architecture: [
            measure(kind, input_type, architecture, learnable)
            for input_type in kind().input_types
            for learnable in (False, True)
        ]
        for architecture in ARCHITECTURES
    }


def measure_in_process(name: str) -> dict[int, list[list[object]]]:
    """`measure_all` in a process of its own.

    Raises:
        subprocess.TimeoutExpired: If it takes longer than `TIME_LIMIT` seconds.
        subprocess.CalledProcessError: If it fails.
    """
    command = [sys.executable, "-m", "benchmarks.gpu_code", "--neuron", name]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=TIME_LIMIT).stdout
    return {int(architecture): rows for architecture, rows in json.loads(output.splitlines()[-1]).items()}


def write_page() -> str:
    """The page: a table for each architecture."""
    import triton

    header = ["", *(f"{direction}: {what}" for direction in ("forward", "backward") for what in COLUMNS)]
    tables: dict[int, list[list[object]]] = {architecture: [] for architecture in ARCHITECTURES}
    names, stopped = [kind.__name__ for kind in neurons()], list[str]()
    for k, name in enumerate(names, 1):
        start = time.perf_counter()
        try:
            for architecture, rows in measure_in_process(name).items():
                tables[architecture] += rows
        except subprocess.TimeoutExpired:
            stopped.append(name)
        print(f"{k}/{len(names)} {name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    parts = [
        "# Code of the GPU kernels\n",
        f"Compiled by Triton {triton.__version__} for float32, {WARPS} warps a block, without a GPU, by "
        "`python -m benchmarks.gpu_code`. Nothing is timed.\n",
        "*Learnable*: every parameter has a value for each neuron and a gradient. Registers and spilled bytes are "
        "those of a thread; *in steps* are the instructions that store and load them in every step. All others run "
        "once for a chunk of steps or a block of neurons. A thread has at most 255 registers. A kernel that spills "
        "with so many keeps parameters, what follows from them and sums of gradients in the registers, so that its "
        "steps do not spill. Shared memory is that of a block; *threads* is the share of its threads that a "
        "multiprocessor can run at once with so many registers. Cells and recurrent layers run the kernels of their "
        "neuron.\n",
    ]
    if stopped:
        parts.append(f"Not compiled within {TIME_LIMIT} s: {', '.join(stopped)}.\n")
    for architecture, rows in tables.items():
        parts += [f"## sm_{architecture}\n", *remarks(rows), format_table(header, rows) + "\n"]
    return "\n".join(parts)


def remarks(rows: list[list[object]]) -> list[str]:
    """Remarks on the kernels that spill and on those that leave a multiprocessor few threads."""
    spilling, few = list[str](), list[str]()
    for name, *cells in rows:
        for direction, start in (("forward", 0), ("backward", len(COLUMNS))):
            numbers = dict(zip(COLUMNS, cells[start:], strict=False))
            if numbers["spilled"]:
                spilling.append(f"{name} ({direction})")
            if int(str(numbers["threads"]).rstrip("%")) < FEW_THREADS:
                few.append(f"{name} ({direction})")
    return [
        f"Spilled registers: {'; '.join(spilling) or 'none'}.\n",
        f"Less than {FEW_THREADS} % of the threads, because a thread keeps many values: parameters and what follows "
        f"from them, a sum for each of their gradients, and those of a long step: {'; '.join(few) or 'none'}.\n",
    ]


COLUMNS = ("registers", "spilled", "in steps", "shared", "threads")
# Percent; what most kernels have.
FEW_THREADS = 25


def main(arguments: list[str] | None = None) -> None:
    """Compile all kernels and write the page."""
    description = "Compile the kernels of every neuron for GPUs, without one, and write benchmarks/results/gpu_code.md."
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_code", description=description)
    parser.add_argument("--neuron", help="compile the kernels of one neuron, and print its rows as JSON")
    name = parser.parse_args(arguments).neuron
    if name:
        print(json.dumps(measure_all(name)))
        return
    page = write_page()
    (RESULTS / "gpu_code.md").write_text(page)
    print(page)


if __name__ == "__main__":
    main()
