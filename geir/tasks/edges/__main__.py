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

import torch
from torch import Tensor

from ...events import EventInput, FileInput, UDPInput
from . import video
from .detector import Detector, THRESHOLD
from .player import Controls, Player, read_steps, steps_per_image
from .scene import Scene
from .server import Server

_DESCRIPTION = """Detect edges in a stream of events with spiking neurons, and show events and edges
side by side: live on a page in the browser, which only this machine can access, or as a video. With
--output or --no-page, a JSON object with a summary is printed."""
# The scene is generated on demand, at most about this many events ahead.
_SCENE_CAPACITY = 1 << 16
# Images per second of a video. GIF stores durations in hundredths of a second.
_VIDEO_FPS = 25


class Options(argparse.Namespace):
    """Parsed arguments."""

    file: Path | None
    udp: int | None
    synthetic: bool
    size: tuple[int, int] | None
    seed: int
    dt: float
    threshold: float
    speed: float
    seconds: float | None
    output: Path | None
    no_page: bool
    port: int


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m geir.tasks.edges", description=_DESCRIPTION)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "file", nargs="?", type=Path, help="a recording: AEDAT4, RAW, DAT, HDF5, CSV, ...; the page repeats it"
    )
    source.add_argument("--udp", type=int, metavar="PORT", help="receive events as datagrams")
    source.add_argument("--synthetic", action="store_true", help="generate a synthetic scene")
    parser.add_argument(
        "--size",
        type=_parse_size,
        metavar="WIDTHxHEIGHT",
        help="sensor size for --udp and --synthetic (default: 320x240)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of --synthetic (default: 0)")
    parser.add_argument("--dt", type=float, default=1e-3, metavar="SECONDS", help="step size (default: 0.001)")
    parser.add_argument(
        "--threshold",
        type=float,
        default=THRESHOLD,
        help=f"threshold of the neurons; a single event raises them to 0.25 (default: {THRESHOLD})",
    )
    parser.add_argument(
        "--speed",
        type=float,
        default=1.0,
        help="seconds of the recording per second of the page or the video (default: 1)",
    )
    parser.add_argument("--seconds", type=float, help="stop after this many seconds of the stream")
    parser.add_argument("--output", type=Path, metavar="VIDEO", help="write a video first, .gif or .mp4")
    parser.add_argument(
        "--no-page", action="store_true", help="process the stream once, as fast as possible, without a page"
    )
    parser.add_argument("--port", type=int, default=0, help="port of the page; 0 selects a free one (default: 0)")
    return parser


def create_input(options: Options, speed: float | None) -> EventInput:
    """Create the input named on the command line, to be opened in a with statement."""
    size = options.size or (320, 240)
    if options.udp is not None:
        return UDPInput(size, options.udp)
    if options.file is not None:
        return FileInput(options.file, speed)
    return FileInput(Scene(size, options.seed), speed, capacity=_SCENE_CAPACITY)


def process(options: Options) -> dict[str, object]:
    """Process the stream as fast as possible and write the video if requested. Returns a summary."""
    steps = steps_per_image(options.speed, options.dt, _VIDEO_FPS)
    counts = {"steps": 0, "events": 0, "images": 0}

    def images() -> Iterator[Tensor]:
        with create_input(options, speed=None) as stream:
            detector = Detector(stream.sensor_size, options.threshold, options.dt)
            for pending in detector.images(read_steps(stream, options.dt, options.seconds), lambda: steps):
                counts["steps"] += pending.steps
                counts["events"] += pending.events
                counts["images"] += 1
                yield pending.render()

    start = time.perf_counter()
    if options.output:
        video.write_video(options.output, images(), fps=options.speed / (steps * options.dt))
    else:
        deque(images(), maxlen=0)
    seconds = round(time.perf_counter() - start, 3)
    return {**counts, "seconds": seconds, "video": str(options.output) if options.output else None}


def serve(options: Options) -> None:
    """Play the stream and serve the page until Ctrl-C."""
    # An input that cannot be opened raises here, before the page is served.
    with create_input(options, options.speed):
        pass
    player = Player(
        lambda: create_input(options, player.controls.speed),
        Controls(speed=options.speed, threshold=options.threshold),
        options.dt,
        repeat=options.udp is None,
        seconds=options.seconds,
    )
    title = _title(options)
    server = Server(player, title, options.port)
    server.start()
    player.start()
    try:
        print(f"Edges of {title}: {server.address} (press Ctrl-C to stop)", flush=True)
        player.ended.wait()
        if player.error is not None:
            print(f"The stream failed: {player.error}", file=sys.stderr, flush=True)
        # Keep serving the last frame.
        threading.Event().wait()
    except KeyboardInterrupt:
        print(file=sys.stderr)
    finally:
        server.stop()


def main(arguments: list[str] | None = None) -> None:
    """Run a command line."""
    parser = build_parser()
    options = parser.parse_args(arguments, namespace=Options())
    try:
        _check_options(options)
    except ValueError as error:
        parser.error(str(error))
    # One thread for PyTorch: the other cores are for the input, the page and the browser, and
    # waiting for a thread pool takes longer when they are busy.
    torch.set_num_threads(1)
    try:
        if options.output or options.no_page:
            print(json.dumps(process(options)), flush=True)
        if not options.no_page:
            serve(options)
    except KeyboardInterrupt:
        sys.exit(130)
    except (OSError, ValueError) as error:
        sys.exit(f"{parser.prog}: {error}")


def _title(options: Options) -> str:
    if options.udp is not None:
        return f"UDP port {options.udp}"
    return "a synthetic scene" if options.file is None else options.file.name


def _check_options(options: Options) -> None:
    for name in ("dt", "threshold", "speed", "seconds"):
        value: float | None = getattr(options, name)
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"--{name} must be a positive number, got {value}.")
    if options.size and options.file:
        raise ValueError("--size is only for --udp and --synthetic; a recording contains its sensor size.")
    if options.seconds is None and options.file is None and (options.output or options.no_page):
        raise ValueError("The stream is endless; limit its length with --seconds.")
    if options.output:
        video.check_path(options.output)


def _parse_size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"must be WIDTHxHEIGHT in pixels, such as 640x480, got {text}")
    return int(width), int(height)


if __name__ == "__main__":
    main()
