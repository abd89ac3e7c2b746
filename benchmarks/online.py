"""Online learning beside backpropagation through time: time per step, and memory."""

import gc
from collections.abc import Callable

import torch
from torch import nn, Tensor

import geir
from geir.learning import EProp, Online, OnlineRule, OSTL, OTTT, SLTT

from .report import format_table
from .timing import Bench, Job

OUTPUTS, INPUT_RATE = 10, 0.05
SIZES, BATCHES, STEPS = (100, 256, 1024), (1, 16), 100
# Timed runs have few steps: a step takes the same time at every time.
TIMED_STEPS = 10
# The output of a network, of which the gradient is taken.
Forward = Callable[[geir.SequentialState, Tensor], Tensor]
RULES: tuple[OnlineRule, ...] = (EProp(), OTTT(), SLTT())
SHORT, LONG, MEMORY_SIZE = 100, 10_000, 100


def build_network(size: int, device: torch.device, recurrent: bool = False) -> geir.SequentialState:
    """Build a network of one layer of LIF neurons with as many inputs, and a leaky readout."""
    torch.manual_seed(0)
    layer = [geir.LIFRecurrent(size, size)] if recurrent else [geir.Lift(nn.Linear(size, size)), geir.LIF()]
    return geir.SequentialState(*layer, geir.Lift(nn.Linear(size, OUTPUTS)), geir.LI()).to(device)


def make_inputs(steps: int, batch: int, size: int, device: torch.device) -> Tensor:
    """Make random spikes."""
    return (torch.rand(steps, batch, size, device=device) < INPUT_RATE).float()


def online_job(model: geir.SequentialState, rule: OnlineRule, xs: Tensor) -> Job:
    """Steps that each do a forward and a backward pass."""
    learner, memory = Online(model, rule), [None]

    def job() -> None:
        state = memory[0]
        for x in xs:
            y, state = learner(x, state)
            y.sum().backward()
        memory[0] = state

    return job


def backpropagation_job(model: geir.SequentialState, xs: Tensor) -> Job:
    """One forward and one backward pass over all steps."""

    def job() -> None:
        ys, _ = model(xs)
        ys.sum().backward()

    return job


def time_per_step(bench: Bench) -> str:
    """Milliseconds of a step, and the ratio to a step's share of backpropagation."""
    rows: list[list[object]] = []
    for batch in BATCHES:
        for size in SIZES:
            model = build_network(size, bench.device)
            xs = make_inputs(STEPS, batch, size, bench.device)
            jobs = {"backpropagation": backpropagation_job(model, xs)}
            jobs |= {repr(rule): online_job(model, rule, xs[:TIMED_STEPS]) for rule in RULES}
            times = bench.time_jobs(jobs)
            share = times.pop("backpropagation") / STEPS
            per_step = {name: time / TIMED_STEPS for name, time in times.items()}
            columns = [value for time in per_step.values() for value in (time, time / share)]
            rows.append([size, batch, share, *columns])
    header = ["neurons", "batch", "backpropagation, ms", *[t for r in RULES for t in (f"{r}, ms", "ratio")]]
    return format_table(header, rows)


def run_all(model: geir.SequentialState, xs: Tensor) -> Tensor:
    """The output of all steps."""
    return model(xs)[0]


def saved_bytes(model: geir.SequentialState, xs: Tensor, forward: Forward = run_all) -> int:
    """Bytes that a forward pass keeps for the backward pass, without parameters, input and output."""
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    before = living_storages()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = forward(model, xs)
    # What autograd functions keep by themselves.
    new = {pointer: count for pointer, count in living_storages().items() if pointer not in before}
    new.pop(output.untyped_storage().data_ptr(), None)
    own = {p.untyped_storage().data_ptr() for p in (*model.parameters(), xs)}
    return sum(count for pointer, count in (storages | new).items() if pointer not in own)


def living_storages() -> dict[int, int]:
    """Bytes of the storages of all tensors that live, by address."""
    gc.collect()
    tensors = [thing for thing in gc.get_objects() if type(thing) in (Tensor, nn.Parameter)]
    return {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}


def online_bytes(model: geir.SequentialState, rule: OnlineRule, x: Tensor, steps: int) -> int:
    """Bytes that online learning keeps between steps with the same input: state and traces."""
    learner, state = Online(model, rule), None
    y, state = learner(x, state)
    y.sum().backward()
    del y, state
    before, state = sum(living_storages().values()), None
    for _ in range(steps):
        y, state = learner(x, state)
        y.sum().backward()
    return sum(living_storages().values()) - before


def memory(bench: Bench) -> str:
    """Memory that is kept between steps, for a short and a long run."""
    rows: list[list[object]] = []
    for recurrent in (False, True):
        model = build_network(MEMORY_SIZE, bench.device, recurrent)
        kind = "recurrent" if recurrent else "feedforward"
        inputs = [make_inputs(t, 1, MEMORY_SIZE, bench.device) for t in (SHORT, LONG)]
        kept = [saved_bytes(model, xs) / 2**20 for xs in inputs]
        rows.append(["backpropagation through time", kind, *kept])
        for rule in (EProp(), *([OSTL()] if recurrent else [OTTT()])):
            # OSTL of a recurrent layer takes long: its steps are not compared at two lengths.
            lengths = (SHORT, LONG) if rule != OSTL() else (SHORT,)
            used = [online_bytes(model, rule, inputs[0][0], steps) / 2**20 for steps in lengths]
            rows.append([repr(rule), kind, *used, *["–"] * (2 - len(used))])
    return format_table(["", "network", f"T={SHORT:,}, MiB", f"T={LONG:,}, MiB"], rows)


def against_backpropagation(bench: Bench) -> str:
    """Online learning compared with backpropagation through time."""
    return (
        f"A layer of LIF with as many inputs, of which {100 * INPUT_RATE:.0f} % spike in a step, and a leaky readout "
        f"of {OUTPUTS}. Online: a forward and a backward pass at every step. Backpropagation: one pass over T={STEPS} "
        "steps through the fused kernels; its share is the time divided by T.\n\n"
        f"{time_per_step(bench)}\n\n"
        f"Memory kept between steps or passes, {MEMORY_SIZE} neurons, one sample, without the input:\n\n"
        f"{memory(bench)}"
    )
