"""The command line: `python -m geir.tasks.edges FILE | --udp PORT | --synthetic`."""

import argparse
import json
import math
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...events import FileInput, UDPInput
from ...events.input import Input
from . import film
from .detector import Detector, THRESHOLD
from .player import Controls, Player, slices, steps_per_picture
from .scene import Scene
from .server import Server

_DESCRIPTION = """Find edges in a stream of events with spiking neurons, and show events and edges side by side: live in a page of the browser, which
only this machine can reach, or as a film. A film, or --no-page, prints a JSON object with what was done."""
# A scene is made as it is needed, and no more than so many events ahead.
_AHEAD = 1 << 16
# Pictures in a second of a film: players take hundredths of a second from one to the next.
_FILM = 25


def parser() -> argparse.ArgumentParser:
    """The flags."""
    flags = argparse.ArgumentParser(prog="python -m geir.tasks.edges", description=_DESCRIPTION)
    source = flags.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "file", nargs="?", type=Path, help="a recording: AEDAT4, RAW, DAT, HDF5, CSV, ...; it is repeated on the page"
    )
    source.add_argument("--udp", type=int, metavar="PORT", help="listen for events in datagrams")
    source.add_argument("--synthetic", action="store_true", help="a scene that is made up")
    flags.add_argument(
        "--size", type=_size, metavar="WIDTHxHEIGHT", help="of the sensor, for --udp and --synthetic (default: 320x240)"
    )
    flags.add_argument(
        "--seed", type=int, default=0, help="of --synthetic; the same seed makes the same events (default: 0)"
    )
    flags.add_argument(
        "--dt", type=float, default=1e-3, metavar="SECONDS", help="width of a step of the network (default: 0.001)"
    )
    flags.add_argument(
        "--threshold",
        type=float,
        default=THRESHOLD,
        help=f"of the neurons; one event lifts them to 0.25 (default: {THRESHOLD})",
    )
    flags.add_argument(
        "--speed",
        type=float,
        default=1.0,
        help="seconds of a recording in a second of the page or the film (default: 1)",
    )
    flags.add_argument("--seconds", type=float, help="stop after so many seconds of the stream, on the page too")
    flags.add_argument("--output", type=Path, metavar="FILM", help="write a film first, .gif or .mp4")
    flags.add_argument(
        "--no-page", action="store_true", help="go through the stream once, as fast as it goes, and serve no page"
    )
    flags.add_argument("--port", type=int, default=0, help="where the page is served; 0 takes a free port (default: 0)")
    return flags


def open_input(options: argparse.Namespace, speed: float | None) -> Input:
    """The stream that was asked for, to be opened."""
    size = options.size or (320, 240)
    if options.udp is not None:
        return UDPInput(size, options.udp)
    if options.synthetic:
        return FileInput(Scene(size, options.seed), speed, capacity=_AHEAD)
    return FileInput(options.file, speed)


def go_through(options: argparse.Namespace) -> dict[str, Any]:
    """Take the stream as fast as it comes, write the film that was asked for, and say what was done."""
    steps = steps_per_picture(options.speed, options.dt, _FILM)
    done = {"steps": 0, "events": 0, "pictures": 0}

    def pictures() -> Iterator[Tensor]:
        with open_input(options, speed=None) as stream:
            detector = Detector(stream.sensor_size, options.threshold, options.dt)
            for due in detector.pictures(slices(stream, options.dt, options.seconds), lambda: steps):
                for name, number in (("steps", due.steps), ("events", due.events), ("pictures", 1)):
                    done[name] += number
                yield due.draw()

    start = time.perf_counter()
    if options.output:
        film.write(options.output, pictures(), options.speed / (steps * options.dt))
    else:
        deque(pictures(), maxlen=0)
    return done | {
        "seconds": round(time.perf_counter() - start, 3),
        "film": str(options.output) if options.output else None,
    }


def serve(options: argparse.Namespace) -> None:
    """Play the stream and serve the page until Ctrl-C."""
    # What cannot be opened is said here, and not on the page.
    with open_input(options, options.speed):
        pass
    controls = Controls(speed=options.speed, threshold=options.threshold)
    player = Player(
        lambda: open_input(options, player.controls.speed),
        controls,
        options.dt,
        repeat=options.udp is None,
        seconds=options.seconds,
    )
    title = (
        f"UDP port {options.udp}"
        if options.udp is not None
        else "a scene that is made up"
        if options.synthetic
        else options.file.name
    )
    server = Server(player, title, options.port)
    server.start()
    player.start()
    try:
        print(f"Edges of {title}: {server.address} (Ctrl-C ends)", flush=True)
        player.ended.wait()
        if player.failure is not None:
            print(f"The stream failed: {player.failure}", file=sys.stderr, flush=True)
        # What was last stays to be seen.
        threading.Event().wait()
    except KeyboardInterrupt:
        print(file=sys.stderr)
    finally:
        server.stop()


def main(arguments: list[str] | None = None) -> None:
    """Do what the command line says."""
    flags = parser()
    options = flags.parse_args(arguments)
    try:
        _check(options)
    except ValueError as error:
        flags.error(str(error))
    # The other cores are for the stream, the page and the browser; waiting for several threads takes longer where these are busy.
    torch.set_num_threads(1)
    try:
        if options.output or options.no_page:
            print(json.dumps(go_through(options)), flush=True)
        if not options.no_page:
            serve(options)
    except KeyboardInterrupt:
        sys.exit(130)
    except (OSError, ValueError) as error:
        sys.exit(f"{flags.prog}: {error}")


def _check(options: argparse.Namespace) -> None:
    for name in ("dt", "threshold", "speed", "seconds"):
        value = getattr(options, name)
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"--{name} must be a positive number, got {value}.")
    if options.size and options.file:
        raise ValueError("--size is for --udp and --synthetic; a recording knows its own.")
    if options.seconds is None and options.file is None and (options.output or options.no_page):
        raise ValueError("This stream has no end; say with --seconds how much of it is wanted.")
    if options.output:
        film.check(options.output)


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"must be WIDTHxHEIGHT in pixels, such as 640x480, got {text}")
    return int(width), int(height)


if __name__ == "__main__":
    main()
