"""The definition of an event-driven layer, in plain PyTorch: one event at a time, differentiated by autograd.

The time of a spike is a number, found by searching; one step of Newton's method makes it a function of everything
before it, which gives it the gradient of the implicit function. The compiled code must equal this.
"""

import heapq
import math
from typing import NamedTuple

import torch
from torch import Tensor

from .exponential import matrix_exponential
from .modes import first_crossing, Modes, modes_of, ON_THRESHOLD
from .network import GRAZING, most_counted, Outcome, refuse_second_derivative, Setup
from .times import NO_UNIT


class _Event(NamedTuple):
    """An arrival of a spike at one neuron or all, or a reading of the states; ordered by time, then by `order`."""

    at: float
    order: int
    time: Tensor
    target: int | None  # None: every neuron
    row: tuple[Tensor, int] | None  # weights and presynaptic unit; None: a reading


def simulate_reference(setup: Setup) -> Outcome:
    """Simulate a batch, one sample after the other."""
    flow, threshold = setup.equations.flow, setup.equations.threshold
    modes = modes_of(setup.owner, flow, threshold, setup.duration)
    outcomes = [_Sample(setup, modes, k).run() for k in range(len(setup.times))]
    size = setup.max_spikes
    times, units, totals, grazing, states = [], [], [], [], []
    for outcome in outcomes:
        kept = outcome.times[:size]
        padding = setup.times.new_full((size - len(kept),), torch.inf)
        times.append(torch.cat([torch.stack(kept), padding]) if kept else padding)
        units.append(outcome.units[:size] + [NO_UNIT] * (size - len(kept)))
        totals.append(len(outcome.times))
        grazing.append(outcome.grazing)
        states.append(torch.stack(outcome.readings) if outcome.readings else None)
    read = setup.at is not None and len(setup.at) > 0
    out = torch.stack(times) if times else setup.times.new_empty(0, size)
    if out.requires_grad:
        # A step of Newton's method is right to first order only.
        out.register_hook(lambda _: refuse_second_derivative(setup.owner))
    empty = None if setup.at is None else setup.initial[:, None].expand(-1, 0, -1, -1)
    return Outcome(
        out,
        torch.tensor(units, dtype=torch.int64).view(-1, size),
        torch.tensor(totals, dtype=torch.int64),
        torch.tensor(grazing, dtype=torch.int64),
        torch.stack([state for state in states if state is not None]) if read and states else empty,
    )


class _Sample:
    """The simulation of one sample."""

    def __init__(self, setup: Setup, modes: list[Modes], sample: int):
        self.setup, self.modes = setup, modes
        self.size = setup.wiring.weight.shape[1]
        zero = setup.times.new_zeros(())
        self.states = list(setup.initial[sample])
        self.clocks = [zero] * self.size
        self.crossings = [math.inf] * self.size
        self.heap: list[_Event] = []
        self.times: list[Tensor] = []
        self.units: list[int] = []
        self.readings: list[Tensor] = []
        self.grazing = self.order = 0
        for time in [] if setup.at is None else setup.at:
            self.push(time, None, None)
        wiring = setup.wiring
        for time, unit in zip(setup.times[sample], setup.units[sample].tolist(), strict=True):
            if math.isfinite(time.item()):
                self.send(time, wiring.weight, wiring.delay, unit)

    def push(self, time: Tensor, target: int | None, row: tuple[Tensor, int] | None) -> None:
        if time.item() <= self.setup.duration:
            heapq.heappush(self.heap, _Event(time.item(), self.order, time, target, row))
            self.order += 1

    def send(self, time: Tensor, weight: Tensor, delay: Tensor | None, unit: int) -> None:
        if delay is None:
            return self.push(time, None, (weight, unit))
        for j in range(self.size):
            self.push(time + delay[unit, j], j, (weight, unit))

    def matrices(self, j: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        flow, threshold, reset, arrival, _ = self.setup.equations
        k = j if len(flow) > 1 else 0
        return flow[k], threshold[k], reset[k], arrival[k]

    def state_at(self, j: int, time: Tensor) -> Tensor:
        elapsed = time - self.clocks[j]
        if elapsed.item() == 0 and not elapsed.requires_grad:
            return self.states[j]
        return matrix_exponential(self.matrices(j)[0] * elapsed) @ self.states[j]

    def is_above(self, j: int) -> tuple[bool, bool]:
        """Whether a neuron is above its threshold now; whether it is on it and rises."""
        flow, threshold = (matrix.detach() for matrix in self.matrices(j)[:2])
        state = self.states[j].detach()
        distance, scale = float(threshold @ state), float(threshold.abs() @ state.abs())
        on = abs(distance) <= ON_THRESHOLD * scale
        return distance > 0 and not on, on and float(threshold @ flow @ state) > 0

    def search(self, j: int) -> None:
        now = self.clocks[j].item()
        mode = self.modes[j if len(self.modes) > 1 else 0]
        state = self.states[j].detach().numpy()
        self.crossings[j] = now + first_crossing(mode, state, self.setup.duration - now)

    def fire(self, j: int, time: Tensor) -> None:
        """A spike of a neuron whose state is that at this time, and those that follow at once."""
        while True:
            self.times.append(time)
            self.units.append(j)
            self.states[j] = self.matrices(j)[2] @ self.states[j]
            wiring = self.setup.wiring
            if wiring.recurrent_weight is not None:
                self.send(time, wiring.recurrent_weight, wiring.recurrent_delay, j)
            above, leaves = self.is_above(j)
            if not (above or leaves) or len(self.times) >= most_counted(self.setup.max_spikes):
                return self.search(j)

    def cross(self, j: int) -> None:
        """A spike at which the potential crosses its threshold."""
        flow, threshold, *_ = self.matrices(j)
        start = self.clocks[j].detach()
        elapsed = self.crossings[j] - start
        clock = self.clocks[j] - start  # its value is zero
        before = matrix_exponential(flow * (elapsed - clock)) @ self.states[j]
        slope = float(threshold.detach() @ flow.detach() @ before.detach())
        scale = float(threshold.detach().abs() @ flow.detach().abs() @ before.detach().abs())
        if slope < GRAZING * scale:
            self.grazing += 1
        distance = threshold @ before
        later = (distance - distance.detach()) / max(slope, GRAZING * scale)
        time = self.crossings[j] - later
        self.states[j] = self.state_at(j, time)
        self.clocks[j] = time
        self.fire(j, time)

    def arrive(self, j: int, event: _Event) -> None:
        self.states[j] = self.state_at(j, event.time)
        self.clocks[j] = event.time
        if event.row is None:
            return
        weights, unit = event.row
        jump = weights[unit, j] * self.matrices(j)[3]
        self.states[j] = self.states[j] + jump
        above, leaves = self.is_above(j)
        threshold, state = self.matrices(j)[1].detach(), self.states[j].detach()
        moved = abs(float(threshold @ jump.detach())) > ON_THRESHOLD * float(threshold.abs() @ state.abs())
        if (above or leaves) and moved:
            self.fire(j, event.time)
        elif above or leaves:
            self.crossings[j] = event.at
        else:
            self.search(j)

    def run(self) -> "_Sample":
        for j in range(self.size):
            if any(self.is_above(j)):
                self.fire(j, self.clocks[j])
            else:
                self.search(j)
        while len(self.times) < most_counted(self.setup.max_spikes):
            j = min(range(self.size), key=self.crossings.__getitem__)
            arrival = self.heap[0].at if self.heap else math.inf
            if math.isinf(min(arrival, self.crossings[j])):
                break
            if self.crossings[j] <= arrival:
                self.cross(j)
                continue
            event = heapq.heappop(self.heap)
            for target in range(self.size) if event.target is None else [event.target]:
                self.arrive(target, event)
            if event.row is None:
                self.readings.append(torch.stack(self.states))
        while self.setup.at is not None and len(self.readings) < len(self.setup.at):  # counting ended before
            self.readings.append(torch.stack(self.states))
        return self
