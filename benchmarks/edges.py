"""Edge detection in events of an event camera, as fast as it comes: `python -m benchmarks.edges`."""

import argparse
import importlib.util
import itertools
import os
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import geir
from geir.events import FileInput
from geir.tasks.edges import Detector, Player, Scene, network
from geir.tasks.edges.detector import STEPS_PER_CALL
from geir.tasks.edges.image import encode_png

from .__main__ import RESULTS
from .report import machine, number, table
from .timing import progress

SIZES = ((320, 240), (640, 480))
# As many steps of the scene as are gone through again and again.
STEPS = 66

Feed = Callable[[int], object]


def cells(model: nn.Module, frames: Tensor) -> Feed:
    """A network of cells, a step at a time."""
    state: Any = None

    def feed(k: int) -> None:
        nonlocal state
        _, state = model(frames[k % STEPS], state)

    return feed


def talk(package: Any) -> nn.Module:
    """The network of the talk on Norse, by whichever package."""
    return package.SequentialState(package.LIFRefracCell(), nn.Conv2d(1, 1, 5))


def page_in_cells() -> nn.Module:
    """The network of the page, one step at a time with the receptive fields in every step."""
    layers = network()
    model = geir.SequentialState(geir.LIFRefracCell(), geir.LIBoxCell(), nn.Conv2d(1, 4, 9, padding=4, bias=False))
    for cell, layer in zip(model, (*layers[:2], layers[2].module), strict=True):
        cell.load_state_dict(layer.state_dict())
    return model


def contestants(size: tuple[int, int]) -> dict[str, tuple[Feed, int]]:
    """What is measured on one sensor, and how many steps each takes in a call."""
    with FileInput(Scene(size), speed=None, capacity=1 << 16) as stream:
        steps = list(itertools.islice(stream.slices(), STEPS))
    frames = torch.zeros(STEPS, 1, 1, size[1], size[0])
    for frame, events in zip(frames, steps, strict=True):
        frame.view(-1).index_add_(0, events.y.long() * size[0] + events.x, torch.ones(len(events)))
    found: dict[str, tuple[Feed, int]] = {}
    if importlib.util.find_spec("norse"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import norse.torch
        found["Norse: `SequentialState(LIFRefracCell(), Conv2d(1, 1, 5))`"] = cells(talk(norse.torch), frames), 1
    found["geir: `SequentialState(LIFRefracCell(), Conv2d(1, 1, 5))`"] = cells(talk(geir), frames), 1
    found["the page's network in cells, `Conv2d(1, 4, 9)` in every step"] = cells(page_in_cells(), frames), 1
    for most in (1, STEPS_PER_CALL):
        detector = Detector(size)

        def feed(k: int, detector: Detector = detector, most: int = most) -> None:
            detector.feed(steps[k * most % STEPS :][:most])

        found[f"`Detector`, from events, {most} step{'s' if most > 1 else ''} at a time"] = feed, most
    seen = Detector(size)
    seen.feed(steps)
    found["a picture (30 in a second): `Conv2d(1, 4, 9)`, colours, PNG"] = lambda k: encode_png(seen.render()), 1
    return found


@torch.inference_mode()
def times(jobs: dict[str, tuple[Feed, int]], rounds: int) -> Iterator[tuple[str, list[float]]]:
    """Milliseconds a step of each, which take turns."""
    taken: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(rounds):
        progress(".", end="")
        for name, (feed, steps) in jobs.items():
            for k in range(turn * 20, turn * 20 + 20):
                start = time.perf_counter()
                feed(k)
                # The first ones warm up.
                if k % 20 >= 4:
                    taken[name].append((time.perf_counter() - start) * 1e3 / steps)
    for name, ms in taken.items():
        yield name, sorted(ms)


def played(size: tuple[int, int], seconds: float = 5.0) -> list[object]:
    """How fast the whole page goes when it is to play in real time, without a browser."""
    scene = Scene(size)
    # A whole turn of the scene, which from then on is played again.
    deque(itertools.islice(scene.chunks(), 1001), maxlen=0)
    player = Player(lambda: FileInput(scene, capacity=1 << 16))
    player.start()
    first = player.wait_for_frame(30, 60)
    start, busy = time.perf_counter(), time.process_time()
    assert first is not None
    time.sleep(seconds)
    passed, busy = time.perf_counter() - start, time.process_time() - busy
    last = player.frame
    player.stop()
    assert last is not None
    stats = last.stats
    speed = (stats.time - first.stats.time) / passed
    pictures = (last.number - first.number) / passed
    return [
        f"{size[0]}x{size[1]}",
        stats.events_per_second / 1e6,
        speed,
        pictures,
        stats.latency_ms,
        busy / passed / speed,
    ]


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.edges", description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=40, help="how often each contestant takes its turn of 16 calls (default: 40)"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch; the task takes one (default: 1)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    parts = [
        f"# Edges in events\n\n{machine(torch.device('cpu'))}\n\nThe scene of `geir.tasks.edges`, steps of 1 ms; milliseconds a step."
    ]
    for size in SIZES:
        rows = [
            [name, ms[len(ms) // 2], ms[int(0.99 * len(ms))], ms[0]]
            for name, ms in times(contestants(size), options.rounds)
        ]
        parts.append(f"## {size[0]}x{size[1]}\n\n" + table(["", "median", "p99", "least"], rows))
    head = ["sensor", "Mevents/s", "speed (1 is real time)", "pictures/s", "latency, ms", "processors, at speed 1"]
    title = "## Played\n\nEvents of the scene binned, seen and drawn, in real time if that holds."
    parts.append(
        f"{title}\n\n{table(head, map(played, SIZES))}\n\nLoad of the machine: {', '.join(map(number, os.getloadavg()))}.\n"
    )
    page = "\n\n".join(parts)
    print(page)
    Path(RESULTS / "edges.md").write_text(page)


if __name__ == "__main__":
    main()
