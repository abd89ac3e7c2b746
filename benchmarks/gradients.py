"""Ways to the gradient of one recurrent network: how exact, how much memory, how much time."""

import torch
from torch import Tensor

import geir
from geir.learning import EProp, Online, OnlineRule, OSTL, OTTT, SLTT

from .online import build_network, Forward, make_inputs, online_bytes, OUTPUTS, run_all, saved_bytes
from .report import format_table
from .timing import Bench, Job

# Exactness is measured on a small network in float64, time and memory on a larger one.
SMALL, SMALL_STEPS, SMALL_BATCH = 40, 200, 4
SIZE, BATCH, STEPS, LONG, CHUNK = 100, 16, 100, 1000, 20
# Of online learning, which takes the same time for every step.
FEW_STEPS = 10

FORWARD: dict[str, Forward] = {
    "backpropagation through time": run_all,
    f"`checkpoint`, {CHUNK} steps": lambda model, xs: geir.checkpoint(model, xs, steps=CHUNK)[0],
    "`Online.sequence`, `EProp`": lambda model, xs: Online(model, EProp()).sequence(xs),
}
EXACT, TRUNCATED = "backpropagation through time", f"truncated, {CHUNK} steps"
RULES: dict[str, OnlineRule] = {f"`Online`, `{type(r).__name__}`": r for r in (OSTL(), EProp(), OTTT(), SLTT())}
METHODS = [*FORWARD, TRUNCATED, *RULES]


def add_gradient(name: str, model: geir.SequentialState, xs: Tensor, targets: Tensor) -> None:
    """Add the gradient of the squared error, summed over steps, to `.grad`."""
    if name in FORWARD:
        (FORWARD[name](model, xs) - targets).square().sum().backward()
        return
    state = None
    if name == TRUNCATED:
        for chunk, target in zip(xs.split(CHUNK), targets.split(CHUNK), strict=True):
            ys, state = model(chunk, geir.detach(state))
            (ys - target).square().sum().backward()
        return
    learner = Online(model, RULES[name])
    for x, target in zip(xs, targets, strict=True):
        y, state = learner(x, state)
        (y - target).square().sum().backward()


def make_targets(xs: Tensor) -> Tensor:
    """Make a random target for each output and step."""
    return torch.randn(*xs.shape[:2], OUTPUTS, dtype=xs.dtype, device=xs.device)


def gradient(name: str, device: torch.device) -> Tensor:
    """Gradient of the input weights and recurrent weights of the small network."""
    model = build_network(SMALL, device, recurrent=True).double()
    xs = make_inputs(SMALL_STEPS, SMALL_BATCH, SMALL, device).double()
    add_gradient(name, model, 2 * xs, make_targets(xs))
    grads = [p.grad.flatten() for name, p in model.named_parameters() if name.startswith("0.") and p.grad is not None]
    return torch.cat(grads)


def timed_steps(name: str) -> int:
    """The number of steps of a timed run."""
    return STEPS if name not in RULES else 1 if RULES[name] == OSTL() else FEW_STEPS


def make_job(name: str, device: torch.device) -> Job:
    """A forward and a backward pass of the larger network."""
    model = build_network(SIZE, device, recurrent=True)
    xs = make_inputs(timed_steps(name), BATCH, SIZE, device)
    targets = make_targets(xs)

    def job() -> None:
        model.zero_grad()
        add_gradient(name, model, xs, targets)

    return job


def memory_of(name: str, steps: int, device: torch.device) -> float:
    """MiB that are kept between the passes, or between the steps of online learning, beside input and parameters."""
    model = build_network(SIZE, device, recurrent=True)
    xs = make_inputs(steps, BATCH, SIZE, device)
    if name in RULES:
        return online_bytes(model, RULES[name], xs[0], timed_steps(name)) / 2**20
    if name == TRUNCATED:
        name, xs = EXACT, xs[:CHUNK]
    return saved_bytes(model, xs, FORWARD[name]) / 2**20


def compared(bench: Bench) -> str:
    """Which gradient."""
    exact = gradient(EXACT, bench.device)
    times = bench.time_jobs({name: make_job(name, bench.device) for name in METHODS})
    share = {name: time / timed_steps(name) for name, time in times.items()}
    rows: list[list[object]] = []
    for name in METHODS:
        found = gradient(name, bench.device)
        cosine = float(torch.cosine_similarity(found, exact, 0))
        error = float((found - exact).norm() / exact.norm())
        memory = [memory_of(name, steps, bench.device) for steps in (STEPS, LONG)]
        rows.append([name, f"{cosine:.3f}", f"{error:.1g}", *memory, share[name] / share[EXACT]])
    header = ["", "cosine", "error", f"T={STEPS}, MiB", f"T={LONG:,}, MiB", "time of a step"]
    return (
        f"A recurrent layer of `LIF` and a leaky readout, a loss at every step. Cosine and relative error of the "
        f"gradient of the layer's weights: {SMALL} neurons, T={SMALL_STEPS}, float64, weights unchanged in between. "
        f"Memory kept between passes or steps, without the input, and time of forward and backward relative to "
        f"backpropagation: {SIZE} neurons and inputs, B={BATCH}. Online learning was measured over a few steps, of "
        f"which each is like the others.\n\n{format_table(header, rows)}"
    )
