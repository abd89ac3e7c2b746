"""Print a program into the C template, compile it with the system's compiler, and call it."""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import torch

from .emit import emit
from .trace import Program

FLAGS = ["-O3", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-std=gnu11", "-fPIC", "-shared"]
# The state is kept every K steps; backward recomputes the steps between.
K = 16
_FUNCTIONS = ("expm1", "log", "log1p", "sqrt", "tanh", "erf", "sin", "cos", "floor", "rint")


class NoCompilerError(Exception):
    """There is no C compiler, or it failed; the message says what to do."""


class Kernel(NamedTuple):
    """The two compiled functions, and the source for whoever wants to read it."""

    forward: Any
    backward: Any
    source: str


def source(program: Program, real: str, shared: tuple[bool, ...], wanted: tuple[bool, ...]) -> str:
    """The C source of a program.

    Args:
        program: The traced step.
        real: float or double.
        shared: For each fixed value, whether all neurons share one number.
        wanted: For each fixed value, whether backward must find its gradient.
    """
    states, fixed = range(program.states), range(program.fixed)
    names = [f"p{k}" if shared[k] else f"p{k}[n]" for k in fixed]
    common, own = ({name for k, name in enumerate(names) if shared[k] == kind} for kind in (True, False))
    inputs = ["x_", *(f"s{k}_" for k in states), *names]
    step = emit(program.step, inputs, common, own)
    back = emit(program.backward, [*inputs, "dz_", *(f"ds{k}_" for k in states)], common, own)
    z, *after = step.results
    dx, *gradients = back.results
    learned = [k for k in fixed if wanted[k]]

    def each(text: str, over: Iterable[int] = states, values: list[str] | None = None) -> str:
        return "\n".join(text.format(k=k, value=values[k] if values else "") for k in over)

    suffix = "f" if real == "float" else ""
    functions = [f"#define {name}_(a) {name}{suffix}(a)" for name in _FUNCTIONS]
    functions += [f"#define pow_(a, b) pow{suffix}(a, b)", f"#define abs_(a) fabs{suffix}(a)"]
    functions += ["#define exp_(a) exp_float(a)" if real == "float" else "#define exp_(a) exp(a)"]
    scalars = each("const real p{k} = p{k}_[0];", [k for k in fixed if shared[k]])
    arrays = each("real p{k}[BLOCK]; EACH p{k}[n] = p{k}_[(b + n) / p{k}_inner % p{k}_size];", [k for k in fixed if not shared[k]])
    pointers = each("const real *restrict p{k}_, const int64_t p{k}_size, const int64_t p{k}_inner,", fixed)
    parts = {
        "real": real,
        "K": str(K),
        "functions": "\n".join(functions),
        "forward_arguments": each("real *restrict s{k}, real *restrict c{k},") + pointers,
        "backward_arguments": each("real *restrict ds{k}, const real *restrict c{k},") + each("real *restrict dp{k},", learned) + pointers,
        "scalars": "\n".join([scalars, *step.scalars]),
        "own": "\n".join([arrays, *step.neurons]),
        "load_state": each("real b{k}[BLOCK]; memcpy(b{k}, s{k} + b, m * sizeof(real));"),
        "checkpoint": "if (c0 && t % K == 0) {\n" + each("memcpy(c{k} + t / K * N + b, b{k}, m * sizeof(real));") + "\n}",
        "state_from_block": each("const real s{k}_ = b{k}[n];"),
        "step": "\n".join(step.steps),
        "z": z,
        "state_to_block": each("b{k}[n] = {value};", states, after),
        "store_state": each("memcpy(s{k} + b, b{k}, m * sizeof(real));"),
        "load_gradient": each("real g{k}[BLOCK], r{k}[K][BLOCK]; memcpy(g{k}, ds{k} + b, m * sizeof(real));")
        + each("real a{k}[BLOCK]; memset(a{k}, 0, sizeof a{k});", learned),
        "recall": each("memcpy(r{k}[0], c{k} + from / K * N + b, m * sizeof(real));"),
        "state_from_history": each("const real s{k}_ = r{k}[j][n];"),
        "state_to_history": each("r{k}[j + 1][n] = {value};", states, after),
        "gradient_from_block": each("const real ds{k}_ = g{k}[n];"),
        "backward_scalars": "\n".join(back.scalars),
        "backward_own": "\n".join(back.neurons),
        "backward_step": "\n".join(back.steps),
        "dx": dx,
        "gradient_to_block": each("g{k}[n] = {value};", states, gradients) + each("a{k}[n] += {value};", learned, gradients[len(states) :]),
        "store_gradient": each("memcpy(ds{k} + b, g{k}, m * sizeof(real));") + each("memcpy(dp{k} + b, a{k}, m * sizeof(real));", learned),
    }
    text = files("geir.kernels").joinpath("template.c").read_text()
    for name, value in parts.items():
        text = text.replace("{{" + name + "}}", value)
    return text


@functools.cache
def compiler() -> str | None:
    """The system's C compiler, if there is one."""
    return next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)


@functools.cache
def _version() -> str:
    return subprocess.run([str(compiler()), "--version"], capture_output=True, text=True, check=False).stdout + platform.processor()


def load(text: str) -> Kernel:
    """Compile a source, or take it from the cache on disk, and load it."""
    key = hashlib.sha256("\0".join([text, _version(), *FLAGS]).encode()).hexdigest()[:32]
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "geir"
    path = folder / f"{key}.so"
    if not path.exists():
        if not compiler():
            raise NoCompilerError("there is no C compiler; install gcc or clang")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            Path(work, "kernel.c").write_text(text)
            command = [str(compiler()), *FLAGS, "kernel.c", "-o", "kernel.so", "-lm"]
            done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
            if done.returncode:
                kept = folder / f"{key}.c"
                kept.write_text(text)
                raise NoCompilerError(f"{compiler()} failed on {kept}: {done.stderr.strip()}")
            os.replace(Path(work, "kernel.so"), path)
    library = ctypes.CDLL(str(path))
    return Kernel(library.forward, library.backward, text)


def c_type(dtype: torch.dtype) -> str:
    """The C name of a dtype."""
    return {torch.float32: "float", torch.float64: "double"}[dtype]
