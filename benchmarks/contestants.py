"""The contestants: functions that build their modules, by name.

The first word of a name is the library that it needs.
"""

import importlib.util
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn, Tensor

import geir

from .jax_peers import jax_lif, spyx_cubalif
from .peers import (
    ALPHA,
    norse_cell_loop,
    norse_lif,
    OutputOnly,
    sinabs_lif,
    snntorch_leaky,
    snntorch_synaptic,
    SpikingJelly,
    spikingjelly_flex,
    spikingjelly_node,
)


class QIFState(NamedTuple):
    """State of a QIF neuron."""

    v: Tensor  # membrane potential


class QIF(geir.Neuron[QIFState]):
    """A user-defined neuron, as in the README."""

    tau: geir.Parameter = geir.parameter(default=20e-3, unit="s", above=0.0)

    def rest(self) -> QIFState:
        return QIFState(v=torch.zeros(()))

    def step(self, x: Tensor, state: QIFState) -> tuple[Tensor, QIFState]:
        v = state.v + self.dt / self.tau * (state.v**2 + x)
        z = self.surrogate(v - 1)
        return z, QIFState(v=v * (1 - z))


Builders = dict[str, Callable[[], nn.Module]]

GEIR = "geir LIF"
BOX = "geir LIFBox"
LOOP = "geir LIF, reference loop"
COMPILED = "torch.compile of the reference loop"

LIFS: Builders = {
    GEIR: lambda: OutputOnly(geir.LIF()),
    LOOP: lambda: OutputOnly(geir.LIF(unroll=geir.reference)),
    BOX: lambda: OutputOnly(geir.LIFBox(v_th=1 - ALPHA)),
    "SpikingJelly LIFNode": lambda: SpikingJelly(spikingjelly_node()),
    "SpikingJelly FlexSN": spikingjelly_flex,
    "snnTorch Leaky": snntorch_leaky,
    "snnTorch Synaptic": snntorch_synaptic,
    "Norse LIF": norse_lif,
    "Norse LIFCell in a loop": norse_cell_loop,
    "sinabs LIF": sinabs_lif,
}

JAX = "JAX lax.scan, jit"
# JAX computes on the device that it was installed for, so only the CPU is always there.
CPU_ONLY: Builders = {JAX: jax_lif, "Spyx CuBaLIF, jit": spyx_cubalif}

# These index `xs[t]`, so the time of their backward pass is quadratic in T.
QUADRATIC = ("SpikingJelly FlexSN", "Norse LIF", "sinabs LIF")

LI = "geir LI"

MODELS: Builders = {
    GEIR: LIFS[GEIR],
    LI: lambda: OutputOnly(geir.LI()),
    "geir ALIF": lambda: OutputOnly(geir.ALIF()),
    "geir Refractory(LIF)": lambda: OutputOnly(geir.Refractory(geir.LIF())),
    "geir AdEx": lambda: OutputOnly(geir.AdEx()),
    "user's QIF": lambda: OutputOnly(QIF()),
}


def select_installed(builders: Builders) -> Builders:
    """Select the contestants whose library is installed."""

    def is_installed(name: str) -> bool:
        library = name.split()[0].strip(",").lower()
        return library == "user's" or importlib.util.find_spec(library) is not None

    return {name: build for name, build in builders.items() if is_installed(name)}


def iterates_over_time(module: nn.Module, xs: Tensor, step: int) -> bool:
    """Whether a change of the input at a step changes the output at later steps, and never at earlier ones.

    Several strengths of input are tried; the output must change with at least one of them.
    """
    changes_later = False
    for gain in (0.02, 0.2, 1.0, 10.0):
        changed = gain * xs
        changed[step] += 50
        before, after = module(gain * xs).detach(), module(changed).detach()
        if not torch.equal(before[:step], after[:step]):
            return False
        changes_later = changes_later or not torch.equal(before[step + 1 :], after[step + 1 :])
    return changes_later


def build_installed(builders: Builders, shape: tuple[int, ...], device: torch.device) -> dict[str, nn.Module]:
    """Build the installed contestants.

    Args:
        builders: Functions that build the contestants.
        shape: Shape of an input to try them with, (time, ...).
        device: Where to build them.

    Raises:
        RuntimeError: If one of them does not iterate over time.
    """
    modules = {name: build().to(device) for name, build in select_installed(builders).items()}
    for name, module in modules.items():
        if not iterates_over_time(module, torch.rand(shape, device=device), step=shape[0] // 2):
            raise RuntimeError(f"{name} does not iterate over time, so its timing cannot be compared.")
    return modules
