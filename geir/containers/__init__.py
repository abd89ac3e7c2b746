"""Containers that pass the state of every module through a network."""

from .lift import Lift as Lift
from .network import Network as Network, StateThread as StateThread
from .recurrent import RecurrentSequential as RecurrentSequential, RecurrentSequentialState as RecurrentSequentialState
from .sequential import SequentialState as SequentialState
from .training_memory import checkpoint as checkpoint, compress_spikes as compress_spikes, detach as detach
