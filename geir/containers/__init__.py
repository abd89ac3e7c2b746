"""Containers that pass the state of every module through a network."""

from .diagnosis import diagnose as diagnose
from .diagnosis_report import Diagnosis as Diagnosis, Finding as Finding, LayerActivity as LayerActivity
from .initialization import init_weights as init_weights
from .lift import Lift as Lift
from .network import Network as Network, StateThread as StateThread
from .populations import Populations as Populations, PopulationsState as PopulationsState
from .recurrent import RecurrentSequential as RecurrentSequential, RecurrentSequentialState as RecurrentSequentialState
from .response import threshold_weight as threshold_weight
from .sequential import SequentialState as SequentialState
from .states import (
    initial_state as initial_state,
    move_state as move_state,
    replace_parts as replace_parts,
    reset as reset,
)
from .training_memory import checkpoint as checkpoint, compress_spikes as compress_spikes, detach as detach
