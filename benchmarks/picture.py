"""The page's picture: who takes how long."""

import math
from pathlib import Path

from .contestants import BOX, GEIR, LOOP
from .timing import Bench

OURS, THEIRS = "#c8372d", "#8a929c"


def draw(bench: Bench, path: Path) -> None:
    """Bars of forward + backward at T=64, with the ratio to geir, and lines of it against T."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.6), layout="constrained", width_ratios=[1.15, 1])
    names = sorted(bench.bars, key=bench.bars.__getitem__, reverse=True)
    base = bench.bars[GEIR]
    bars = left.barh(
        names, [bench.bars[name] for name in names], color=[OURS if name in (GEIR, BOX) else THEIRS for name in names]
    )
    left.bar_label(
        bars,
        [f"{bench.bars[name]:.1f} ms" if name in (GEIR, BOX) else f"{bench.bars[name] / base:.1f} ×" for name in names],
        padding=4,
    )
    left.set(xlabel="ms")
    left.set_title("LIF, forward + backward, T=64, B=64, N=1024", loc="left")
    left.margins(x=0.14)

    greys = iter(["#2f6fab", "#3d9a6b", "#d08a1d", "#7b54a5", "#4ba9b5", "#b0588a", "#777777", "#a3b83c", "#5d4037"])
    ends: list[tuple[float, str, str]] = []
    for name, line in bench.lines.items():
        if name == BOX:
            continue
        colour = OURS if name == GEIR else next(greys)
        right.plot(
            list(line),
            list(line.values()),
            marker="o",
            color=colour,
            lw=2.5 if name == GEIR else 1.3,
            ms=4,
            ls="--" if name == LOOP else "-",
        )
        ends.append((list(line.values())[-1], name, colour))
    right.set(xscale="log", yscale="log", xlabel="T", ylabel="ms")
    right.set_title("The same against T, B=4, N=1024", loc="left")
    lengths = list(bench.lines[GEIR])
    right.xaxis.set_major_locator(FixedLocator(lengths))
    right.xaxis.set_major_formatter(FixedFormatter([str(t) for t in lengths]))
    right.xaxis.set_minor_locator(NullLocator())
    # Names at the ends of their lines, pushed apart where those meet.
    low, high = right.get_ylim()
    gap, ends = 0.06 * math.log(high / low), sorted(ends)
    heights = [math.log(ms) for ms, _, _ in ends]
    for _ in range(200):
        for k in range(len(heights) - 1):
            push = max(0.0, gap - (heights[k + 1] - heights[k])) / 2
            heights[k], heights[k + 1] = heights[k] - push, heights[k + 1] + push
    for height, (_, name, colour) in zip(heights, ends, strict=True):
        place = (lengths[-1], math.exp(height))
        right.annotate(
            name, place, xytext=(7, 0), textcoords="offset points", color=colour, va="center", annotation_clip=False
        )
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    right.grid(alpha=0.25)
    figure.savefig(path, dpi=130)
    plt.close(figure)
