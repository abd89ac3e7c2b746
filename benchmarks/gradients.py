"""Ways to the gradient of one recurrent network: how exact, how much memory, how much time."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

import geir
from geir.learning import EProp, Online, OnlineRule, OSTL, OTTT, SLTT

from .online import build_network, make_inputs, OUTPUTS
from .report import format_table
from .timing import Bench, Job

# Exactness is measured on a small network in float64, time and memory on a larger one.
SMALL, SMALL_STEPS, SMALL_BATCH = 40, 200, 4
SIZE, BATCH, STEPS, LONG, CHUNK = 100, 16, 100, 1000, 20
# Online learning takes the same time for every step. The traces of OSTL are N^3 for a recurrent layer.
TIMED_STEPS = {OSTL(): 1}
FEW_STEPS = 10

# Adds the gradient of the loss over xs to `.grad`.
Backward = Callable[[geir.SequentialState, Tensor, Tensor], None]


class Method(NamedTuple):
    """A way to the gradient."""

    backward: Backward
    rule: OnlineRule | None = None  # of online learning


def loss_of(ys: Tensor, targets: Tensor) -> Tensor:
    """Squared error, summed over steps, so that a step has the same loss in every method."""
    return (ys - targets).square().sum()


def backpropagation(model: geir.SequentialState, xs: Tensor, targets: Tensor) -> None:
    """Backpropagation through time."""
    loss_of(model(xs)[0], targets).backward()


def checkpointed(model: geir.SequentialState, xs: Tensor, targets: Tensor) -> None:
    """The same in chunks that are run again."""
    loss_of(geir.checkpoint(model, xs, steps=CHUNK)[0], targets).backward()


def truncated(model: geir.SequentialState, xs: Tensor, targets: Tensor) -> None:
    """Backpropagation within chunks."""
    state = None
    for chunk, target in zip(xs.split(CHUNK), targets.split(CHUNK), strict=True):
        ys, state = model(chunk, geir.detach(state))
        loss_of(ys, target).backward()


def offline(model: geir.SequentialState, xs: Tensor, targets: Tensor) -> None:
    """E-prop over the whole sequence."""
    loss_of(Online(model, EProp()).sequence(xs), targets).backward()


def online(rule: OnlineRule) -> Method:
    """A rule of online learning."""

    def backward(model: geir.SequentialState, xs: Tensor, targets: Tensor) -> None:
        learner, state = Online(model, rule), None
        for x, target in zip(xs, targets, strict=True):
            y, state = learner(x, state)
            loss_of(y, target).backward()

    return Method(backward, rule)


METHODS: dict[str, Method] = {
    "backpropagation through time": Method(backpropagation),
    f"`checkpoint`, {CHUNK} steps": Method(checkpointed),
    f"truncated, {CHUNK} steps": Method(truncated),
    "`Online.sequence`, `EProp`": Method(offline),
    **{f"`Online`, `{type(rule).__name__}`": online(rule) for rule in (OSTL(), EProp(), OTTT(), SLTT())},
}


def make_targets(xs: Tensor) -> Tensor:
    """Make a random target for each output and step."""
    return torch.randn(*xs.shape[:2], OUTPUTS, dtype=xs.dtype, device=xs.device)


def gradient(name: str, device: torch.device) -> Tensor:
    """Gradient of the input weights and recurrent weights of the small network."""
    model = build_network(SMALL, device, recurrent=True).double()
    xs = 2 * make_inputs(SMALL_STEPS, SMALL_BATCH, SMALL, device).double()
    METHODS[name].backward(model, xs, make_targets(xs))
    grads = [p.grad.flatten() for name, p in model.named_parameters() if name.startswith("0.") and p.grad is not None]
    return torch.cat(grads)


def make_job(name: str, steps: int, device: torch.device) -> Job:
    """A forward and a backward pass of the larger network over a number of steps."""
    model = build_network(SIZE, device, recurrent=True)
    xs = make_inputs(steps, BATCH, SIZE, device)
    targets = make_targets(xs)

    def job() -> None:
        model.zero_grad()
        METHODS[name].backward(model, xs, targets)

    return job


def memory_of(bench: Bench, name: str) -> list[object]:
    """Peak memory in MiB for the two numbers of steps; of online learning for few steps, as it stays the same."""
    # Not at the top: that module runs this one's jobs in a new process.
    from .probes import MAP_EACH_TENSOR, run_probe

    rule = METHODS[name].rule
    if rule is not None:
        added = run_probe(bench, "gradient", name, str(TIMED_STEPS.get(rule, FEW_STEPS)), **MAP_EACH_TENSOR)["added"]
        return [added / 2**20] * 2
    return [run_probe(bench, "gradient", name, str(t), **MAP_EACH_TENSOR)["added"] / 2**20 for t in (STEPS, LONG)]


def compared(bench: Bench) -> str:
    """Which gradient."""
    exact = gradient("backpropagation through time", bench.device)
    jobs, steps = {}, {}
    for name, method in METHODS.items():
        steps[name] = STEPS if method.rule is None else TIMED_STEPS.get(method.rule, FEW_STEPS)
        jobs[name] = make_job(name, steps[name], bench.device)
    times = bench.time_jobs(jobs)
    share = {name: time / steps[name] for name, time in times.items()}
    rows: list[list[object]] = []
    for name in METHODS:
        found = gradient(name, bench.device)
        cosine = float(torch.cosine_similarity(found, exact, 0))
        error = float((found - exact).norm() / exact.norm())
        ratio = share[name] / share["backpropagation through time"]
        rows.append([name, f"{cosine:.3f}", f"{error:.1g}", *memory_of(bench, name), ratio])
    header = ["", "cosine", "error", f"T={STEPS}, MiB", f"T={LONG:,}, MiB", "time of a step"]
    return (
        f"A recurrent layer of `LIF` and a leaky readout, a loss at every step. Cosine and relative error of the "
        f"gradient of the layer's weights: {SMALL} neurons, T={SMALL_STEPS}, float64, weights unchanged in between. "
        f"Memory (peak in addition to the input) and time: {SIZE} neurons and inputs, B={BATCH}; forward and backward, "
        "relative to backpropagation. Memory of online learning does not depend on T and was measured over a few "
        f"steps.\n\n{format_table(header, rows)}"
    )
