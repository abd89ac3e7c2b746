"""The learning rules that every test of the contract covers, and helpers to run them."""

import copy

import pytest
import torch

import geir
from geir.plasticity import InhibitorySTDP, NearestSpike, STDP, SumOfRules, SynapticScaling, TripletSTDP

DOUBLE = torch.float64
UNBOUNDED = {"w_min": -float("inf"), "w_max": float("inf")}

# Each spike-based rule, with parameters that differ from the defaults. All keep their weights far from the bounds.
RULES = {
    "additive": STDP(a_plus=0.01, a_minus=0.02, tau_plus=17e-3, tau_minus=34e-3, **UNBOUNDED),
    "multiplicative": STDP(a_plus=0.01, a_minus=0.02, dependence=geir.plasticity.Multiplicative()),
    "power law": STDP(a_plus=0.01, a_minus=0.02, dependence=geir.plasticity.PowerLaw(0.3, 0.7)),
    "nearest": STDP(a_plus=0.01, a_minus=0.02, tau_minus=34e-3, pairing=NearestSpike(), **UNBOUNDED),
    "triplet": TripletSTDP(a2_plus=1e-3, a3_minus=2e-3, **UNBOUNDED),
    "nearest triplet": TripletSTDP(a2_plus=1e-3, a3_minus=2e-3, pairing=NearestSpike(), **UNBOUNDED),
    "inhibitory": InhibitorySTDP(w_max=float("inf")),
    "scaling": SynapticScaling(tau=0.1),
    "sum": SumOfRules(STDP(**UNBOUNDED), SynapticScaling()),
    "correlation sensor": geir.plasticity.CorrelationSensor(tau_plus=10e-3, tau_minus=30e-3),
    "sensor": geir.plasticity.STDPSensor(tau_plus=10e-3, tau_minus=30e-3),
}
every_rule = pytest.mark.parametrize("name", RULES)


def spike_trains(steps=400, n=3, rate=0.05, seed=0):
    """Random spikes, shape (time, 1, n), float64; some coincide in different trains."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(steps, 1, n, generator=generator) < rate).double()


def run(rule, pres, posts, weight, connection=None, state=None):
    """Weight and state after all steps."""
    for pre, post in zip(pres, posts, strict=True):
        weight, state = rule(pre, post, weight, state, connection)
    return weight, state


def spike_times(train, dt=1e-3):
    return train.nonzero().flatten().numpy() * dt


def double(rule):
    return copy.deepcopy(rule).double()


def final_rates(layer, xs, steps):
    """Rate of each neuron in Hz, in the last steps of a run."""
    zs, _ = layer(xs)
    return zs[-steps:].mean((0, 1)) * 1e3
