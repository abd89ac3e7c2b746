"""Events of an event camera, shape (time, height, width), or with polarity, (time, polarity, height, width)."""

from typing import Any, NamedTuple

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from torch import Tensor

from ._arrays import select_sample, time_axis, to_array
from ._style import BLUE, get_axes, get_axes_3d, ORANGE, set_integer_ticks

DIVERGING = LinearSegmentedColormap.from_list("blue_orange", [BLUE, "white", ORANGE])


def scatter_3d(
    events: Tensor, ax: Axes | None = None, *, dt: float = 1e-3, sample: int | None = None, **kwargs: Any
) -> Axes:
    """Plot events as points in space and time.

    Positive events (polarity 1) are orange, negative ones (polarity 0) blue.

    Args:
        events: Shape (time, height, width) or (time, polarity, height, width), or with a batch
            dimension after time and `sample`.
        ax: Axes to draw into, created with ``projection="3d"``. Default: the axes of a new figure.
        dt: Step size in seconds.
        sample: Index of the sample of a batch to draw.
        **kwargs: Passed to `Axes3D.scatter`, for example the size `s`.

    Returns:
        The axes.

    Raises:
        TypeError: If `events` is not a tensor, or `ax` is not an `Axes`.
        ValueError: If `events` does not have this shape, `dt` is not positive, or `ax` is
            two-dimensional.
    """
    counts = _count_polarities("scatter_3d", events, sample)
    times, end = time_axis("scatter_3d", len(counts.positive), dt)
    space = get_axes_3d("scatter_3d", ax)
    height, width = counts.positive.shape[1:]
    for frames, color in ((counts.negative, BLUE), (counts.positive, ORANGE)):
        t, y, x = frames.nonzero()
        style = {"s": 1, "color": color, "linewidths": 0, "alpha": 0.6, "depthshade": False}
        space.scatter(times[t], x, y, **style | kwargs)
    # The vertical axis is inverted, as in images.
    space.set(xlabel="time (ms)", ylabel="x (pixels)", zlabel="y (pixels)")
    space.set(xlim=(0, end), ylim=(0, width), zlim=(height, 0))
    set_integer_ticks(space.xaxis, space.yaxis, space.zaxis)
    # Matplotlib's layout engines leave no space for the labels of three axes.
    space.set_box_aspect((2, 1, height / width), zoom=1.1)
    return space


def animate_events(
    events: Tensor,
    ax: Axes | None = None,
    *,
    dt: float = 1e-3,
    sample: int | None = None,
    fps: float = 25.0,
    **kwargs: Any,
) -> FuncAnimation:
    """Animate events, with one frame for each step.

    Positive events (polarity 1) are orange, negative ones (polarity 0) blue.

    Args:
        events: Shape (time, height, width) or (time, polarity, height, width), or with a batch
            dimension after time and `sample`.
        ax: Axes to draw into. Default: pyplot's current axes, or new ones.
        dt: Step size in seconds, for the time in the title.
        sample: Index of the sample of a batch to draw.
        fps: Frames shown per second.
        **kwargs: Passed to `Axes.imshow`.

    Returns:
        The animation. ``animation.save("events.gif")`` saves it, and ``animation.to_jshtml()`` plays it
        in a notebook.

    Raises:
        TypeError: If `events` is not a tensor, or `ax` is not an `Axes`.
        ValueError: If `events` does not have this shape, `dt` or `fps` is not positive, or `ax` is not
            part of a figure.
    """
    counts = _count_polarities("animate_events", events, sample)
    times, _ = time_axis("animate_events", len(counts.positive), dt)
    if not fps > 0:
        raise ValueError(f"animate_events: fps must be a positive number of frames per second, got {fps}.")
    frames = counts.positive - counts.negative
    ax = get_axes("animate_events", ax)
    figure = ax.get_figure(root=True)
    if figure is None:
        raise ValueError("animate_events expected axes that are part of a figure; create them with figure.subplots().")
    max_abs = np.abs(frames).max() or 1.0
    style = {"cmap": DIVERGING, "vmin": -max_abs, "vmax": max_abs, "interpolation": "nearest"}
    image = ax.imshow(frames[0], **style | kwargs)
    title = ax.set_title("")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(True)

    def show_frame(index: int) -> tuple[Artist, ...]:
        image.set_data(frames[index])
        title.set_text(f"{times[index]:.4g} ms")
        return image, title

    show_frame(0)
    return FuncAnimation(figure, show_frame, frames=len(frames), interval=1e3 / fps)


class _Counts(NamedTuple):
    """Events per pixel and step, each of shape (time, height, width) and >= 0."""

    positive: np.ndarray
    negative: np.ndarray


def _count_polarities(caller: str, events: object, sample: int | None) -> _Counts:
    frames = select_sample(caller, to_array(caller, events), sample)
    if frames.ndim == 4 and frames.shape[1] == 1:
        frames = frames[:, 0]
    if not frames.size or frames.ndim not in (3, 4) or (frames.ndim == 4 and frames.shape[1] != 2):
        raise ValueError(
            f"{caller} expected shape (time, height, width) or (time, 2 polarities, height, width), "
            f"got {frames.shape}; select a sample of a batch with sample=0."
        )
    if frames.ndim == 4:
        return _Counts(positive=np.abs(frames[:, 1]), negative=np.abs(frames[:, 0]))
    return _Counts(positive=np.maximum(frames, 0), negative=np.maximum(-frames, 0))
