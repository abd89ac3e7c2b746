"""A recurrent layer compared with the matrix products that it consists of."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn, Tensor

import geir
from geir._runtime import sparse
from geir._runtime.kernels import active

from .contestants import build_installed, Builders
from .peers import (
    NorseLoop,
    OutputOnly,
    Sinabs,
    sinabs_settings,
    SnnTorch,
    snntorch_settings,
    SpikingJelly,
    spikingjelly_node,
)
from .report import format_number, format_table
from .timing import Bench, forward_backward_job, Job

STEPS, BATCH, SIZE = 100, 64, 512
INPUT_RATE = 0.05  # fraction of the inputs that spike in a step


def make_weights(size: int = SIZE) -> tuple[nn.Parameter, nn.Parameter]:
    """Make the input and recurrent weights, the same for all contestants.

    The input weights are strong enough for some of the neurons to spike; the recurrent weights have no autapses.
    """
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(size, size, generator=generator) * (2 / size) ** 0.5
    recurrent = torch.randn(size, size, generator=generator) * (2 / size) ** 0.5
    return nn.Parameter(6 * inputs), nn.Parameter(recurrent.fill_diagonal_(0))


def make_linear(weight: nn.Parameter) -> nn.Linear:
    """Make a linear layer without bias."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    linear.weight = weight
    return linear


def geir_layer(size: int, **settings: Any) -> nn.Module:
    """geir's layer: one input product for all steps."""
    inputs, recurrent = make_weights(size)
    return OutputOnly(geir.LIFRecurrent(size, size, input_weights=inputs, recurrent_weights=recurrent, **settings))


def norse_layer(size: int) -> nn.Module:
    """Norse's layer: an input product in each step."""
    import norse.torch

    inputs, recurrent = make_weights(size)
    return OutputOnly(norse.torch.LIFRecurrent(size, size, input_weights=inputs, recurrent_weights=recurrent))


def norse_cell_loop(size: int) -> nn.Module:
    """Norse's cell in a loop, without the quadratic backward pass of its layer."""
    import norse.torch

    inputs, recurrent = make_weights(size)
    return NorseLoop(norse.torch.LIFRecurrentCell(size, size, input_weights=inputs, recurrent_weights=recurrent))


def snntorch_layer(size: int) -> nn.Module:
    """snnTorch's cell in a loop, after one input product for all steps."""
    import snntorch

    inputs, recurrent = make_weights(size)
    cell = snntorch.RSynaptic(**snntorch_settings(), linear_features=size)
    cell.recurrent = make_linear(recurrent)
    return nn.Sequential(make_linear(inputs), SnnTorch(cell))


def spikingjelly_layer(size: int) -> nn.Module:
    """SpikingJelly's container, which multiplies input and feedback as one matrix in each step."""
    from spikingjelly.activation_based import layer

    container = layer.LinearRecurrentContainer(spikingjelly_node(step_mode="s"), size, size, bias=False, step_mode="m")
    container.rc.weight = nn.Parameter(torch.cat(make_weights(size), 1))
    return SpikingJelly(container)


def sinabs_layer(size: int) -> nn.Module:
    """sinabs' layer, after one input product for all steps."""
    from sinabs.layers import LIFRecurrent

    inputs, recurrent = make_weights(size)
    return Sinabs(make_linear(inputs), LIFRecurrent(rec_connect=make_linear(recurrent), **sinabs_settings()))


GEIR = "geir LIFRecurrent"
GEIR_COMPACT = f"{GEIR}, SparseFastSigmoid"
# The same two, with dense products.
DENSE = {GEIR: f"{GEIR}, multiplied densely", GEIR_COMPACT: f"{GEIR_COMPACT}, multiplied densely"}


def builders(size: int) -> Builders:
    """Functions that build the contestants, by name."""
    return {
        GEIR: lambda: geir_layer(size),
        GEIR_COMPACT: lambda: geir_layer(size, surrogate=geir.surrogates.SparseFastSigmoid()),
        f"{GEIR}, reference loop": lambda: geir_layer(size, unroll=geir.reference),
        "Norse LIFRecurrent": lambda: norse_layer(size),
        "Norse LIFRecurrentCell in a loop": lambda: norse_cell_loop(size),
        "snnTorch RSynaptic": lambda: snntorch_layer(size),
        "SpikingJelly LinearRecurrentContainer": lambda: spikingjelly_layer(size),
        "sinabs LIFRecurrent": lambda: sinabs_layer(size),
    }


# Names of the dense matrix products, and of the two sums to which the layers are compared. A layer that exploits sparse
# spikes does not need the forward recurrent products.
FORWARD_RECURRENT = f"{STEPS} forward recurrent products"
RECURRENT_GRADIENT = "gradient of the recurrent weights"
NEEDED = f"*needed*: input, {STEPS} backward, 2 gradients"
ALL = f"*all*: these and {STEPS} forward recurrent"


def matrix_products(xs: Tensor, grad_out: Tensor, zs: Tensor) -> dict[str, Job]:
    """The matrix products of a recurrent layer, all dense."""
    flat_xs, flat_grad, flat_zs = (tensor.flatten(0, 1) for tensor in (xs, grad_out, zs))
    weight = make_weights()[0].detach().to(xs.device)
    weight_grad = xs.new_empty(SIZE, SIZE)
    input_product = torch.empty_like(flat_grad)
    recurrent_product = torch.empty_like(grad_out[0])

    def multiply_each_step(factors: Tensor, matrix: Tensor) -> None:
        for factor in factors:
            torch.mm(factor, matrix, out=recurrent_product)

    needed: dict[str, Job] = {
        "input product": lambda: torch.mm(flat_xs, weight.t(), out=input_product),
        f"{STEPS} backward recurrent products": lambda: multiply_each_step(grad_out, weight),
        "gradient of the input weights": lambda: torch.mm(flat_grad.t(), flat_xs, out=weight_grad),
        RECURRENT_GRADIENT: lambda: torch.mm(flat_grad.t(), flat_zs, out=weight_grad),
    }

    def forward_recurrent() -> None:
        multiply_each_step(zs, weight.t())

    def run_needed() -> None:
        for job in needed.values():
            job()

    def run_all() -> None:
        run_needed()
        forward_recurrent()

    return needed | {FORWARD_RECURRENT: forward_recurrent, NEEDED: run_needed, ALL: run_all}


@contextmanager
def sparse_products_below(share: float) -> Iterator[None]:
    """Make geir exploit sparse spikes and gradients up to this share, and multiply densely above."""
    gate = sparse._gate
    previous = gate.MAX_DENSITY, gate.MAX_DENSITY_CONV2D, active.MAX_ACTIVE
    gate.MAX_DENSITY, gate.MAX_DENSITY_CONV2D, active.MAX_ACTIVE = share, share, share
    try:
        yield
    finally:
        gate.MAX_DENSITY, gate.MAX_DENSITY_CONV2D, active.MAX_ACTIVE = previous


def densely(job: Job) -> Job:
    """The job with dense products."""

    def run() -> None:
        with sparse_products_below(-1.0):
            job()

    return run


def active_share(job: Job) -> float:
    """The share of neurons whose output needs a gradient in a forward and backward pass; 1 if too many do."""
    find, shares = active.ActiveOutputs.find, list[float]()

    def measure(self: active.ActiveOutputs, xs: Tensor, states: Tensor) -> Tensor | None:
        found = find(self, xs, states)
        shares.extend([1.0] * len(xs) if found is None else found.flatten(1).float().mean(1).tolist())
        return found

    active.ActiveOutputs.find = measure
    try:
        job()
    finally:
        active.ActiveOutputs.find = find
    return sum(shares) / len(shares)


def against_matrix_products(bench: Bench) -> str:
    """A recurrent layer compared with its matrix products."""
    torch.manual_seed(0)
    xs = (torch.rand(STEPS, BATCH, SIZE, device=bench.device) < INPUT_RATE).float()
    grad_out = torch.randn(STEPS, BATCH, SIZE, device=bench.device)
    # Small layers show that they iterate over time, which would take long with the large ones.
    names = build_installed(builders(5), (12, 2, 5), bench.device)
    build = builders(SIZE)
    modules = {name: build[name]().to(bench.device) for name in names}
    zs = {name: module(xs).detach() for name, module in modules.items()}
    products = matrix_products(xs, grad_out, zs[GEIR])
    layer_jobs = {name: forward_backward_job(module, xs, grad_out) for name, module in modules.items()}
    if bench.device.type == "cpu":
        layer_jobs |= {dense: densely(layer_jobs[name]) for name, dense in DENSE.items()}
    times = bench.time_jobs(products | layer_jobs)

    def row(name: str) -> list[object]:
        return [name, times[name], times[name] / times[NEEDED], times[name] / times[ALL]]

    ratios = ["ms", "ratio to needed", "ratio to all"]
    product_table = format_table(["dense products", *ratios], map(row, products))
    layer_table = format_table(
        ["forward + backward", *ratios, "spikes"],
        [
            [*row(name), zs[name.removesuffix(", multiplied densely")].mean().item()]
            for name in sorted(layer_jobs, key=times.__getitem__)
        ],
    )
    notes = f"Of the neurons of {GEIR}, {100 * zs[GEIR].mean().item():.1f} % spike in a step."
    if DENSE[GEIR] in times:
        notes += (
            " When few neurons spike, the layer gathers the weights of those that do. This replaces the forward "
            "recurrent products and the gradient of the recurrent weights, which take "
            f"{times[FORWARD_RECURRENT]:.1f} + {times[RECURRENT_GRADIENT]:.1f} ms when they are dense. "
            f"With dense products, the layer takes {format_number(times[DENSE[GEIR]])} instead of "
            f"{format_number(times[GEIR])} ms.\n\nA surrogate derivative with compact support, such as "
            "SparseFastSigmoid, is exactly zero for most neurons, whose gradients are left out of the backward "
            f"recurrent products. {100 * active_share(layer_jobs[GEIR_COMPACT]):.1f} % of the neurons are active in a "
            f"step. This takes {format_number(times[GEIR_COMPACT])} ms instead of the {format_number(times[GEIR])} ms "
            "with SuperSpike, whose derivative is nowhere zero."
        )
    title = f"{SIZE} to {SIZE}, T={STEPS}, B={BATCH}, {100 * INPUT_RATE:.0f} % of the inputs spike."
    return f"{title}\n\n{product_table}\n\n{layer_table}\n\n{notes}"
