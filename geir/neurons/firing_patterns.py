"""The twenty firing patterns of Izhikevich's neuron: parameters and input currents."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor


class Piece(NamedTuple):
    """A current that is constant or grows linearly between two times."""

    start: float  # ms
    stop: float  # ms
    level: float
    slope: float = 0.0  # per ms


class FiringPattern(NamedTuple):
    """Parameters and input current of one firing pattern of `Izhikevich`; `FIRING_PATTERNS` has them by name.

    >>> from geir import Izhikevich
    >>> pattern = firing_pattern("phasic_spiking")
    >>> zs, _ = Izhikevich(**pattern.parameters, dt=1e-4)(pattern.stimulus(dt=1e-4))
    >>> zs.sum()
    tensor(1.)
    """

    parameters: Mapping[str, float]  # those that differ from the neuron's defaults
    duration: float  # of the published figure, in ms
    pieces: tuple[Piece, ...]  # of the published current
    base: float = 0.0  # constant offset of the current

    def stimulus(self, dt: float = 1e-3) -> Tensor:
        """The published input current, shape (time,).

        Args:
            dt: Step size in seconds.

        Raises:
            ValueError: If `dt` is not between 0 and the duration.
        """
        if not 0 < dt < self.duration / 1e3:
            raise ValueError(
                f"FiringPattern.stimulus expected a dt between 0 and its duration of "
                f"{self.duration / 1e3:g} s, got {dt}."
            )
        step = 1e3 * dt
        xs = torch.full((round(self.duration / step),), float(self.base))
        for start, stop, level, slope in self.pieces:
            on = xs[round(start / step) : round(stop / step)]
            on += level + slope * step * torch.arange(len(on))
        return xs


def firing_pattern(name: str) -> FiringPattern:
    """Look up one of `FIRING_PATTERNS`.

    Args:
        name: Such as `"tonic_bursting"`.

    Raises:
        ValueError: If no pattern has this name; the message lists all names.
    """
    if name not in FIRING_PATTERNS:
        raise ValueError(f"Unknown firing pattern {name!r}; expected one of {', '.join(FIRING_PATTERNS)}.")
    return FIRING_PATTERNS[name]


def _pattern(duration: float, *pieces: tuple[float, ...], base: float = 0.0, **parameters: float) -> FiringPattern:
    return FiringPattern(MappingProxyType(parameters), duration, tuple(Piece(*piece) for piece in pieces), base)


_CLASS_1 = {"a": 0.02, "b": -0.1, "c": -55, "d": 6, "v_rest": -60, "k_1": 4.1, "k_0": 108}

# Figure 1 of E. Izhikevich, "Which model to use for cortical spiking neurons?", 2004, with the numbers of the
# program published with it. Three of its panels depend on the large time step of that program. These are
# adapted so that they hold at small steps:
# - bistability: the second pulse comes at 208 ms instead of 216, because the neuron fires faster;
# - depolarizing afterpotential: d = -17 instead of -21, where the afterpotential fires repeatedly;
# - inhibition-induced bursting: d = 0, as in the author's program for single neurons, instead of -2, where
# the first burst does not end.
FIRING_PATTERNS: Mapping[str, FiringPattern] = MappingProxyType(
    {
        "tonic_spiking": _pattern(100, (10, 100, 14), a=0.02, b=0.2, c=-65, d=6, v_rest=-70),
        "phasic_spiking": _pattern(200, (20, 200, 0.5), a=0.02, b=0.25, c=-65, d=6, v_rest=-64),
        "tonic_bursting": _pattern(220, (22, 220, 15), a=0.02, b=0.2, c=-50, d=2, v_rest=-70),
        "phasic_bursting": _pattern(200, (20, 200, 0.6), a=0.02, b=0.25, c=-55, d=0.05, v_rest=-64),
        "mixed_mode": _pattern(160, (16, 160, 10), a=0.02, b=0.2, c=-55, d=4, v_rest=-70),
        "spike_frequency_adaptation": _pattern(85, (8.5, 85, 30), a=0.01, b=0.2, c=-65, d=8, v_rest=-70),
        "class_1_excitable": _pattern(300, (30, 300, 0, 0.075), **_CLASS_1),
        "class_2_excitable": _pattern(300, (30, 300, 0, 0.015), base=-0.5, a=0.2, b=0.26, c=-65, d=0, v_rest=-64),
        "spike_latency": _pattern(100, (10, 13, 7.04), a=0.02, b=0.2, c=-65, d=6, v_rest=-70),
        "subthreshold_oscillations": _pattern(200, (20, 25, 2), a=0.05, b=0.26, c=-60, d=0, v_rest=-62),
        "resonator": _pattern(
            400,
            (40, 44, 0.65),
            (60, 64, 0.65),
            (280, 284, 0.65),
            (320, 324, 0.65),
            a=0.1,
            b=0.26,
            c=-60,
            d=-1,
            v_rest=-62,
        ),
        "integrator": _pattern(
            100, (100 / 11, 100 / 11 + 2, 9), (100 / 11 + 5, 100 / 11 + 7, 9), (70, 72, 9), (80, 82, 9), **_CLASS_1
        ),
        "rebound_spike": _pattern(200, (20, 25, -15), a=0.03, b=0.25, c=-60, d=4, v_rest=-64),
        "rebound_burst": _pattern(200, (20, 25, -15), a=0.03, b=0.25, c=-52, d=0, v_rest=-64),
        "threshold_variability": _pattern(
            100, (10, 15, 1), (70, 75, -6), (80, 85, 1), a=0.03, b=0.25, c=-60, d=4, v_rest=-64
        ),
        "bistability": _pattern(300, (37.5, 42.5, 1), (208, 213, 1), base=0.24, a=0.1, b=0.26, c=-60, d=0, v_rest=-61),
        "depolarizing_afterpotential": _pattern(50, (9, 11, 20), a=1, b=0.2, c=-60, d=-17, v_rest=-70),
        # Recovery without decay. Published with u starting at -16 and k_0 = 140; here u is relative to that value.
        "accommodation": _pattern(
            400,
            (0, 200, 0, 0.04),
            (300, 312.5, 0, 0.32),
            a=0.02,
            b=1,
            c=-55,
            d=4,
            v_rest=-65,
            v_u=-65,
            decay=0,
            k_0=156,
        ),
        "inhibition_induced_spiking": _pattern(350, (50, 250, -5), base=80, a=-0.02, b=-1, c=-60, d=8, v_rest=-63.8),
        "inhibition_induced_bursting": _pattern(350, (50, 250, -5), base=80, a=-0.026, b=-1, c=-45, d=0, v_rest=-63.8),
    }
)
