"""Convert, inspect, view and stream event recordings: `python -m geir.events`."""

import argparse
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType

from tqdm import tqdm

from . import EventInput, FileInput, LiveInput, Stats, UDPInput, UDPOutput
from .inputs import Pipe
from .layouts import SPIF, T32, T64
from .recording import describe, ERROR_MODES, ErrorMode
from .store import Events
from .terminal import render
from .writing import write_events

LAYOUTS = {"spif": SPIF(), "spif-timed": SPIF(timestamps=True), "t32": T32(), "t64": T64()}
SOURCE_HELP = "a file, - for stdin, or udp:PORT"


class Options(argparse.Namespace):
    """Parsed arguments; which ones exist depends on the command."""

    run: Callable[["Options"], None]
    source: str
    target: str
    paths: list[str]
    sensor_size: tuple[int, int] | None
    errors: ErrorMode
    layout: str
    port: int
    host: str
    speed: float
    fps: float
    once: bool
    json: bool


def open_source(options: Options, speed: float | None) -> EventInput:
    """Create the input named on the command line, to be opened in a with statement."""
    name, size = options.source, options.sensor_size
    udp = re.fullmatch(r"udp:(\d{1,5})", name)
    if name != "-" and not udp:
        return FileInput(name, speed=speed, errors=options.errors, sensor_size=size)
    if size is None:
        raise ValueError(f"{name} does not contain the size of its sensor; pass --sensor-size WIDTHxHEIGHT.")
    if udp:
        return UDPInput(size, int(udp[1]), layout=LAYOUTS[options.layout])
    return FileInput(Pipe(sys.stdin.buffer, size, errors=options.errors), speed=speed)


def read_all(source: EventInput) -> Iterator[Events]:
    """Yield events as they arrive, with a progress bar, until the source ends. A live source ends with Ctrl-C."""
    interrupted = False

    def interrupt(signum: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        # A second Ctrl-C raises KeyboardInterrupt as usual.
        signal.signal(signal.SIGINT, signal.default_int_handler)

    live = isinstance(source, LiveInput)
    # Ctrl-C ends the loop instead of raising, so that the output file is completed.
    previous = signal.signal(signal.SIGINT, interrupt) if live else None
    try:
        with tqdm(total=count_events(source), unit=" events", unit_scale=True, disable=None) as bar:
            yield Events.empty(source.sensor_size)  # carries the sensor size, even if there are no events
            while not source.done and not interrupted:
                events = source.events(timeout=0.1)
                yield events
                bar.update(len(events))
    finally:
        if live:
            signal.signal(signal.SIGINT, previous)


def count_events(source: EventInput) -> int | None:
    """The number of events of a source; None if it is unknown."""
    if isinstance(source, FileInput) and isinstance(source.path, str):
        return describe(source.path, sensor_size=source.sensor_size)["events"]
    return None


def convert(options: Options) -> None:
    """Write a source to a file, in the format given by its suffix, or to stdout."""
    with open_source(options, speed=None) as source:
        if options.target != "-":
            write_events(read_all(source), options.target)
        else:
            # A separate buffered file: with PYTHONUNBUFFERED, sys.stdout.buffer may write less than
            # it is given, without an error, when the reader has closed the pipe.
            with open(sys.stdout.fileno(), "wb", closefd=False) as out:
                for events in read_all(source):
                    out.write(T64().encode(events).tobytes())
    report_losses(source.stats)


def show_info(options: Options) -> None:
    """Describe the content of files."""
    for path in options.paths:
        description = describe(path, sensor_size=options.sensor_size)
        if options.json:
            print(json.dumps(description, default=str))
        else:
            print("\n".join(f"{name:>12}  {value}" for name, value in description.items()))


def view(options: Options) -> None:
    """Show a source in the terminal."""
    home, clear = "\x1b[H", "\x1b[2J"
    columns, rows = shutil.get_terminal_size()
    with open_source(options, options.speed) as source:
        print(clear, end="")
        for frame in source.frames(1 / options.fps):
            stats = source.stats
            rate = int(frame.sum() * options.fps)
            line = f"{stats.events:,} events, {rate:,} per second, {stats.late_p50 / 1e3:.1f} ms late"
            print(f"{home}{render(frame, columns, rows - 2)}{line[: columns - 1]}\x1b[K", flush=True)
    report_losses(source.stats)


def send(options: Options) -> None:
    """Send a source over UDP as fast as possible."""
    output = UDPOutput(options.port, options.host, LAYOUTS[options.layout])
    with open_source(options, speed=None) as source, output:
        for events in read_all(source):
            output.send(events)
    sent = output.stats
    print(
        f"sent {sent.events:,} events in {sent.datagrams:,} datagrams, {sent.refused:,} refused",
        file=sys.stderr,
    )
    report_losses(source.stats)


def serve(options: Options) -> None:
    """Send a source over UDP at its own pace, repeatedly until Ctrl-C."""
    repeat = not options.once and options.source != "-"
    output = UDPOutput(options.port, options.host, LAYOUTS[options.layout])
    with output, tqdm(unit=" events", unit_scale=True, disable=None) as bar:
        while True:
            with open_source(options, options.speed) as source:
                for events in source.slices():
                    output.send(events)
                    bar.update(len(events))
            sent, late = output.stats, source.stats
            bar.write(
                f"sent {sent.events:,} events in {sent.datagrams:,} datagrams; late by {late.late_p50:.0f} us (median)",
                file=sys.stderr,
            )
            if not repeat:
                return


def report_losses(stats: Stats) -> None:
    """Report on stderr how many events were not processed."""
    counts = {
        "dropped": stats.dropped,
        "rejected": stats.rejected,
        "malformed": stats.malformed,
        "lost": stats.lost,
    }
    losses = [f"{value:,} {name}" for name, value in counts.items() if value]
    if losses:
        print("not processed: " + ", ".join(losses), file=sys.stderr)


def parse_size(text: str) -> tuple[int, int]:
    """Parse a sensor size such as 640x480."""
    width, _, height = text.partition("x")
    return Events.empty((int(width), int(height))).sensor_size


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = argparse.ArgumentParser("python -m geir.events", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add_command(name: str, run: Callable[[Options], None]) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
        command.set_defaults(run=run)
        command.add_argument(
            "--sensor-size",
            type=parse_size,
            metavar="WIDTHxHEIGHT",
            help="sensor size of sources that do not contain it, such as 640x480",
        )
        return command

    def add_source_command(name: str, run: Callable[[Options], None]) -> argparse.ArgumentParser:
        command = add_command(name, run)
        command.add_argument("source", help=SOURCE_HELP)
        command.add_argument(
            "--errors",
            choices=ERROR_MODES,
            default="strict",
            help="truncate: keep the events before the damage of a damaged file; "
            "skip: leave out single invalid events, and report how many",
        )
        command.add_argument("--layout", choices=LAYOUTS, default="spif", help="layout of datagrams (default: spif)")
        return command

    def add_speed(command: argparse.ArgumentParser) -> None:
        command.add_argument(
            "--speed", type=float, default=1.0, help="seconds of the recording per second (default: 1)"
        )

    add_source_command("convert", convert).add_argument("target", help="a file, or - for stdout")
    info_command = add_command("info", show_info)
    info_command.add_argument("paths", nargs="+", metavar="FILE")
    info_command.add_argument("--json", action="store_true", help="print one JSON object per line")
    view_command = add_source_command("view", view)
    add_speed(view_command)
    view_command.add_argument("--fps", type=float, default=25.0, help="images per second (default: 25)")
    send_command = add_source_command("send", send)
    serve_command = add_source_command("serve", serve)
    for command in (send_command, serve_command):
        command.add_argument("--port", type=int, default=3333, help="UDP port to send to (default: 3333)")
        command.add_argument("--host", default="127.0.0.1", help="address to send to (default: this machine)")
    add_speed(serve_command)
    serve_command.add_argument("--once", action="store_true", help="send the source only once")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run a command line. Returns the exit status; errors are printed to stderr."""
    try:
        options = build_parser().parse_args(argv, namespace=Options())
        options.run(options)
    except BrokenPipeError:
        # The reader of stdout has closed it. Without this, Python would report an error when flushing at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return 130
    except (ValueError, OSError, ImportError) as error:
        # What is an argument in Python is an option here.
        message = str(error).replace("sensor_size=(width, height)", "--sensor-size WIDTHxHEIGHT")
        print(f"error: {message}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
