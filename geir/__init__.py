"""geir: spiking neural networks for PyTorch."""

from . import surrogates as surrogates
from .compartments import *
from .connections import *
from .containers import Lift as Lift
from .containers import RecurrentSequential as RecurrentSequential
from .containers import SequentialState as SequentialState
from .correlation import *
from .decode import *
from .distances import *
from .encode import *
from .filters import *
from .firing_patterns import *
from .forms import OneStep as OneStep
from .forms import Recurrence as Recurrence
from .forms import Recurrent as Recurrent
from .forms import Wrapper as Wrapper
from .integrators import Euler as Euler
from .integrators import Exact as Exact
from .integrators import ExponentialEuler as ExponentialEuler
from .integrators import Integrator as Integrator
from .integrators import RungeKutta4 as RungeKutta4
from .integrators import RushLarsen as RushLarsen
from .kernels import Fused as Fused
from .kernels import reference as reference
from .logic import *
from .models import *
from .neuron import Dynamics as Dynamics
from .neuron import Neuron as Neuron
from .neurons import *
from .noise import *
from .ode import ODE as ODE
from .ode import IntegrateAndFire as IntegrateAndFire
from .ode import ODENeuron as ODENeuron
from .parallel import *
from .parameters import Parameter as Parameter
from .parameters import learnable as learnable
from .parameters import option as option
from .parameters import parameter as parameter
from .parametric import *
from .plasticity import *
from .receptive_fields import *
from .refractory import *
from .regularise import *
from .resets import Reset as Reset
from .resets import ResetBySubtraction as ResetBySubtraction
from .resets import ResetToValue as ResetToValue
from .stateful import LiftedSequential as LiftedSequential
from .stateful import Stateful as Stateful
from .statistics import *
from .surrogates import *
from .synapses import *
from .synops import *
