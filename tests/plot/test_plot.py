"""What is drawn is what was given: the content of the axes."""

import io
import math
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal

matplotlib.use("agg")

import geir
from geir import plot

DT = 0.5e-3


@pytest.fixture
def axes():
    return Figure().subplots()


@pytest.fixture
def space():
    return Figure().add_subplot(projection="3d")


def spikes(*shape, rate=0.1):
    return (torch.rand(shape) < rate).float()


def marks(axes):
    """Of a raster, the times of every neuron's marks in ms, and the rows they are in."""
    (collection,) = axes.collections
    return [(path.vertices[::2, 0], path.vertices[:, 1].reshape(-1, 2).mean(1)) for path in collection.get_paths()]


# ---- raster and rate


def test_a_raster_marks_every_spike_at_its_time_in_its_row(axes):
    zs = spikes(200, 30)
    zs[:, 7] = 0
    assert plot.raster(zs, axes, dt=DT) is axes
    found = marks(axes)
    assert len(found) == 30
    for k, (times, rows) in enumerate(found):
        assert_allclose(times, 1e3 * DT * zs[:, k].nonzero().flatten().numpy())
        assert_allclose(rows, k)
    assert axes.get_xlim() == (0, 100)
    assert axes.get_xlabel() == "time (ms)"


def test_a_raster_of_one_sample_has_its_neurons_in_one_column(axes):
    zs = spikes(50, 4, 2, 3)
    plot.raster(zs, axes, sample=2)
    for k, (times, _) in enumerate(marks(axes)):
        assert_allclose(times, zs[:, 2].flatten(1)[:, k].nonzero().flatten().numpy())


def test_a_raster_has_a_color_for_each_neuron(axes):
    plot.raster(spikes(50, 3), axes, color=["red", "blue", "0.5"])
    assert_allclose(axes.collections[0].get_edgecolor(), [matplotlib.colors.to_rgba(c) for c in ("red", "blue", "0.5")])


def test_marks_fill_their_row_but_are_never_too_small_to_see():
    for neurons, height in ((10, 0.8), (1000, 8.0)):
        axes = plot.raster(torch.ones(2, neurons), Figure().subplots())
        assert_allclose(np.diff(axes.collections[0].get_paths()[3].vertices[:2, 1]), height)


def test_many_spikes_are_pixels_in_a_vector_format(axes):
    plot.raster(spikes(100, 10), axes)
    plot.raster(torch.ones(1000, 100), axes)
    assert [c.get_rasterized() for c in axes.collections] == [False, True]


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.bfloat16, torch.float64])
def test_spikes_of_any_dtype_are_drawn(axes, dtype):
    zs = spikes(20, 3, rate=0.3)
    plot.raster(zs.to(dtype), axes)
    assert_allclose(marks(axes)[1][0], zs[:, 1].nonzero().flatten().numpy())


def test_tensors_with_gradients_are_drawn(axes):
    xs = torch.rand(100, 3).requires_grad_()
    zs, _ = geir.LIF()(xs)
    assert zs.requires_grad
    plot.raster(zs, axes)


def test_a_constant_rate_is_drawn_constant_to_the_ends(axes):
    plot.rate(torch.full((80, 4, 5), 0.04), axes, dt=DT, sigma=7e-3)
    assert_allclose(axes.lines[0].get_ydata(), 0.04 / DT, rtol=1e-6)


def test_the_rate_of_one_spike_is_a_gaussian_that_counts_it_once(axes):
    zs = torch.zeros(400, 10)
    zs[200, 3] = 1
    plot.rate(zs, axes, dt=DT, sigma=5e-3)
    t, hertz = axes.lines[0].get_data()
    # 1 spike of 10 neurons
    assert_allclose(hertz, 0.1 * np.exp(-((t - 100) ** 2) / 50) / (5e-3 * math.sqrt(2 * math.pi)), atol=5e-3)
    assert hertz.sum() * DT == pytest.approx(0.1, rel=1e-4)


def test_the_rate_without_smoothing_is_the_mean_of_the_spikes(axes):
    zs = spikes(60, 5, 8)
    plot.rate(zs, axes, sigma=0)
    assert_allclose(axes.lines[0].get_ydata(), zs.mean((1, 2)).numpy() / 1e-3, rtol=1e-6)


# ---- traces


def recorded(neuron, xs):
    neuron.record_states = True
    with torch.no_grad():
        return neuron(xs)


def test_traces_are_the_recorded_states(axes):
    _, states = recorded(geir.LIF(), torch.rand(100, 3))
    plot.traces(states, axes, part="i", dt=DT)
    assert len(axes.lines) == 3
    for line, i in zip(axes.lines, states.i.T, strict=True):
        assert_array_equal(line.get_ydata(), i.numpy())
        assert_allclose(line.get_xdata(), 1e3 * DT * np.arange(100))
    assert axes.get_ylabel() == "$i$"


def test_spikes_are_marked_at_their_times_above_threshold(axes):
    lif = geir.LIF(dt=DT)
    zs, states = recorded(lif, torch.full((200, 2), 0.3))
    assert zs.sum() > 4
    plot.traces(states, axes, spikes=zs, neuron=lif)
    assert len(axes.collections) == 2
    for k, ticks in enumerate(axes.collections):
        segments = np.array(ticks.get_segments())
        assert_allclose(segments[:, 0, 0], 1e3 * DT * zs[:, k].nonzero().flatten().numpy())
        assert segments[..., 1].min() > 1


def line_at(axes, height):
    drawn = [(line, line.get_ydata()) for line in axes.lines]
    return [line for line, ys in drawn if np.shape(height) in ((), np.shape(ys)) and np.allclose(ys, height, atol=1e-6)]


def test_threshold_and_reset_are_those_of_the_neuron(axes):
    lif = geir.LIF(v_th=1.5, v_reset=-0.25)
    _, states = recorded(lif, torch.full((200, 1), 0.5))
    plot.traces(states, axes, neuron=lif)
    assert len(line_at(axes, 1.5)) == len(line_at(axes, -0.25)) == 1
    assert {text.get_text() for text in axes.texts} == {"threshold", "reset"}


def test_a_reset_by_subtraction_has_no_line(axes):
    lif = geir.LIF(v_reset=-0.25, reset_mechanism=geir.ResetBySubtraction())
    _, states = recorded(lif, torch.full((50, 1), 0.5))
    plot.traces(states, axes, neuron=lif)
    assert not line_at(axes, -0.25)


def test_a_moving_threshold_moves(axes):
    lsnn = geir.ALIF(beta=0.5)
    _, states = recorded(lsnn, torch.full((200, 1), 0.5))
    plot.traces(states, axes, neuron=lsnn)
    assert states.b.max() > 1
    assert len(line_at(axes, 1 + 0.5 * states.b[:, 0].numpy())) == 1


@pytest.mark.parametrize(
    "neuron", [geir.IAF(v_th=2.0), geir.Refractory(geir.LIF(v_th=2.0)), geir.LIFRefrac(v_th=2.0), geir.AdEx(v_peak=2.0)]
)
def test_the_threshold_of_any_model_is_found(axes, neuron):
    _, states = recorded(neuron, torch.full((30, 2, 4), 0.5))
    plot.traces(states, axes, neuron=neuron, sample=1)
    assert len(line_at(axes, 2.0)) == 1
    assert len(axes.lines) == 4 + 2


def test_the_threshold_of_a_recurrent_model_in_wrappers_is_found(axes):
    neuron = geir.Recurrent(geir.Refractory(geir.LIF(v_th=2.0)), 3, 4)
    _, states = recorded(neuron, torch.rand(30, 3))
    plot.traces(states, axes, neuron=neuron)
    assert len(line_at(axes, 2.0)) == 1


def test_what_does_not_spike_has_no_threshold():
    li = geir.LI()
    assert plot.threshold(li, recorded(li, torch.rand(5, 2))[1]) is None


# ---- maps


def test_a_heat_map_is_the_values_at_their_times(axes):
    values = torch.rand(50, 7)
    plot.heatmap_2d(values, axes, dt=DT, label="activity")
    (image,) = axes.images
    assert_array_equal(image.get_array(), values.T.numpy())
    assert_allclose(image.get_extent(), (0, 25, -0.5, 6.5))
    assert axes.figure.axes[1].get_ylabel() == "activity"


def test_without_a_label_there_is_no_color_bar(axes):
    plot.heatmap_2d(torch.rand(5, 4), axes)
    assert axes.figure.axes == [axes]


def test_a_surface_goes_through_the_values(space):
    values = torch.rand(6, 4, dtype=torch.float64)
    plot.heatmap_3d(values, space, dt=DT)
    (surface,) = space.collections
    # Each face has the color of its mean height.
    v = values.numpy()
    assert_allclose(surface.get_array(), (v[1:, 1:] + v[1:, :-1] + v[:-1, 1:] + v[:-1, :-1]).flatten() / 4)
    assert_allclose(space.xy_dataLim.get_points(), [[0, 0], [2.5, 3]])


def test_weights_are_drawn_with_zero_in_the_middle(axes):
    values = torch.tensor([[0.5, -1.0, 0.0], [2.0, 0.25, 0.0]])
    plot.weights(values, axes)
    (image,) = axes.images
    assert_array_equal(image.get_array(), values.numpy())
    assert image.get_clim() == (-2, 2)
    red, _, blue, _ = image.cmap(image.norm(np.array([1.0, 0.0, -1.0]))).T
    assert red[0] > blue[0]
    assert red[1] == pytest.approx(blue[1], abs=0.02)
    assert red[2] < blue[2]


def test_filters_stand_side_by_side(axes):
    values = torch.randn(5, 1, 3, 2)
    plot.weights(values, axes, label=None)
    image = axes.images[0].get_array()
    # Three columns, two rows, a line between them; the last place is empty.
    assert image.shape == (2 * 3 + 1, 3 * 2 + 2)
    for k in range(5):
        row, column = divmod(k, 3)
        assert_array_equal(image[4 * row : 4 * row + 3, 3 * column : 3 * column + 2], values[k, 0].numpy())
    assert np.isnan(np.ma.filled(image[3], np.nan)).all()
    assert np.isnan(np.ma.filled(image[4:, 6:], np.nan)).all()


def test_filters_of_channels_are_a_row_each(axes):
    values = torch.randn(4, 2, 3, 3)
    plot.weights(values, axes)
    assert_array_equal(axes.images[0].get_array()[4:7, 4:7], values[1, 1].numpy())


# ---- models


def test_the_f_i_curve_of_a_leaky_neuron_is_its_closed_form(axes):
    lif = geir.LIFBox(dt=0.1e-3, tau_mem=20e-3, v_th=0.8)
    currents = torch.linspace(0, 3, 40)
    assert plot.f_i_curve(lif, axes, inputs=currents) is axes
    x, hertz = axes.lines[0].get_data()
    assert_array_equal(x, currents.numpy())
    # The first whole step at which 1 - exp(-t / tau) > v_th / x.
    period = [
        math.floor(-math.log(1 - 0.8 / i) * 20e-3 / 0.1e-3) + 1 if i > 0.8 else math.inf
        for i in currents.double().tolist()
    ]
    assert_allclose(hertz, [1 / (0.1e-3 * n) for n in period], rtol=1e-4)
    assert hertz[10] == 0
    assert hertz[-1] > 100


def test_the_rate_is_that_after_settling(axes):
    lsnn = geir.ALIF()
    plot.f_i_curve(lsnn, axes, inputs=torch.tensor([0.5]), settle=1.0, duration=1.0)
    times = lsnn(torch.full((2000,), 0.5))[0].nonzero().flatten()
    late, early = times[times >= 1000].diff().double(), times[times < 1000].diff().double()
    assert late.mean() > 1.1 * early.mean()
    assert_allclose(axes.lines[0].get_ydata(), 1 / (1e-3 * late.mean()), rtol=1e-6)


def test_the_f_i_curve_of_several_neurons_is_one_each(axes):
    taus = torch.tensor([10e-3, 20e-3])
    plot.f_i_curve(geir.LIFBox(tau_mem=taus), axes)
    slow = Figure().subplots()
    plot.f_i_curve(geir.LIFBox(tau_mem=20e-3), slow)
    assert len(axes.lines) == 2
    assert_array_equal(axes.lines[1].get_ydata(), slow.lines[0].get_ydata())


@pytest.mark.parametrize(
    "neuron",
    [geir.LIF(), geir.Refractory(geir.LIFBox(), period=2e-3), geir.IAF(), geir.LIF(record_states=True).double()],
)
def test_any_neuron_has_an_f_i_curve(axes, neuron):
    before = neuron.record_states
    plot.f_i_curve(neuron, axes, inputs=torch.tensor([0.0, 1.5]))
    low, high = axes.lines[0].get_ydata()
    assert low == 0
    assert 0 < high <= 1000
    assert neuron.record_states == before


def constant(neuron, current, steps):
    """A run with the synaptic current held at the start of every step."""
    kept = math.exp(-neuron.dt / neuron.tau_syn.item())
    start = neuron.initial_state(torch.zeros(1))._replace(i=torch.full((1,), current * kept))
    return neuron(torch.full((steps, 1), current * (1 - kept)), start)


def test_nullclines_are_where_the_equations_say(axes):
    adex = geir.AdEx(delta_T=0.2, a=0.4)
    held = adex.rest()._replace(i=torch.tensor(0.7))
    plot.phase_plane(adex, axes, state=held, limits=((-1.0, 1.4), (-1.0, 2.0)))
    v_line, w_line = [c for c in axes.collections if hasattr(c, "levels")]
    v, w = np.concatenate([p.vertices for p in v_line.get_paths()]).T
    assert len(v) > 50
    assert_allclose(w, -v + 0.2 * np.exp((v - 1) / 0.2) + 0.7, atol=2e-3)
    v, w = np.concatenate([p.vertices for p in w_line.get_paths()]).T
    assert_allclose(w, 0.4 * v, atol=1e-4)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("$v$", "$w$")


def test_a_trajectory_is_interrupted_where_it_is_reset(axes):
    adex = geir.AdEx(dt=DT, record_states=True)
    zs, states = constant(adex, 1.6, 400)
    plot.phase_plane(adex, axes, trajectory=states, spikes=zs)
    line, resets = axes.lines
    v, w = line.get_data()
    assert zs.sum() > 3
    assert np.isnan(v).sum() == zs.sum()
    assert_array_equal(v[~np.isnan(v)], states.v[:, 0].numpy())
    assert_array_equal(resets.get_ydata(), states.w[zs > 0].numpy())
    # A part of the line never jumps back to the reset.
    assert np.nanmin(np.diff(v)) > -0.5
    assert axes.get_xlim()[0] < v[~np.isnan(v)].min()


def test_the_phase_plane_of_a_model_of_ones_own(axes):
    """FitzHugh-Nagumo: v' = v - v^3/3 - w + x, w' = 0.08 (v + 0.7 - 0.8 w)."""
    plot.phase_plane(FitzHughNagumo(), axes, x=0.5, limits=((-2.5, 2.5), (-1.0, 2.0)))
    v_line, w_line = [c for c in axes.collections if hasattr(c, "levels")]
    v, w = np.concatenate([p.vertices for p in v_line.get_paths()]).T
    assert_allclose(w, v - v**3 / 3 + 0.5, atol=2e-3)
    v, w = np.concatenate([p.vertices for p in w_line.get_paths()]).T
    assert_allclose(w, (v + 0.7) / 0.8, atol=1e-4)


class FHNState(geir.neurons.iaf.NamedTuple):
    v: torch.Tensor
    w: torch.Tensor


class FitzHughNagumo(geir.ODE[FHNState]):
    def rest(self):
        return FHNState(torch.tensor(-1.2), torch.tensor(-0.62))

    def derivative(self, x, state):
        return FHNState(state.v - state.v**3 / 3 - state.w + x, 0.08 * (state.v + 0.7 - 0.8 * state.w))


def window(dt):
    return torch.where(dt > 0, torch.exp(-dt / 17e-3), -0.5 * torch.exp(dt / 34e-3))


def test_an_stdp_window_has_two_branches_that_do_not_meet(axes):
    plot.stdp_window(window, axes, span=50e-3)
    before, after = axes.lines[2:]
    for branch in (before, after):
        t, dw = branch.get_data()
        assert_allclose(dw, window(torch.tensor(t) / 1e3).numpy(), rtol=1e-4)
    assert before.get_xdata().max() < 0 < after.get_xdata().min()
    assert after.get_xdata().max() == pytest.approx(50)


def test_an_stdp_window_may_be_measured(axes):
    times = torch.tensor([0.03, -0.02, 0.01])
    plot.stdp_window((times, window(times)), axes)
    before, after = axes.lines[2:]
    assert_allclose(before.get_xdata(), [-20])
    assert_allclose(after.get_xdata(), [10, 30])
    assert_allclose(after.get_ydata(), window(times[[2, 0]]).numpy())


# ---- events


def test_events_are_points_in_space_and_time(space):
    events = spikes(20, 2, 6, 9)
    plot.scatter_3d(events, space, dt=DT)
    for polarity, points in enumerate(space.collections):
        t, y, x = events[:, polarity].nonzero().T.numpy()
        for found, expected in zip(points._offsets3d, (1e3 * DT * t, x, y), strict=True):
            assert_allclose(found, expected)


@pytest.mark.parametrize("form", ["polarity", "signed", "batch"])
def test_a_film_shows_the_events_of_every_step(axes, form, tmp_path):
    polar = spikes(5, 2, 6, 9)
    signed = polar[:, 1] - polar[:, 0]
    events, keywords = {
        "polarity": (polar, {}),
        "signed": (signed, {}),
        "batch": (torch.stack([torch.zeros_like(polar), polar], 1), {"sample": 1}),
    }[form]
    film = plot.animate_events(events, axes, dt=DT, fps=20, **keywords)
    shown = []
    film._func, draw = lambda k: (shown.append(k), draw(k))[1], film._func
    film.save(str(tmp_path / "film.gif"), writer="pillow")
    assert set(shown) == set(range(5))
    for k in range(5):
        draw(k)
        assert_array_equal(axes.images[0].get_array(), signed[k].numpy())
        assert axes.get_title() == f"{1e3 * DT * k:.4g} ms"
    assert axes.images[0].get_clim() == (-1, 1)


# ---- axes and look

STATES = recorded(geir.AdEx(), torch.rand(20, 1))[1]
DRAW_2D = {
    "raster": lambda axes: plot.raster(spikes(20, 3), axes),
    "rate": lambda axes: plot.rate(spikes(20, 3), axes),
    "traces": lambda axes: plot.traces(STATES, axes, neuron=geir.AdEx()),
    "heatmap_2d": lambda axes: plot.heatmap_2d(torch.rand(20, 3), axes, label="v"),
    "weights": lambda axes: plot.weights(torch.randn(3, 4), axes),
    "phase_plane": lambda axes: plot.phase_plane(geir.AdEx(), axes, trajectory=STATES),
    "f_i_curve": lambda axes: plot.f_i_curve(geir.LIFBox(), axes, duration=0.1, settle=0.0),
    "stdp_window": lambda axes: plot.stdp_window(window, axes),
}
DRAW_3D = {
    "heatmap_3d": lambda axes: plot.heatmap_3d(torch.rand(5, 4), axes),
    "scatter_3d": lambda axes: plot.scatter_3d(spikes(5, 4, 4), axes),
}


@pytest.mark.parametrize("name", DRAW_2D | DRAW_3D)
def test_a_picture_is_in_the_axes_given_and_nowhere_else(name):
    from matplotlib import pyplot as plt

    kind = "3d" if name in DRAW_3D else "rectilinear"
    bystander = plt.figure().add_subplot()
    figure = Figure()
    first, second = (figure.add_subplot(1, 2, k, projection=kind) for k in (1, 2))
    settings = dict(matplotlib.rcParams)
    try:
        assert (DRAW_2D | DRAW_3D)[name](second) is second
        figure.savefig(io.BytesIO())
        assert second.has_data()
        assert not first.has_data()
        assert not bystander.has_data()
        assert plt.gca() is bystander
        assert len(plt.get_fignums()) == 1
        assert dict(matplotlib.rcParams) == settings
    finally:
        plt.close("all")


@pytest.mark.parametrize("name", DRAW_2D | DRAW_3D)
def test_without_axes_a_picture_makes_its_own_in_the_look_of_a_paper(name):
    from matplotlib import pyplot as plt

    settings = dict(matplotlib.rcParams)
    try:
        axes = (DRAW_2D | DRAW_3D)[name](None)
        assert isinstance(axes, Axes)
        assert axes.has_data()
        assert axes.figure is plt.gcf()
        if name in DRAW_2D:
            assert not axes.spines["top"].get_visible()
            assert DRAW_2D[name](None) is plt.gca()
        assert axes.xaxis.label.get_size() == 8
        assert dict(matplotlib.rcParams) == settings
    finally:
        plt.close("all")


def test_with_axes_pyplot_is_not_even_imported():
    code = """
import sys, torch, geir
assert not any(name.startswith("matplotlib") for name in sys.modules), "import geir imports matplotlib"
import geir.plot
from matplotlib.figure import Figure
geir.plot.raster(torch.ones(3, 2), Figure().subplots())
geir.plot.animate_events(torch.ones(3, 2, 2), Figure().subplots())._draw_was_started = True
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_matplotlib_the_error_names_the_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "geir.plot")
    with pytest.raises(
        ImportError,
        match=r"geir.plot draws with matplotlib, which is not installed; install it with: pip install 'geir\[plot\]'",
    ):
        import geir.plot  # noqa: F401


def test_the_colors_of_a_palette_can_be_told_apart_without_red_and_green():
    # H. Brettel, F. Vienot & J. Mollon, 1997, as simplified by Vienot et al., 1999: what a protanope and a deuteranope see, in linear RGB.
    protan = np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]])
    deutan = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])
    rgb = np.array([matplotlib.colors.to_rgb(c) for c in plot.PALETTE[:6]])
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    for seen in (linear @ protan.T, linear @ deutan.T):
        seen = np.clip(seen, 0, 1) ** (1 / 2.4)
        distance = np.linalg.norm(seen[:, None] - seen[None], axis=-1) + 9 * np.eye(6)
        assert distance.min() > 0.1


# ---- bad input


ZS, XS = spikes(20, 4, 3), torch.rand(20, 3)
FLAT, SOLID = Figure().subplots(), Figure().add_subplot(projection="3d")
LIF_STATES = recorded(geir.LIF(), XS)[1]
SHAPES = {"raster": (ZS, {}), "traces": (ZS, {}), "heatmap_2d": (ZS, {}), "heatmap_3d": (ZS, {})}

CASES = {
    **{
        f"{name} of a batch": (
            lambda name=name: getattr(plot, name)(ZS),
            ValueError,
            rf"{name} takes \(time, neurons\), got shape \(20, 4, 3\); choose",
        )
        for name in SHAPES
    },
    **{
        f"{name} of one number": (
            lambda name=name: getattr(plot, name)(torch.tensor(1.0)),
            ValueError,
            rf"{name} takes values over time, .* one number",
        )
        for name in (*SHAPES, "rate", "scatter_3d", "animate_events")
    },
    **{
        f"{name} of a list": (
            lambda name=name: getattr(plot, name)([[1.0]]),
            TypeError,
            f"{name} takes a tensor, got list",
        )
        for name in (*SHAPES, "rate", "scatter_3d", "animate_events", "weights")
    },
    **{
        f"{name} in steps of nothing": (
            lambda name=name, x=x: getattr(plot, name)(x, dt=0),
            ValueError,
            f"{name}: dt must be a positive number of sec",
        )
        for name, x in {**dict.fromkeys((*SHAPES, "rate"), XS), "scatter_3d": ZS, "animate_events": ZS}.items()
    },
    "what a neuron returned": (
        lambda: plot.raster(geir.LIF()(XS)),
        TypeError,
        r"raster takes a tensor, got tuple. A neuron returns a pair: zs, state =",
    ),
    "complex": (
        lambda: plot.raster(XS.to(torch.complex64)),
        TypeError,
        "raster takes real values, got torch.complex64",
    ),
    "no step": (
        lambda: plot.raster(torch.zeros(0, 3)),
        ValueError,
        r"raster takes at least one step of one neuron, got shape \(0, 3\)",
    ),
    "no step of a rate": (
        lambda: plot.rate(torch.zeros(0, 3)),
        ValueError,
        r"rate takes at least one step of one neuron, got shape \(0, 3\)",
    ),
    "no such sample": (
        lambda: plot.raster(ZS, sample=4),
        ValueError,
        r"raster: sample=4 is none of the batch of \(time, batch, ...\) = \(20, 4, 3\)",
    ),
    "a sample of no batch": (
        lambda: plot.raster(XS[:, 0], sample=0),
        ValueError,
        r"raster: sample=0 is none of the batch",
    ),
    "colors for other neurons": (
        lambda: plot.raster(XS, color=["k", "r"]),
        ValueError,
        "raster: color must be one color, or one for each of 3 neurons, got 2",
    ),
    "many axes": (
        lambda: plot.raster(XS, Figure().subplots(2)),
        TypeError,
        "raster draws into matplotlib Axes, got ndarray. Draw into one of them.",
    ),
    "a figure": (lambda: plot.raster(XS, Figure()), TypeError, "raster draws into matplotlib Axes, got Figure."),
    "flat axes": (
        lambda: plot.heatmap_3d(XS, FLAT),
        ValueError,
        r"three-dimensional axes; make them with figure.add_subplot\(projection='3d'\)",
    ),
    "solid axes": (
        lambda: plot.raster(XS, SOLID),
        ValueError,
        r"raster draws into two-dimensional axes; make them with figure.add_subplot\(\)",
    ),
    "a negative width": (
        lambda: plot.rate(XS, sigma=-1e-3),
        ValueError,
        "rate: sigma must be a number of seconds >= 0, got -0.001",
    ),
    "no such part": (
        lambda: plot.traces(LIF_STATES, part="w"),
        ValueError,
        "traces: LIFState has no part 'w'; it has v, i.",
    ),
    "spikes of another run": (
        lambda: plot.traces(LIF_STATES, spikes=XS[:5]),
        ValueError,
        r"traces: spikes have shape \(5, 3\), but the state \(20, 3\)",
    ),
    "a neuron without its states": (
        lambda: plot.traces(XS, neuron=geir.LIF()),
        TypeError,
        "traces finds the neuron's threshold from its recorded states, got Tensor; run it with record_states=True",
    ),
    "a line for a surface": (
        lambda: plot.heatmap_3d(XS[:, :1]),
        ValueError,
        r"heatmap_3d takes at least two steps of two neurons, .* with heatmap_2d",
    ),
    "a vector of weights": (
        lambda: plot.weights(torch.rand(3)),
        ValueError,
        r"weights takes \(outputs, inputs\) or filters .*, got shape \(3,\)",
    ),
    "events without a place": (
        lambda: plot.scatter_3d(XS),
        ValueError,
        r"scatter_3d takes \(time, height, width\) or .* got shape \(20, 3\); choose one",
    ),
    "three polarities": (
        lambda: plot.animate_events(torch.rand(5, 3, 4, 4)),
        ValueError,
        r"2 polarities, height, width\), got shape \(5, 3, 4, 4\)",
    ),
    "no pictures a second": (
        lambda: plot.animate_events(ZS, fps=0),
        ValueError,
        "animate_events: fps must be a positive number of pictures a second, got 0",
    ),
    "a cell": (
        lambda: plot.f_i_curve(geir.LIFCell()),
        TypeError,
        r"f_i_curve takes a layer over time that spikes, such as LIF\(\), got LIFCell",
    ),
    "what does not spike": (
        lambda: plot.f_i_curve(geir.LI()),
        TypeError,
        r"f_i_curve takes a layer over time that spikes",
    ),
    "a recurrent layer": (
        lambda: plot.f_i_curve(geir.LIFRecurrent(2, 2)),
        ValueError,
        "f_i_curve is of one neuron, but LIFRecurrent is recurrent",
    ),
    "a recurrent layer in a wrapper": (
        lambda: plot.f_i_curve(geir.Refractory(geir.LIFRecurrent(2, 2))),
        ValueError,
        "f_i_curve is of one neuron, but Refractory is recurrent",
    ),
    "a matrix of inputs": (
        lambda: plot.f_i_curve(geir.LIF(), inputs=XS),
        ValueError,
        r"f_i_curve takes inputs of shape \(n,\), got \(20, 3\)",
    ),
    "no duration": (
        lambda: plot.f_i_curve(geir.LIF(), duration=0),
        ValueError,
        "f_i_curve runs for a duration > 0 s after settle >= 0 s, got 0 and",
    ),
    "no equations": (
        lambda: plot.phase_plane(geir.IAF()),
        TypeError,
        r"phase_plane takes a neuron given by differential equations, .* got IAF",
    ),
    "one variable": (
        lambda: plot.phase_plane(geir.LIF()),
        ValueError,
        "phase_plane draws two parts of LIF's state, which has v, i; parts= left them open",
    ),
    "no such parts": (
        lambda: plot.phase_plane(geir.LIF(), parts=("v", "w")),
        ValueError,
        "which has v, i; parts= chose v, w",
    ),
    "several neurons": (
        lambda: plot.phase_plane(geir.AdEx(a=torch.rand(3)), limits=((0, 1), (0, 1))),
        ValueError,
        r"phase_plane draws one neuron, but AdEx has a of shape \(3,\)",
    ),
    "no limits": (
        lambda: plot.phase_plane(geir.AdEx()),
        ValueError,
        r"phase_plane needs limits=\(\(low, high\), \(low, high\)\), or a trajectory",
    ),
    "spikes of another trajectory": (
        lambda: plot.phase_plane(geir.AdEx(), FLAT, trajectory=STATES, spikes=XS[:5, 0]),
        ValueError,
        "phase_plane: the trajectory has 20 steps, but the spikes 5",
    ),
    "a window without changes": (
        lambda: plot.stdp_window(XS),
        TypeError,
        "stdp_window takes a function of time, or the pair of times and changes",
    ),
    "a window of two lengths": (
        lambda: plot.stdp_window((XS[0], XS[:, 0])),
        ValueError,
        r"changes of one shape \(n,\), got \(3,\) and \(20,\)",
    ),
    "no span": (
        lambda: plot.stdp_window(window, span=0),
        ValueError,
        "stdp_window: span must be a positive number of seconds, got 0",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_wrong_input_is_refused_before_anything_is_drawn(case):
    from matplotlib import pyplot as plt

    call, kind, message = CASES[case]
    with pytest.raises(kind, match=message):
        call()
    assert not plt.get_fignums()
