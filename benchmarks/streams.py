"""Measure event streams: playback in real time, binning, and datagrams over loopback: `python -m benchmarks.streams`.

Writes the page `benchmarks/results/streams.md`.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from geir.events import Events, FileInput, Overflow, SPIF, T32, T64, UDPInput, UDPOutput
from geir.events.inputs import accumulate as accumulation

from .report import describe_machine, format_table
from .timing import show_progress

LAYOUTS = {"SPIF": SPIF(), "SPIF with times": SPIF(timestamps=True), "T32": T32(), "T64": T64()}
MILLION = 1_000_000
DATAGRAM_BYTES = 512
TRANSFER_TIMEOUT = 120  # seconds


class Synthetic:
    """A recording of events at random pixels and at a steady rate.

    Args:
        rate: Events per second.
        seconds: Duration.
        sensor_size: Width and height.
    """

    def __init__(self, rate: int, seconds: float, sensor_size: tuple[int, int] = (640, 480)):
        count = int(rate * seconds)
        generator = torch.Generator().manual_seed(0)
        self.sensor_size = width, height = sensor_size
        x, y, p = (torch.randint(limit, (count,), generator=generator) for limit in (width, height, 2))
        self.events = Events(torch.arange(count) * MILLION // rate, x, y, p, sensor_size)

    def chunks(self, size: int = 1 << 18) -> Iterator[Events]:
        """Chunks of the recording."""
        for start in range(0, len(self.events), size):
            yield self.events[start : start + size]


def playback() -> str:
    """A recording of two seconds, played in real time."""
    rows: list[list[object]] = []
    for size in ((320, 240), (640, 480), (1280, 720)):
        for rate in (MILLION, 10 * MILLION):
            with FileInput(Synthetic(rate, 2.0, size)) as file:
                start = time.perf_counter()
                frames = sum(1 for _ in file.frames(1e-3))
                seconds = time.perf_counter() - start
            sensor = f"{size[0]}x{size[1]}"
            rows.append([sensor, rate / MILLION, frames, seconds, file.stats.late_p50, file.stats.late_p99])
            show_progress(".", end="")
    header = ["sensor", "Mevents/s", "frames of 1 ms", "seconds", "delay, us: median", "99th percentile"]
    return format_table(header, rows)


def binning() -> str:
    """Bins of 1 ms, as fast as possible."""
    source = Synthetic(MILLION, 4.0)
    rows: list[list[object]] = []
    methods: dict[str, Callable[[FileInput], Iterator[object]]] = {
        "frames": lambda file: file.frames(1e-3),
        "sparse frames": lambda file: file.frames(1e-3, sparse=True),
        "slices": lambda file: file.slices(1e-3),
        "frames of 100 ms": lambda file: file.frames(0.1),
    }
    for name, iterate in methods.items():
        bins = 0
        times: list[float] = []
        for _ in range(3):
            with FileInput(source, speed=None) as file:
                start = time.perf_counter()
                bins = sum(1 for _ in iterate(file))
                times.append(time.perf_counter() - start)
        rows.append([name, min(times) / bins * 1e6, len(source.events) / min(times) / MILLION])
        show_progress(".", end="")
    return "A million events per second, 640x480; best of 3.\n\n" + format_table(["", "us per bin", "Mevents/s"], rows)


def event_counting() -> str:
    """Counting 10 million events into a frame."""
    events = Synthetic(10 * MILLION, 1.0).events
    frame = torch.zeros(2, 480, 640)
    rows: list[list[object]] = []
    compiled = accumulation.load
    for name, load in (("C", compiled), ("PyTorch's index_add_", lambda filename: None)):
        accumulation.load = load
        times: list[float] = []
        for _ in range(5):
            start = time.perf_counter()
            accumulation.accumulate(events, frame)
            times.append(time.perf_counter() - start)
        rows.append([name, len(events) / min(times) / MILLION])
    accumulation.load = compiled
    return format_table(["one thread", "Mevents/s"], rows)


class Transfer(NamedTuple):
    """Result of sending events in datagrams from another process."""

    sent: int  # events
    rate: float  # million events per second at which they were sent
    received: int  # events
    lost_datagrams: int | None  # as counted by the operating system; None if it does not count them
    lost_events: int | None  # in these datagrams, if all were full


def transfer(layout: str, rate: int, seconds: float, speed: float | None, slow_reader: bool = False) -> Transfer:
    """Receive what another process sends.

    Args:
        layout: Name of the datagrams' layout.
        rate: Events per second of the recording that is sent.
        seconds: Duration of the recording.
        speed: Speed at which it is sent, 1 for real time. None: as fast as possible.
        slow_reader: Whether to read only every 0.1 s.
    """
    with UDPInput((640, 480), port=0, layout=LAYOUTS[layout], overflow=Overflow.BLOCK) as source:
        command = [sys.executable, "-m", "benchmarks.streams", "send", str(source.port), layout]
        command += [str(rate), str(seconds), str(speed or 0)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sender:
            try:
                idle_reads = 0
                deadline = time.monotonic() + TRANSFER_TIMEOUT
                while idle_reads < 3:
                    if time.monotonic() > deadline:
                        raise TimeoutError(f"The transfer is not over after {TRANSFER_TIMEOUT} s.")
                    if slow_reader:
                        time.sleep(0.1)
                    events = int(source.read(timeout=0.2).sum(dtype=torch.float64))
                    idle_reads = idle_reads + 1 if not events and sender.poll() is not None else 0
                output, _ = sender.communicate(timeout=10)
            finally:
                sender.kill()
    result = json.loads(output)
    stats = source.stats
    assert not stats.malformed, stats
    assert not stats.rejected, stats
    events_per_datagram = DATAGRAM_BYTES // (LAYOUTS[layout].encode(Synthetic(10, 1.0).events).nbytes // 10)
    lost_events = None if stats.lost is None else stats.lost * events_per_datagram
    rate_sent = result["events"] / result["seconds"] / MILLION
    return Transfer(result["events"], rate_sent, stats.events, stats.lost, lost_events)


def send(port: str, layout: str, rate: str, seconds: str, speed: str) -> None:
    """Send events to a port; this is what the other process runs. The arguments are those of `transfer`."""
    torch.set_num_threads(1)
    source = Synthetic(int(rate), float(seconds))
    real_time = float(speed) or None
    with (
        FileInput(source, speed=real_time) as file,
        UDPOutput(int(port), layout=LAYOUTS[layout], datagram=DATAGRAM_BYTES) as output,
    ):
        start = time.perf_counter()
        # Large chunks fill whole datagrams, so that lost datagrams can be converted to events.
        for events in file.slices(1e-3) if real_time else source.chunks():
            output.send(events)
        print(json.dumps({"events": output.stats.events, "seconds": time.perf_counter() - start}))


def loopback() -> str:
    """Datagrams over loopback from another process, at a steady rate."""
    rows: list[list[object]] = []
    for layout in LAYOUTS:
        for rate in (1, 2, 5, 10, 15, 20, 30):
            result = transfer(layout, rate * MILLION, 2.0, speed=1.0)
            missing = result.sent - result.received
            rows.append([layout, rate, result.rate, result.received, missing])
            show_progress(".", end="")
            if missing:
                break
    header = ["layout", "Mevents/s requested", "Mevents/s sent", "events received", "events lost"]
    note = "Two seconds each, in bursts of 1 ms. Each layout is measured up to the first rate at which events are lost."
    return f"{note}\n\n{format_table(header, rows)}"


def flood() -> str:
    """Datagrams over loopback, as fast as possible."""
    rows: list[list[object]] = []
    for slow_reader in (False, True):
        for layout in LAYOUTS:
            result = transfer(layout, 100 * 32768, 2.0, speed=None, slow_reader=slow_reader)
            reader = "reads every 0.1 s" if slow_reader else "reads at once"
            rows.append([reader, layout, *result, result.sent - result.received])
            show_progress(".", end="")
    header = ["receiver", "layout", "events sent", "Mevents/s", "events received"]
    header += ["datagrams lost", "events in them", "sent - received"]
    note = (
        "*Datagrams lost* is counted by the operating system. Nothing is lost silently if the last two columns agree, "
        "except for datagrams that were not full."
    )
    return f"{note}\n\n{format_table(header, rows)}"


def open_close_cycles() -> str:
    """Opening and closing a socket 1,000 times."""
    source = UDPInput((640, 480), port=0)
    events = Synthetic(1000, 0.01).events
    with source:
        pass
    before = count_resources()
    start = time.perf_counter()
    for _ in range(1000):
        with source, UDPOutput(source.port) as output:
            output.send(events)
            assert source.read(timeout=5).sum() == len(events)
    seconds = time.perf_counter() - start
    rows = [["before", *before], ["after", *count_resources()]]
    header = ["", "file descriptors", "threads", "resident MiB"]
    return f"{seconds:.2f} s, with one datagram read in each cycle.\n\n{format_table(header, rows)}"


class Resources(NamedTuple):
    """Resources of this process."""

    file_descriptors: int
    threads: int
    resident_mib: float


def count_resources() -> Resources:
    """Count the resources of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    resident = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return Resources(len(os.listdir("/proc/self/fd")), threading.active_count(), resident)


SECTIONS: dict[str, Callable[[], str]] = {
    "playback": playback,
    "binning": binning,
    "counting": event_counting,
    "loopback": loopback,
    "flood": flood,
    "cycles": open_close_cycles,
}


def main() -> None:
    """Measure, print the sections, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams", description=__doc__)
    parser.add_argument("--only", choices=SECTIONS, help="measure one section and print it, without writing the page")
    options = parser.parse_args()
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    parts = [f"# Event streams\n\n{describe_machine(torch.device('cpu'))}; load average {load:.1f} at the start.\n"]
    for name in [options.only] if options.only else SECTIONS:
        section = SECTIONS[name]
        show_progress(f"{name} ", end="")
        title = (section.__doc__ or name).splitlines()[0].removesuffix(".")
        parts.append(f"## {title}\n\n{section()}\n")
        show_progress("")
        print(parts[-1], flush=True)
    if not options.only:
        (Path(__file__).parent / "results" / "streams.md").write_text("\n".join(parts))


if __name__ == "__main__":
    if sys.argv[1:2] == ["send"]:
        send(*sys.argv[2:])
    else:
        main()
