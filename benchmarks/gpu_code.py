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
from geir._runtime.kernels.program import NotFusableError, Program

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
    """What a kernel needs."""

    registers: int  # of a thread
    spilled: int  # bytes of a thread that are stored and loaded because registers are lacking
    shared: int  # bytes of shared memory of a block

    @property
    def occupancy(self) -> float:
        """The share of its threads that a multiprocessor can run at once, as far as registers allow."""
        blocks = REGISTERS // (-(-self.registers // 8) * 8 * 32 * WARPS)
        return min(1.0, blocks * 32 * WARPS / MOST_THREADS)


def neurons() -> list[type[geir.Neuron]]:
    """The layers without recurrence among the neurons, and the leaky integrators."""
    classes = [
        kind for kind in vars(geir.neurons).values() if inspect.isclass(kind) and issubclass(kind, geir.Dynamics)
    ]
    return list(
        {kind: None for kind in classes if not kind.__name__.endswith("Cell") and "Recurrent" not in kind.__name__}
    )


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


def _assemble(ptx: str, architecture: int) -> tuple[int, int]:
    """Registers and bytes of spilled registers of a thread."""
    from triton.backends.nvidia.compiler import get_ptxas

    suffix = "a" if architecture == 90 else ""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "kernel.ptx")
        source.write_text(ptx)
        command = [get_ptxas(architecture).path, "-v", f"-arch=sm_{architecture}{suffix}", source, "-o", "/dev/null"]
        log = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    registers = re.search(r"Used (\d+) registers", log)
    spilled = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", log)
    assert registers, log
    assert spilled, log
    return int(registers[1]), int(spilled[1]) + int(spilled[2])


def measure(kind: type[geir.Neuron], architecture: int, learnable: bool) -> list[object]:
    """A row of the table.

    Args:
        kind: The neuron.
        architecture: Ten times the compute capability.
        learnable: Whether every parameter has a value for each neuron and a gradient; else all are fixed numbers.
    """
    model = kind()
    if learnable:
        parameters = model.declared_parameters().items()
        model = kind(**{name: geir.learnable(value.detach().expand(BLOCK).clone()) for name, value in parameters})
    x = torch.zeros(BLOCK)
    prepared = prepare_run(model.stepper(x.dtype), model.initial_state(x))
    shared = [constant.numel() == 1 for constant in prepared.constants]
    needs_grad = [constant.requires_grad for constant in prepared.constants]
    program = Program.loads(prepared.program)
    module = gpu.load(triton_source.source(program, shared, needs_grad, x.dtype, x.dtype))
    registers = gpu.most_registers(program, shared, needs_grad)
    forward = compile_kernel(module.forward, architecture, "recorded_states_ptr", registers)
    backward = compile_kernel(module.backward, architecture, "grad_recorded_states_ptr", registers)
    name = f"{kind.__name__}, learnable" if learnable else kind.__name__
    return [name, *(cell for u in (forward, backward) for cell in (*u[:2], u.shared, f"{u.occupancy:.0%}"))]


def measure_all(name: str) -> dict[int, list[list[object]]]:
    """The rows of a neuron for each architecture; none for forms that have no kernel."""
    (kind,) = [kind for kind in neurons() if kind.__name__ == name]
    rows: dict[int, list[list[object]]] = {architecture: [] for architecture in ARCHITECTURES}
    for learnable in (False, True):
        try:
            for architecture in ARCHITECTURES:
                rows[architecture].append(measure(kind, architecture, learnable))
        except (NotFusableError, TypeError, AttributeError) as error:
            print(f"  left out{', learnable' if learnable else ''}: {error!r}", file=sys.stderr)
    return rows


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
        f"Compiled by Triton {triton.__version__} for float32, {WARPS} warps a block, without a GPU. "
        "*Learnable*: every parameter has a value for each neuron and a gradient. Registers and spilled bytes are "
        "those of a thread, shared memory is that of a block; *threads* is the share of its threads that a "
        "multiprocessor can run at once with so many registers.\n",
    ]
    if stopped:
        parts.append(f"Not compiled within {TIME_LIMIT} s: {', '.join(stopped)}.\n")
    for architecture, rows in tables.items():
        parts += [f"## sm_{architecture}\n", format_table(header, rows) + "\n"]
    return "\n".join(parts)


COLUMNS = ("registers", "spilled", "shared", "threads")


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
