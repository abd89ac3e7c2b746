"""Measure conversion of events to tensors, filters and event-driven layers: `python -m benchmarks.tensors`.

The input is 473,000 random events of a 320x240 sensor in one second, or a recording given by
`--data`. tonic is measured too if it is installed.
"""

import argparse
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy
import torch
from torch import nn, Tensor

import geir
from geir.events import Events, read_events, transforms as T
from geir.events.event_driven import EventDrivenLIF

from .report import describe_machine, format_table
from .timing import Bench, Job

SENSOR_SIZE = (320, 240)
EVENT_COUNT = 473_000

# A transform of tonic, which takes and returns NumPy arrays.
TonicTransform = Callable[[numpy.ndarray], object]


def make_recording() -> Events:
    """Make random events within one second."""
    generator = torch.Generator().manual_seed(0)
    # The times are far from 0, because tonic's denoise treats every pixel as if it had an event at time 0.
    t = 10_000_000 + torch.randint(1_000_000, (EVENT_COUNT,), generator=generator).sort().values
    x, y, p = (torch.randint(limit, (EVENT_COUNT,), generator=generator) for limit in (*SENSOR_SIZE, 2))
    return Events(t, x, y, p, sensor_size=SENSOR_SIZE)


@dataclass
class Operation:
    """An operation to measure.

    Args:
        name: Name in the table.
        run: The operation of geir.
        tonic: Builds the operation of tonic from its module of transforms and the sensor size; may return None if this
            version of tonic does not have it.
        agrees: Whether the results of geir and tonic agree. Default: they are not compared.
        target: The speed aimed for, in million events per second.
    """

    name: str
    run: Callable[[Events], object]
    tonic: Callable[[ModuleType, tuple[int, int, int]], TonicTransform | None] | None = None
    agrees: Callable[[Any, Any], bool] | None = None
    target: str = ""


def frames_agree(frames: Tensor, tonic_frames: numpy.ndarray) -> bool:
    """Whether frames agree. tonic drops the last frame, which is incomplete."""
    return numpy.array_equal(frames[: len(tonic_frames)].numpy(), tonic_frames)


def surfaces_agree(surfaces: Tensor, tonic_surfaces: numpy.ndarray) -> bool:
    """Whether time surfaces agree. tonic drops the last one, which is incomplete."""
    return numpy.allclose(surfaces[: len(tonic_surfaces)].numpy(), tonic_surfaces, rtol=1e-4, atol=1e-6)


def events_agree(events: Events, tonic_events: numpy.ndarray) -> bool:
    """Whether the same events are left."""
    return len(events) == len(tonic_events) and numpy.array_equal(events.t.numpy(), tonic_events["t"])


def conversions() -> list[Operation]:
    """Conversions to tensors, and filters. tonic takes durations in microseconds."""
    return [
        Operation(
            "count frames of 1 ms, int16",
            lambda events: T.count_frames(events, dt=1e-3, dtype=torch.int16),
            tonic=lambda tonic, size: tonic.ToFrame(size, time_window=1000),
            agrees=frames_agree,
            target="40",
        ),
        Operation(
            "count frames of 1 ms, uint8",
            lambda events: T.count_frames(events, dt=1e-3, dtype=torch.uint8),
            target="40",
        ),
        Operation("count frames of 1 ms, float32", lambda events: T.count_frames(events, dt=1e-3)),
        Operation(
            "count frames, 100 bins, float32",
            lambda events: T.count_frames(events, bins=100),
            tonic=lambda tonic, size: tonic.ToFrame(size, n_time_bins=100),
            target="40",
        ),
        Operation(
            "sparse frames of 1 ms",
            lambda events: T.sparse_frames(events, dt=1e-3),
            tonic=lambda tonic, size: (
                tonic.ToSparseTensor(size, time_window=1000) if hasattr(tonic, "ToSparseTensor") else None
            ),
        ),
        Operation(
            "voxel grid, 10 bins",
            lambda events: T.voxel_grid(events, 10),
            tonic=lambda tonic, size: tonic.ToVoxelGrid(size, n_time_bins=10),
            target="150",
        ),
        Operation(
            "time surface every 10 ms",
            lambda events: T.time_surface(events, tau=5e-3, dt=10e-3),
            tonic=lambda tonic, size: tonic.ToTimesurface(size, dt=10_000, tau=5000),
            agrees=surfaces_agree,
            target="15",
        ),
        Operation(
            "denoise, 4 neighbors",
            lambda events: T.denoise(events, 10e-3, diagonal=False),
            tonic=lambda tonic, size: tonic.Denoise(filter_time=10_000.5),
            agrees=events_agree,
            target="9.5",
        ),
        Operation("denoise, 8 neighbors", lambda events: T.denoise(events, 10e-3), target="9.5"),
        # tonic measures from the last event, whether it was kept or not, so the results differ.
        Operation(
            "refractory filter",
            lambda events: T.refractory_filter(events, 10e-3),
            tonic=lambda tonic, size: tonic.RefractoryPeriod(10_000),
            target="6",
        ),
    ]


def event_driven_layers() -> list[Operation]:
    """Event-driven layers, which run on one core."""
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 1, 5, padding=2, bias=False)
    nn.init.uniform_(conv.weight, -0.15, 0.3)
    box = geir.LIFBox(v_th=1.2, tau_mem=50e-3)
    lif = geir.LIF(v_th=0.4, tau_mem=50e-3, tau_syn=20e-3)
    return [
        Operation("EventDrivenLIF(LIFBox)", EventDrivenLIF(box), target="10"),
        Operation("EventDrivenLIF(LIF)", EventDrivenLIF(lif), target="10"),
        Operation("EventDrivenLIF(LIFBox), 5x5", EventDrivenLIF(box, conv)),
        Operation("EventDrivenLIF(LIF), 5x5", EventDrivenLIF(lif, conv)),
    ]


def compare_with_frames(bench: Bench, events: Events) -> str:
    """Compare an event-driven layer with the same layer run on frames of 1 ms, for several rates of events.

    The results differ, because the layer on frames sees all events of a millisecond at once.
    """
    conv = nn.Conv2d(2, 1, 5, padding=2, bias=False)
    lif = geir.LIF(v_th=0.4, tau_mem=50e-3, tau_syn=20e-3)
    network = geir.SequentialState(geir.Lift(conv), lif)
    event_driven = EventDrivenLIF(lif, conv)
    updates_by_frames = 100 * SENSOR_SIZE[0] * SENSOR_SIZE[1]
    rows: list[list[object]] = []
    for share in (1.0, 0.1, 0.01):
        part = T.drop_events(events, 1 - share, generator=torch.Generator().manual_seed(0)).slice_time(
            None, int(events.t[0]) + 100_000
        )

        def run_frames(part: Events = part) -> object:
            return network(T.count_frames(part, dt=1e-3)[:, None])

        with torch.no_grad():
            times = bench.time_jobs({"events": lambda part=part: event_driven(part), "frames": run_frames})
        # An event reaches the 25 neurons of its 5x5 neighborhood.
        updates_by_events = len(part) * 25
        numbers = [f"{updates_by_events:,}", f"{updates_by_frames:,}"]
        rows.append([f"{len(part) * 10:,}", times["events"], times["frames"], *numbers])
    header = ["events per second", "event-driven, ms", "frames, ms", "neuron updates, event-driven", "frames"]
    return format_table(header, rows)


def measure(bench: Bench, events: Events, operations: list[Operation], tonic: ModuleType | None) -> str:
    """Measure operations in million events per second, of geir and tonic.

    Raises:
        SystemExit: If results that should agree do not.
    """
    size = (*events.sensor_size, 2)
    array = events.to_structured("xytp")
    array = array.astype([(name, "i8" if name == "t" else "i2") for name in array.dtype.names or ()])
    rows: list[list[object]] = []
    for operation in operations:
        jobs: dict[str, Job] = {"geir": lambda operation=operation: operation.run(events)}
        transform = operation.tonic(tonic, size) if tonic and operation.tonic else None
        if transform is not None:
            if operation.agrees and not operation.agrees(operation.run(events), transform(array.copy())):
                raise SystemExit(f"{operation.name}: the results of geir and tonic differ.")
            jobs["tonic"] = lambda transform=transform: transform(array.copy())
        speeds = {name: len(events) / ms * 1e-3 for name, ms in bench.time_jobs(jobs).items()}
        tonic_speed = speeds.get("tonic")
        ratio = tonic_speed and speeds["geir"] / tonic_speed
        rows.append([operation.name, speeds["geir"], tonic_speed, ratio, operation.target])
    return format_table(["", "geir, Mevents/s", "tonic, Mevents/s", "ratio", "target"], rows)


def import_tonic() -> ModuleType | None:
    """tonic's transforms, or None if it is not installed."""
    warnings.filterwarnings("ignore", message=".*pkg_resources.*")
    try:
        from tonic import transforms  # pyright: ignore[reportMissingImports]  (tonic is optional)
    except ImportError:
        return None
    return transforms


def main() -> None:
    """Measure, and print the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tensors", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="number of turns of each contestant (default: 7)")
    parser.add_argument("--data", type=Path, help="a recording to use instead of random events")
    parser.add_argument("--write", action="store_true", help="write the page to benchmarks/results/tensors.md")
    options = parser.parse_args()
    tonic = import_tonic()
    bench = Bench(torch.device("cpu"), options.rounds)
    events = read_events(options.data) if options.data else make_recording()
    parts = [
        f"# Events to tensors\n\n{describe_machine(bench.device)}. All in one process, taking turns in random order; "
        f"medians of {bench.rounds} turns.",
        f"## Tensors and filters: {events!r}\n\n{measure(bench, events, conversions(), tonic)}",
        f"## Event-driven layers, one core\n\n{measure(bench, events, event_driven_layers(), None)}",
        "## Event-driven or on frames: a 5x5 convolution and LIF, 100 ms\n\n" + compare_with_frames(bench, events),
    ]
    page = "\n\n".join(parts) + "\n"
    print(page)
    if options.write:
        (Path(__file__).parent / "results" / "tensors.md").write_text(page)


if __name__ == "__main__":
    main()
