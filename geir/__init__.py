"""geir: spiking neural networks for PyTorch."""

from . import surrogates as surrogates
from .containers import Lift as Lift
from .containers import RecurrentSequential as RecurrentSequential
from .containers import SequentialState as SequentialState
from .decode import *
from .encode import *
from .forms import OneStep as OneStep
from .forms import Recurrence as Recurrence
from .forms import Recurrent as Recurrent
from .forms import Wrapper as Wrapper
from .integrators import Euler as Euler
from .integrators import Exact as Exact
from .integrators import ExponentialEuler as ExponentialEuler
from .integrators import Integrator as Integrator
from .integrators import RungeKutta4 as RungeKutta4
from .kernels import Fused as Fused
from .kernels import reference as reference
from .neuron import Dynamics as Dynamics
from .neuron import Neuron as Neuron
from .neurons import *
from .ode import ODE as ODE
from .ode import ODENeuron as ODENeuron
from .parameters import Parameter as Parameter
from .parameters import learnable as learnable
from .parameters import option as option
from .parameters import parameter as parameter
from .plasticity import *
from .refractory import *
from .resets import Reset as Reset
from .resets import ResetBySubtraction as ResetBySubtraction
from .resets import ResetToValue as ResetToValue
from .surrogates import *
