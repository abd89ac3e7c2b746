"""Event streams on this machine: playing by the clock, frames, datagrams over loopback. `python -m benchmarks.streams` writes a page."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from geir.events import SPIF, T32, T64, Events, FileInput, Overflow, UDPInput, UDPOutput
from geir.events.inputs import accumulate as accumulation

from .report import machine, table
from .timing import Bench, progress

LAYOUTS = {"SPIF": SPIF(), "SPIF with times": SPIF(timestamps=True), "T32": T32(), "T64": T64()}
MILLION = 1_000_000


class Synthetic:
    """Events at random places and at a steady rate, so many a second, as a recording."""

    def __init__(self, rate: int, seconds: float, sensor_size: tuple[int, int] = (640, 480)):
        count, draw = int(rate * seconds), torch.Generator().manual_seed(0)
        self.sensor_size = width, height = sensor_size
        x, y, p = (torch.randint(limit, (count,), generator=draw) for limit in (width, height, 2))
        self.events = Events(torch.arange(count) * MILLION // rate, x, y, p, sensor_size)

    def chunks(self, size: int = 1 << 18) -> Iterator[Events]:
        """Slices of it."""
        for start in range(0, len(self.events), size):
            yield self.events[start : start + size]


def playing() -> str:
    """A recording of two seconds, played in two seconds"""
    rows: list[list[object]] = []
    for size in ((320, 240), (640, 480), (1280, 720)):
        for rate in (MILLION, 10 * MILLION):
            with FileInput(Synthetic(rate, 2.0, size)) as file:
                start = time.perf_counter()
                frames = sum(1 for _ in file.frames(1e-3))
                took = time.perf_counter() - start
            rows.append(
                [f"{size[0]}x{size[1]}", rate / MILLION, frames, took, file.stats.late_p50, file.stats.late_p99]
            )
            progress(".", end="")
    head = ["sensor", "Mevents/s", "frames of 1 ms", "seconds", "late, us: median", "99th percentile"]
    return table(head, rows)


def binning() -> str:
    """Frames of 1 ms, as fast as possible"""
    source, rows = Synthetic(MILLION, 4.0), []
    ways: dict[str, Callable[[FileInput], Iterator[object]]] = {
        "frames": lambda file: file.frames(1e-3),
        "sparse frames": lambda file: file.frames(1e-3, sparse=True),
        "slices": lambda file: file.slices(1e-3),
        "frames of 100 ms": lambda file: file.frames(0.1),
    }
    for name, bins in ways.items():
        times = []
        for _ in range(3):
            with FileInput(source, speed=None) as file:
                start = time.perf_counter()
                count = sum(1 for _ in bins(file))
                times.append(time.perf_counter() - start)
        rows.append([name, min(times) / count * 1e6, len(source.events) / min(times) / MILLION])
        progress(".", end="")
    return "A million events a second, 640x480; the best of 3.\n\n" + table(["", "us each", "Mevents/s"], rows)


def counting_events() -> str:
    """Counting 10 million events into a frame"""
    events, rows = Synthetic(10 * MILLION, 1.0).events, []
    compiled, frame = accumulation.load, torch.zeros(2, 480, 640)
    for name, load in (("C", compiled), ("PyTorch's index_add_", lambda filename: None)):
        accumulation.load = load
        times = []
        for _ in range(5):
            start = time.perf_counter()
            accumulation.accumulate(events, frame)
            times.append(time.perf_counter() - start)
        rows.append([name, len(events) / min(times) / MILLION])
    accumulation.load = compiled
    return table(["one thread", "Mevents/s"], rows)


def received(layout: str, rate: float, seconds: float, speed: float | None, slow: bool = False) -> list[object]:
    """What arrives of what another process sends: sent, received, lost by the system's own count, events of it."""
    with UDPInput((640, 480), port=0, layout=LAYOUTS[layout], overflow=Overflow.BLOCK) as source:
        command = [
            sys.executable,
            "-m",
            "benchmarks.streams",
            "send",
            str(source.port),
            layout,
            str(rate),
            str(seconds),
            str(speed or 0),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sender:
            assert sender.stdout
            idle = 0
            while idle < 3:
                if slow:
                    time.sleep(0.1)
                events = int(source.read(timeout=0.2).sum(dtype=torch.float64))
                idle = idle + 1 if not events and sender.poll() is not None else 0
            sent = json.loads(sender.stdout.read())
    stats = source.stats
    per_datagram = 512 // (LAYOUTS[layout].encode(Synthetic(10, 1.0).events).nbytes // 10)
    lost = None if stats.lost is None else stats.lost * per_datagram
    assert not stats.malformed, stats
    assert not stats.rejected, stats
    return [
        layout,
        sent["events"],
        sent["events"] / sent["seconds"] / MILLION,
        stats.events,
        stats.lost,
        lost,
        sent["events"] - stats.events,
    ]


def send(port: str, layout: str, rate: str, seconds: str, speed: str) -> None:
    """Be the sender, in a process of its own."""
    torch.set_num_threads(1)
    source = Synthetic(int(rate), float(seconds))
    paced = float(speed) or None
    with FileInput(source, speed=paced) as file, UDPOutput(int(port), layout=LAYOUTS[layout], datagram=512) as output:
        start = time.perf_counter()
        if paced:
            for events in file.slices(1e-3):
                output.send(events)
        else:
            for events in source.chunks():
                # Whole datagrams, so that what is lost can be told in events.
                output.send(events)
        print(json.dumps({"events": output.stats.events, "seconds": time.perf_counter() - start}))


def loopback() -> str:
    """Datagrams over loopback, from another process, at a steady rate"""
    rows = []
    for layout in LAYOUTS:
        for rate in (1, 2, 5, 10, 15, 20, 30):
            row = received(layout, rate * MILLION, 2.0, speed=1.0)
            rows.append([row[0], rate, row[2], row[3], row[6]])
            progress(".", end="")
            if row[6]:
                break
    head = ["layout", "Mevents/s asked for", "Mevents/s sent", "events received", "events lost"]
    return (
        "Two seconds each, in bursts of 1 ms; each layout up to the first rate at which something is lost.\n\n"
        + table(head, rows)
    )


def flood() -> str:
    """Datagrams over loopback as fast as they go"""
    rows = []
    for slow in (False, True):
        for layout in LAYOUTS:
            row = received(layout, 100 * 32768, 2.0, speed=None, slow=slow)
            rows.append(["reads every 0.1 s" if slow else "reads at once", *row])
            progress(".", end="")
    head = [
        "receiver",
        "layout",
        "events sent",
        "Mevents/s",
        "received",
        "datagrams lost",
        "times their events",
        "sent - received",
    ]
    note = "*Lost* is what the system counts: nothing is lost silently if the last two columns agree, but for datagrams that were not full."
    return f"{note}\n\n{table(head, rows)}"


def cycles() -> str:
    """Opening and closing a socket 1,000 times"""
    source, events = UDPInput((640, 480), port=0), Synthetic(1000, 0.01).events
    with source:
        pass
    before = handles()
    start = time.perf_counter()
    for _ in range(1000):
        with source, UDPOutput(source.port) as output:
            output.send(events)
            assert source.read(timeout=5).sum() == len(events)
    took = time.perf_counter() - start
    after = handles()
    rows = [["before", *before], ["after", *after]]
    return f"{took:.2f} s, a datagram read in each.\n\n" + table(
        ["", "file descriptors", "threads", "resident MiB"], rows
    )


def handles() -> list[object]:
    """File descriptors, threads, resident memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return [len(os.listdir("/proc/self/fd")), threading.active_count(), pages * os.sysconf("SC_PAGE_SIZE") / 2**20]


SECTIONS = {
    "playing": playing,
    "binning": binning,
    "counting": counting_events,
    "loopback": loopback,
    "flood": flood,
    "cycles": cycles,
}


def main(only: str | None = None) -> None:
    """Measure all and write the page, or print one section."""
    torch.set_num_threads(1)
    bench = Bench(torch.device("cpu"))
    load = os.getloadavg()[0]
    parts = [f"# Event streams\n\n{machine(bench.device)}; load average {load:.1f} at the start.\n"]
    for name, section in SECTIONS.items():
        if only in (None, name):
            progress(f"{name} ", end="")
            parts.append(f"## {section.__doc__}\n\n{section()}\n")
            progress("")
            print(parts[-1], flush=True)
    if only is None:
        (Path(__file__).parent / "results" / "streams.md").write_text("\n".join(parts))


if __name__ == "__main__":
    if sys.argv[1:2] == ["send"]:
        send(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
