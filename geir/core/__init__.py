"""The contract of a neuron: declared parameters, a resting state and a step, written or derived from equations."""

from .integrators import (
    Euler as Euler,
    Exact as Exact,
    ExponentialEuler as ExponentialEuler,
    Integrator as Integrator,
    RungeKutta4 as RungeKutta4,
    RushLarsen as RushLarsen,
)
from .neuron import Dynamics as Dynamics, Neuron as Neuron
from .ode import IntegrateAndFire as IntegrateAndFire, ODE as ODE, ODENeuron as ODENeuron
from .parameters import (
    Declared as Declared,
    learnable as learnable,
    Parameter as Parameter,
    parameter as parameter,
    setting as setting,
)
from .receptors import ConductanceInput as ConductanceInput
from .resets import Reset as Reset, ResetBySubtraction as ResetBySubtraction, ResetToValue as ResetToValue
