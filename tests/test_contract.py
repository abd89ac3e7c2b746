"""What every neuron promises. A new model is one row."""

import pytest

import geir
from geir.testing import check_neuron

MODELS = [
    geir.LIF(),
    geir.LIF(tau_syn=10e-3, reset_mechanism=geir.ResetBySubtraction()),
    geir.LIF(integrator=geir.Euler(), surrogate=geir.surrogates.Triangle()),
    geir.LI(),
    geir.LIBox(),
    geir.LIFBox(),
    geir.IAF(),
    geir.ALIF(),
    geir.AdEx(),
    geir.AdEx(integrator=geir.RungeKutta4()),
    geir.LIFEx(),
    geir.EIF(),
    geir.QIF(),
    geir.Izhikevich(),
    geir.CobaLIF(),
    geir.HodgkinHuxley(),
    geir.ResonateAndFire(),
    geir.LIFRefrac(period=3e-3),
    geir.AdExRefrac(),
    geir.Refractory(geir.ALIF(), period=2e-3),
    geir.AlphaLIF(),
    geir.CubaLIF(),
    geir.GatedLIF(),
    geir.KLIF(),
    geir.ParametricLIF(),
    geir.IAF(surrogate=geir.surrogates.MultiSpike(), reset_mechanism=geir.ResetBySubtraction()),
    geir.wrappers.NoisyLIF(seed=1),
    geir.Stochastic(geir.ALIF(), hazard=geir.wrappers.SigmoidalHazard(), seed=1),
    geir.Refractory(geir.Noisy(geir.wrappers.StochasticLIF(seed=1), seed=1)),
    geir.LIFMC(4),
    geir.LIFMCRefrac(4),
    geir.Compartments(geir.AdEx(), 4),
    geir.synapses.ExponentialSynapse(),
    geir.synapses.AlphaSynapse(),
    geir.synapses.DoubleExponentialSynapse(),
    geir.synapses.DoubleExponentialSynapse(tau_rise=3e-3, tau_decay=3e-3, normalized=False),
    geir.synapses.ConductanceSynapse(geir.LIFBox()),
    geir.synapses.TsodyksMarkram(),
]


@pytest.mark.parametrize("neuron", MODELS, ids=repr)
def test_every_neuron_keeps_the_contract(neuron):
    check_neuron(neuron, compiled=True)
