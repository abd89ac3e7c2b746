"""Edge detection in event streams with spiking neurons, in the browser or as a video: `python -m geir.tasks.edges`."""

from .detector import Detector as Detector, network as network
from .player import Player as Player
from .scene import Scene as Scene
