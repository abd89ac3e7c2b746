"""How a spiking neuron responds to its input, measured by running it: for any model, its own included."""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._util.state import AnyState
from ..core.neuron import Dynamics
from ..core.parameters import Declared
from ..wrappers import Compartments, RecurrentMixin, Wrapper

# Weights tried for the unit: from 2**-10 to 2**14, in factors of 2**(1 / 32), about 2 %.
CANDIDATE_WEIGHTS = 2 ** (torch.arange(-10 * 32, 14 * 32) / 32)

# A response is followed for this long, in seconds, within these limits of steps. What a neuron remembers for
# longer, as one without leak does, does not count.
_HORIZON = 50e-3
_MIN_STEPS = 20
_MAX_STEPS = 1000


@dataclass(frozen=True)
class Response:
    """Response of the distance to threshold to an input spike, relative to its peak.

    Args:
        unit: The smallest weight with which a single input spike makes the neuron spike.
        energy: Sum over steps of the squared response.
        area: Sum over steps of the response.
        forgets: Share of the peak that is gone at the end: 1 for a neuron with leak, 0 for one without.
    """

    unit: float
    energy: float
    area: float
    forgets: float


@dataclass(frozen=True)
class Activity:
    """Output of a layer.

    Args:
        rate: Mean of the firing rates, in Hz.
        squared: Mean of their squares, in Hz².
        averaged: Number of spikes of which each number is the mean, after average pooling.
    """

    rate: float
    squared: float
    averaged: int = 1


class Pooling(NamedTuple):
    """Pooling of spikes: the maximum over some neurons, then the mean over some of these maxima."""

    maximum: int = 1
    average: int = 1


class SingleNeuron:
    """A neuron without its recurrent connections and compartments, on the CPU, every parameter replaced by its mean.

    It is stepped in a plain loop, so that no kernel is compiled.

    Args:
        neuron: A spiking neuron in any form: layer, cell, recurrent or wrapped.
    """

    def __init__(self, neuron: Dynamics):
        while isinstance(neuron, Compartments):
            neuron = neuron.neuron
        name = type(neuron).__name__
        check_materialized(neuron)
        self.neuron = copy.deepcopy(neuron).cpu().float()
        for part in self.neuron.modules():
            if isinstance(part, Declared):
                for key, value in part.declared_parameters().items():
                    setattr(part, key, value.detach().mean().item())
        self.name, self.dt = name, float(neuron.dt)

    def run(self, xs: Tensor | Iterator[Tensor]) -> Iterator[Tensor]:
        """Spikes for input of shape (neurons,), one step after another."""
        recurrent = isinstance(self.neuron, RecurrentMixin)
        stepper = self.neuron.stepper(torch.float32)
        feedback = stepper.feedback
        step, prepared = (stepper.step, stepper.prepared) if feedback is None else (feedback.step, feedback.prepared)
        state: AnyState = None
        for x in xs:
            if state is None:
                state = self.neuron.initial_state(x, torch.float32)
                state = state.neuron if recurrent else state
            z, state = step(x, state, *prepared)
            yield z

    def response(self, steps: int | None = None) -> Response:
        """Measure the response to one input spike.

        Args:
            steps: Number of steps within which a spike must follow. Default: 200.

        Raises:
            ValueError: If the neuron spikes at none of the weights from 0.001 to 16,000.
        """
        pulses = _pulses(CANDIDATE_WEIGHTS, steps or 200)
        spiked = torch.zeros(len(CANDIDATE_WEIGHTS), dtype=torch.bool)
        for z in self.run(pulses):
            spiked |= z > 0
        if not spiked.any():
            raise ValueError(
                f"{self.name} does not spike after one input spike of any weight up to {CANDIDATE_WEIGHTS.max():.0f}, "
                "so initial weights cannot be scaled to its threshold; use a neuron with a lower threshold."
            )
        unit = CANDIDATE_WEIGHTS[spiked].min().item()
        distances = self._distances(unit / 8)
        peak = distances.abs().max() if len(distances) else torch.zeros(())
        if not peak > 0:
            return Response(unit, 1.0, 1.0, 1.0)
        relative = distances / peak
        return Response(unit, relative.square().sum().item(), relative.sum().item(), 1 - relative[-1].abs().item())

    def _distances(self, weight: float) -> Tensor:
        """Change of the distance to threshold at every step, shape (steps,), after a spike at the first.

        The distance is the argument of the surrogate, which is called with it, here by a function that never spikes.
        Empty if the model does not call its surrogate.
        """
        silent = copy.copy(self.neuron)
        inner: Any = silent
        while isinstance(inner, Wrapper):
            vars(inner)["_modules"] = {**inner._modules, "neuron": copy.copy(inner.neuron)}
            inner = inner.neuron
        distances: list[Tensor] = []

        def observe(distance: Tensor) -> Tensor:
            distances.append(distance)
            return torch.zeros_like(distance)

        inner.surrogate = observe
        twin = copy.copy(self)
        twin.neuron = silent
        changes: list[Tensor] = []
        peak = 0.0
        steps = min(max(_MIN_STEPS, math.ceil(_HORIZON / self.dt)), _MAX_STEPS)
        for _ in twin.run(_pulses(torch.tensor([0.0, weight]), steps)):
            if not distances:
                break
            # The last call: a reset that is one step late calls it with the previous potential first.
            last = distances[-1].expand(2)
            distances.clear()
            changes.append(last[1] - last[0])
            peak = max(peak, abs(changes[-1].item()))
            if len(changes) >= _MIN_STEPS and abs(changes[-1].item()) < 1e-3 * peak:
                break
        return torch.stack(changes) if changes else torch.zeros(0)

    def fire(
        self, mean: float, noise: float, spread: float, pooling: Pooling, generator: torch.Generator
    ) -> tuple[Activity, Activity]:
        """Activity of a population of these neurons for Gaussian input, before and after pooling.

        Args:
            mean: Mean of the input.
            noise: Standard deviation of the input over time, at every step.
            spread: Standard deviation over the population of the mean of the input over time.
            pooling: Pooling of neurons that fire independently.
            generator: Random number generator.
        """
        pooled = math.prod(pooling)
        neurons = max(256 // pooled, 16) * pooled
        steps = min(max(100, math.ceil(200e-3 / self.dt)), _MAX_STEPS)
        means = mean + spread * torch.randn(neurons, generator=generator)
        inputs = (means + noise * torch.randn(neurons, generator=generator) for _ in range(steps))
        counts, pooled_counts = torch.zeros(neurons), torch.zeros(neurons // pooled)
        for z in self.run(inputs):
            counts += z
            pooled_counts += z.reshape(-1, pooling.average, pooling.maximum).amax(2).mean(1)
        seconds = steps * self.dt
        return _activity(counts, seconds, 1), _activity(pooled_counts, seconds, pooling.average)


def _activity(counts: Tensor, seconds: float, averaged: int) -> Activity:
    rates = counts / seconds
    # The variance of the counts themselves is no difference between neurons.
    squared = (rates.square().mean() - rates.mean() / averaged / seconds).item()
    rate = rates.mean().item()
    return Activity(rate, max(squared, rate**2), averaged)


def check_materialized(neuron: Dynamics) -> None:
    """Raise `ValueError` if a neuron is on the meta device."""
    if any(tensor.is_meta for tensor in (*neuron.parameters(), *neuron.buffers())):
        raise ValueError(
            f"{type(neuron).__name__} is on the meta device, so its response cannot be measured; create it on the CPU "
            "or a GPU."
        )


def _pulses(weights: Tensor, steps: int) -> Iterator[Tensor]:
    """Input that is `weights` at the first step and zero afterward."""
    yield weights
    for _ in range(steps - 1):
        yield torch.zeros_like(weights)


@torch.no_grad()
def threshold_weight(neuron: Any, steps: int = 200) -> float:
    """The smallest weight with which a single input spike makes a neuron at rest spike.

    It is found by running the neuron on single input spikes with weights from 0.001 to 16,000, in
    increments of 2 %.

    Args:
        neuron: A neuron, or a class or function that returns one.
        steps: Number of time steps within which the neuron must spike.

    Returns:
        The weight; 1 for modules that do not spike, such as `nn.ReLU`.

    Raises:
        ValueError: If the neuron spikes at none of these weights.

    >>> from geir import IAF, LIF
    >>> round(threshold_weight(IAF)), round(threshold_weight(LIF()))
    (1, 4)
    """
    # The result is needed even where a model is constructed on the meta device, so the neuron always runs on the CPU.
    with torch.device("cpu"):
        module = neuron if isinstance(neuron, torch.nn.Module) else neuron()
        if not (isinstance(module, Dynamics) and module.spiking):
            return 1.0
        with torch.random.fork_rng(devices=[]):
            return SingleNeuron(module).response(steps).unit
