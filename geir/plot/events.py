"""Events of an event camera: (time, height, width), or with a polarity, (time, polarity, height, width)."""

from typing import Any

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from torch import Tensor

from .canvas import array, axes_for, BLUE, milliseconds, one_sample, ORANGE, whole_ticks

DIVERGING = LinearSegmentedColormap.from_list("blue_orange", [BLUE, "white", ORANGE])


def scatter_3d(
    events: Tensor, axes: Axes | None = None, *, dt: float = 1e-3, sample: int | None = None, **style: Any
) -> Axes:
    """Events as points in space and time, orange where they are positive (polarity 1), blue where negative (polarity 0).

    Args:
        events: Shape (time, height, width) or (time, polarity, height, width), or with a batch after time, of which `sample` is drawn.
        axes: Where to draw, made with ``projection="3d"``. Default: a new figure.
        dt: Step size in seconds.
        sample: Which one of a batch.
        **style: More of matplotlib's `scatter`, such as the size `s`.

    Raises:
        TypeError: If `events` are not a tensor, or `axes` are not Axes.
        ValueError: If `events` have not this shape, `dt` is not positive, or `axes` are two-dimensional.
    """
    positive, negative = _polarities("scatter_3d", events, sample)
    ts, end = milliseconds("scatter_3d", len(positive), dt)
    space: Any = axes_for("scatter_3d", axes, "3d")
    height, width = positive.shape[1:]
    for found, color in ((negative, BLUE), (positive, ORANGE)):
        t, y, x = found.nonzero()
        space.scatter(
            ts[t], x, y, **{"s": 1, "color": color, "linewidths": 0, "alpha": 0.6, "depthshade": False} | style
        )
    # Height grows downward, as in images.
    space.set(
        xlabel="time (ms)", ylabel="x (pixels)", zlabel="y (pixels)", xlim=(0, end), ylim=(0, width), zlim=(height, 0)
    )
    whole_ticks(space.xaxis, space.yaxis, space.zaxis)
    # Matplotlib's layouts leave no room for the labels of three axes.
    space.set_box_aspect((2, 1, height / width), zoom=1.1)
    return space


def animate_events(
    events: Tensor,
    axes: Axes | None = None,
    *,
    dt: float = 1e-3,
    sample: int | None = None,
    fps: float = 25.0,
    **style: Any,
) -> FuncAnimation:
    """Events as a film, a picture for every step: white where nothing happens, orange where events are positive (polarity 1), blue where negative.

    Args:
        events: Shape (time, height, width) or (time, polarity, height, width), or with a batch after time, of which `sample` is drawn.
        axes: Where to draw. Default: pyplot's current axes, or new ones.
        dt: Step size in seconds, for the clock above the picture.
        sample: Which one of a batch.
        fps: Pictures shown in a second.
        **style: More of matplotlib's `imshow`.

    Returns:
        The animation: ``animation.save("events.gif")`` writes it, ``animation.to_jshtml()`` plays it in a notebook. Its axes hold the first picture.

    Raises:
        TypeError: If `events` are not a tensor, or `axes` are not Axes.
        ValueError: If `events` have not this shape, or `dt` or `fps` is not positive.
    """
    positive, negative = _polarities("animate_events", events, sample)
    ts, _ = milliseconds("animate_events", len(positive), dt)
    if not fps > 0:
        raise ValueError(f"animate_events: fps must be a positive number of pictures a second, got {fps}.")
    frames = positive - negative
    axes = axes_for("animate_events", axes)
    largest = np.abs(frames).max() or 1.0
    look = {"cmap": DIVERGING, "vmin": -largest, "vmax": largest, "interpolation": "nearest"}
    image = axes.imshow(frames[0], **look | style)
    title = axes.set_title("")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(True)

    def show(k: int) -> tuple[Any, ...]:
        image.set_data(frames[k])
        title.set_text(f"{ts[k]:.4g} ms")
        return image, title

    show(0)
    figure: Any = axes.get_figure(root=True)
    return FuncAnimation(figure, show, frames=len(frames), interval=1e3 / fps)


def _polarities(caller: str, events: Any, sample: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Positive and negative events, each of shape (time, height, width), as numbers >= 0."""
    frames = one_sample(caller, array(caller, events), sample)
    if frames.ndim == 4 and frames.shape[1] == 1:
        frames = frames[:, 0]
    if not frames.size or frames.ndim not in (3, 4) or (frames.ndim == 4 and frames.shape[1] != 2):
        cure = "choose one of a batch with sample=0"
        raise ValueError(
            f"{caller} takes (time, height, width) or (time, 2 polarities, height, width), got shape {frames.shape}; {cure}."
        )
    if frames.ndim == 4:
        return np.abs(frames[:, 1]), np.abs(frames[:, 0])
    return np.maximum(frames, 0), np.maximum(-frames, 0)
