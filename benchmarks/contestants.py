"""Who runs: names, and what makes their modules; the first word of a name is the library that must be installed."""

import importlib.util
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

import geir

from .peers import (
    ALPHA,
    Output,
    SpikingJelly,
    norse_cell,
    norse_lif,
    sinabs_lif,
    snntorch_synaptic,
    spikingjelly_flex,
    spikingjelly_node,
)


class QIFState(NamedTuple):
    """State of a QIF neuron."""

    v: Tensor  # membrane potential


class QIF(geir.Neuron[QIFState]):
    """A user's neuron, as in the README."""

    tau: geir.Parameter = geir.parameter(default=20e-3, unit="s", above=0.0)

    def rest(self) -> QIFState:
        return QIFState(v=torch.zeros(()))

    def step(self, x: Tensor, state: QIFState) -> tuple[Tensor, QIFState]:
        v = state.v + self.dt / self.tau * (state.v**2 + x)
        z = self.surrogate(v - 1)
        return z, QIFState(v=v * (1 - z))


Makers = dict[str, Callable[[], nn.Module]]

GEIR, BOX, LOOP, COMPILED = "geir LIF", "geir LIFBox", "geir LIF, reference loop", "torch.compile of the reference loop"

LIFS: Makers = {
    GEIR: lambda: Output(geir.LIF()),
    LOOP: lambda: Output(geir.LIF(unroll=geir.reference)),
    BOX: lambda: Output(geir.LIFBox(v_th=1 - ALPHA)),
    "SpikingJelly LIFNode": lambda: SpikingJelly(spikingjelly_node()),
    "SpikingJelly FlexSN": spikingjelly_flex,
    "snnTorch Synaptic": snntorch_synaptic,
    "Norse LIF": norse_lif,
    "Norse LIFCell in a loop": norse_cell,
    "sinabs LIF": sinabs_lif,
}

# Their backward pass is quadratic in T, for they read `xs[t]`.
QUADRATIC = ("SpikingJelly FlexSN", "Norse LIF", "sinabs LIF")

MODELS: Makers = {
    GEIR: LIFS[GEIR],
    "geir LI": lambda: Output(geir.LI()),
    "geir ALIF": lambda: Output(geir.ALIF()),
    "geir Refractory(LIF)": lambda: Output(geir.Refractory(geir.LIF())),
    "geir AdEx": lambda: Output(geir.AdEx()),
    "user's QIF": lambda: Output(QIF()),
}


def installed(makers: Makers) -> Makers:
    """Those whose library, the first word of their name, is there."""
    libraries = {name: name.split()[0].strip(",").lower() for name in makers}
    return {
        name: make
        for name, make in makers.items()
        if libraries[name] == "user's" or importlib.util.find_spec(libraries[name])
    }


def iterates_over_time(run: nn.Module, xs: Tensor, at: int) -> bool:
    """Whether a change of the input at one time changes the output from then on, and never before; tried at several strengths of input."""
    seen = False
    for gain in (0.02, 0.2, 1.0, 10.0):
        changed = gain * xs
        changed[at] += 50
        before, after = run(gain * xs).detach(), run(changed).detach()
        if not torch.equal(before[:at], after[:at]):
            return False
        seen = seen or not torch.equal(before[at + 1 :], after[at + 1 :])
    return seen


def made(makers: Makers, shape: tuple[int, ...], device: torch.device) -> dict[str, nn.Module]:
    """The installed ones, each of which must really iterate over time.

    Raises:
        RuntimeError: If one does not.
    """
    found = {name: make().to(device) for name, make in installed(makers).items()}
    for name, run in found.items():
        if not iterates_over_time(run, torch.rand(shape, device=device), shape[0] // 2):
            raise RuntimeError(f"{name} does not iterate over time: what it does is not comparable.")
    return found
