"""Convert, inspect, watch and stream recordings: `python -m geir.events`."""

import argparse
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

from tqdm import tqdm

from .store import Events
from .file_input import FileInput
from .recording import describe, write_events
from .input import Input, LiveInput, Stats
from .layouts import SPIF, T32, T64
from .pipe import Pipe
from .terminal import picture
from .udp import UDPInput, UDPOutput

LAYOUTS = {"spif": SPIF(), "spif-timed": SPIF(timestamps=True), "t32": T32(), "t64": T64()}
SOURCE = "a file, - for stdin, or udp:PORT"


def opened(options: argparse.Namespace, speed: float | None) -> Input:
    """The source that a command line names."""
    name, size = options.source, options.sensor_size
    port = re.fullmatch(r"udp:(\d{1,5})", name)
    if name != "-" and not port:
        return FileInput(name, speed=speed, errors=options.errors, sensor_size=size)
    if size is None:
        raise ValueError(f"{name} does not say how large its sensor is; say it with --sensor-size WIDTHxHEIGHT.")
    return (
        UDPInput(size, int(port[1]), layout=LAYOUTS[options.layout])
        if port
        else FileInput(Pipe(sys.stdin.buffer, size), speed=speed)
    )


def batches(source: Input) -> Iterator[Events]:
    """Events as they come, with a bar of progress, until there are no more; a live source ends with Ctrl-C."""
    interrupted = False

    def interrupt(*_: Any) -> None:
        nonlocal interrupted
        interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    live = isinstance(source, LiveInput)
    # What is being written must be brought to its end.
    before = signal.signal(signal.SIGINT, interrupt) if live else None
    try:
        with tqdm(total=total(source), unit=" events", unit_scale=True, disable=None) as bar:
            yield Events.empty(source.sensor_size)  # which says of what sensor, if there are no others
            while not source.done and not interrupted:
                events = source.events(timeout=0.1)
                yield events
                bar.update(len(events))
    finally:
        if live:
            signal.signal(signal.SIGINT, before)


def total(source: Input) -> int | None:
    """How many events there are, if that is known."""
    if isinstance(source, FileInput) and isinstance(source.path, str):
        return describe(source.path, sensor_size=source.sensor_size)["events"]
    return None


def convert(options: argparse.Namespace) -> None:
    """Write a source to a file, whose ending says how, or to stdout."""
    with opened(options, speed=None) as source:
        if options.target != "-":
            write_events(batches(source), options.target)
        else:
            # Of our own, for with PYTHONUNBUFFERED sys.stdout may write less than it is given when nobody reads on, and raise nothing.
            with open(sys.stdout.fileno(), "wb", closefd=False) as out:
                for events in batches(source):
                    out.write(T64().encode(events).tobytes())
    report(source.stats)


def show_info(options: argparse.Namespace) -> None:
    """Say what files hold."""
    for path in options.paths:
        found = describe(path, sensor_size=options.sensor_size)
        if options.json:
            print(json.dumps(found, default=str))
        else:
            print("\n".join(f"{name:>12}  {value}" for name, value in found.items()))


def view(options: argparse.Namespace) -> None:
    """Show a source in the terminal."""
    home, clear = "\x1b[H", "\x1b[2J"
    columns, rows = shutil.get_terminal_size()
    with opened(options, options.speed) as source:
        print(clear, end="")
        for frame in source.frames(1 / options.fps):
            stats = source.stats
            line = f"{stats.events:,} events, {int(frame.sum() * options.fps):,} a second, {stats.late_p50 / 1e3:.1f} ms late"
            print(f"{home}{picture(frame, columns, rows - 2)}{line[: columns - 1]}\x1b[K", flush=True)
    report(source.stats)


def send(options: argparse.Namespace) -> None:
    """Send a source over UDP, as fast as it is read."""
    with (
        opened(options, speed=None) as source,
        UDPOutput(options.port, options.host, LAYOUTS[options.layout]) as output,
    ):
        for events in batches(source):
            output.send(events)
    print(
        f"sent {output.stats.events:,} events in {output.stats.datagrams:,} datagrams, {output.stats.refused:,} refused",
        file=sys.stderr,
    )
    report(source.stats)


def serve(options: argparse.Namespace) -> None:
    """Send a source over UDP at its own pace, again and again until Ctrl-C."""
    again = not options.once and options.source != "-"
    with (
        UDPOutput(options.port, options.host, LAYOUTS[options.layout]) as output,
        tqdm(unit=" events", unit_scale=True, disable=None) as bar,
    ):
        while True:
            with opened(options, options.speed) as source:
                for events in source.slices():
                    output.send(events)
                    bar.update(len(events))
            sent, late = output.stats, source.stats
            bar.write(
                f"sent {sent.events:,} events in {sent.datagrams:,} datagrams; late by {late.late_p50:.0f} us (median)",
                file=sys.stderr,
            )
            if not again:
                return


def report(stats: Stats) -> None:
    """Say on stderr what was left out."""
    left_out = {name: value for name in ("dropped", "rejected", "malformed", "lost") if (value := getattr(stats, name))}
    if left_out:
        print("left out: " + ", ".join(f"{value:,} {name}" for name, value in left_out.items()), file=sys.stderr)


def size(text: str) -> tuple[int, int]:
    """640x480, as numbers."""
    width, _, height = text.partition("x")
    return Events.empty((int(width), int(height))).sensor_size


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser("python -m geir.events", description=__doc__)
    commands = arguments.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], None], source: bool = True) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
        one.set_defaults(run=run)
        one.add_argument(
            "--sensor-size", type=size, metavar="WIDTHxHEIGHT", help="of what does not say it, such as 640x480"
        )
        if source:
            one.add_argument("source", help=SOURCE)
            one.add_argument(
                "--errors",
                choices=("strict", "truncate"),
                default="strict",
                help="truncate: keep what is sound of a damaged file",
            )
            one.add_argument("--layout", choices=LAYOUTS, default="spif", help="of datagrams (default: spif)")
        return one

    command("convert", convert).add_argument("target", help="a file, or - for stdout")
    inspect = command("info", show_info, source=False)
    inspect.add_argument("paths", nargs="+", metavar="FILE")
    inspect.add_argument("--json", action="store_true", help="one JSON object a line")
    pace = {"type": float, "default": 1.0, "help": "seconds of the recording in a second (default: 1)"}
    watch = command("view", view)
    watch.add_argument("--speed", **pace)
    watch.add_argument("--fps", type=float, default=25.0, help="pictures a second (default: 25)")
    for name, run in (("send", send), ("serve", serve)):
        sender = command(name, run)
        sender.add_argument("--port", type=int, default=3333, help="UDP port to send to (default: 3333)")
        sender.add_argument("--host", default="127.0.0.1", help="address to send to (default: this machine)")
    sender.add_argument("--speed", **pace)
    sender.add_argument("--once", action="store_true", help="once only")
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Run a command line, and say clearly what went wrong."""
    try:
        options: Any = parser().parse_args(argv)
        options.run(options)
    except BrokenPipeError:  # whoever read our output has had enough; Python would complain on flushing at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return 130
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
