"""A recurrent layer beside the matrix products that it needs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

import geir
from geir._runtime import sparse

from .contestants import Makers, made
from .peers import (
    NorseLoop,
    Output,
    Sinabs,
    SnnTorch,
    SpikingJelly,
    sinabs_settings,
    snntorch_settings,
    spikingjelly_node,
)
from .report import number, table
from .timing import Bench, Job, both_ways

STEPS, BATCH, SIZE, ACTIVITY = 100, 64, 512, 0.05


def weights(size: int = SIZE) -> tuple[nn.Parameter, nn.Parameter]:
    """The same for all: input weights, so strong that some of the neurons fire, and recurrent ones without autapses."""
    generator = torch.Generator().manual_seed(0)
    arriving, recurrent = (torch.randn(size, size, generator=generator) * (2 / size) ** 0.5 for _ in range(2))
    return nn.Parameter(6 * arriving), nn.Parameter(recurrent.fill_diagonal_(0))


def linear(matrix: nn.Parameter) -> nn.Linear:
    """A connection without bias."""
    made = nn.Linear(matrix.shape[1], matrix.shape[0], bias=False)
    made.weight = matrix
    return made


def of_geir(size: int, **settings: Any) -> nn.Module:
    """The input product of all steps at once."""
    arriving, recurrent = weights(size)
    return Output(geir.LIFRecurrent(size, size, input_weights=arriving, recurrent_weights=recurrent, **settings))


def norse(size: int) -> nn.Module:
    """The input product step by step."""
    import norse.torch

    arriving, recurrent = weights(size)
    return Output(norse.torch.LIFRecurrent(size, size, input_weights=arriving, recurrent_weights=recurrent))


def norse_loop(size: int) -> nn.Module:
    """The same without its quadratic backward pass."""
    import norse.torch

    arriving, recurrent = weights(size)
    return NorseLoop(norse.torch.LIFRecurrentCell(size, size, input_weights=arriving, recurrent_weights=recurrent))


def snntorch(size: int) -> nn.Module:
    """The input product of all steps at once."""
    import snntorch

    arriving, recurrent = weights(size)
    cell = snntorch.RSynaptic(**snntorch_settings(), linear_features=size)
    cell.recurrent = linear(recurrent)
    return nn.Sequential(linear(arriving), SnnTorch(cell))


def spikingjelly(size: int) -> nn.Module:
    """Its container multiplies input and feedback as one matrix, step by step."""
    from spikingjelly.activation_based import layer

    container = layer.LinearRecurrentContainer(spikingjelly_node(step_mode="s"), size, size, bias=False, step_mode="m")
    container.rc.weight = nn.Parameter(torch.cat(weights(size), 1))
    return SpikingJelly(container)


def sinabs(size: int) -> nn.Module:
    """The input product of all steps at once."""
    from sinabs.layers import LIFRecurrent

    arriving, recurrent = weights(size)
    return Sinabs(linear(arriving), LIFRecurrent(rec_connect=linear(recurrent), **sinabs_settings()))


GEIR = "geir LIFRecurrent"


def makers(size: int) -> Makers:
    """By name."""
    return {
        GEIR: lambda: of_geir(size),
        f"{GEIR}, reference loop": lambda: of_geir(size, unroll=geir.reference),
        "Norse LIFRecurrent": lambda: norse(size),
        "Norse LIFRecurrentCell in a loop": lambda: norse_loop(size),
        "snnTorch RSynaptic": lambda: snntorch(size),
        "SpikingJelly LinearRecurrentContainer": lambda: spikingjelly(size),
        "sinabs LIFRecurrent": lambda: sinabs(size),
    }


def products(xs: Tensor, dzs: Tensor, zs: Tensor) -> dict[str, Job]:
    """The matrix products of a recurrent layer, all dense."""
    flat, many, spikes = (t.flatten(0, 1) for t in (xs, dzs, zs))
    matrix, square, arriving, row = (
        weights()[0].detach().to(xs.device),
        xs.new_empty(SIZE, SIZE),
        torch.empty_like(many),
        torch.empty_like(dzs[0]),
    )

    def over_time(by: Tensor, through: Tensor) -> None:
        for d in by:
            torch.mm(d, through, out=row)

    parts: dict[str, Job] = {
        "input product": lambda: torch.mm(flat, matrix.t(), out=arriving),
        f"{STEPS} forward recurrent products": lambda: over_time(zs, matrix.t()),
        f"{STEPS} backward recurrent products": lambda: over_time(dzs, matrix),
        "gradient of the input weights": lambda: torch.mm(many.t(), flat, out=square),
        "gradient of the recurrent weights": lambda: torch.mm(many.t(), spikes, out=square),
    }
    first, forward, *rest = parts.values()

    def needed() -> None:
        for part in (first, *rest):
            part()

    def everything() -> None:
        needed()
        forward()

    return parts | {NEEDED: needed, EVERYTHING: everything}


NEEDED, EVERYTHING = f"*needed*: input, {STEPS} backward, 2 gradients", f"*all*: the same and {STEPS} forward recurrent"


@contextmanager
def gathering_below(share: float) -> Iterator[None]:
    """Within it geir goes by way of the spikes where this share of them or less is there, and multiplies densely above."""
    gate = sparse._gate
    kept, gate.MAX_DENSITY, gate.MAX_DENSITY_CONV2D = (gate.MAX_DENSITY, gate.MAX_DENSITY_CONV2D), share, share
    try:
        yield
    finally:
        gate.MAX_DENSITY, gate.MAX_DENSITY_CONV2D = kept


def section(bench: Bench) -> str:
    """A recurrent layer against its matrix products"""
    torch.manual_seed(0)
    xs = (torch.rand(STEPS, BATCH, SIZE, device=bench.device) < ACTIVITY).float()
    dzs = torch.randn(STEPS, BATCH, SIZE, device=bench.device)
    small, large = made(makers(5), (12, 2, 5), bench.device), makers(SIZE)
    runs = {name: large[name]().to(bench.device) for name in small}
    zs = {name: run(xs).detach() for name, run in runs.items()}
    dense = products(xs, dzs, zs[GEIR])
    jobs = dense | {name: both_ways(run, xs, dzs) for name, run in runs.items()}
    plain = jobs[GEIR]

    def densely() -> None:
        with gathering_below(-1.0):
            plain()

    off = f"{GEIR}, spikes multiplied densely"
    if bench.device.type == "cpu":
        jobs[off] = densely
    times = bench.medians(jobs)
    needed, everything = times[NEEDED], times[EVERYTHING]
    rows: list[list[object]] = [[name, times[name], times[name] / needed, times[name] / everything] for name in dense]
    text = table(["dense products", "ms", "times needed", "times all"], rows)
    order = sorted(jobs.keys() - dense.keys(), key=times.__getitem__)
    rows = [[n, times[n], times[n] / needed, times[n] / everything, zs.get(n, zs[GEIR]).mean().item()] for n in order]
    layers = table(["forward + backward", "ms", "times needed", "times all", "spikes"], rows)
    fired = f"Of {GEIR}'s neurons {100 * zs[GEIR].mean().item():.1f} % fire in a step."
    if off in times:
        forward, gradient = (
            times[name] for name in (f"{STEPS} forward recurrent products", "gradient of the recurrent weights")
        )
        fired += (
            " Where few fire, it gathers the weights of those that did, which replaces the forward recurrent products and the gradient of the "
            f"recurrent weights, dense {forward:.1f} + {gradient:.1f} ms. Made to multiply densely, "
            f"it takes {number(times[off])} instead of {number(times[GEIR])} ms."
        )
    return f"{SIZE} to {SIZE}, T={STEPS}, B={BATCH}, {100 * ACTIVITY:.0f} % of the inputs fire.\n\n{text}\n\n{layers}\n\n{fired}"
