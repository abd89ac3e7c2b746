"""How fast event files are decoded, `python -m benchmarks.event_files`, beside faery, expelliarmus, dv-processing and aedat where installed."""

import argparse
import importlib.util
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy
import torch

from geir.events import Compression, Events, open_events, write_events

Reader = Callable[[str], int]

SIZE = (640, 480)


def synthetic(count: int) -> Events:
    """Neighbours in a row that fire together, up to twelve of them."""
    rng = numpy.random.default_rng(0)
    lengths = rng.integers(1, 12, count // 5)
    row = numpy.repeat(numpy.arange(len(lengths)), lengths)[:count]
    offset = numpy.arange(len(row)) - numpy.repeat(numpy.cumsum(lengths) - lengths, lengths)[:count]
    t, first = numpy.cumsum(rng.integers(0, 3, len(lengths))), rng.integers(0, SIZE[0] - 12, len(lengths))
    y, p = rng.integers(0, SIZE[1], len(lengths)), rng.integers(0, 2, len(lengths))
    return Events(1000 + t[row], first[row] + offset, y[row], p[row], SIZE)


def _geir(path: str) -> int:
    with open_events(path) as recording:
        return sum(map(len, recording.chunks()))


def _faery(path: str) -> int:
    import faery

    return sum(len(packet) for packet in faery.events_stream_from_file(path))


def _expelliarmus(path: str) -> int:
    import expelliarmus

    encoding = "dat" if path.endswith("dat") else Path(path).stem
    wizard = expelliarmus.Wizard(encoding=encoding, chunk_size=1 << 20)
    wizard.set_file(path)
    return sum(len(chunk) for chunk in wizard.read_chunk())


def _dv(path: str) -> int:
    import dv_processing as dv

    reader, count = dv.io.MonoCameraRecording(path), 0
    while (batch := reader.getNextEventBatch()) is not None:
        count += len(batch.numpy())
    return count


def _aedat(path: str) -> int:
    import aedat

    return sum(len(packet["events"]) for packet in aedat.Decoder(path) if "events" in packet)


# Who reads what.
READERS: dict[str, tuple[str, Reader, tuple[str, ...]]] = {
    "geir": ("geir", _geir, ("",)),
    "faery": ("faery", _faery, (".aedat4", ".raw", ".dat", ".csv")),
    "expelliarmus": ("expelliarmus", _expelliarmus, (".raw", ".dat")),
    "dv-processing": ("dv_processing", _dv, (".aedat4",)),
    "aedat": ("aedat", _aedat, (".aedat4",)),
}


def files(events: Events, folder: Path) -> dict[str, Path]:
    """The same events in all formats, by faery if it is there, since its EVT 3 has vectors."""
    made: dict[str, Path] = {}
    for name, compression in (("none", Compression.NONE), ("LZ4", Compression.LZ4), ("Zstandard", Compression.ZSTD)):
        made[f"AEDAT 4, {name}"] = folder / f"{name}.aedat4"
        write_events(events, made[f"AEDAT 4, {name}"], compression=compression)
    for name, file in (
        ("DAT 2", "dat.dat"),
        ("EVT 2", "evt2.raw"),
        ("EVT 3", "evt3.raw"),
        ("CSV", "a.csv"),
        ("HDF5", "a.h5"),
        ("NPZ, stored", "a.npz"),
    ):
        made[name] = folder / file
        options = {"format": "evt2"} if name == "EVT 2" else {"compressed": False} if name == "NPZ, stored" else {}
        write_events(events, made[name], **options)
    if importlib.util.find_spec("faery"):
        import faery

        array = events.to_structured(("t", "x", "y", "on")).astype(faery.EVENTS_DTYPE)
        faery.events_stream_from_array(array, SIZE).to_file(made["EVT 3"], version="evt3")
    return made


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.event_files", description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    events = synthetic(options.events)
    source = [column.clone() for column in events.columns()]
    print(f"{len(events):,} events of {SIZE[0]}x{SIZE[1]}, {torch.get_num_threads()} threads.")
    print("Million events a second: median of wall-clock time (best; best of processor time)\n")
    names = [name for name, (module, _, _) in READERS.items() if importlib.util.find_spec(module)]
    print(f"| | {' | '.join([*names, 'memcpy'])} |\n|{'---|' * (len(names) + 2)}")
    with tempfile.TemporaryDirectory() as folder:
        for name, path in files(events, Path(folder)).items():
            jobs = {
                who: (lambda read=READERS[who][1], path=path: read(str(path)))
                for who in names
                if path.suffix in READERS[who][2] or who == "geir"
            }
            jobs["memcpy"] = lambda: [column.clone() for column in source] and len(events)
            times: dict[str, list[tuple[float, float]]] = {who: [] for who in jobs}
            for caller, job in jobs.items():
                if job() != len(events):
                    sys.exit(f"{caller} read another number of events from {path}")
            order = list(jobs)
            for _ in range(options.rounds):
                random.shuffle(order)
                for who in order:
                    wall, processor = time.perf_counter(), time.process_time()
                    jobs[who]()
                    times[who].append((time.perf_counter() - wall, time.process_time() - processor))
            cells = []
            for who in [*names, "memcpy"]:
                wall, processor = zip(*times[who], strict=True) if who in times else ((), ())
                rate = (
                    [len(events) / seconds / 1e6 for seconds in (statistics.median(wall), min(wall), min(processor))]
                    if wall
                    else []
                )
                cells.append(f"{rate[0]:.0f} ({rate[1]:.0f}; {rate[2]:.0f})" if rate else "-")
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
