"""Measure how fast event files are decoded: `python -m benchmarks.event_files`.

faery, expelliarmus, dv-processing and aedat are measured too if they are installed.
"""

import argparse
import importlib.util
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy
import torch

from geir.events import Compression, Events, open_events, write_events

SENSOR_SIZE = (640, 480)
# Events of a small packet of AEDAT 4, as cameras that send packets often write them.
SMALL_PACKET_EVENTS = 5000


def make_events(count: int) -> Events:
    """Make rows of up to twelve neighboring pixels that fire at the same time."""
    rng = numpy.random.default_rng(0)
    lengths = rng.integers(1, 12, count // 5)
    row = numpy.repeat(numpy.arange(len(lengths)), lengths)[:count]
    offset = numpy.arange(len(row)) - numpy.repeat(numpy.cumsum(lengths) - lengths, lengths)[:count]
    t = numpy.cumsum(rng.integers(0, 3, len(lengths)))
    x = rng.integers(0, SENSOR_SIZE[0] - 12, len(lengths))
    y = rng.integers(0, SENSOR_SIZE[1], len(lengths))
    p = rng.integers(0, 2, len(lengths))
    return Events(1000 + t[row], x[row] + offset, y[row], p[row], SENSOR_SIZE)


def divide(events: Events, size: int) -> Iterator[Events]:
    """Divide events into parts of `size` events."""
    return (events[first : first + size] for first in range(0, len(events), size))


def read_with_geir(path: str) -> int:
    """Read a file with geir; returns the number of events, as all readers do."""
    with open_events(path) as recording:
        return sum(map(len, recording.chunks()))


def read_with_faery(path: str) -> int:
    """Read a file with faery."""
    import faery

    return sum(len(packet) for packet in faery.events_stream_from_file(path))


def read_with_expelliarmus(path: str) -> int:
    """Read a file with expelliarmus. The stem of a `.raw` file must be its encoding."""
    import expelliarmus

    encoding = "dat" if path.endswith("dat") else Path(path).stem
    wizard = expelliarmus.Wizard(encoding=encoding, chunk_size=1 << 20)
    wizard.set_file(path)
    return sum(len(chunk) for chunk in wizard.read_chunk())


def read_with_dv(path: str) -> int:
    """Read a file with dv-processing."""
    import dv_processing as dv

    reader = dv.io.MonoCameraRecording(path)
    count = 0
    while (batch := reader.getNextEventBatch()) is not None:
        count += len(batch.numpy())
    return count


def read_with_aedat(path: str) -> int:
    """Read a file with aedat."""
    import aedat

    return sum(len(packet["events"]) for packet in aedat.Decoder(path) if "events" in packet)


class Library(NamedTuple):
    """A library that reads event files."""

    module: str  # to import
    read: Callable[[str], int]
    suffixes: tuple[str, ...]  # of the files that it reads


ALL_SUFFIXES = (".aedat4", ".raw", ".dat", ".csv", ".h5", ".npz")

LIBRARIES = {
    "geir": Library("geir", read_with_geir, ALL_SUFFIXES),
    "faery": Library("faery", read_with_faery, (".aedat4", ".raw", ".dat", ".csv")),
    "expelliarmus": Library("expelliarmus", read_with_expelliarmus, (".raw", ".dat")),
    "dv-processing": Library("dv_processing", read_with_dv, (".aedat4",)),
    "aedat": Library("aedat", read_with_aedat, (".aedat4",)),
}


def write_files(events: Events, folder: Path) -> dict[str, Path]:
    """Write the events in all formats.

    EVT 3 is written by faery if it is installed, because faery uses the vector words of that format.

    Returns:
        The paths by name of the format.
    """
    paths = {
        "AEDAT 4, none": folder / "none.aedat4",
        "AEDAT 4, LZ4": folder / "LZ4.aedat4",
        "AEDAT 4, Zstandard": folder / "Zstandard.aedat4",
        "AEDAT 4, none, small packets": folder / "none_small.aedat4",
        "AEDAT 4, LZ4, small packets": folder / "LZ4_small.aedat4",
        "AEDAT 4, Zstandard, small packets": folder / "Zstandard_small.aedat4",
        "DAT 2": folder / "dat.dat",
        "EVT 2": folder / "evt2.raw",
        "EVT 3": folder / "evt3.raw",
        "CSV": folder / "a.csv",
        "HDF5": folder / "a.h5",
        "NPZ, stored": folder / "a.npz",
    }
    options = {
        **{name: {"compression": Compression.NONE} for name in paths if "none" in name},
        **{name: {"compression": Compression.LZ4} for name in paths if "LZ4" in name},
        **{name: {"compression": Compression.ZSTD} for name in paths if "Zstandard" in name},
        "EVT 2": {"format": "evt2"},
        "NPZ, stored": {"compressed": False},
    }
    for name, path in paths.items():
        # A writer begins a packet with each part of the events that it is given.
        parts = divide(events, SMALL_PACKET_EVENTS) if "small packets" in name else events
        write_events(parts, path, **options.get(name, {}))
    if importlib.util.find_spec("faery"):
        import faery

        array = events.to_structured(("t", "x", "y", "on")).astype(faery.EVENTS_DTYPE)
        faery.events_stream_from_array(array, SENSOR_SIZE).to_file(paths["EVT 3"], version="evt3")
    return paths


class Seconds(NamedTuple):
    """Seconds of one run."""

    wall: float
    processor: float


def time_jobs(jobs: dict[str, Callable[[], int]], rounds: int) -> dict[str, list[Seconds]]:
    """Time jobs, which take turns in random order."""
    times: dict[str, list[Seconds]] = {name: [] for name in jobs}
    order = list(jobs)
    for _ in range(rounds):
        random.shuffle(order)
        for name in order:
            wall, processor = time.perf_counter(), time.process_time()
            jobs[name]()
            times[name].append(Seconds(time.perf_counter() - wall, time.process_time() - processor))
    return times


def format_rates(times: list[Seconds], count: int) -> str:
    """Format a cell: million events per second, of median and best wall-clock time and best processor time."""
    wall = [seconds.wall for seconds in times]
    processor = [seconds.processor for seconds in times]
    median, best, best_processor = (
        count / seconds / 1e6 for seconds in (statistics.median(wall), min(wall), min(processor))
    )
    return f"{median:.0f} ({best:.0f}; {best_processor:.0f})"


def format_ratio(times: dict[str, list[Seconds]]) -> str:
    """Format how many times as fast as the fastest other library geir is, by the median of its wall-clock times."""
    medians = {name: statistics.median(seconds.wall for seconds in turns) for name, turns in times.items()}
    others = [medians[name] for name in medians if name not in ("geir", "memcpy")]
    return f"{min(others) / medians['geir']:.2f}" if others else "-"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.event_files", description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000, help="number of events (default: 10,000,000)")
    parser.add_argument("--rounds", type=int, default=5, help="number of turns of each library (default: 5)")
    options = parser.parse_args()
    events = make_events(options.events)
    columns = [column.clone() for column in events.columns()]

    def copy_columns() -> int:
        copies = [column.clone() for column in columns]
        return len(copies[0])

    print(f"{len(events):,} events of {SENSOR_SIZE[0]}x{SENSOR_SIZE[1]} pixels, {torch.get_num_threads()} threads.")
    print("Million events per second: median of wall-clock time (best; best of processor time).")
    installed = {name: library for name, library in LIBRARIES.items() if importlib.util.find_spec(library.module)}
    names = [*installed, "memcpy"]
    print("Ratio: of the fastest other library's median time to that of geir.\n")
    print(f"| | {' | '.join(names)} | ratio |\n|{'---|' * (len(names) + 2)}")
    with tempfile.TemporaryDirectory() as folder:
        for format_name, path in write_files(events, Path(folder)).items():
            jobs: dict[str, Callable[[], int]] = {
                name: (lambda read=library.read, path=path: read(str(path)))
                for name, library in installed.items()
                if path.suffix in library.suffixes
            }
            jobs["memcpy"] = copy_columns
            for name, job in jobs.items():
                count = job()
                if count != len(events):
                    sys.exit(f"{name} read {count:,} instead of {len(events):,} events from {path}.")
            times = time_jobs(jobs, options.rounds)
            cells = [format_rates(times[name], len(events)) if name in times else "-" for name in names]
            print(f"| {format_name} | {' | '.join(cells)} | {format_ratio(times)} |", flush=True)


if __name__ == "__main__":
    main()
