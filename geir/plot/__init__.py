"""Pictures of spikes, states, weights and models, with matplotlib (``pip install "geir[plot]"``).

Every function draws into the `axes` it is given and returns them; pyplot is touched only where none are given, and then the current axes are taken,
or new ones made. Tensors are taken as neurons return them, time first, on any device, with or without gradients; step `k` is drawn at `k * dt`.

>>> import torch
>>> import geir
>>> from matplotlib.figure import Figure
>>> import geir.plot
>>> zs, state = geir.LIF()(torch.rand(100, 20))
>>> axes = geir.plot.raster(zs, Figure().subplots())
>>> axes.get_xlabel(), axes.get_ylabel()
('time (ms)', 'neuron')
"""

try:
    import matplotlib as matplotlib
except ImportError:
    raise ImportError(
        "geir.plot draws with matplotlib, which is not installed; install it with: pip install 'geir[plot]'"
    ) from None

from .canvas import BLUE, GREY, INK, ORANGE, PALETTE, STYLE, style
from .events import animate_events, scatter_3d
from .maps import heatmap_2d, heatmap_3d, weights
from .models import f_i_curve, phase_plane, stdp_window
from .spikes import raster, rate
from .states import threshold, traces

__all__ = [
    "BLUE",
    "GREY",
    "INK",
    "ORANGE",
    "PALETTE",
    "STYLE",
    "animate_events",
    "f_i_curve",
    "heatmap_2d",
    "heatmap_3d",
    "phase_plane",
    "raster",
    "rate",
    "scatter_3d",
    "stdp_window",
    "style",
    "threshold",
    "traces",
    "weights",
]
