"""The cost of a call: cells, layers with few steps, networks that run one step at a time, and deep networks."""

import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, product
from typing import Any

import torch
from torch import nn, Tensor

import geir

from .contestants import Builders, select_installed
from .network import build_layers, make_images
from .peers import (
    ALPHA,
    BETA,
    norse_cell_loop,
    OutputOnly,
    snntorch_settings,
    snntorch_synaptic,
    SpikingJelly,
    spikingjelly_node,
)
from .report import format_table
from .timing import Bench, forward_backward_job, Job

# Calls in one timed run.
CALLS = 500
# Numbers of neurons; steps of a loop with gradients, and its calls in one timed run.
SIZES, LOOPS, LOOP_CALLS = (128, 4096), (1, 16), 40
# Steps of a stream, of which the first are not counted, and those that a contestant takes in one turn.
STEPS, WARM_UP, TURN = 10_000, 200, 100
DEPTH, WIDTH = 20, 256

# One step of a model: from input and state to output and next state.
Step = Callable[[Tensor, Any], tuple[Any, Any]]


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread of PyTorch, on which small calls are fastest."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def subnormals_flushed() -> Iterator[None]:
    """Subnormal numbers are zeros, where the processor can do that."""
    # That it was off before cannot be asked; it is PyTorch's default.
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def norse_cell() -> Step:
    """Norse's LIF cell."""
    import norse.torch

    return norse.torch.LIFCell()


def snntorch_cell() -> Step:
    """snnTorch's LIF with a synaptic current."""
    import snntorch

    cell = snntorch.Synaptic(**snntorch_settings())

    def step(x: Tensor, state: Any) -> tuple[Tensor, Any]:
        # Without a state it would continue from that of its last call.
        z, *after = cell(x, *(state or cell.reset_mem()))
        return z, after

    return step


CELLS: dict[str, Callable[[], Step]] = {
    "geir LIFCell": geir.LIFCell,
    "geir LIFBoxCell": geir.LIFBoxCell,
    "Norse LIFCell": norse_cell,
    "snnTorch Synaptic": snntorch_cell,
}


def cell_calls(bench: Bench) -> str:
    """One step of a cell."""
    rows = []
    with one_thread(), torch.no_grad():
        times: dict[tuple[str, int], float] = {}
        for size in SIZES:
            x = torch.rand(1, size, device=bench.device)
            jobs = {name: repeat(build(), x) for name, build in select_installed(CELLS).items()}
            times |= {(name, size): ms for name, ms in bench.time_jobs(jobs).items()}
        for name in select_installed(CELLS):
            row: list[object] = [name]
            for size in SIZES:
                row += [1e3 * times[name, size] / CALLS, times[name, size] / times["geir LIFCell", size]]
            rows.append(row)
    header = ["", *(text for size in SIZES for text in (f"N={size}, µs", "ratio to geir"))]
    tables = [format_table(header, rows), _cells_with_gradients(bench), _few_steps(bench)]
    return "One thread, without gradients.\n\n" + "\n\n".join(tables)


def _cells_with_gradients(bench: Bench) -> str:
    """Forward and backward of cells in a loop, for input that requires gradients, from rest."""
    times: dict[tuple[str, int, int], float] = {}
    with one_thread():
        steps = {name: build() for name, build in select_installed(CELLS).items()}
        for size in SIZES:
            x = torch.rand(1, size, device=bench.device, requires_grad=True)
            for length in LOOPS:
                jobs = {name: _repeated(_learn(step, x, length), LOOP_CALLS) for name, step in steps.items()}
                times |= {(name, size, length): ms for name, ms in bench.time_jobs(jobs).items()}
    rows: list[list[object]] = []
    for name in steps:
        row: list[object] = [name]
        for key in product(SIZES, LOOPS):
            row += [1e3 * times[name, *key] / LOOP_CALLS, times[name, *key] / times["geir LIFCell", *key]]
        rows.append(row)
    columns = [(f"N={size}, T={length}, µs", "ratio to geir") for size, length in product(SIZES, LOOPS)]
    return (
        "With gradients: B=1, a cell in a Python loop over T steps from rest, then `backward` of the sum of its "
        "outputs.\n\n" + format_table(["", *chain.from_iterable(columns)], rows)
    )


def _learn(step: Step, x: Tensor, length: int) -> Job:
    """Steps with the same input, and their gradient."""

    def job() -> None:
        x.grad = None
        state, total = None, x.new_zeros(())
        for _ in range(length):
            z, state = step(x, state)
            total = total + z.sum()
        total.backward()

    return job


def repeat(step: Step, x: Tensor) -> Job:
    """Many steps, one after another."""

    def job() -> None:
        state = None
        for _ in range(CALLS):
            _, state = step(x, state)

    return job


def _few_steps(bench: Bench) -> str:
    """Layers with few steps, B=1, N=128."""
    builders: Builders = {
        "geir LIF": lambda: OutputOnly(geir.LIF()),
        "Norse LIFCell in a loop": norse_cell_loop,
        "snnTorch Synaptic": snntorch_synaptic,
        "SpikingJelly LIFNode": lambda: SpikingJelly(spikingjelly_node()),
    }
    with one_thread():
        modules = {name: build().to(bench.device) for name, build in select_installed(builders).items()}
        one, many = (torch.rand(steps, 1, 128, device=bench.device) for steps in (1, 16))
        with torch.no_grad():
            first = bench.time_jobs({name: _many_times(module, one) for name, module in modules.items()})
        many.requires_grad_()
        grad = torch.ones_like(many)
        both = bench.time_jobs(
            {name: _repeated(forward_backward_job(module, many, grad)) for name, module in modules.items()}
        )
    per_call = 1e3 / CALLS
    rows = [[name, per_call * first[name], per_call * both[name], both[name] / both["geir LIF"]] for name in modules]
    header = ["B=1, N=128", "T=1, µs", "T=16, forward + backward, µs", "ratio to geir"]
    return format_table(header, rows)


def _many_times(module: nn.Module, xs: Tensor) -> Job:
    return _repeated(lambda: module(xs))


def _repeated(job: Job, calls: int = CALLS) -> Job:
    def jobs() -> None:
        for _ in range(calls):
            job()

    return jobs


def geir_stream() -> Step:
    """The network of the task, of cells."""
    return geir.SequentialState(*build_layers(geir.LIFCell, geir.LICell()))


def relu_stream() -> Step:
    """The same with ReLU in place of the neurons."""
    network = nn.Sequential(*build_layers(nn.ReLU, nn.Identity()))
    return lambda x, state: (network(x), state)


def norse_stream() -> Step:
    """As in Norse's documentation: its cells in its container."""
    import norse.torch

    return norse.torch.SequentialState(*build_layers(norse.torch.LIFCell, norse.torch.LICell()))


def snntorch_stream() -> Step:
    """As in snnTorch's documentation: cells that keep their state."""
    import snntorch

    readout = snntorch.Synaptic(alpha=ALPHA, beta=BETA, reset_mechanism="none", init_hidden=True, output=True)
    cells = lambda: snntorch.Synaptic(**snntorch_settings(), init_hidden=True)  # noqa: E731
    network = nn.Sequential(*build_layers(cells, readout))
    return lambda x, state: (network(x), state)


STREAMS: dict[str, Callable[[], Step]] = {
    "geir": geir_stream,
    "ReLU in place of the neurons": relu_stream,
    "Norse": norse_stream,
    "snnTorch": snntorch_stream,
}


def streaming(bench: Bench) -> str:
    """A convolutional network, one step at a time."""
    x = make_images(bench.device)[:1]
    names = [name for name in STREAMS if name.startswith("ReLU") or name in select_installed(STREAMS)]
    steps = {name: STREAMS[name]() for name in names}
    with one_thread(), torch.no_grad():
        latencies = stream_latencies(steps, x, turn=TURN)
        interrupted = stream_latencies(steps, x, turn=1)
    relu = "ReLU in place of the neurons"
    reference, reference_interrupted = statistics.median(latencies[relu]), statistics.median(interrupted[relu])
    rows = []
    for name, values in latencies.items():
        ordered = sorted(values)
        median, tail = statistics.median(ordered), ordered[int(0.99 * len(ordered))]
        cold = statistics.median(interrupted[name])
        ratios = median / reference, cold / reference_interrupted
        rows.append([name, median, tail, ordered[-1], tail / median, ratios[0], cold, ratios[1]])
    header = ["", "median, µs", "99th percentile, µs", "maximum, µs", "99th / median", "ratio to ReLU"]
    header += ["median after a step of another, µs", "ratio to ReLU"]
    return (
        f"The network of `geir.tasks.mnist`, batch 1, one thread, without gradients, {STEPS:,} steps of each. The "
        f"contestants take turns of {TURN} steps in random order, and in the last two columns of one step, which finds "
        "the caches full of what the others needed. Of geir and Norse cells, with the state passed from step to step."
        "\n\n" + format_table(header, rows)
    )


def stream_latencies(steps: dict[str, Step], x: Tensor, turn: int) -> dict[str, list[float]]:
    """Microseconds of every step of each model; they take turns of some steps in random order."""
    states: dict[str, Any] = dict.fromkeys(steps)
    latencies: dict[str, list[float]] = {name: [] for name in steps}
    order = list(steps)
    for _ in range((WARM_UP + STEPS) // turn):
        random.shuffle(order)
        for name in order:
            step = steps[name]
            for _ in range(turn):
                start = time.perf_counter()
                _, states[name] = step(x, states[name])
                latencies[name].append(1e6 * (time.perf_counter() - start))
    return {name: values[WARM_UP:] for name, values in latencies.items()}


def deep_networks(bench: Bench) -> str:
    """A deep network of small layers."""

    def build(neuron: Callable[[], nn.Module]) -> nn.Sequential:
        torch.manual_seed(0)
        layers = nn.Sequential()
        for _ in range(DEPTH):
            linear = nn.Linear(WIDTH, WIDTH)
            nn.init.normal_(linear.weight, std=8 * WIDTH**-0.5)
            layers += nn.Sequential(linear, neuron())
        return layers

    builders: dict[str, Callable[[], nn.Module]] = {
        "geir": lambda: build(lambda: OutputOnly(geir.LIF())),
        "ReLU in place of the neurons": lambda: build(nn.ReLU),
        "SpikingJelly": lambda: SpikingJelly(build(spikingjelly_node)),
        "snnTorch": lambda: build(snntorch_synaptic),
        "Norse": lambda: build(norse_cell_loop),
    }
    modules = {
        name: build().to(bench.device)
        for name, build in builders.items()
        if name.startswith("ReLU") or name in select_installed(builders)
    }
    xs = torch.rand(16, 16, WIDTH, device=bench.device)
    grad = torch.ones_like(xs)
    with one_thread(), subnormals_flushed():
        times = bench.time_jobs({name: forward_backward_job(module, xs, grad) for name, module in modules.items()})
    relu = times["ReLU in place of the neurons"]
    rows = [[name, times[name], times[name] / relu, times[name] / times["geir"]] for name in times]
    return (
        f"{DEPTH} fully connected layers of {WIDTH} neurons, T=16, B=16, forward + backward, one thread. The gradients "
        "of the first layers are so small that some processors compute with them ten times as slowly; therefore all "
        "contestants run with `torch.set_flush_denormal(True)`.\n\n"
        + format_table(["", "ms", "ratio to ReLU", "ratio to geir"], rows)
    )
