"""Features that apply to any neuron: cells, recurrence, refractoriness, noise, compartments."""

from .before_reset import (
    BeforeReset as BeforeReset,
    BeforeResetCell as BeforeResetCell,
    BeforeResetState as BeforeResetState,
)
from .cell import CellMixin as CellMixin
from .compartments import Compartments as Compartments, CompartmentsCell as CompartmentsCell
from .noise import Noisy as Noisy, NoisyCell as NoisyCell, RandomState as RandomState
from .recurrent import (
    DelayedRecurrentState as DelayedRecurrentState,
    Recurrent as Recurrent,
    RecurrentMixin as RecurrentMixin,
    RecurrentState as RecurrentState,
)
from .refractory import (
    Refractory as Refractory,
    RefractoryCell as RefractoryCell,
    RefractoryState as RefractoryState,
)
from .stochastic import (
    ExponentialHazard as ExponentialHazard,
    Hazard as Hazard,
    SigmoidalHazard as SigmoidalHazard,
    Stochastic as Stochastic,
    StochasticCell as StochasticCell,
)
from .wrapper import Composite as Composite, Wrapper as Wrapper
