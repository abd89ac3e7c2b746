"""The figure of the page: forward + backward of LIF in all contestants."""

import math
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from .contestants import BOX, GEIR, LOOP
from .timing import Bench

GEIR_COLOR, OTHER_COLOR = "#c8372d", "#8a929c"
LINE_COLORS = ("#2f6fab", "#3d9a6b", "#d08a1d", "#7b54a5", "#4ba9b5", "#b0588a", "#777777", "#a3b83c", "#5d4037")


def draw(bench: Bench, path: Path) -> None:
    """Draw bars of the times at T=64 with the ratio to geir, and the times against T.

    Args:
        bench: Has the results in `bars` and `lines`.
        path: The PNG file to write.
    """
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.15, 1])
    draw_bars(left, bench.bars)
    draw_lines(right, bench.lines)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    right.grid(alpha=0.25)
    figure.savefig(path, dpi=130)


def draw_bars(axes: Axes, milliseconds: dict[str, float]) -> None:
    """Draw a bar for each contestant, the fastest at the top."""
    names = sorted(milliseconds, key=milliseconds.__getitem__, reverse=True)
    base = milliseconds[GEIR]
    ours = (GEIR, BOX)
    labels = [
        f"{milliseconds[name]:.1f} ms" if name in ours else f"{milliseconds[name] / base:.1f} ×" for name in names
    ]
    colors = [GEIR_COLOR if name in ours else OTHER_COLOR for name in names]
    bars = axes.barh(names, [milliseconds[name] for name in names], color=colors)
    axes.bar_label(bars, labels, padding=4)
    axes.set(xlabel="ms")
    axes.set_title("LIF, forward + backward, T=64, B=64, N=1024", loc="left")
    axes.margins(x=0.14)


def draw_lines(axes: Axes, milliseconds: dict[str, dict[int, float]]) -> None:
    """Draw the times against the number of steps, with the names at the ends of the lines."""
    colors = iter(LINE_COLORS)
    ends: list[tuple[float, str, str]] = []
    for name, line in milliseconds.items():
        if name == BOX:
            continue
        color = GEIR_COLOR if name == GEIR else next(colors)
        axes.plot(
            list(line),
            list(line.values()),
            marker="o",
            color=color,
            lw=2.5 if name == GEIR else 1.3,
            ms=4,
            ls="--" if name == LOOP else "-",
        )
        ends.append((list(line.values())[-1], name, color))
    axes.set(xscale="log", yscale="log", xlabel="T", ylabel="ms")
    axes.set_title("The same against T, B=4, N=1024", loc="left")
    lengths = list(milliseconds[GEIR])
    axes.xaxis.set_major_locator(FixedLocator(lengths))
    axes.xaxis.set_major_formatter(FixedFormatter([str(steps) for steps in lengths]))
    axes.xaxis.set_minor_locator(NullLocator())
    ends.sort()
    low, high = axes.get_ylim()
    heights = spread_apart([math.log(ms) for ms, _, _ in ends], gap=0.06 * math.log(high / low))
    for height, (_, name, color) in zip(heights, ends, strict=True):
        axes.annotate(
            name,
            (lengths[-1], math.exp(height)),
            xytext=(7, 0),
            textcoords="offset points",
            color=color,
            va="center",
            annotation_clip=False,
        )


def spread_apart(heights: list[float], gap: float) -> list[float]:
    """Move sorted heights apart until neighbors differ by about `gap`, so that labels do not overlap."""
    heights = list(heights)
    for _ in range(200):
        for k in range(len(heights) - 1):
            push = max(0.0, gap - (heights[k + 1] - heights[k])) / 2
            heights[k] -= push
            heights[k + 1] += push
    return heights
