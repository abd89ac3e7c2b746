"""Fuzz the kernels of neurons: `python tests/fuzz_neurons.py --help`.

Makes random neurons and runs each in a random way: shapes, memory layouts, dtypes, parameters, function transforms. Outputs, states
and gradients must be those of the reference loop. A program that fails is made smaller and printed. The programs run in a
subprocess, which is started again after it has crashed.
"""

import argparse
import contextlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from random_neurons import Generator, RandomNeuron
from random_results import build, Data, define, joined_reference, Results, results_of
from random_runs import random_run, RandomRun
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import geir
from geir._runtime import compiler
from geir._runtime.kernels import cpu
from geir._runtime.kernels.operators import ROUNDED
from geir._runtime.kernels.prepared_run import prepare_run
from geir._runtime.kernels.program import NotFusableError, Program

# A library stays in memory, and a process cannot map more than some thousands.
PROGRAMS_OF_A_PROCESS = 1000
MAX_FAILURES = 20
TOLERANCES = {torch.float64: 1e-9, torch.float32: 2e-5, torch.bfloat16: 2e-2, torch.float16: 4e-3}
# Operators that round; others return what they are given.
ROUNDING = {
    "add",
    "sub",
    "rsub",
    "mul",
    "div",
    "reciprocal",
    "square",
    "pow",
    "sqrt",
    "rsqrt",
    "lerp",
    "addcmul",
    "addcdiv",
    "sum",
}
ROUNDING |= {
    "exp",
    "exp2",
    "expm1",
    "log",
    "log2",
    "log10",
    "log1p",
    "logaddexp",
    "xlogy",
    "log_sigmoid_forward",
    "softplus",
}
ROUNDING |= {
    "sigmoid",
    "tanh",
    "sinh",
    "cosh",
    "asinh",
    "sin",
    "cos",
    "tan",
    "atan",
    "atan2",
    "erf",
    "erfc",
    "hypot",
    "linalg_vector_norm",
}
ROUNDING |= {"silu", "mish", "gelu", "elu", "celu", "hardsigmoid", "hardswish", "remainder", "fmod"}


class Case(NamedTuple):
    """A neuron and a run."""

    neuron: RandomNeuron
    run: RandomRun

    def smaller(self) -> Iterator["Case"]:
        for neuron in self.neuron.smaller():
            yield self._replace(neuron=neuron)
        for run in self.run.smaller():
            yield self._replace(run=run)

    def build(self, unroll: Any) -> Any:
        """The neuron, of a class of its own."""
        return build(define(self.neuron.source()), self.neuron.surrogate, self.run, unroll)


class Noise(TorchDispatchMode):
    """Changes results of arithmetic by a few units in the last place, equal results equally.

    Numbers of a coarse binary grid are left as they are: they are not the result of rounding.
    """

    def __init__(self, seed: int, dtype: torch.dtype):
        super().__init__()
        self.frequency = 1e3 * (1 + 0.1 * seed)
        self.size = 8 * torch.finfo(dtype).eps

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__.removesuffix("_")
        rounds = name in ROUNDING or name.endswith("_backward")
        if rounds and isinstance(result, Tensor) and result.is_floating_point():
            rounded = (result * 2**10).frac() != 0
            result.add_(torch.where(rounded, self.size * result * torch.sin(self.frequency * result), 0.0))
        return result


def make_case(seed: int, number: int) -> Case:
    """The program of a number."""
    rng = random.Random(f"{seed} {number}")
    return Case(Generator(rng).neuron(), random_run(rng))


def check(case: Case) -> tuple[str, str]:
    """Run a neuron on kernels and on the reference loop.

    Returns:
        "equal", "failed", "reference" if the step runs on the reference loop, "invalid" if the program is not valid, or
        "unstable" if rounding errors decide on the result; and a description.
    """
    run = case.run
    try:
        expected = results_of(case.build(geir.reference), run)
    except Exception as error:
        return "invalid", f"{type(error).__name__}: {error}"
    neuron = case.build(geir.Fused(checkpoint_every=run.checkpoint_every))
    program = find_program(neuron, run)
    if isinstance(program, str):
        return "reference", program
    try:
        with compiler_must_succeed():
            actual = results_of(neuron, run)
    except Exception as error:
        return "failed", f"{type(error).__name__}: {error}"
    # Whether PyTorch contracts `alpha=` and its like depends on strides and sizes.
    inexact = ROUNDED | {"fma", "fms", "fnma"}
    rounded = any(line.operator in inexact for line in program.dependencies(program.step))
    exact = not rounded and run.dtype == program.real
    differences = compare(actual, expected, exact)
    if any(difference.size == torch.inf for difference in differences):
        differences = compare(actual, results_of(case.build(joined_reference), run), exact)
    if any(not difference.certain for difference in differences):
        spread = spread_of(case, expected)
        differences = [d for d in differences if d.certain or not d.size <= 20 * spread[d.name]]
        if not differences:
            return "unstable", ""
    return ("failed", "; ".join(d.text for d in differences)) if differences else ("equal", "")


def find_program(neuron: Any, run: RandomRun) -> Program | str:
    """The program of a neuron, or why there is none."""
    data = Data(run, neuron)
    x = data.xs.new_empty(run.shape)
    try:
        return Program.loads(prepare_run(neuron.stepper(neuron.state_dtype(x)), neuron.initial_state(x)).program)
    except NotFusableError as error:
        return str(error)


class Difference(NamedTuple):
    """A result that differs from the reference."""

    name: str
    size: float  # infinite if shape, dtype or places of NaN differ
    certain: bool  # not due to rounding
    text: str


def compare(actual: Results, expected: Results, exact: bool) -> list[Difference]:
    """The results that differ; outputs and states must be equal to the bit if the program is exact."""
    if actual.keys() != expected.keys():
        return [Difference("", torch.inf, True, f"the results are {[*actual]}, expected {[*expected]}")]
    differences = []
    for name, right in expected.items():
        result = actual[name]
        if result.shape != right.shape or result.dtype != right.dtype:
            text = f"{name} is {tuple(result.shape)}, {result.dtype}, expected {tuple(right.shape)}, {right.dtype}"
            differences.append(Difference(name, torch.inf, True, text))
            continue
        to_the_bit = exact and not ("grad" in name or "jacobian" in name)
        tolerance = 0.0 if to_the_bit else TOLERANCES[right.dtype]
        wrong = ~torch.isclose(result, right, rtol=tolerance, atol=tolerance, equal_nan=True)
        if wrong.any():
            size = distance(result, right)
            place = tuple(wrong.nonzero()[0].tolist())
            text = f"{name}: {int(wrong.sum())} of {wrong.numel()} numbers differ, by at most {size:.3g}; "
            text += f"at {place} it is {result[place].item()!r}, expected {right[place].item()!r}"
            differences.append(Difference(name, size, to_the_bit, text))
    return differences


def distance(result: Tensor, other: Tensor) -> float:
    """The greatest difference of two tensors, infinite if they are not finite in the same places."""
    result, other = result.double(), other.double()
    same = (result == other) | (result.isnan() & other.isnan())
    gaps = torch.where(same, 0.0, (result - other).abs()).nan_to_num(torch.inf)
    return gaps.max().item() if gaps.numel() else 0.0


def spread_of(case: Case, expected: Results) -> dict[str, float]:
    """By how much the results of the reference loop change if its arithmetic is rounded in another way."""
    spread = dict.fromkeys(expected, 0.0)
    neuron = case.build(geir.reference)
    dtype = neuron.state_dtype(torch.empty(0, dtype=getattr(torch, case.run.dtype)))
    for seed in range(4):
        with Noise(seed, dtype):
            noisy = results_of(case.build(geir.reference), case.run, widen=True)
        spread = {name: max(spread[name], distance(noisy[name], right)) for name, right in expected.items()}
    return spread


def shrink(case: Case, seconds: float = 60.0) -> tuple[Case, str]:
    """A smaller case that fails too, and how it fails."""
    end, what = time.monotonic() + seconds, check(case)[1]
    smaller = True
    while smaller:
        smaller = False
        for other in case.smaller():
            if time.monotonic() > end:
                break
            with contextlib.suppress(Exception):
                state, text = check(other)
                if state == "failed":
                    case, what, smaller = other, text, True
                    break
    return case, what


@contextlib.contextmanager
def compiler_must_succeed() -> Iterator[None]:
    """Raise an error where code does not compile; a neuron would run on the reference loop, and agree with it."""
    load = compiler.load

    def load_or_fail(source: str) -> Any:
        try:
            return load(source)
        except compiler.NoCompilerError as error:
            raise RuntimeError("the code of a kernel does not compile") from error

    compiler.load = load_or_fail
    try:
        yield
    finally:
        compiler.load = load


@contextlib.contextmanager
def cheap_compiler() -> Iterator[None]:
    """Compile without optimizations, and into a folder that is deleted."""
    flags, folder = compiler.FLAGS.copy(), tempfile.mkdtemp(prefix="geir-fuzz-")
    find_folder = compiler.cache_folder
    # The headers of vector instructions take longer than all the rest.
    compiler.FLAGS[:] = ["-O0", *flags[1:], "-U__AVX512F__", "-U__AVX__", "-U__SSE2__"]
    compiler.cache_folder = lambda: Path(folder)
    compiler._machine.cache_clear()
    cpu.kernel.cache_clear()
    try:
        yield
    finally:
        compiler.FLAGS[:] = flags
        compiler.cache_folder = find_folder
        compiler._machine.cache_clear()
        cpu.kernel.cache_clear()
        shutil.rmtree(folder)


def fuzz(options: argparse.Namespace) -> None:
    """Fuzz in this process; write a summary as JSON."""
    prepare_process()
    counts, reasons = Counter[str](), Counter[str]()
    summary = options.folder / "summary"
    with contextlib.nullcontext() if options.optimize else cheap_compiler():
        for number in range(options.start, options.start + options.count):
            (options.folder / "number").write_text(str(number))
            case = make_case(options.seed, number)
            state, text = check(case)
            counts[state] += 1
            if state == "failed":
                report(case, number, options.seed)
            elif state in ("reference", "invalid"):
                reasons[f"{state}: {text.split('(fuzzed')[0][:90]}"] += 1
            summary.write_text(json.dumps([counts, reasons]))
            for path in compiler.cache_folder().glob("*") if not options.optimize else ():
                path.unlink(missing_ok=True)


def prepare_process() -> None:
    """Uninitialized memory reads as NaN, and all that warns is silent."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.utils.deterministic.fill_uninitialized_memory = True
    torch.use_deterministic_algorithms(True, warn_only=True)


def report(case: Case, number: int, seed: int) -> None:
    """Print a failure."""
    small, what = shrink(case)
    print(f"FAILED: program {number} of seed {seed}: {what}")
    print(f"Again: python tests/fuzz_neurons.py --seed {seed} --start {number} --count 1")
    print(f"\n{small.neuron.source()}\nsurrogate = {small.neuron.surrogate}\n{small.run}\n", flush=True)


def main() -> int:
    """Fuzz in subprocesses."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="number of programs (default: 10000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0, help="number of the first program (default: 0)")
    parser.add_argument(
        "--optimize", action="store_true", help="compile as geir does, which takes several times as long"
    )
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder:
        fuzz(options)
        return 0
    start, end, began = options.start, options.start + options.count, time.monotonic()
    counts, reasons, failures = Counter[str](), Counter[str](), 0
    with tempfile.TemporaryDirectory() as folder:
        while start < end and failures <= MAX_FAILURES:
            count = min(PROGRAMS_OF_A_PROCESS, end - start)
            command = [sys.executable, __file__, "--folder", folder, "--seed", str(options.seed), "--start", str(start)]
            command += ["--count", str(count)] + ["--optimize"] * options.optimize
            done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
            for total, part in zip((counts, reasons), json.loads(Path(folder, "summary").read_text()), strict=True):
                total.update(part)
            start += count
            if done.returncode:
                start = int(Path(folder, "number").read_text()) + 1
                counts["crashed"] += 1
                print(
                    f"FAILED: program {start - 1} of seed {options.seed} ends with code {done.returncode}: {done.stderr[-700:]}"
                )
                print(make_case(options.seed, start - 1), flush=True)
            failures = counts["failed"] + counts["crashed"]
            print(f"{start - options.start} programs, {time.monotonic() - began:.0f} s: {dict(counts)}", flush=True)
    for reason, count in reasons.most_common(30):
        print(f"{count:6} {reason}")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
