"""Heat maps and weights."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from plot_helpers import check_rejected, DT, XS

from geir import plot


def test_a_heat_map_shows_the_values_at_their_times(ax):
    values = torch.rand(50, 7)
    plot.heatmap_2d(values, ax, dt=DT, label="activity")
    (image,) = ax.images
    assert_array_equal(image.get_array(), values.T.numpy())
    assert_allclose(image.get_extent(), (0, 25, -0.5, 6.5))
    assert ax.figure.axes[1].get_ylabel() == "activity"


def test_without_a_label_there_is_no_color_bar(ax):
    plot.heatmap_2d(torch.rand(5, 4), ax)
    assert ax.figure.axes == [ax]


def test_a_surface_passes_through_the_values(ax_3d):
    values = torch.rand(6, 4, dtype=torch.float64)
    plot.heatmap_3d(values, ax_3d, dt=DT)
    (surface,) = ax_3d.collections
    # Each face has the color of its mean height.
    v = values.numpy()
    assert_allclose(surface.get_array(), (v[1:, 1:] + v[1:, :-1] + v[:-1, 1:] + v[:-1, :-1]).flatten() / 4)
    assert_allclose(ax_3d.xy_dataLim.get_points(), [[0, 0], [2.5, 3]])


def test_weights_are_drawn_in_colors_centered_at_zero(ax):
    values = torch.tensor([[0.5, -1.0, 0.0], [2.0, 0.25, 0.0]])
    plot.weights(values, ax)
    (image,) = ax.images
    assert_array_equal(image.get_array(), values.numpy())
    assert image.get_clim() == (-2, 2)
    red, _, blue, _ = image.cmap(image.norm(np.array([1.0, 0.0, -1.0]))).T
    assert red[0] > blue[0]
    assert red[1] == pytest.approx(blue[1], abs=0.02)
    assert red[2] < blue[2]


def test_filters_are_arranged_in_a_square(ax):
    values = torch.randn(5, 1, 3, 2)
    plot.weights(values, ax, label=None)
    image = ax.images[0].get_array()
    # Three columns and two rows with a line between them; the last place is empty.
    assert image.shape == (2 * 3 + 1, 3 * 2 + 2)
    for k in range(5):
        row, column = divmod(k, 3)
        assert_array_equal(image[4 * row : 4 * row + 3, 3 * column : 3 * column + 2], values[k, 0].numpy())
    assert np.isnan(np.ma.filled(image[3], np.nan)).all()
    assert np.isnan(np.ma.filled(image[4:, 6:], np.nan)).all()


def test_filters_with_several_channels_have_a_row_each(ax):
    values = torch.randn(4, 2, 3, 3)
    plot.weights(values, ax)
    assert_array_equal(ax.images[0].get_array()[4:7, 4:7], values[1, 1].numpy())


CASES = {
    "a surface of one neuron": (
        lambda: plot.heatmap_3d(XS[:, :1]),
        ValueError,
        r"heatmap_3d expected at least two steps of two neurons, .* use heatmap_2d",
    ),
    "a vector of weights": (
        lambda: plot.weights(torch.rand(3)),
        ValueError,
        r"weights expected shape \(outputs, inputs\), .*, got \(3,\)",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_invalid_input_is_rejected(case):
    check_rejected(*CASES[case])
