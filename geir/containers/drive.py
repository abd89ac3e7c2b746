"""The input that makes a neuron fire, and the activity that results, both measured."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.neuron import Dynamics
from .response import Activity, check_materialized, Pooling, Response, SingleNeuron


@dataclass(frozen=True)
class Drive:
    """The input of a neuron at every step that makes it fire.

    Args:
        mean: Its mean.
        noise: Its standard deviation over time.
        normalized: Its standard deviation if it does not depend on rates, after a normalization.
        centered: How exactly the weights of each neuron have their mean, from 0 (by chance) to 1.
        dt: Step size in seconds.
    """

    mean: float
    noise: float
    normalized: float
    centered: float
    dt: float


class Measurements:
    """Responses and activities of neurons, each measured once for neurons with the same parameters."""

    def __init__(self, xi: float):
        self._xi = xi
        self._responses: dict[str, tuple[SingleNeuron, Response]] = {}
        self._activities: dict[tuple[str, int, Pooling], tuple[Activity, Activity]] = {}

    def drive(self, neuron: Dynamics, before: Activity, pooling: Pooling) -> tuple[Drive, Activity, Activity]:
        """The drive of a neuron after a layer with this activity, and the activity that results, also after pooling."""
        check_materialized(neuron)
        key = f"{neuron!r}{[(name, value.detach().double().mean().item()) for name, value in _values(neuron)]}"
        # The measurements have their own random numbers: `torch.manual_seed` decides about the weights only.
        with torch.random.fork_rng(devices=[]):
            if key not in self._responses:
                single = SingleNeuron(neuron)
                self._responses[key] = single, single.response()
            single, response = self._responses[key]
            forgets = response.forgets
            # The weights' exact mean removes the part of the mean input that is the same for all neurons.
            variance = max(before.squared - forgets * (2 - forgets) * before.rate**2, 0.01 * before.rate**2)
            # Relative to that of the fluctuations; rounded to 20 %, to measure few cases.
            level = round(math.log(single.dt * variance * before.averaged / before.rate, 1.2))
            spread = 1.2**level
            energy = response.energy + forgets * spread * response.area**2
            noise = (1 + forgets) * response.unit / (self._xi * math.sqrt(energy))
            normalized = response.unit / (self._xi * math.sqrt(response.energy))
            drive = Drive(-forgets * response.unit / response.area, noise, normalized, forgets, single.dt)
            if (key, level, pooling) not in self._activities:
                generator = torch.Generator().manual_seed(0)
                activities = single.fire(drive.mean, noise, noise * math.sqrt(spread), pooling, generator)
                self._activities[key, level, pooling] = activities
            return drive, *self._activities[key, level, pooling]


def _values(neuron: Dynamics) -> Iterator[tuple[str, Tensor]]:
    """The values of all declared parameters of a neuron and the neurons in it."""
    for part in neuron.modules():
        if isinstance(part, Dynamics):
            yield from part.declared_parameters().items()
