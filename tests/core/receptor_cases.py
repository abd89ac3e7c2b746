"""Neurons with several receptors, of every kind: equations solved exactly and not, a step, wrappers."""

from typing import NamedTuple

import torch
from torch import Tensor

import geir
from geir.neurons import ReceptorLIF
from geir.synapses import ConductanceSynapse


class SomaInput(NamedTuple):
    soma: Tensor
    dendrite: Tensor


class TwoCompartmentState(NamedTuple):
    v: Tensor
    dendrite: Tensor


class TwoCompartment(geir.IntegrateAndFire[TwoCompartmentState], affine=True):
    """An affine model: soma and dendrite, each with an input current."""

    input_types = (SomaInput,)
    tau_mem: geir.Parameter = geir.parameter(default=20e-3, unit="s", above=0.0)
    coupling: geir.Parameter = geir.parameter(default=0.7)
    v_th: geir.Parameter = geir.parameter(default=1.0)
    v_reset: geir.Parameter = geir.parameter(default=0.0)

    def rest(self):
        return TwoCompartmentState(torch.zeros(()), torch.zeros(()))

    def derivative(self, x, state):
        v, dendrite = state
        return TwoCompartmentState(
            (-v + self.coupling * (dendrite - v) + x.soma + 0.1) / self.tau_mem,
            (-dendrite + self.coupling * (v - dendrite) + 2 * x.dendrite) / self.tau_mem,
        )

    def threshold(self, before, after):
        return after.v - self.v_th


class GateInput(NamedTuple):
    current: Tensor
    gate: Tensor


class GatedState(NamedTuple):
    v: Tensor


class Gated(geir.Neuron[GatedState]):
    """A model without equations: one input multiplies the other."""

    input_types = (GateInput,)
    decay: geir.Parameter = geir.parameter(default=0.9)

    def rest(self):
        return GatedState(torch.zeros(()))

    def step(self, x, state):
        v = self.decay * state.v + x.current * torch.sigmoid(x.gate)
        z = self.surrogate(v - 1)
        return z, GatedState(v * (1 - z))


CASES = [
    (Gated(), GateInput),
    (TwoCompartment(), SomaInput),
    (TwoCompartment(integrator=geir.ExponentialEuler()), SomaInput),
    (geir.CobaLIF(), geir.ConductanceInput),
    (geir.Refractory(geir.CobaLIF()), geir.ConductanceInput),
    (ConductanceSynapse(geir.LIFBox()), geir.ConductanceInput),
    (ReceptorLIF(), geir.neurons.ReceptorInput),
]
