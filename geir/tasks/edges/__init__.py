"""Edges in a stream of events, found by spiking neurons, live in a page of the browser or as a film: `python -m geir.tasks.edges`."""

from .detector import Detector, network
from .player import Player
from .scene import Scene

__all__ = ["Detector", "Player", "Scene", "network"]
