"""Measure events to tensors, filters and event-driven layers, `python -m benchmarks.tensors`; tonic side by side where it is installed.

473,000 random events of a 320x240 sensor in a second, unless `--data` names a recording.
"""

import argparse
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import nn

import geir
from geir.events import Events, read_events, transforms as T
from geir.events.lazy import LazyLIF

from .report import machine, table as tabulated
from .timing import Bench, Job

SIZE, NUMBER = (320, 240), 473_000


def recording() -> Events:
    """Random events in a second, one of them at its beginning."""
    generator = torch.Generator().manual_seed(0)
    # Away from 0, before which tonic's denoise takes all pixels to have had an event.
    t = 10_000_000 + torch.randint(1_000_000, (NUMBER,), generator=generator).sort().values
    x, y, p = (torch.randint(n, (NUMBER,), generator=generator) for n in (*SIZE, 2))
    return Events(t, x, y, p, sensor_size=SIZE)


@dataclass
class Row:
    """One operation: ours, tonic's by name and settings, and whether both must agree (a function of both results)."""

    name: str
    ours: Callable[[Events], Any]
    tonic: Callable[[Any, tuple[int, int, int]], Callable[[Any], Any]] | None = None
    agree: Callable[[Any, Any], bool] | None = None
    wanted: str = ""


def _frames_agree(ours: torch.Tensor, theirs: numpy.ndarray) -> bool:
    # tonic leaves out the last frame, which is not whole.
    return numpy.array_equal(ours[: len(theirs)].numpy(), theirs)


def rows() -> list[Row]:
    """What is measured. tonic's durations are in microseconds."""

    def kept(ours: Events, theirs: Any) -> bool:
        return len(ours) == len(theirs) and numpy.array_equal(ours.t.numpy(), theirs["t"])

    return [
        Row(
            "count frames of 1 ms, int16",
            lambda e: T.count_frames(e, dt=1e-3, dtype=torch.int16),
            lambda t, s: t.ToFrame(s, time_window=1000),
            _frames_agree,
            "40",
        ),
        Row("count frames of 1 ms, uint8", lambda e: T.count_frames(e, dt=1e-3, dtype=torch.uint8), wanted="40"),
        Row("count frames of 1 ms, float32", lambda e: T.count_frames(e, dt=1e-3)),
        Row(
            "count frames, 100 bins, float32",
            lambda e: T.count_frames(e, bins=100),
            lambda t, s: t.ToFrame(s, n_time_bins=100),
            None,
            "40",
        ),
        Row(
            "sparse frames of 1 ms",
            lambda e: T.sparse_frames(e, dt=1e-3),
            lambda t, s: t.ToSparseTensor(s, time_window=1000) if hasattr(t, "ToSparseTensor") else None,
        ),
        Row(
            "voxel grid, 10 bins",
            lambda e: T.voxel_grid(e, 10),
            lambda t, s: t.ToVoxelGrid(s, n_time_bins=10),
            None,
            "150",
        ),
        Row(
            "time surface every 10 ms",
            lambda e: T.time_surface(e, tau=5e-3, dt=10e-3),
            lambda t, s: t.ToTimesurface(s, dt=10_000, tau=5000),
            lambda a, b: numpy.allclose(a[: len(b)].numpy(), b, rtol=1e-4, atol=1e-6),
            "15",
        ),
        Row(
            "denoise, 4 neighbours",
            lambda e: T.denoise(e, 10e-3, diagonal=False),
            lambda t, s: t.Denoise(filter_time=10_000.5),
            kept,
            "9.5",
        ),
        Row("denoise, 8 neighbours", lambda e: T.denoise(e, 10e-3), wanted="9.5"),
        # tonic counts from the last event, kept or not, so that results differ.
        Row(
            "refractory filter",
            lambda e: T.refractory_filter(e, 10e-3),
            lambda t, s: t.RefractoryPeriod(10_000),
            None,
            "6",
        ),
    ]


def layers() -> list[Row]:
    """Event-driven layers, on one core."""
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 1, 5, padding=2, bias=False)
    nn.init.uniform_(conv.weight, -0.15, 0.3)
    box, lif = geir.LIFBox(v_th=1.2, tau_mem=50e-3), geir.LIF(v_th=0.4, tau_mem=50e-3, tau_syn=20e-3)
    return [
        Row("LazyLIF(LIFBox)", LazyLIF(box), wanted="10"),
        Row("LazyLIF(LIF)", LazyLIF(lif), wanted="10"),
        Row("LazyLIF(LIFBox), 5x5", LazyLIF(box, conv)),
        Row("LazyLIF(LIF), 5x5", LazyLIF(lif, conv)),
    ]


def clocked(bench: Bench, events: Events) -> str:
    """The same layer by events and by frames of 1 ms, whose result is another: how long, and how many neurons are advanced."""
    conv = nn.Conv2d(2, 1, 5, padding=2, bias=False)
    lif = geir.LIF(v_th=0.4, tau_mem=50e-3, tau_syn=20e-3)
    network, lazy = geir.SequentialState(geir.Lift(conv), lif), LazyLIF(lif, conv)
    lines = []
    for share in (1.0, 0.1, 0.01):
        part = T.drop_events(events, 1 - share, generator=torch.Generator().manual_seed(0)).slice_time(
            None, int(events.t[0]) + 100_000
        )

        def by_frames(part: Events = part) -> Any:
            return network(T.count_frames(part, dt=1e-3)[:, None])

        with torch.no_grad():
            taken = bench.medians({"events": lambda part=part: lazy(part), "frames": by_frames})
        by_clock = 100 * SIZE[0] * SIZE[1]
        lines.append([f"{len(part) * 10:,}", taken["events"], taken["frames"], f"{len(part) * 25:,}", f"{by_clock:,}"])
    return tabulated(
        ["events a second", "by events, ms", "by frames, ms", "neurons advanced by events", "by frames"], lines
    )


def table(bench: Bench, events: Events, what: list[Row], tonic: Any) -> str:
    """Million events a second, ours and tonic's."""
    lines = []
    size = (*events.sensor_size, 2)
    for row in what:
        theirs = row.tonic(tonic, size) if tonic and row.tonic else None
        jobs: dict[str, Job] = {"geir": lambda row=row: row.ours(events)}
        if theirs is not None:
            array = events.to_structured("xytp")
            array = array.astype([(name, "i8" if name == "t" else "i2") for name in array.dtype.names])
            if row.agree and not row.agree(row.ours(events), theirs(array.copy())):
                raise SystemExit(f"{row.name}: geir and tonic do not agree")
            jobs["tonic"] = lambda theirs=theirs, array=array: theirs(array.copy())
        taken = bench.medians(jobs)
        speed = {name: len(events) / ms * 1e-3 for name, ms in taken.items()}
        theirs_speed = speed.get("tonic")
        lines.append([row.name, speed["geir"], theirs_speed, theirs_speed and speed["geir"] / theirs_speed, row.wanted])
    return tabulated(["", "geir, Mevents/s", "tonic, Mevents/s", "ratio", "wanted"], lines)


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tensors", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="how often each contestant takes its turn (default: 7)")
    parser.add_argument("--data", type=Path, help="a recording")
    parser.add_argument("--write", action="store_true", help="write results/tensors.md")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*pkg_resources.*")
    try:
        from tonic import transforms as tonic  # pyright: ignore[reportMissingImports]
    except ImportError:
        tonic = None
    bench = Bench(torch.device("cpu"), options.rounds)
    events = read_events(options.data) if options.data else recording()
    parts = [
        f"# Events to tensors\n\n{machine(bench.device)}. In one process, taking turns in random order; medians of {bench.rounds} turns.",
        f"## To tensors and through filters: {events!r}\n\n{table(bench, events, rows(), tonic)}",
        f"## Event-driven layers, one core\n\n{table(bench, events, layers(), None)}",
        f"## By events or by frames: a 5x5 convolution and LIF, 100 ms\n\n{clocked(bench, events)}",
    ]
    page = "\n\n".join(parts) + "\n"
    print(page)
    if options.write:
        (Path(__file__).parent / "results" / "tensors.md").write_text(page)


if __name__ == "__main__":
    main()
