"""Containers that pass states through networks."""

from .network import LiftedSequential as LiftedSequential, Stateful as Stateful
from .sequential import Lift as Lift, RecurrentSequential as RecurrentSequential, SequentialState as SequentialState
