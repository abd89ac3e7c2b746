"""Kernels for the GPU: a program printed into the Triton template, with a program per block of neurons."""

import functools
import hashlib
import importlib.util
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from importlib.resources import files
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import native
from .emit import emit, filled, Language, TRITON
from .program import Program

_TRITON = Language(
    TRITON,
    # A bare number can become a float32.
    lambda number: f"tl.full((), {number!r}, real)".replace("inf", 'float("inf")').replace("nan", 'float("nan")'),
    ("{name} = {text}", "{name} = {text}", "{name} = {text}"),
    "{name}",
)
# How a result is written. What PyTorch rounds by way of float32 we do too.
_STORED = {
    torch.float32: "{}.to(tl.float32)",
    torch.float64: "{}.to(tl.float64)",
    torch.bfloat16: "{}.to(tl.float32).to(tl.bfloat16)",
    torch.float16: "{}.to(tl.float32).to(tl.float16)",
    torch.bool: "{} != 0.0",
    torch.uint8: "{}.to(tl.uint8)",
}
_FLOAT = {
    "divide": "tl.math.div_rn(x, y)", "root": "tl.math.sqrt_rn(x)", "integer": "int32", "bias": "127", "mantissa": "23", "lowest": "-104.0",
    "highest": "89.0", "degree": "7", "ln2_high": "-0.693359375", "ln2_low": "2.12194440054690583e-4",
}  # fmt: skip
_DOUBLE = {
    "divide": "x / y", "root": "tl.sqrt(x)", "integer": "int64", "bias": "1023", "mantissa": "52", "lowest": "-746.0", "highest": "710.0",
    "degree": "13", "ln2_high": "-6.93147180369123816490e-01", "ln2_low": "-1.90821492927058770002e-10",
}  # fmt: skip
# Fused products and sums would not be PyTorch's to the bit; where that does not matter they are written as such. Backward does with
# these registers, or nearly; if it took as many as it would like, a multiprocessor could not run enough threads to keep the memory busy.
_OPTIONS = {"enable_fp_fusion": False} | ({} if torch.version.hip else {"maxnreg": 128})
# Steps that are loaded ahead, with the one that runs.
_STAGES = 4


class Kernel(NamedTuple):
    """The kernels of a program, called with the tensors and the numbers that the template lists."""

    forward: Callable[[Sequence[Any], Sequence[int]], None]
    backward: Callable[[Sequence[Any], Sequence[int]], None]


def source(
    program: Program, shared: Sequence[bool], wanted: Sequence[bool], stored: torch.dtype, output: torch.dtype
) -> str:
    """The Triton source of a program; for the arguments see `geir._runtime.kernels.cpu.source`."""
    states, fixed = range(program.states), range(program.fixed)
    learned = [k for k in fixed if wanted[k]]
    step, back = (
        emit(program, results, _TRITON, list(shared)) for results in (program.step, program.gradients(wanted))
    )
    z, *after = step.results
    dx, *gradients = back.results

    def each(text: str, over: Iterable[int] = states, values: Sequence[str] | None = None, between: str = "\n") -> str:
        return between.join(text.format(k=k, value=v) for k, v in zip(over, values or over, strict=True))

    def assigned(name: str, values: Sequence[str]) -> str:
        """All at once, for they read each other; a number becomes a block, for a variable of a loop keeps its type."""
        return (
            each(f"{name}{{k}}", between=", ")
            + " = "
            + each("tl.broadcast_to({value}, [BLOCK])", states, values[: program.states], ", ")
        )

    def arguments(first: str) -> str:
        return ", ".join([first, *(f"P{k}" for k in fixed), "T, N, K", *(f"M{k}, I{k}" for k in fixed)])

    order = [str(j) for j in range(len(learned))]
    own = [
        f"p{k} = tl.load(P{k} + (start + lane) // I{k} % M{k}, mask=valid, other=1.0)" for k in fixed if not shared[k]
    ]
    numbers = _FLOAT if program.real == "float32" else _DOUBLE
    return filled(
        files("geir._runtime.kernels") / "template.triton",
        {
            "mathematics": filled(files("geir._runtime") / "native.triton", numbers | {"real": program.real}),
            "states": str(program.states),
            "stages": str(_STAGES),
            "sizes": ", ".join(['"T", "K"', *(f'"M{k}", "I{k}"' for k in fixed)]),
            "forward_arguments": arguments("X, Z, S, E, C, H"),
            "backward_arguments": arguments("X, DZ, DX, D, B, C, G, L"),
            "scalars": "\n".join(
                [
                    each("p{k} = tl.load(P{k})", [k for k in fixed if shared[k]]),
                    *dict.fromkeys(step.scalars + back.scalars),
                ]
            ),
            "own": "\n".join([*own, *dict.fromkeys(step.neurons + back.neurons)]),
            "load_state": each("s{k} = tl.load(S + {k} * size + start + lane, mask=valid, other=0.0)"),
            "checkpoint": each("tl.store(C + kept + {k} * size + lane, s{k}, mask=start + lane < now)"),
            "step": "\n".join(step.steps),
            "z": _STORED[output].format(z),
            "next_state": assigned("s", after),
            "record": each("tl.store(H + {k} * size * T + at + lane, s{k}, mask=valid)"),
            "store_state": each("tl.store(E + {k} * size + start + lane, s{k}, mask=valid)"),
            "no_gradient": each("d{k} = tl.full([BLOCK], 0.0, real)"),
            "load_gradient": each("d{k} = tl.load(D + {k} * size + start + lane, mask=valid, other=0.0)"),
            "load_learned": each(
                "l{k} = tl.load(L + {value} * size + start + lane, mask=valid, other=0.0)", learned, order
            ),
            "recall": each("s{k} = tl.load(C + (last * STATES + {k}) * size + start + lane, mask=valid, other=0.0)"),
            "keep": each("tl.store(W + {k} * row + (t - first) * BLOCK + lane, s{k})"),
            "add_recorded": each("d{k} += tl.load(G + {k} * size * T + at + lane, mask=valid, other=0.0)"),
            "state": each("s{k} = tl.load(W + {k} * row + (t - first) * BLOCK + lane)"),
            "backward_step": "\n".join(back.steps),
            "dx": _STORED[stored].format(dx),
            "learn": each("l{k} += {value}", learned, gradients[program.states :]),
            "next_gradient": assigned("d", gradients),
            "store_gradient": each("tl.store(B + {k} * size + start + lane, d{k}, mask=valid)"),
            "store_learned": each("tl.store(L + {value} * size + start + lane, l{k}, mask=valid)", learned, order),
        },
    )


@functools.cache
def kernel(
    text: str, shared: tuple[bool, ...], wanted: tuple[bool, ...], stored: torch.dtype, output: torch.dtype
) -> Kernel:
    """The kernels of a program; for the arguments see `source`. Triton compiles them when they are first called.

    Raises:
        NoCompilerError: Here or at a call, if Triton is not installed or fails.
    """
    program = Program.loads(text)
    module, real = load(source(program, shared, wanted, stored, output)), getattr(torch, program.real)

    def forward(tensors: Sequence[Any], numbers: Sequence[int]) -> None:
        block, warps, _, _ = _sizes(tensors[0], numbers[1])
        _launch(module.forward, -(-numbers[1] // block), [*tensors, *numbers], block, warps)

    def backward(tensors: Sequence[Any], numbers: Sequence[int]) -> None:
        x, (_, size, every, *_) = tensors[0], numbers
        block, warps, units, cache = _sizes(x, size)
        room = program.states * every * block
        programs = min(-(-size // block), max(units, cache // (room * real.itemsize)))
        states = x.new_empty(programs * room, dtype=real)
        _launch(module.backward, programs, [*tensors, *numbers, states], block, warps)

    return Kernel(forward, backward)


def load(text: str) -> ModuleType:
    """The source as a module, by way of a file, for from there Triton reads a kernel.

    Raises:
        NoCompilerError: If Triton is not installed.
    """
    if importlib.util.find_spec("triton") is None:
        raise native.NoCompilerError("there is no Triton; `pip install triton`")
    path = native.cache_folder() / f"triton_{hashlib.sha256(text.encode()).hexdigest()[:32]}.py"
    if not path.exists() or path.read_text() != text:
        # Another process may do the same; whoever is last wins, with the same content.
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            file.write(text)
        os.replace(file.name, path)
    spec: Any = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _sizes(x: Tensor, size: int) -> tuple[int, int, int, int]:
    """Neurons and warps of a program, and of the device how many programs it runs side by side at least, and half its cache in bytes."""
    properties: Any = torch.cuda.get_device_properties(x.device) if x.is_cuda else None
    units, cache = (properties.multi_processor_count, properties.L2_cache_size // 2) if properties else (2, 0)
    # A thread has one neuron, or two if only so it loads the 4 bytes that can be loaded ahead.
    each = 2 if x.element_size() == 2 and size % 16 == 0 else 1
    warps = next((w for w in (4, 2) if size >= 4 * units * 32 * each * w), 1)
    return 32 * each * warps, warps, units, cache


def _launch(function: Any, programs: int, arguments: list[Any], block: int, warps: int) -> None:
    from triton import TritonError  # pyright: ignore[reportMissingImports]  (optional)

    with torch.cuda.device_of(arguments[0]):
        try:
            function[(programs,)](*arguments, BLOCK=block, num_warps=warps, **_OPTIONS)
        except (TritonError, subprocess.CalledProcessError, RuntimeError) as error:
            # Triton also needs a C compiler; other errors are the device's.
            if type(error) is RuntimeError and "compiler" not in str(error):
                raise
            raise native.NoCompilerError(f"Triton failed on {function.fn.__code__.co_filename}: {error}") from error
