"""The models of all contract tests. A new model is one row."""

import inspect

import torch

import geir
from geir.surrogates import GradedSpike, MultiGaussian, MultiSpike, Sigmoid, TernarySpike, Triangle
from geir.synapses import (
    AlphaSynapse,
    ConductanceSynapse,
    DoubleExponentialSynapse,
    ExponentialSynapse,
    TsodyksMarkram,
)
from geir.wrappers import SigmoidalHazard

# Every neuron with its default settings.
NEURONS = [
    geir.LIF(),
    geir.LI(),
    geir.LIBox(),
    geir.LIFBox(),
    geir.IAF(),
    geir.ALIF(),
    geir.AdEx(),
    geir.LIFEx(),
    geir.Izhikevich(),
    geir.CobaLIF(),
    geir.LIFRefrac(period=3e-3),
    geir.AdExRefrac(),
    geir.LIFMC(4),
    geir.LIFMCRefrac(4),
    geir.neurons.EIF(),
    geir.neurons.QIF(),
    geir.neurons.HodgkinHuxley(),
    geir.neurons.ResonateAndFire(),
    geir.neurons.AlphaLIF(),
    geir.neurons.CubaLIF(),
    geir.neurons.GatedLIF(),
    geir.neurons.KLIF(),
    geir.neurons.ParametricLIF(),
    geir.Leaky(),
    geir.SynapticLeaky(),
]
# Other settings, wrappers and synapses.
VARIATIONS = [
    geir.LIF(tau_syn=10e-3, reset_mechanism=geir.ResetBySubtraction()),
    geir.LIF(integrator=geir.Euler(), reset_mechanism=geir.ResetBySubtraction(detach=False), surrogate=Triangle()),
    geir.ALIF(surrogate=MultiGaussian()),
    geir.AdEx(integrator=geir.RungeKutta4(), surrogate=Sigmoid()),
    geir.IAF(surrogate=MultiSpike(), reset_mechanism=geir.ResetBySubtraction()),
    geir.IAF(surrogate=MultiSpike(maximum=2), reset_mechanism=geir.ResetBySubtraction()),
    geir.LIF(surrogate=TernarySpike(), reset_mechanism=geir.ResetBySubtraction()),
    geir.IAF(surrogate=GradedSpike(), reset_mechanism=geir.ResetBySubtraction()),
    geir.Leaky(reset_delay=False, reset_mechanism=geir.ResetToValue()),
    geir.Refractory(geir.ALIF(), period=2e-3),
    geir.Noisy(geir.LIF(), seed=1),
    geir.Stochastic(geir.ALIF(), hazard=SigmoidalHazard(), seed=1),
    geir.Refractory(geir.Noisy(geir.Stochastic(geir.LIF(), seed=1), seed=1)),
    geir.Compartments(geir.AdEx(), 4),
    geir.BeforeReset(geir.ALIF()),
    ExponentialSynapse(),
    AlphaSynapse(),
    DoubleExponentialSynapse(),
    DoubleExponentialSynapse(tau_rise=3e-3, tau_decay=3e-3, normalized=False),
    ConductanceSynapse(geir.LIFBox()),
    TsodyksMarkram(),
]
MODELS = NEURONS + VARIATIONS


def learnable_recipe(model):
    """A function that builds a model with the settings of this one, all of its parameters learnable."""
    kind, arguments, parts = type(model), {}, {}
    for name in inspect.signature(kind).parameters:
        if name == "neuron":
            parts[name] = learnable_recipe(model.neuron)
        elif name == "coupling":
            arguments[name] = None
        else:
            value = getattr(model, name)
            arguments[name] = geir.learnable(value.item()) if isinstance(value, torch.Tensor) else value

    def build():
        return kind(**arguments, **{name: recipe() for name, recipe in parts.items()})

    return build
