"""Measure how fast edges are detected in the events of an event camera: `python -m benchmarks.edges`.

Writes the page `benchmarks/results/edges.md`. Norse is measured too if it is installed.
"""

import argparse
import importlib.util
import itertools
import os
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import NamedTuple

import torch
from torch import nn, Tensor

import geir
from geir.events import Events, FileInput
from geir.tasks.edges import Detector, network, Player, Scene
from geir.tasks.edges.detector import STEPS_PER_CALL
from geir.tasks.edges.image import encode_png

from .__main__ import RESULTS
from .report import describe_machine, format_number, format_table
from .timing import show_progress

SENSOR_SIZES = ((320, 240), (640, 480))

# Number of steps of the scene, which are repeated.
SCENE_STEPS = 66

# Calls of a contestant in a turn, of which the first ones are not timed.
CALLS_PER_TURN, UNTIMED_CALLS = 20, 4


class Contestant(NamedTuple):
    """Something to time."""

    call: Callable[[int], object]  # called with a running number
    steps: int = 1  # number of steps in a call


def run_cells(model: nn.Module, frames: Tensor) -> Contestant:
    """Run a network of cells on one frame per call."""
    state: object = None

    def call(k: int) -> None:
        nonlocal state
        _, state = model(frames[k % SCENE_STEPS], state)

    return Contestant(call)


def run_detector(detector: Detector, steps: list[Events], steps_per_call: int) -> Contestant:
    """Run a detector on the events of one or several steps per call."""

    def call(k: int) -> None:
        detector.feed(steps[k * steps_per_call % SCENE_STEPS :][:steps_per_call])

    return Contestant(call, steps_per_call)


def norse_talk_network(package: ModuleType) -> nn.Module:
    """The network of the talk on Norse, with the modules of a package: `geir` or `norse.torch`."""
    return package.SequentialState(package.LIFRefracCell(), nn.Conv2d(1, 1, 5))


def page_network_of_cells() -> nn.Module:
    """The network of the page as cells, with the receptive fields in every step."""
    layers = network()
    model = geir.SequentialState(geir.LIFRefracCell(), geir.LIBoxCell(), nn.Conv2d(1, 4, 9, padding=4, bias=False))
    for cell, layer in zip(model, (*layers[:2], layers[2].module), strict=True):
        cell.load_state_dict(layer.state_dict())
    return model


def count_events(steps: list[Events], size: tuple[int, int]) -> Tensor:
    """Count the events of each step; returns frames of shape (steps, 1, 1, height, width)."""
    width, height = size
    frames = torch.zeros(len(steps), 1, 1, height, width)
    for frame, events in zip(frames, steps, strict=True):
        frame.view(-1).index_add_(0, events.y.long() * width + events.x, torch.ones(len(events)))
    return frames


def build_contestants(size: tuple[int, int]) -> dict[str, Contestant]:
    """Build the contestants for a sensor, by name."""
    with FileInput(Scene(size), speed=None, capacity=1 << 16) as stream:
        steps = list(itertools.islice(stream.slices(), SCENE_STEPS))
    frames = count_events(steps, size)
    contestants: dict[str, Contestant] = {}
    if importlib.util.find_spec("norse"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import norse.torch
        name = "Norse: `SequentialState(LIFRefracCell(), Conv2d(1, 1, 5))`"
        contestants[name] = run_cells(norse_talk_network(norse.torch), frames)
    name = "geir: `SequentialState(LIFRefracCell(), Conv2d(1, 1, 5))`"
    contestants[name] = run_cells(norse_talk_network(geir), frames)
    name = "network of the page as cells, `Conv2d(1, 4, 9)` in every step"
    contestants[name] = run_cells(page_network_of_cells(), frames)
    for steps_per_call in (1, STEPS_PER_CALL):
        name = f"`Detector`, from events, {steps_per_call} step{'s' if steps_per_call > 1 else ''} per call"
        contestants[name] = run_detector(Detector(size), steps, steps_per_call)
    drawn = Detector(size)
    drawn.feed(steps)
    name = "one picture (30 per second): `Conv2d(1, 4, 9)`, colors, PNG"
    contestants[name] = Contestant(lambda k: encode_png(drawn.render()))
    return contestants


@torch.inference_mode()
def time_contestants(contestants: dict[str, Contestant], rounds: int) -> dict[str, list[float]]:
    """Time the contestants, which take turns; returns the sorted milliseconds per step of each."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds):
        show_progress(".", end="")
        for name, contestant in contestants.items():
            for k in range(CALLS_PER_TURN):
                start = time.perf_counter()
                contestant.call(turn * CALLS_PER_TURN + k)
                if k >= UNTIMED_CALLS:
                    times[name].append((time.perf_counter() - start) * 1e3 / contestant.steps)
    return {name: sorted(milliseconds) for name, milliseconds in times.items()}


def measure_player(size: tuple[int, int], seconds: float = 5.0) -> list[object]:
    """Play the scene as the page does, in real time if possible, but without a browser; returns a row of the table."""
    scene = Scene(size)
    # Generate one whole turn of the scene; later turns repeat it.
    deque(itertools.islice(scene.chunks(), 1001), maxlen=0)
    player = Player(lambda: FileInput(scene, capacity=1 << 16))
    player.start()
    first = player.wait_for_frame(30, 60)
    start, processor_start = time.perf_counter(), time.process_time()
    assert first is not None
    time.sleep(seconds)
    elapsed = time.perf_counter() - start
    processor_seconds = time.process_time() - processor_start
    last = player.frame
    player.stop()
    assert last is not None
    stats = last.stats
    speed = (stats.time - first.stats.time) / elapsed
    pictures_per_second = (last.number - first.number) / elapsed
    return [
        f"{size[0]}x{size[1]}",
        stats.events_per_second / 1e6,
        speed,
        pictures_per_second,
        stats.latency_ms,
        processor_seconds / elapsed / speed,
    ]


def section(size: tuple[int, int], times: dict[str, list[float]]) -> str:
    """The section of a sensor."""
    rows: Iterable[list[object]] = (
        [name, values[len(values) // 2], values[int(0.99 * len(values))], values[0]] for name, values in times.items()
    )
    return f"## {size[0]}x{size[1]}\n\n" + format_table(["", "median", "p99", "minimum"], rows)


def main() -> None:
    """Measure, print the page, and write it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.edges", description=__doc__)
    parser.add_argument("--rounds", type=int, default=40, help="turns of 16 timed calls per contestant (default: 40)")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch; the task uses one (default: 1)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    parts = [
        f"# Edges in events\n\n{describe_machine(torch.device('cpu'))}",
        "The scene of `geir.tasks.edges` in steps of 1 ms; times in milliseconds per step.",
    ]
    parts += [section(size, time_contestants(build_contestants(size), options.rounds)) for size in SENSOR_SIZES]
    header = ["sensor", "Mevents/s", "speed (1 is real time)", "pictures/s", "latency, ms", "processors, at speed 1"]
    parts.append(
        "## The whole page\n\nThe scene is binned, processed and drawn, in real time if the machine is fast enough."
    )
    parts.append(format_table(header, map(measure_player, SENSOR_SIZES)))
    parts.append(f"Load averages of the machine: {', '.join(map(format_number, os.getloadavg()))}.\n")
    page = "\n\n".join(parts)
    print(page)
    (RESULTS / "edges.md").write_text(page)


if __name__ == "__main__":
    main()
