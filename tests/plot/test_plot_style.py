"""The axes that plots draw into, their style, and the input that all of them reject."""

import io
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from plot_helpers import BATCH, check_rejected, DRAW, DRAW_2D, DRAW_3D, XS

import geir
from geir import plot


@pytest.mark.parametrize("name", DRAW)
def test_a_plot_draws_into_the_given_axes_only(name):
    from matplotlib import pyplot as plt

    projection = "3d" if name in DRAW_3D else "rectilinear"
    bystander = plt.figure().add_subplot()
    figure = Figure()
    first, second = (figure.add_subplot(1, 2, k, projection=projection) for k in (1, 2))
    settings = dict(matplotlib.rcParams)
    try:
        assert DRAW[name](second) is second
        figure.savefig(io.BytesIO())
        assert second.has_data()
        assert not first.has_data()
        assert not bystander.has_data()
        assert plt.gca() is bystander
        assert len(plt.get_fignums()) == 1
        assert dict(matplotlib.rcParams) == settings
    finally:
        plt.close("all")


@pytest.mark.parametrize("name", DRAW)
def test_without_axes_a_plot_creates_them_in_its_style(name):
    from matplotlib import pyplot as plt

    settings = dict(matplotlib.rcParams)
    try:
        ax = DRAW[name](None)
        assert isinstance(ax, Axes)
        assert ax.has_data()
        assert ax.figure is plt.gcf()
        if name in DRAW_2D:
            assert not ax.spines["top"].get_visible()
            assert DRAW_2D[name](None) is plt.gca()
        assert ax.xaxis.label.get_size() == 8
        assert dict(matplotlib.rcParams) == settings
    finally:
        plt.close("all")


def test_the_style_ends_with_its_context():
    settings = dict(matplotlib.rcParams)
    with plot.style():
        assert matplotlib.rcParams["axes.spines.top"] is False
    assert dict(matplotlib.rcParams) == settings


def test_with_given_axes_pyplot_is_not_imported():
    code = """
import sys, torch, geir
assert not any(name.startswith("matplotlib") for name in sys.modules), "import geir imports matplotlib"
import geir.plot
from matplotlib.figure import Figure
geir.plot.raster(torch.ones(3, 2), Figure().subplots())
geir.plot.heatmap_3d(torch.ones(3, 2), Figure().add_subplot(projection="3d"))
geir.plot.animate_events(torch.ones(3, 2, 2), Figure().subplots())._draw_was_started = True
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_without_matplotlib_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "geir.plot")
    with pytest.raises(
        ImportError,
        match=r"geir.plot needs matplotlib, which is not installed; install it with: pip install 'geir\[plot\]'",
    ):
        import geir.plot  # noqa: F401  (the import itself is tested)


def test_tensors_with_gradients_are_accepted():
    xs = torch.rand(100, 3).requires_grad_()
    zs, _ = geir.LIF()(xs)
    assert zs.requires_grad
    plot.raster(zs, Figure().subplots())


def test_the_colors_of_the_palette_differ_for_color_blind_readers():
    # H. Brettel, F. Vienot & J. Mollon, 1997, as simplified by Vienot et al., 1999: protanopia and deuteranopia in linear RGB.
    protan = np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]])
    deutan = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])
    rgb = np.array([matplotlib.colors.to_rgb(c) for c in plot.PALETTE[:6]])
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    for seen in (linear @ protan.T, linear @ deutan.T):
        seen = np.clip(seen, 0, 1) ** (1 / 2.4)
        distance = np.linalg.norm(seen[:, None] - seen[None], axis=-1) + 9 * np.eye(6)
        assert distance.min() > 0.1


# ---- errors

TIME_BY_NEURON = ("raster", "traces", "heatmap_2d", "heatmap_3d")
OVER_TIME = (*TIME_BY_NEURON, "rate", "scatter_3d", "animate_events")
CASES = {
    **{
        f"{name} of a batch": (
            lambda name=name: getattr(plot, name)(BATCH),
            ValueError,
            rf"{name} expected shape \(time, neurons\), got \(20, 4, 3\); select a sample",
        )
        for name in TIME_BY_NEURON
    },
    **{
        f"{name} of a single number": (
            lambda name=name: getattr(plot, name)(torch.tensor(1.0)),
            ValueError,
            rf"{name} expected values over time, .* a single number",
        )
        for name in OVER_TIME
    },
    **{
        f"{name} of a list": (
            lambda name=name: getattr(plot, name)([[1.0]]),
            TypeError,
            f"{name} expected a tensor, got list",
        )
        for name in (*OVER_TIME, "weights")
    },
    **{
        f"{name} with a step size of 0": (
            lambda name=name: getattr(plot, name)(BATCH if name in ("scatter_3d", "animate_events") else XS, dt=0),
            ValueError,
            f"{name}: dt must be a positive number of seconds, got 0",
        )
        for name in OVER_TIME
    },
    "the output of a neuron": (
        lambda: plot.raster(geir.LIF()(XS)),
        TypeError,
        r"raster expected a tensor, got tuple. A neuron returns a tuple: zs, state =",
    ),
    "complex values": (
        lambda: plot.raster(XS.to(torch.complex64)),
        TypeError,
        "raster expected real values, got torch.complex64",
    ),
    "no steps": (
        lambda: plot.raster(torch.zeros(0, 3)),
        ValueError,
        r"raster expected at least one step of one neuron, got shape \(0, 3\)",
    ),
    "no steps of a rate": (
        lambda: plot.rate(torch.zeros(0, 3)),
        ValueError,
        r"rate expected at least one step of one neuron, got shape \(0, 3\)",
    ),
    "an unknown sample": (
        lambda: plot.raster(BATCH, sample=4),
        ValueError,
        r"raster: sample=4 is out of range for values of shape \(20, 4, 3\); expected shape \(time, batch, ...\)",
    ),
    "a sample without a batch": (
        lambda: plot.raster(XS[:, 0], sample=0),
        ValueError,
        r"raster: sample=0 is out of range for values of shape \(20,\)",
    ),
    "colors of other neurons": (
        lambda: plot.raster(XS, color=["k", "r"]),
        ValueError,
        "raster: color must be one color, or one color for each of 3 neurons, got 2 colors",
    ),
    "an array of axes": (
        lambda: plot.raster(XS, Figure().subplots(2)),
        TypeError,
        "raster expected matplotlib Axes, got ndarray. Pass one of them.",
    ),
    "a figure": (lambda: plot.raster(XS, Figure()), TypeError, "raster expected matplotlib Axes, got Figure."),
    "two-dimensional axes": (
        lambda: plot.heatmap_3d(XS, Figure().subplots()),
        ValueError,
        r"expected three-dimensional axes; create them with figure.add_subplot\(projection='3d'\)",
    ),
    "three-dimensional axes": (
        lambda: plot.raster(XS, Figure().add_subplot(projection="3d")),
        ValueError,
        r"raster expected two-dimensional axes; create them with figure.add_subplot\(\)",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_invalid_input_is_rejected_before_anything_is_drawn(case):
    check_rejected(*CASES[case])
