"""Plots of spikes, states, weights and models with matplotlib (``pip install "geir[plot]"``).

Every function draws into the axes `ax` and returns them. Without `ax` it draws into pyplot's current
axes, or creates new ones; pyplot is not used otherwise. Tensors are taken as neurons return them: time
first, on any device, with or without gradients. Step `k` is drawn at time `k * dt`.

>>> import torch
>>> import geir
>>> from matplotlib.figure import Figure
>>> import geir.plot
>>> zs, state = geir.LIF()(torch.rand(100, 20))
>>> ax = geir.plot.raster(zs, Figure().subplots())
>>> ax.get_xlabel(), ax.get_ylabel()
('time (ms)', 'neuron')
"""

try:
    import matplotlib as _matplotlib  # noqa: F401  (imported for its error only)
except ImportError:
    raise ImportError(
        "geir.plot needs matplotlib, which is not installed; install it with: pip install 'geir[plot]'"
    ) from None

from ._style import (
    BLUE as BLUE,
    GRAY as GRAY,
    INK as INK,
    ORANGE as ORANGE,
    PALETTE as PALETTE,
    STYLE as STYLE,
    style as style,
)
from .curves import f_i_curve as f_i_curve, stdp_window as stdp_window
from .events import animate_events as animate_events, scatter_3d as scatter_3d
from .explore import explore as explore
from .heatmaps import heatmap_2d as heatmap_2d, heatmap_3d as heatmap_3d, weights as weights
from .phase import phase_plane as phase_plane
from .spikes import raster as raster, rate as rate
from .states import threshold_potential as threshold_potential, traces as traces
