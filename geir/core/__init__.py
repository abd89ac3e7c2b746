"""The contract of a neuron: declared parameters, a resting state, a step, and how steps are made."""

from .integrators import (
    Euler as Euler,
    Exact as Exact,
    ExponentialEuler as ExponentialEuler,
    Integrator as Integrator,
    RungeKutta4 as RungeKutta4,
    RushLarsen as RushLarsen,
)
from .neuron import Dynamics as Dynamics, Neuron as Neuron
from .ode import ODE as ODE, IntegrateAndFire as IntegrateAndFire, ODENeuron as ODENeuron
from .parameters import Parameter as Parameter, learnable as learnable, parameter as parameter, setting as setting
from .resets import Reset as Reset, ResetBySubtraction as ResetBySubtraction, ResetToValue as ResetToValue
